//! Deliveries that wait for a timer which is not there: found, and armed again.
//!
//! What waits is told by the deliveries' own events. They are read once, from as far back as one may still
//! wait, and then only what came since.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use kernel::{AggregateId, Decider};
use notification::webhook::{DeliveryEvent, WebhookDelivery};
use streams::subscription::{OrderedSubscription, SubscriptionError};
use streams::timers::{TimerError, Timers};
use streams::{Connection, RecordedEvent, clock};
use tokio_util::sync::CancellationToken;

use super::STREAM;
use super::sender::timer;

/// The deliveries' own events.
const SUBJECTS: &str = "event.notification.webhook_delivery.*";

/// How far back one is looked for that still waits: longer than any schedule is, and as long as stream
/// TIMERS keeps what is due.
const LOOK_BACK: TimeDelta = TimeDelta::days(30);

/// Events read at once.
const BATCH: usize = 500;

/// How long to wait for events that are on their way.
const LINGER: Duration = Duration::from_secs(1);

/// Most timers looked at in one sweep; the next one goes on behind them.
const SWEPT_MAX: usize = 10_000;

/// Until when each waits.
type Due = BTreeMap<AggregateId, DateTime<Utc>>;

/// What waits, and until when.
pub(crate) struct Pending {
    connection: Connection,
    timers: Timers,
    due: Due,
    /// Whose timer was looked at last.
    looked_at: Option<AggregateId>,
    /// Up to where their events are read; 0 = not at all.
    read: u64,
}

