//! Which keys are parked, folded from the records.

use std::collections::{BTreeSet, HashMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use kernel::Position;

use super::record::{Note, Record, What};

/// Of how many events of one key it is remembered that they waited once: as many as any durable has
/// out. Of more, the lowest is forgotten, which was acknowledged long ago. Should it come again
/// nevertheless, it is handled again, as whatever comes twice.
const SETTLED_MAX: usize = 4_096;

/// An event that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its record in stream PARKED.
    pub sequence: u64,
    /// Where it stands in its own stream.
    pub position: Position,
    /// Why it waits.
    pub cause: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Since when it waits.
    pub since: DateTime<Utc>,
}

/// A person asked for another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// The record.
    pub sequence: u64,
    /// When.
    pub at: DateTime<Utc>,
}

/// What is known of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParkedKey {
    /// What waits, in the order of its stream.
    pub waiting: VecDeque<Waiting>,
    /// Set from the first parked event until `done`.
    pub parked: bool,
    /// Another try is due.
    pub asked: Option<Asked>,
    /// When the process that tries said so last.
    pub trying: Option<DateTime<Utc>>,
    /// How the last try ended, when it failed: its record.
    pub failed: Option<u64>,
    /// The role's last record on the subject: what the next one expects.
    pub(crate) last: u64,
    last_asked: u64,
    /// What waited once and does no more; one subscription reads one stream.
    settled: BTreeSet<u64>,
}

impl ParkedKey {
    /// Was the event at `sequence` of its stream set aside, now or ever?
    pub(crate) fn has_taken(&self, sequence: u64) -> bool {
        let waits = self.waiting.binary_search_by_key(&sequence, order);
        waits.is_ok() || self.settled.contains(&sequence)
    }

    /// Must an event at `sequence` of its stream wait? One that comes late, before whatever waits,
    /// need not, unless its key is being tried: two of a key are never handled at the same time.
    pub(crate) fn holds_up(&self, sequence: u64) -> bool {
        let first = self.waiting.front().map(order);
        self.parked && (self.trying.is_some() || first.is_none_or(|first| first < sequence))
    }

    /// Is somebody to begin with another try?
    ///
    /// Whoever has begun and said nothing for `silence_max` is taken for dead.
    pub(crate) fn is_due(&self, now: DateTime<Utc>, silence_max: TimeDelta) -> bool {
        let busy = self.trying.is_some_and(|said| now - said < silence_max);
        self.parked && self.asked.is_some() && !busy
    }

    fn apply(&mut self, record: Record) {
        let Record {
            sequence, at, what, ..
        } = record;
        let seen = match &what {
            What::Note(note) if note.is_asked() => &mut self.last_asked,
            What::Note(_) | What::Parked(_) => &mut self.last,
        };
        if sequence <= *seen {
            return;
        }
        *seen = sequence;
        match what {
            What::Parked(event) => {
                if self.has_taken(event.position.sequence) {
                    return;
                }
                self.parked = true;
                self.wait(Waiting {
                    sequence,
                    position: event.position,
                    cause: event.cause,
                    attempts: event.attempts,
                    since: at,
                });
            }
            What::Note(note) => self.note(note, Asked { sequence, at }),
        }
    }

    fn note(&mut self, note: Note, asked: Asked) {
        match note {
            Note::Retry { .. } if self.parked => self.asked = Some(asked),
            Note::Skip { position, .. } if self.place(&position).is_some() => {
                self.settle(&position);
                self.asked = Some(asked);
            }
            Note::Trying {} => self.trying = Some(asked.at),
            Note::Handled { position } => {
                self.trying = Some(asked.at);
                self.settle(&position);
            }
            Note::Failed { position, cause } => {
                self.trying = None;
                let place = self.place(&position);
                if let Some(failed) = place.and_then(|place| self.waiting.get_mut(place)) {
                    failed.cause = cause;
                    failed.attempts = failed.attempts.saturating_add(1);
                }
                // Else it was skipped meanwhile, or one before it came: the rest is still due.
                if place == Some(0) {
                    self.asked = None;
                    self.failed = Some(asked.sequence);
                }
            }
            Note::Done {} => {
                self.trying = None;
                // Older builds did not see what came late: it is still due.
                if self.waiting.is_empty() {
                    self.parked = false;
                    self.asked = None;
                }
            }
            // Nothing is parked, or the event waits no more.
            Note::Retry { .. } | Note::Skip { .. } => {}
        }
    }

