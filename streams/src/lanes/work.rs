//! One piece of work: a delivery is handled, or set aside; then it is acknowledged.

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use kernel::Position;

use super::held::Item;
use super::{HandleError, Handler};
use crate::log::chain;
use crate::parking::{Lot, Parked, ParkedEvent};
use crate::subscription::{Delivery, Payload, Unreadable, pause};
use crate::topology::OnFailure;

/// Pause before the second try of a delivery, doubled each time.
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between tries, and the pause after a permanent error.
const RETRY_MAX: Duration = Duration::from_mins(1);
/// Tries that are only warned about; from then on each failure is an error in the log.
const WARNED_TRIES_MAX: u32 = 5;

/// Tries of what is in others' way before it is set aside: most of a minute.
const IN_THE_WAY_TRIES: u32 = 10;
/// The same where nothing else went well meanwhile: most of an hour. An outage fails all alike, and ends.
const IN_THE_WAY_OUTAGE_TRIES: u32 = 60;

/// What lies on a lane.
#[derive(Debug)]
pub(super) enum Work<T> {
    Event(Delivery<T>),
    /// It can only be set aside.
    Unreadable(Delivery<Unreadable>),
}

impl<T: Payload> Item for Work<T> {
    fn sequence(&self) -> u64 {
        self.position().sequence
    }

    fn key(&self) -> &str {
        match self {
            Self::Event(delivery) => delivery.event.lane_key(),
            Self::Unreadable(delivery) => &delivery.event.key,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.stored_at() == other.stored_at()
    }
}

impl<T: Payload> Work<T> {
    pub(super) fn position(&self) -> &Position {
        match self {
            Self::Event(delivery) => &delivery.position,
            Self::Unreadable(delivery) => &delivery.position,
        }
    }

    fn stored_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Event(delivery) => delivery.stored_at(),
            Self::Unreadable(delivery) => delivery.stored_at(),
        }
    }

    /// "Still working on it." False when the connection is closed.
    pub(super) async fn progress(&self) -> bool {
        let said = match self {
            Self::Event(delivery) => delivery.progress().await,
            Self::Unreadable(delivery) => delivery.progress().await,
        };
        said.is_ok()
    }

    async fn acknowledge(&self) {
        let said = match self {
            Self::Event(delivery) => delivery.ack_unconfirmed().await,
            Self::Unreadable(delivery) => delivery.ack_unconfirmed().await,
        };
        if let Err(error) = said {
            tracing::warn!(position = %error.position, %error, "handled; it will come again");
        }
    }

    /// Its copy for stream PARKED.
    fn copy(&self, cause: &str, attempts: u32) -> Option<ParkedEvent> {
        let raw = match self {
            Self::Event(delivery) => delivery.raw(),
            Self::Unreadable(delivery) => delivery.raw(),
        };
        raw.map(|raw| ParkedEvent::of(&raw, cause, attempts))
    }
}

/// How a run over one piece of work ended.
pub(super) enum Ended {
    /// It is handled and acknowledged.
    Done,
    /// It is set aside and acknowledged.
    Aside,
    /// The handler could not.
    Failed(HandleError),
    /// It could not be set aside now.
    NotParked(HandleError),
}

/// Handles and acknowledges. Nothing is acknowledged that was neither handled nor set aside.
pub(super) async fn run<T: Payload>(
    handler: Arc<dyn Handler<T>>,
    lot: Option<Arc<Lot>>,
    work: Arc<Work<T>>,
) -> (Arc<Work<T>>, Ended) {
    let ended = match &*work {
        Work::Event(delivery) => event(&*handler, lot.as_deref(), &work, delivery).await,
        Work::Unreadable(unreadable) => {
            let cause = chain(&unreadable.event.error);
            park(lot.as_deref(), &work, &cause, 1).await
        }
    };
    (work, ended)
}

async fn event<T: Payload>(
    handler: &dyn Handler<T>,
    lot: Option<&Lot>,
    work: &Work<T>,
    delivery: &Delivery<T>,
) -> Ended {
    if let Some(lot) = lot {
        lot.no_claim_of(work.key()).await;
    }
    if let Some(lot) = lot.filter(|lot| lot.concerns(work.key(), work.sequence())) {
        match behind(lot, work).await {
            Ok(Parked::Aside) => {
                work.acknowledge().await;
                return Ended::Aside;
            }
            Ok(Parked::No) => {}
            Err(error) => return Ended::NotParked(error),
        }
    }
    match handle(handler, delivery).await {
        Ok(()) => {
            work.acknowledge().await;
            Ended::Done
        }
        Err(error) => Ended::Failed(error),
    }
}

/// A panic is a failure too.
pub(super) async fn handle<T: Payload>(
    handler: &dyn Handler<T>,
    delivery: &Delivery<T>,
) -> Result<(), HandleError> {
    let run = AssertUnwindSafe(handler.handle(delivery)).catch_unwind();
    match run.await {
        Ok(result) => result,
        Err(_) => Err(HandleError::retryable("the handler panicked")),
    }
}

