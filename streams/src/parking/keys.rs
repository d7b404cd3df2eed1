//! Which keys are parked, folded from the records.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use kernel::Position;

use super::record::{Note, Record, What};

/// A process that has begun and then said nothing for this long is taken for dead.
const SILENCE_MAX: TimeDelta = TimeDelta::minutes(2);

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
    /// What waits, oldest first.
    pub waiting: VecDeque<Waiting>,
    /// Set from the first parked event until `done`.
    pub parked: bool,
    /// Another try is due.
    pub asked: Option<Asked>,
    /// Since when a process tries, as far as it said.
    pub trying: Option<DateTime<Utc>>,
    /// How the last try ended, when it failed: its record.
    pub failed: Option<u64>,
    /// The role's last record on the subject: what the next one expects.
    pub(crate) last: u64,
    last_asked: u64,
    /// Everything of the key up to here was set aside once; one subscription reads one stream.
    up_to: u64,
}

impl ParkedKey {
    /// Was the event at `sequence` of its stream set aside, now or ever?
    pub(crate) fn has_taken(&self, sequence: u64) -> bool {
        sequence <= self.up_to
    }

    /// Is somebody to begin with another try?
    pub(crate) fn is_due(&self, now: DateTime<Utc>) -> bool {
        let busy = self.trying.is_some_and(|since| now - since < SILENCE_MAX);
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
                self.up_to = event.position.sequence;
                self.parked = true;
                self.waiting.push_back(Waiting {
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
            Note::Skip { position, .. } if self.is_first(&position) => {
                self.waiting.pop_front();
                self.asked = Some(asked);
            }
            Note::Trying {} => self.trying = Some(asked.at),
            Note::Handled { position } => {
                self.trying = Some(asked.at);
                if self.is_first(&position) {
                    self.waiting.pop_front();
                }
            }
            Note::Failed { position, cause } => {
                self.trying = None;
                // Not the first any more: it was skipped meanwhile, and the rest is still due.
                if let Some(first) = self.waiting.front_mut().filter(|w| w.position == position) {
                    first.cause = cause;
                    first.attempts = first.attempts.saturating_add(1);
                    self.asked = None;
                    self.failed = Some(asked.sequence);
                }
            }
            Note::Done {} => {
                self.parked = false;
                self.asked = None;
                self.trying = None;
            }
            // Nothing is parked, or another event is first by now.
            Note::Retry { .. } | Note::Skip { .. } => {}
        }
    }

    fn is_first(&self, position: &Position) -> bool {
        let first = self.waiting.front();
        first.is_some_and(|first| first.position == *position)
    }
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

    #[test]
    fn an_event_that_comes_twice_waits_once() {
        let state = fold([event(5), event(7), event(5)]);
        assert_eq!(waiting(&state), [5, 7]);
        assert!(state.parked && state.has_taken(6) && !state.has_taken(8));
    }

    #[test]
    fn a_skip_names_its_event_and_asks_for_the_rest() {
        let state = fold([event(5), event(7), skip(7)]);
        assert_eq!((waiting(&state), state.asked), (vec![5, 7], None));
        let state = fold([event(5), event(7), skip(5), skip(5)]);
        assert_eq!(waiting(&state), [7]);
        assert!(state.is_due(Utc::now()));
    }

    #[test]
    fn a_key_stays_parked_until_it_is_done() {
        let tried = [event(5), skip(5), What::Note(Note::Trying {})];
        let state = fold(tried.clone());
        assert!(state.parked && state.waiting.is_empty() && !state.is_due(Utc::now()));
        assert!(state.is_due(Utc::now() + SILENCE_MAX), "its process died");
        let done = [event(6), handled(6), What::Note(Note::Done {})];
        let state = fold(tried.into_iter().chain(done));
        assert!(!state.parked && state.asked.is_none() && state.has_taken(6));
    }

    #[test]
    fn a_failure_ends_the_try_and_tells_the_cause() {
        let failed = Note::Failed {
            position: Position::new("ORDER", 5),
            cause: "still no".to_owned(),
        };
        let retry = Note::Retry {
            by: "ada".to_owned(),
            reason: None,
        };
        let notes = [retry, Note::Trying {}, failed].map(What::Note);
        let state = fold([event(5)].into_iter().chain(notes));
        let first = state.waiting.front().unwrap();
        assert_eq!((first.cause.as_str(), first.attempts), ("still no", 2));
        assert!(state.parked && !state.is_due(Utc::now()));
        assert_eq!(state.failed, Some(4));
    }
}