    fn place(&self, position: &Position) -> Option<usize> {
        self.waiting.iter().position(|w| w.position == *position)
    }

    fn wait(&mut self, event: Waiting) {
        let before = |w: &Waiting| order(w) < order(&event);
        let place = self.waiting.partition_point(before);
        self.waiting.insert(place, event);
    }

    /// It waits no more, if it did.
    fn settle(&mut self, position: &Position) {
        let Some(place) = self.place(position) else {
            return;
        };
        self.waiting.remove(place);
        self.settled.insert(position.sequence);
        if self.settled.len() > SETTLED_MAX {
            self.settled.pop_first();
        }
    }
}

fn order(waiting: &Waiting) -> u64 {
    waiting.position.sequence
}

/// Every key that is, or was, parked: what was is remembered for what comes twice.
#[derive(Debug, Default)]
pub(super) struct Keys(HashMap<(String, String), ParkedKey>);

impl Keys {
    pub(super) fn apply(&mut self, record: Record) {
        let place = (record.subscription.clone(), record.key.clone());
        self.0.entry(place).or_default().apply(record);
    }

    pub(super) fn get(&self, subscription: &str, key: &str) -> Option<&ParkedKey> {
        self.0.get(&(subscription.to_owned(), key.to_owned()))
    }

    /// The parked ones, by subscription and key.
    pub(super) fn parked(&self) -> impl Iterator<Item = (&str, &str, &ParkedKey)> {
        let all = self.0.iter().filter(|(_, state)| state.parked);
        all.map(|((subscription, key), state)| (subscription.as_str(), key.as_str(), state))
    }
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;
    use bytes::Bytes;

    use super::*;
    use crate::parking::ParkedEvent;

    const SILENCE_MAX: TimeDelta = TimeDelta::minutes(2);

    fn event(sequence: u64) -> What {
        What::Parked(ParkedEvent {
            position: Position::new("ORDER", sequence),
            subject: "event.order.o-1".to_owned(),
            recorded_at: Utc::now(),
            cause: "no".to_owned(),
            attempts: 1,
            headers: HeaderMap::new(),
            payload: Bytes::new(),
        })
    }

    fn skip(sequence: u64) -> What {
        What::Note(Note::Skip {
            by: "ada".to_owned(),
            reason: "broken".to_owned(),
            position: Position::new("ORDER", sequence),
        })
    }

    fn handled(sequence: u64) -> What {
        What::Note(Note::Handled {
            position: Position::new("ORDER", sequence),
        })
    }

    fn fold(all: impl IntoIterator<Item = What>) -> ParkedKey {
        let mut state = ParkedKey::default();
        for (sequence, what) in (1..).zip(all) {
            state.apply(Record {
                sequence,
                at: Utc::now(),
                subscription: "s".to_owned(),
                key: "k".to_owned(),
                what,
            });
        }
        state
    }

    fn waiting(state: &ParkedKey) -> Vec<u64> {
        state.waiting.iter().map(|w| w.position.sequence).collect()
    }

    fn trying() -> What {
        What::Note(Note::Trying {})
    }

    fn retry() -> What {
        What::Note(Note::Retry {
            by: "ada".to_owned(),
            reason: None,
        })
    }

    fn failed(sequence: u64) -> What {
        What::Note(Note::Failed {
            position: Position::new("ORDER", sequence),
            cause: "still no".to_owned(),
        })
    }

