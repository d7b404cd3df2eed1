//! How orders end: one subscription of the stream ORDER tells everybody in this process who waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kernel::{OrderId, Reason};
use order::{Order, OrderEvent, OrderStatus};
use streams::{Connection, Loaded, RecordedEvent};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Most requests that wait at once; one more isn't waited for, and its answer says so by leaving
/// `Preference-Applied` out.
const WAITERS_MAX: usize = 4096;

/// Pause after an event that can't be read or a log with a gap: trying at once would spin.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

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

type Waiting = HashMap<OrderId, Vec<oneshot::Sender<Ending>>>;

/// Who waits for which order. Cheap to clone.
#[derive(Clone)]
pub struct Outcomes(Arc<Inner>);

struct Inner {
    waiting: Mutex<Waiting>,
    /// Behind which sequence the subscription begins: the first order that anybody waited for.
    begin: watch::Sender<Option<u64>>,
}

impl Default for Outcomes {
    fn default() -> Self {
        Self(Arc::new(Inner {
            waiting: Mutex::default(),
            begin: watch::Sender::new(None),
        }))
    }
}

impl Outcomes {
    /// Follows ORDER from the first order that somebody waits for, until `shutdown`.
    pub async fn follow(&self, connection: &Connection, shutdown: CancellationToken) {
        let mut start = self.0.begin.subscribe();
        let begun = async {
            start
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|after| *after)
        };
        let after = tokio::select! {
            () = shutdown.cancelled() => return,
            after = begun => after.unwrap_or(0),
        };
        let mut events = connection.ordered("ORDER", after);
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Ok(event) => self.hear(&event),
                Err(error) => {
                    tracing::error!(%error, "the ends of orders can't be followed");
                    tokio::time::sleep(FAILURE_PAUSE).await;
                }
            }
        }
    }

    /// An event of ORDER: tells who waits for its order, if it is an end.
    pub fn hear(&self, event: &RecordedEvent) {
        let Ok(id) = event.aggregate_id.as_str().parse::<OrderId>() else {
            return;
        };
        // Most events are of orders that nobody waits for: they are not even decoded.
        if event.kind.is_some() || !self.waiting().contains_key(&id) {
            return;
        }
        let Some(ending) = Ending::of_event(event) else {
            return;
        };
        for waiter in self.waiting().remove(&id).unwrap_or_default() {
            // Err = it has stopped waiting meanwhile.
            let _gone = waiter.send(ending.clone());
        }
    }

    /// A place in the queue for `order_id`; `None` = too many wait already.
    pub(crate) fn waiter(&self, order_id: OrderId) -> Option<Waiter> {
        let mut waiting = self.waiting();
        if waiting.len() >= WAITERS_MAX {
            return None;
        }
        let (sender, ending) = oneshot::channel();
        waiting.entry(order_id).or_default().push(sender);
        drop(waiting);
        Some(Waiter {
            outcomes: self.clone(),
            order_id,
            ending: Some(ending),
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics halfway through a change.
        let waiting = self.0.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, order_id: OrderId) {
        let mut waiting = self.waiting();
        if let Some(waiters) = waiting.get_mut(&order_id) {
            waiters.retain(|waiter| !waiter.is_closed());
            if waiters.is_empty() {
                waiting.remove(&order_id);
            }
        }
    }
}

/// Somebody who waits for one order.
pub(crate) struct Waiter {
    outcomes: Outcomes,
    order_id: OrderId,
    ending: Option<oneshot::Receiver<Ending>>,
}

impl Waiter {
    pub(crate) fn order_id(&self) -> OrderId {
        self.order_id
    }

    /// The order's end, if it comes within `wait`. The order was placed at `position`.
    pub(crate) async fn wait(mut self, position: u64, wait: Duration) -> Option<Ending> {
        self.outcomes.0.begin.send_if_modified(|begin| {
            let first = begin.is_none();
            begin.get_or_insert(position);
            first
        });
        let ending = self.ending.take()?;
        tokio::time::timeout(wait, ending).await.ok()?.ok()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.ending = None;
        self.outcomes.forget(self.order_id);
    }
}