impl Pending {
    pub(crate) fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
            timers: Timers::new(connection),
            due: Due::new(),
            looked_at: None,
            read: 0,
        }
    }

    /// Arms what is overdue and has no timer, at once and `every` so often, until `shutdown`. An attempt
    /// takes `attempt_max` at most.
    pub(crate) async fn tend(
        mut self,
        every: Duration,
        attempt_max: Duration,
        shutdown: CancellationToken,
    ) {
        let patience = TimeDelta::from_std(every.saturating_add(attempt_max)).unwrap_or(LOOK_BACK);
        let mut sweeps = tokio::time::interval(every);
        let tending = async {
            loop {
                sweeps.tick().await;
                if let Err(error) = self.sweep(patience).await {
                    tracing::warn!(%error, "the timers of webhooks are looked at again later");
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tending => {}
        }
    }

    /// Who is due is being tried, or has a timer for its turn; whoever has been due for longer than an
    /// attempt takes and has none was forgotten.
    async fn sweep(&mut self, patience: TimeDelta) -> Result<(), TimerError> {
        self.read_on().await;
        let now = clock::now();
        let overdue = next_overdue(&self.due, self.looked_at.as_ref(), now - patience);
        for id in overdue {
            let timer = timer(&id);
            if !self.timers.is_pending(&timer).await? {
                metrics::counter!("webhook_timers_armed_again_total").increment(1);
                tracing::info!(delivery = %id, "a webhook is overdue and has no timer: it is set again");
                self.timers.set(&timer, now).await?;
            }
            self.looked_at = Some(id);
        }
        Ok(())
    }

    async fn read_on(&mut self) {
        let mut events = if self.read == 0 {
            let since = clock::now() - LOOK_BACK;
            self.connection.ordered_since(STREAM, SUBJECTS, since)
        } else {
            self.connection
                .ordered_matching(STREAM, SUBJECTS, self.read)
        };
        loop {
            match next(&mut events).await {
                Ok(Some(batch)) => batch.iter().for_each(|event| self.hear(event)),
                Ok(None) => return,
                Err(error @ SubscriptionError::Unreadable { .. }) => {
                    tracing::warn!(%error, "a webhook's delivery can't be read; its timer is left alone");
                    self.read = error.position().sequence;
                }
                Err(error @ (SubscriptionError::Gap { .. } | SubscriptionError::Ahead { .. })) => {
                    tracing::error!(%error, "the webhooks' deliveries can't be followed");
                    return;
                }
            }
        }
    }

    fn hear(&mut self, event: &RecordedEvent) {
        self.read = event.position.sequence;
        if event.kind.as_deref() != WebhookDelivery::KIND {
            return;
        }
        let id = &event.aggregate_id;
        let Ok(fact) = event.decode::<WebhookDelivery>() else {
            self.due.remove(id);
            return;
        };
        match waits_until(&fact, event.recorded_at) {
            Some(due) => self.due.insert(id.clone(), due),
            None => self.due.remove(id),
        };
    }
}

/// Who was due before `limit`: at most [`SWEPT_MAX`], those behind `last` first, and then from the beginning.
fn next_overdue(due: &Due, last: Option<&AggregateId>, limit: DateTime<Utc>) -> Vec<AggregateId> {
    let behind = due.range((last.map_or(Unbounded, Excluded), Unbounded));
    let up_to = last.map(|last| due.range((Unbounded, Included(last))));
    let round = behind.chain(up_to.into_iter().flatten());
    let overdue = round.filter(|(_, due)| **due < limit).map(|(id, _)| id);
    overdue.take(SWEPT_MAX).cloned().collect()
}

/// When it is due after this event, which stands at `at`; `None` = it waits for nothing any more.
fn waits_until(fact: &DeliveryEvent, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
    match fact {
        DeliveryEvent::WebhookDeliveryRequested { .. }
        | DeliveryEvent::WebhookRedeliveryRequested {} => Some(at),
        DeliveryEvent::WebhookAttempted { next_at, .. } => *next_at,
        DeliveryEvent::WebhookDeliveryAbandoned { .. } => None,
    }
}

/// What is there; `None` = that was all.
async fn next(
    events: &mut OrderedSubscription,
) -> Result<Option<Vec<RecordedEvent>>, SubscriptionError> {
    events.start().await?;
    if events.caught_up() {
        return Ok(None);
    }
    events.next_batch(BATCH, LINGER).await.map(Some)
}

#[cfg(test)]
mod tests {
    use kernel::Reason;
    use notification::webhook::{Attempt, Outcome};

    use super::*;

    fn attempted(next_at: Option<DateTime<Utc>>) -> DeliveryEvent {
        DeliveryEvent::WebhookAttempted {
            attempt: Attempt {
                number: 1,
                at: DateTime::UNIX_EPOCH,
                duration_ms: 1,
                outcome: Outcome::Unanswered {
                    error: "none".to_owned(),
                },
            },
            next_at,
        }
    }

    #[test]
    fn everybody_who_is_overdue_has_a_turn() {
        let now = DateTime::UNIX_EPOCH;
        let ids: Vec<AggregateId> = (0..SWEPT_MAX + 2)
            .map(|n| format!("{n:05}").parse().unwrap())
            .collect();
        let mut due: Due = ids.iter().map(|id| (id.clone(), now)).collect();
        let limit = now + TimeDelta::seconds(1);
        let first = next_overdue(&due, None, limit);
        assert_eq!(first, ids[..SWEPT_MAX]);
        let second = next_overdue(&due, first.last(), limit);
        assert_eq!(second[..2], ids[SWEPT_MAX..], "those behind");
        assert_eq!(
            second[2..],
            ids[..SWEPT_MAX - 2],
            "then round, nobody twice"
        );
        // Whoever was last may be gone by now, and somebody else not due yet.
        due.remove(first.last().unwrap());
        due.insert(ids[SWEPT_MAX].clone(), limit);
        let third = next_overdue(&due, first.last(), limit);
        assert_eq!(third[0], ids[SWEPT_MAX + 1]);
        assert_eq!(third.len(), SWEPT_MAX);
    }

    #[test]
    fn what_waits_is_known_from_the_last_event() {
        let at = DateTime::UNIX_EPOCH;
        let later = at + TimeDelta::minutes(5);
        assert_eq!(waits_until(&attempted(Some(later)), at), Some(later));
        assert_eq!(waits_until(&attempted(None), at), None);
        let again = DeliveryEvent::WebhookRedeliveryRequested {};
        assert_eq!(waits_until(&again, at), Some(at));
        let reason: Reason = "disabled".parse().unwrap();
        let abandoned = DeliveryEvent::WebhookDeliveryAbandoned { reason };
        assert_eq!(waits_until(&abandoned, at), None);
    }
}