    #[test]
    fn an_event_that_comes_twice_waits_once() {
        let state = fold([event(5), event(7), event(5)]);
        assert_eq!(waiting(&state), [5, 7]);
        assert!(state.has_taken(5) && state.has_taken(7));
        let state = fold([event(5), event(7), handled(5), skip(7), event(5), event(7)]);
        assert_eq!(waiting(&state), [0; 0]);
        assert!(state.has_taken(5) && state.has_taken(7));
    }

    #[test]
    fn what_never_waited_is_not_taken_for_it() {
        let state = fold([event(5), event(7)]);
        assert!(!state.has_taken(4) && !state.has_taken(6) && !state.has_taken(8));
        assert!(!state.holds_up(4), "it comes before what waits");
        assert!(state.holds_up(6) && state.holds_up(8));
        let state = fold([event(5), event(7), event(6), event(4)]);
        assert_eq!(waiting(&state), [4, 5, 6, 7]);
        let done = [event(5), handled(5), What::Note(Note::Done {})];
        let state = fold(done);
        assert!(!state.has_taken(4) && !state.holds_up(4) && !state.holds_up(6));
    }

    #[test]
    fn what_comes_late_into_a_try_is_handled_before_the_key_is_done() {
        let tried = [event(7), retry(), trying()];
        assert!(fold(tried.clone()).holds_up(5));
        let late = || tried.clone().into_iter().chain([event(5)]);
        assert_eq!(waiting(&fold(late().chain([handled(7)]))), [5]);
        let state = fold(late().chain([failed(7)]));
        assert_eq!(waiting(&state), [5, 7]);
        assert_eq!((state.waiting[1].attempts, state.failed), (2, None));
        assert!(state.is_due(Utc::now(), SILENCE_MAX), "5 was not tried yet");
        // As a build ends it that does not know of 5.
        let state = fold(late().chain([handled(7), What::Note(Note::Done {})]));
        assert!(state.parked && state.is_due(Utc::now(), SILENCE_MAX));
    }

    #[test]
    fn of_what_waited_once_the_lowest_is_forgotten() {
        let most = u64::try_from(SETTLED_MAX).unwrap();
        let all = (1..=most + 1).flat_map(|sequence| [event(sequence), handled(sequence)]);
        let state = fold(all);
        assert_eq!(state.settled.len(), SETTLED_MAX);
        assert!(!state.has_taken(1) && state.has_taken(2));
    }

    #[test]
    fn a_skip_names_its_event_and_asks_for_the_rest() {
        let state = fold([event(5), event(7), skip(5), skip(5)]);
        assert_eq!(waiting(&state), [7]);
        assert!(state.is_due(Utc::now(), SILENCE_MAX));
        let state = fold([event(7), event(5), skip(7)]);
        assert_eq!(waiting(&state), [5], "7 was the first when it was asked");
        let state = fold([event(5), skip(6)]);
        assert_eq!((waiting(&state), state.asked), (vec![5], None));
    }

    #[test]
    fn a_key_stays_parked_until_it_is_done() {
        let tried = [event(5), skip(5), trying()];
        let state = fold(tried.clone());
        assert!(state.parked && state.waiting.is_empty() && !state.is_due(Utc::now(), SILENCE_MAX));
        assert!(
            state.is_due(Utc::now() + SILENCE_MAX, SILENCE_MAX),
            "its process died"
        );
        let done = [event(6), handled(6), What::Note(Note::Done {})];
        let state = fold(tried.into_iter().chain(done));
        assert!(!state.parked && state.asked.is_none() && state.has_taken(6));
    }

    #[test]
    fn a_failure_ends_the_try_and_tells_the_cause() {
        let state = fold([event(5), retry(), trying(), failed(5)]);
        let first = state.waiting.front().unwrap();
        assert_eq!((first.cause.as_str(), first.attempts), ("still no", 2));
        assert!(state.parked && !state.is_due(Utc::now(), SILENCE_MAX));
        assert_eq!(state.failed, Some(4));
    }
}
