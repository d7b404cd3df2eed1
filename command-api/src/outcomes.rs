//! How orders and sagas end, and who must act before: one subscription of a stream tells everybody in this
//! process who waits.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use kernel::{OrderId, PaymentId, Reason};
use order::{Order, OrderEvent, OrderStatus};
use payment::{Payment, PaymentEvent};
use streams::{Connection, Loaded, RecordedEvent, clock};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Most of them that wait for one order: who asks again and again takes nobody's place.
const WAITERS_OF_ONE_MAX: usize = 4;

/// How far the clock of the NATS server may be from ours.
const CLOCKS_APART_MAX: TimeDelta = TimeDelta::minutes(1);

/// Pause after an event that can't be read or a log with a gap: trying at once would spin.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// An end that somebody may wait for.
pub(crate) trait End: Clone + Send + 'static {
    /// What ends.
    type Of: Copy + Eq + Hash + Send + 'static;

    /// The stream that says so.
    const STREAM: &'static str;

    /// Which of its subjects.
    const SUBJECTS: &'static str;

    /// What an event is about.
    fn about(event: &RecordedEvent) -> Option<Self::Of>;

    /// The end, if the event is one.
    fn of_event(event: &RecordedEvent) -> Option<Self>;
}

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Confirmed, rejected or canceled.
    pub(crate) status: OrderStatus,
    /// Why, unless it is confirmed.
    pub(crate) reason: Option<Reason>,
    /// The order's version there.
    pub(crate) version: u64,
    /// The sequence in ORDER of the last event that is known.
    pub(crate) position: u64,
}

impl Ending {
    /// Of an order that has left its first stage.
    pub(crate) fn of_state(order: &Loaded<Order>) -> Option<Self> {
        let status = order.state.status()?;
        (status != OrderStatus::Placed).then(|| Self {
            status,
            reason: order.state.reason().cloned(),
            version: order.version,
            position: order.position,
        })
    }
}

impl End for Ending {
    type Of = OrderId;

    const STREAM: &'static str = "ORDER";

    /// The orders' own events.
    const SUBJECTS: &'static str = "event.order.*";

    fn about(event: &RecordedEvent) -> Option<OrderId> {
        let own = event.kind.is_none();
        own.then(|| event.aggregate_id.as_str().parse().ok())?
    }

    fn of_event(event: &RecordedEvent) -> Option<Self> {
        let (status, reason) = match event.decode::<Order>().ok()? {
            OrderEvent::OrderConfirmed { .. } => (OrderStatus::Confirmed, None),
            OrderEvent::OrderRejected { reason } => (OrderStatus::Rejected, Some(reason)),
            OrderEvent::OrderCanceled { reason } => (OrderStatus::Canceled, Some(reason)),
            OrderEvent::OrderPlaced { .. }
            | OrderEvent::OrderShipped { .. }
            | OrderEvent::OrderDelivered {}
            | OrderEvent::ReturnRequested { .. }
            | OrderEvent::ReturnApproved { .. }
            | OrderEvent::ReturnRefused { .. }
            | OrderEvent::ReturnReceived { .. }
            | OrderEvent::OrderRefunded { .. }
            | OrderEvent::OrderRefundReversed { .. } => return None,
        };
        Some(Self {
            status,
            reason,
            version: event.version,
            position: event.position.sequence,
        })
    }
}

/// An order goes no further before its buyer has acted at the payment provider (3-D Secure).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acting {
    /// Where, if the provider names a page.
    pub(crate) action_url: Option<String>,
}

impl Acting {
    /// Of a payment that waits for that.
    pub(crate) fn of_state(payment: &Payment) -> Option<Self> {
        let Payment::ActionRequired { action_url, .. } = payment else {
            return None;
        };
        let action_url = action_url.clone();
        Some(Self { action_url })
    }
}

impl End for Acting {
    type Of = PaymentId;

    const STREAM: &'static str = "PAYMENT";

    const SUBJECTS: &'static str = "event.payment.*";

    fn about(event: &RecordedEvent) -> Option<PaymentId> {
        event.aggregate_id.as_str().parse().ok()
    }

    fn of_event(event: &RecordedEvent) -> Option<Self> {
        let event = event.decode::<Payment>().ok()?;
        let PaymentEvent::PaymentActionRequired { action_url } = event else {
            return None;
        };
        Some(Self { action_url })
    }
}

/// Who waits, and how many they are.
struct Waiting<E: End> {
    of: HashMap<E::Of, Vec<oneshot::Sender<E>>>,
    count: usize,
    /// Nobody may wait any longer.
    is_over: bool,
}

/// Who waits for which end. Cheap to clone.
pub(crate) struct Outcomes<E: End>(Arc<Inner<E>>);

impl<E: End> Clone for Outcomes<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<E: End> {
    /// Most who wait at once.
    most: usize,
    waiting: Mutex<Waiting<E>>,
    /// Since when somebody waits.
    begin: watch::Sender<Option<DateTime<Utc>>>,
}

