//! Appends until the outcome is known.
//!
//! ```text
//!   one try            first time             after a try with an unknown outcome
//!   acknowledged       appended               appended; answer from what is stored
//!   acknowledged, dup  Duplicate              appended; answer from what is stored
//!   10071              Conflict               the next event on the subject tells: ours = appended,
//!                                             foreign = Conflict, none = go on
//!   10164              Conflict               go on: what is in flight may be ours
//!   10201              Duplicate              as 10071
//!   refused            Unavailable            go on: it says nothing about the earlier try
//!   no answer          unknown: the identical message again
//! ```
//!
//! Finding our event says yes; not finding it says nothing, because it may still wait in the
//! client's queue or in a proposal. Budget used up while unknown: [`AppendError::Unknown`].

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::envelope::EncodeError;
use crate::log::{AppendError, Appended, BoxError, NewEvent};
use crate::subscription::pause;

/// How long and how often one append is tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Tries with an unknown outcome stop after this.
    pub(crate) unknown: Duration,
    /// Tries that left nothing behind stop after this: an election takes about so long.
    pub(crate) unavailable: Duration,
    /// Pause after the first try; doubles, with jitter.
    pub(crate) pause_min: Duration,
    /// Longest pause.
    pub(crate) pause_max: Duration,
}

impl Budget {
    /// For a server: three acknowledgement time-outs.
    pub(crate) const SERVER: Self = Self {
        unknown: Duration::from_secs(15),
        unavailable: Duration::from_secs(2),
        pause_min: Duration::from_millis(5),
        pause_max: Duration::from_millis(500),
    };

    fn pause(&self, tries: u32) -> Duration {
        pause(self.pause_min, self.pause_max, tries)
    }
}

/// What one try came to.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Stored; `last` is the sequence of the last event.
    Acknowledged { last: u64, duplicate: bool },
    /// Another position than the expected one (10071).
    WrongPosition,
    /// Another proposal on a subject is in flight (10164).
    InFlight,
    /// A message id of the batch is known (10201).
    KnownId,
    /// This try left nothing behind; another one soon may succeed.
    Busy(BoxError),
    /// This try left nothing behind, and another one soon won't help.
    Refused(BoxError),
    /// Too many bytes.
    TooLarge,
    /// Can't be put on the wire.
    Unwritable(EncodeError),
    /// Nobody knows.
    Unknown(BoxError),
}

/// The message that stands on a subject right after a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next {
    /// Its sequence.
    pub(crate) sequence: u64,
    /// Its event id, if it has one that can be read.
    pub(crate) id: Option<Uuid>,
}

/// One try, and a look at the leader.
pub(crate) trait Wire: Sync {
    /// Publishes `events` once: the very same messages at every try.
    fn publish(&self, events: &[NewEvent]) -> impl Future<Output = Reply> + Send;

    /// What stands on the subject of `event` right after the position that it expects, as the
    /// leader knows; `None` = nothing.
    fn next(&self, event: &NewEvent)
    -> impl Future<Output = Result<Option<Next>, BoxError>> + Send;
}

/// Appends `events` through `wire` until the outcome is known or `budget` is used up.
pub(crate) async fn append<W: Wire>(
    wire: &W,
    events: &[NewEvent],
    budget: &Budget,
) -> Result<Appended, AppendError> {
    let started = Instant::now();
    let mut doubt: Option<BoxError> = None;
    let mut latest: Option<BoxError> = None;
    let mut tries = 0;
    loop {
        match step(wire.publish(events).await, doubt.is_some()) {
            Step::Done(result) => return result,
            Step::Look => {
                // Boxed: what hardly ever happens makes no append larger.
                if let Some(result) = Box::pin(look(wire, events)).await {
                    return result;
                }
            }
            Step::Again(reason) => latest = Some(reason),
            Step::Doubt(reason) => {
                doubt.get_or_insert(reason);
            }
        }
        let (elapsed, known) = (started.elapsed(), doubt.is_none());
        if known && elapsed >= budget.unavailable {
            let reason = latest.unwrap_or_else(|| "no try was answered".into());
            return Err(AppendError::Unavailable(reason));
        }
        if let Some(reason) = doubt.take_if(|_| elapsed >= budget.unknown) {
            return Err(AppendError::Unknown(reason));
        }
        sleep(budget.pause(tries)).await;
        tries += 1;
    }
}