async fn behind<T: Payload>(lot: &Lot, work: &Work<T>) -> Result<Parked, HandleError> {
    let copy = work.copy("another event of its key is parked", 0);
    let copy = copy.ok_or_else(|| HandleError::permanent("it has no stored message"))?;
    let parked = lot.park(work.key(), &copy, true).await;
    parked.map_err(HandleError::retryable)
}

/// Sets it aside, then acknowledges it.
pub(super) async fn park<T: Payload>(
    lot: Option<&Lot>,
    work: &Work<T>,
    cause: &str,
    attempts: u32,
) -> Ended {
    let Some((lot, copy)) = lot.zip(work.copy(cause, attempts)) else {
        return Ended::NotParked(HandleError::permanent("its durable has nothing to park in"));
    };
    match lot.park(work.key(), &copy, false).await {
        Ok(_) => {
            let (position, key) = (&copy.position, work.key());
            tracing::error!(%position, key, attempts, cause, "parked: see `millrace parked list` (`streams::parking`)");
            work.acknowledge().await;
            Ended::Aside
        }
        Err(error) => Ended::NotParked(HandleError::retryable(error)),
    }
}

/// What to do after a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Wait(Duration),
    Park,
    Stop,
}

/// What keeps failing, and what that does to others.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Failing {
    /// In a row.
    pub(super) times: u32,
    /// So much waits for it that the server soon gives out nothing more.
    pub(super) in_the_way: bool,
    /// Something else was handled since it failed first.
    pub(super) alone: bool,
}

impl Failing {
    fn is_enough(self) -> bool {
        let most = if self.alone {
            IN_THE_WAY_TRIES
        } else {
            IN_THE_WAY_OUTAGE_TRIES
        };
        self.in_the_way && self.times >= most
    }
}

/// What `policy` says to another failure.
pub(super) fn verdict(policy: OnFailure, permanent: bool, failing: Failing) -> Verdict {
    let failures = failing.times;
    match policy {
        OnFailure::Park { .. } if permanent || failing.is_enough() => Verdict::Park,
        OnFailure::Park {
            after_attempts: Some(most),
        } if failures >= most => Verdict::Park,
        OnFailure::Stop if permanent => Verdict::Stop,
        OnFailure::Retry | OnFailure::Park { .. } | OnFailure::Stop => {
            Verdict::Wait(wait_after(permanent, failures))
        }
    }
}

/// How long to wait after the `failures`-th failure in a row.
pub(super) fn wait_after(permanent: bool, failures: u32) -> Duration {
    if permanent {
        return RETRY_MAX;
    }
    pause(RETRY_FIRST, RETRY_MAX, failures.saturating_sub(1))
}

pub(super) fn report<T: Payload>(
    durable: &str,
    work: &Work<T>,
    error: &HandleError,
    failures: u32,
    wait: Duration,
) {
    metrics::counter!("streams_handler_failures_total", "durable" => durable.to_owned())
        .increment(1);
    let (sequence, key) = (work.sequence(), work.key());
    let error: &dyn Error = error.source.as_ref();
    if failures > WARNED_TRIES_MAX {
        tracing::error!(
            durable,
            sequence,
            key,
            failures,
            ?wait,
            error,
            "a delivery can't be handled; its key waits"
        );
    } else {
        tracing::warn!(
            durable,
            sequence,
            key,
            failures,
            ?wait,
            error,
            "a delivery is tried again"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permanent_error_waits_longest() {
        assert_eq!(wait_after(true, 1), RETRY_MAX);
        assert!(wait_after(false, 1) <= RETRY_FIRST);
        assert!(wait_after(false, 99) <= RETRY_MAX);
    }

    #[test]
    fn each_policy_says_what_to_do() {
        let park = |after_attempts| OnFailure::Park { after_attempts };
        let times = |times| Failing {
            times,
            ..Failing::default()
        };
        let waits = |policy, failing| {
            let verdict = verdict(policy, false, failing);
            matches!(verdict, Verdict::Wait(_))
        };
        assert_eq!(verdict(park(None), true, times(1)), Verdict::Park);
        assert!(waits(park(None), times(9_999)));
        assert!(waits(park(Some(3)), times(2)));
        assert_eq!(verdict(park(Some(3)), false, times(3)), Verdict::Park);
        assert_eq!(verdict(OnFailure::Stop, true, times(1)), Verdict::Stop);
        assert!(waits(OnFailure::Stop, times(9)));
        assert!(matches!(
            verdict(OnFailure::Retry, true, times(9)),
            Verdict::Wait(_)
        ));
    }

    #[test]
    fn what_is_in_the_way_is_set_aside_sooner_where_it_fails_alone() {
        let park = OnFailure::Park {
            after_attempts: None,
        };
        for (alone, most) in [(true, IN_THE_WAY_TRIES), (false, IN_THE_WAY_OUTAGE_TRIES)] {
            let parks = |times, in_the_way| {
                let failing = Failing {
                    times,
                    in_the_way,
                    alone,
                };
                verdict(park, false, failing) == Verdict::Park
            };
            assert!(parks(most, true) && !parks(most - 1, true));
            assert!(!parks(most, false));
        }
    }
}