impl<E: End> Outcomes<E> {
    /// For so many at once.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Inner {
            most,
            waiting: Mutex::new(Waiting {
                of: HashMap::new(),
                count: 0,
                is_over: false,
            }),
            begin: watch::Sender::new(None),
        }))
    }

    /// Follows the stream from when somebody waits for the first time, until `shutdown`.
    pub(crate) async fn follow(&self, connection: &Connection, shutdown: CancellationToken) {
        let mut start = self.0.begin.subscribe();
        let first = async {
            start
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|begin| *begin)
        };
        let begin = tokio::select! {
            () = shutdown.cancelled() => return,
            begin = first => begin,
        };
        let Some(begin) = begin else { return };
        let since = begin - CLOCKS_APART_MAX;
        let mut events = connection.ordered_since(E::STREAM, E::SUBJECTS, since);
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Ok(event) => self.hear(&event),
                Err(error) => {
                    tracing::error!(%error, stream = E::STREAM, "the ends can't be followed");
                    tokio::time::sleep(FAILURE_PAUSE).await;
                }
            }
        }
    }

    /// An event of the stream: tells who waits for what it is about, if it is an end.
    pub(crate) fn hear(&self, event: &RecordedEvent) {
        let Some(id) = E::about(event) else {
            return;
        };
        // Most events are of what nobody waits for: they are not even decoded.
        if !self.waiting().of.contains_key(&id) {
            return;
        }
        let Some(ending) = E::of_event(event) else {
            return;
        };
        let told = {
            let mut waiting = self.waiting();
            let told = waiting.of.remove(&id).unwrap_or_default();
            waiting.count -= told.len();
            told
        };
        for waiter in told {
            // Err = it has stopped waiting meanwhile.
            let _gone = waiter.send(ending.clone());
        }
    }

    /// A place in the queue for `id`, whose end can't be missed from here on; `None` = too many wait
    /// already.
    pub(crate) fn waiter(&self, id: E::Of) -> Option<Waiter<E>> {
        let mut waiting = self.waiting();
        let of_one = waiting.of.get(&id).map_or(0, Vec::len);
        if waiting.is_over || waiting.count >= self.0.most || of_one >= WAITERS_OF_ONE_MAX {
            return None;
        }
        let (sender, ending) = oneshot::channel();
        waiting.of.entry(id).or_default().push(sender);
        waiting.count += 1;
        drop(waiting);
        self.0.begin.send_if_modified(|begin| {
            let first = begin.is_none();
            begin.get_or_insert_with(clock::now);
            first
        });
        Some(Waiter {
            outcomes: self.clone(),
            id,
            ending: Some(ending),
        })
    }

    /// Has everybody go on without an end: the process ends, and would cut them off.
    pub(crate) fn give_up(&self) {
        let mut waiting = self.waiting();
        waiting.is_over = true;
        waiting.of.clear();
        waiting.count = 0;
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<E>> {
        // Nothing in here panics halfway through a change.
        let waiting = self.0.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, id: E::Of) {
        let mut waiting = self.waiting();
        let Waiting { of, count, .. } = &mut *waiting;
        if let Some(waiters) = of.get_mut(&id) {
            let before = waiters.len();
            waiters.retain(|waiter| !waiter.is_closed());
            *count -= before - waiters.len();
            if waiters.is_empty() {
                of.remove(&id);
            }
        }
    }
}

/// Somebody who waits for one end.
pub(crate) struct Waiter<E: End> {
    outcomes: Outcomes<E>,
    id: E::Of,
    ending: Option<oneshot::Receiver<E>>,
}

impl<E: End> Waiter<E> {
    /// Of what.
    pub(crate) fn id(&self) -> E::Of {
        self.id
    }

    /// The end, if it comes within `wait`.
    pub(crate) async fn wait(mut self, wait: Duration) -> Option<E> {
        let ending = self.ending.take()?;
        tokio::time::timeout(wait, ending).await.ok()?.ok()
    }
}

impl<E: End> Drop for Waiter<E> {
    fn drop(&mut self) {
        self.ending = None;
        self.outcomes.forget(self.id);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn order(number: usize) -> OrderId {
        OrderId(Uuid::from_u128(number as u128))
    }

    #[test]
    fn who_waits_takes_no_more_places_than_there_are_for_that() {
        let outcomes = Outcomes::<Ending>::new(16);
        let of_one: Vec<_> = (0..WAITERS_OF_ONE_MAX)
            .map(|_| outcomes.waiter(order(0)).unwrap())
            .collect();
        assert!(outcomes.waiter(order(0)).is_none());
        let others: Vec<_> = (1..)
            .map_while(|number| outcomes.waiter(order(number)))
            .take(64)
            .collect();
        assert_eq!(of_one.len() + others.len(), 16);
        drop(of_one);
        assert!(outcomes.waiter(order(0)).is_some());
        drop(others);
        assert_eq!(outcomes.waiting().count, 0);
        assert!(outcomes.waiting().of.is_empty());
    }

    #[tokio::test]
    async fn who_waits_when_the_process_ends_goes_on_without() {
        let outcomes = Outcomes::<Ending>::new(16);
        let waiter = outcomes.waiter(order(0)).unwrap();
        let waits = tokio::spawn(waiter.wait(Duration::from_hours(1)));
        outcomes.give_up();
        assert_eq!(waits.await.unwrap(), None);
        assert!(outcomes.waiter(order(0)).is_none());
        assert_eq!(outcomes.waiting().count, 0);
    }
}