enum Step {
    /// The outcome is known.
    Done(Result<Appended, AppendError>),
    /// The log can tell.
    Look,
    /// Nothing was learned.
    Again(BoxError),
    /// Now nobody knows.
    Doubt(BoxError),
}

/// The table above.
fn step(reply: Reply, doubtful: bool) -> Step {
    match (reply, doubtful) {
        (
            Reply::Acknowledged {
                last,
                duplicate: false,
            },
            uncertain,
        )
        | (
            Reply::Acknowledged {
                last,
                duplicate: true,
            },
            uncertain @ true,
        ) => Step::Done(Ok(Appended { last, uncertain })),
        (
            Reply::Acknowledged {
                duplicate: true, ..
            }
            | Reply::KnownId,
            false,
        ) => Step::Done(Err(AppendError::Duplicate)),
        (Reply::WrongPosition | Reply::InFlight, false) => Step::Done(Err(AppendError::Conflict)),
        (Reply::WrongPosition | Reply::KnownId, true) => Step::Look,
        (Reply::InFlight, true) => Step::Again("another append is in flight".into()),
        (Reply::TooLarge, false) => Step::Done(Err(AppendError::TooLarge)),
        (Reply::Unwritable(error), false) => Step::Done(Err(error.into())),
        (Reply::TooLarge, true) => Step::Again(AppendError::TooLarge.into()),
        (Reply::Unwritable(error), true) => Step::Again(error.into()),
        (Reply::Refused(reason), false) => Step::Done(Err(AppendError::Unavailable(reason))),
        (Reply::Busy(reason), _) | (Reply::Refused(reason), true) => Step::Again(reason),
        (Reply::Unknown(reason), _) => Step::Doubt(reason),
    }
}

/// Whose events follow the expected positions: `None` = nobody's yet, so nothing is proven.
///
/// The first event after the expected position is the one whose expectation held; a batch is all
/// or nothing, so one subject tells for all of them.
async fn look<W: Wire>(wire: &W, events: &[NewEvent]) -> Option<Result<Appended, AppendError>> {
    let mut seen: Vec<&str> = Vec::new();
    for (index, event) in events.iter().enumerate() {
        if seen.contains(&event.event.subject.as_str()) {
            continue;
        }
        seen.push(&event.event.subject);
        // A leader that can't be asked proves nothing either.
        let Ok(Some(next)) = wire.next(event).await else {
            continue;
        };
        let ours = next.id == Some(event.event.id);
        let behind = (events.len() - 1 - index) as u64;
        return Some(if ours {
            Ok(Appended {
                last: next.sequence + behind,
                uncertain: true,
            })
        } else {
            Err(AppendError::Conflict)
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Mutex, PoisonError};

    use bytes::Bytes;
    use chrono::Utc;
    use kernel::Position;

    use super::*;
    use crate::envelope::RecordedEvent;

    /// What a server answers, in order. From then on it is busy, if it was, or silent.
    struct Script {
        replies: Mutex<VecDeque<Reply>>,
        next: Option<Next>,
    }

    impl Wire for Script {
        async fn publish(&self, _: &[NewEvent]) -> Reply {
            let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
            let reply = replies.pop_front().unwrap();
            if replies.is_empty() {
                replies.push_back(if let Reply::Busy(_) = reply {
                    busy()
                } else {
                    unknown()
                });
            }
            reply
        }

        async fn next(&self, _: &NewEvent) -> Result<Option<Next>, BoxError> {
            Ok(self.next)
        }
    }

    fn unknown() -> Reply {
        Reply::Unknown("no answer".into())
    }

    fn busy() -> Reply {
        Reply::Busy("an election".into())
    }

    fn refused() -> Reply {
        Reply::Refused("full".into())
    }

    fn unwritable() -> Reply {
        Reply::Unwritable(EncodeError::Header { header: "ce-actor" })
    }

    fn acknowledged(duplicate: bool) -> Reply {
        Reply::Acknowledged { last: 7, duplicate }
    }

    const OURS: Uuid = Uuid::from_u128(1);

    fn event() -> NewEvent {
        NewEvent {
            event: RecordedEvent {
                position: Position::new("ACCOUNT", 0),
                subject: "event.account.a-1".to_owned(),
                context: "account".to_owned(),
                kind: None,
                aggregate_id: "a-1".parse().unwrap(),
                id: OURS,
                event_type: "money_deposited".to_owned(),
                schema_version: 1,
                version: 1,
                time: Utc::now(),
                recorded_at: Utc::now(),
                command_id: OURS,
                correlation_id: None,
                causation_id: None,
                request_digest: None,
                actor: "user:1".to_owned(),
                traceparent: None,
                data: Bytes::new(),
            },
            expected: 0,
        }
    }

    /// What becomes of an append with these answers, where the event `next` stands on the subject.
    async fn with_next<const N: usize>(replies: [Reply; N], next: Option<Uuid>) -> String {
        let script = Script {
            replies: Mutex::new(replies.into()),
            next: next.map(|id| Next {
                sequence: 5,
                id: Some(id),
            }),
        };
        match append(&script, &[event()], &Budget::SERVER).await {
            Ok(Appended { last, uncertain }) => format!("{last}, uncertain: {uncertain}"),
            Err(error) => {
                let said = format!("{error:?}");
                said.split(['(', ' ']).next().unwrap_or_default().to_owned()
            }
        }
    }

    async fn with<const N: usize>(replies: [Reply; N]) -> String {
        with_next(replies, None).await
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_tells_what_became_of_it() {
        assert_eq!(with([acknowledged(false)]).await, "7, uncertain: false");
        assert_eq!(with([acknowledged(true)]).await, "Duplicate");
        assert_eq!(with([Reply::KnownId]).await, "Duplicate");
        assert_eq!(with([Reply::WrongPosition]).await, "Conflict");
        assert_eq!(with([Reply::InFlight]).await, "Conflict");
        assert_eq!(with([Reply::TooLarge]).await, "TooLarge");
        assert_eq!(with([unwritable()]).await, "Unwritable");
        assert_eq!(with([refused()]).await, "Unavailable");
        assert_eq!(with([busy()]).await, "Unavailable");
        assert_eq!(with([busy(), Reply::InFlight]).await, "Conflict");
        assert_eq!(with([unknown()]).await, "Unknown");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_try_that_nobody_answered_only_the_log_tells() {
        // Whatever is said of a later try says nothing of that one, which may have been appended, or still be.
        for reply in [
            Reply::InFlight,
            Reply::TooLarge,
            unwritable(),
            refused(),
            busy(),
            Reply::WrongPosition,
            Reply::KnownId,
        ] {
            let said = format!("{reply:?}");
            let found = with([unknown(), reply, acknowledged(true)]).await;
            assert_eq!(found, "7, uncertain: true", "{said}");
        }
        for duplicate in [false, true] {
            let found = with([unknown(), acknowledged(duplicate)]).await;
            assert_eq!(found, "7, uncertain: true");
        }
        let silent = with([unknown(), Reply::InFlight, refused(), unknown()]).await;
        assert_eq!(silent, "Unknown");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_try_that_nobody_answered_the_next_event_tells_whose_it_was() {
        for (next, told) in [(OURS, "5, uncertain: true"), (Uuid::nil(), "Conflict")] {
            let wrong = [unknown(), Reply::WrongPosition];
            assert_eq!(with_next(wrong, Some(next)).await, told);
            let known = [unknown(), Reply::KnownId];
            assert_eq!(with_next(known, Some(next)).await, told);
        }
    }
}
