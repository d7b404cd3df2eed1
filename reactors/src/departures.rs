//! Who asked to be erased is erased once their orders are final and nothing of them is under way, or the
//! time is up.
//!
//! ```text
//!   erasures  opened: waits ── key destroyed: over        event.user.erasure.*
//!   orders    placed: open ── rejected, canceled, delivered: final     event.order.>
//!   sagas     what is under way: see `under_way`                       event.checkout.>
//! ```
//!
//! All are followed from the first event on; orders and sagas only once somebody waits, for most
//! reactors never see an erasure. A canceled order is final, and its money may still have to go back;
//! so may that of goods that came back. An order may be placed on an answer about its buyer that is a little older
//! than their request, so nobody is erased before that time has passed and the log was read to where
//! it ended then.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use kernel::{OrderId, UserId};
use order::{Order, OrderEvent};
use streams::keys::erasures::SUBJECTS;
use streams::subscription::{OrderedSubscription, SubscriptionError};
use streams::{Connection, LoadError, RecordedEvent, Streams, clock};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use user::{Erasure, ErasureEvent, User, UserCommand};

use crate::recorder::{Cause, Record, Recorded, Recorder};
use crate::under_way::{CHECKOUT, UnderWay};

/// Where the erasures are.
const USER: &str = "USER";

/// Where the orders are.
const ORDER: &str = "ORDER";

/// As what this reactor acts.
const ACTOR: &str = "reactor:eraser";

/// How often those who wait are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after something that can't be read.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(1);

/// Most open orders that are remembered, 32 bytes each and a little; with more, everybody waits for
/// as long as they may at most.
const OPEN_MAX: usize = 1_000_000;

/// Somebody who waits.
struct Waiting {
    /// What opened the erasure.
    cause: RecordedEvent,
    /// When at the latest they are erased.
    erase_by: DateTime<Utc>,
}

/// Looks after those who wait.
pub(crate) struct Departures {
    connection: Connection,
    streams: Streams,
    recorder: Recorder,
    grace: TimeDelta,
    waiting: HashMap<UserId, Waiting>,
    orders: Option<Orders>,
    sagas: Option<UnderWay>,
}

impl Departures {
    pub(crate) fn new(
        connection: Connection,
        streams: Streams,
        recorder: Recorder,
        grace: TimeDelta,
    ) -> Self {
        Self {
            connection,
            streams,
            recorder,
            grace,
            waiting: HashMap::new(),
            orders: None,
            sagas: None,
        }
    }

    /// Until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut erasures = self.connection.ordered_matching(USER, SUBJECTS, 0);
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let taken_in = tokio::select! {
                () = shutdown.cancelled() => return,
                event = erasures.next() => event.map(|event| self.note(event)),
                event = next_order(&mut self.orders) => event.map(|event| self.order(&event)),
                event = next_saga(&mut self.sagas) => event.map(|event| self.saga(&event)),
                _ = look.tick(), if !self.waiting.is_empty() => {
                    self.look().await;
                    Ok(())
                }
            };
            if let Err(error) = taken_in {
                tracing::error!(%error, "an erasure or an order can't be read");
                tokio::time::sleep(UNREADABLE_PAUSE).await;
            }
        }
    }

    /// An event of an erasure.
    fn note(&mut self, cause: RecordedEvent) {
        let user_id = cause.aggregate_id.as_str().parse::<UserId>();
        let (Ok(user_id), Ok(event)) = (user_id, cause.decode::<Erasure>()) else {
            let position = &cause.position;
            tracing::error!(%position, "no erasure of a user; it is left alone");
            return;
        };
        match event {
            ErasureEvent::ErasureOpened { erase_by } => {
                self.waiting.insert(user_id, Waiting { cause, erase_by });
            }
            ErasureEvent::KeyDestroyed {} | ErasureEvent::ErasureCompleted { .. } => {
                self.waiting.remove(&user_id);
            }
        }
    }

    fn order(&mut self, event: &RecordedEvent) {
        if let Some(orders) = &mut self.orders {
            orders.take_in(event);
        }
    }

    fn saga(&mut self, event: &RecordedEvent) {
        if let Some(sagas) = &mut self.sagas {
            sagas.take_in(event);
        }
    }

    /// Erases everybody who needs to wait no longer.
    async fn look(&mut self) {
        let (now, grace) = (clock::now(), self.grace);
        let (end, sagas_end) = match self.ends().await {
            Ok(ends) => ends,
            Err(error) => {
                tracing::warn!(%error, "the end of the orders is not known yet");
                return;
            }
        };
        let orders = self
            .orders
            .get_or_insert_with(|| Orders::new(&self.connection));
        let sagas = self
            .sagas
            .get_or_insert_with(|| UnderWay::new(&self.connection));
        if let Err(error) = sagas.learn_owners(&self.streams).await {
            tracing::warn!(%error, "whose order a saga is about is not known yet");
        }
        let may_go = |(user_id, waiting): (&UserId, &Waiting)| {
            let all_are_there = now - waiting.cause.recorded_at >= grace;
            let done = all_are_there
                && orders.are_final(*user_id, end)
                && sagas.are_over(*user_id, sagas_end);
            (done || now >= waiting.erase_by).then_some(*user_id)
        };
        let due: Vec<UserId> = self.waiting.iter().filter_map(may_go).collect();
        for user_id in due {
            self.erase(user_id).await;
        }
    }

    /// The last positions of ORDER and CHECKOUT, in this order: what is final in the one, the other may
    /// have gone on with.
    async fn ends(&self) -> Result<(u64, u64), LoadError> {
        let orders = self.streams.stream_state(ORDER).await?;
        let sagas = self.streams.stream_state(CHECKOUT).await?;
        Ok((orders.last, sagas.last))
    }

    /// What follows from it is the eraser's. Without an answer it is asked again at the next look.
    async fn erase(&mut self, user_id: UserId) {
        let Some(waiting) = self.waiting.get(&user_id) else {
            return;
        };
        let (id, cause) = (user_id.into(), Cause::from(&waiting.cause));
        let asked = self.recorder.record::<User>(Record {
            id: &id,
            command: &UserCommand::EraseUser {},
            label: "erased",
            cause: &cause,
            actor: ACTOR,
        });
        match asked.await {
            Ok(Recorded::At(position)) => {
                tracing::info!(user = %user_id, %position, "erased");
                self.waiting.remove(&user_id);
            }
            Ok(Recorded::Refused(code)) => {
                tracing::error!(user = %user_id, code, "can't be erased");
                self.waiting.remove(&user_id);
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(user = %user_id, error, "is erased later");
            }
        }
    }
}

/// The orders that are not final.
struct Orders {
    events: OrderedSubscription,
    /// Up to where ORDER was read.
    read: u64,
    open: HashMap<OrderId, UserId>,
    /// There were too many, or one that can't be read: whose orders are open can't be told.
    overrun: bool,
}

impl Orders {
    fn new(connection: &Connection) -> Self {
        Self {
            events: connection.ordered_matching(ORDER, "event.order.>", 0),
            read: 0,
            open: HashMap::new(),
            overrun: false,
        }
    }

    async fn next(&mut self) -> Result<RecordedEvent, SubscriptionError> {
        let event = self.events.next().await;
        self.overrun |= matches!(event, Err(SubscriptionError::Unreadable { .. }));
        event
    }

    fn take_in(&mut self, event: &RecordedEvent) {
        self.read = event.position.sequence;
        if event.kind.is_some() {
            return;
        }
        let order_id = event.aggregate_id.as_str().parse::<OrderId>();
        let (Ok(order_id), Ok(event)) = (order_id, event.decode::<Order>()) else {
            // Whose it is can't be told: it must not be taken for nobody's.
            self.overrun = true;
            return;
        };
        match event {
            OrderEvent::OrderPlaced { user_id, .. } => {
                self.overrun |= self.open.len() >= OPEN_MAX;
                if !self.overrun {
                    self.open.insert(order_id, user_id);
                }
            }
            OrderEvent::OrderRejected { .. }
            | OrderEvent::OrderCanceled { .. }
            | OrderEvent::OrderDelivered {} => {
                self.open.remove(&order_id);
            }
            OrderEvent::OrderConfirmed { .. }
            | OrderEvent::OrderShipped { .. }
            | OrderEvent::ReturnRequested { .. }
            | OrderEvent::ReturnApproved { .. }
            | OrderEvent::ReturnRefused { .. }
            | OrderEvent::ReturnReceived { .. }
            | OrderEvent::OrderRefunded { .. }
            | OrderEvent::OrderRefundReversed { .. } => {}
        }
    }

    /// Is nothing of this user's open, as of `end` of ORDER?
    fn are_final(&self, user_id: UserId, end: u64) -> bool {
        self.read >= end && !self.overrun && !self.open.values().any(|owner| *owner == user_id)
    }
}

/// Never, while nobody waits.
async fn next_saga(sagas: &mut Option<UnderWay>) -> Result<RecordedEvent, SubscriptionError> {
    match sagas {
        Some(sagas) => sagas.next().await,
        None => std::future::pending().await,
    }
}

/// Never, while nobody waits.
async fn next_order(orders: &mut Option<Orders>) -> Result<RecordedEvent, SubscriptionError> {
    match orders {
        Some(orders) => orders.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use kernel::{Decider, Fact};
    use streams::keys::erasures::KEY_DESTROYED;

    use super::*;

    #[test]
    fn an_erasure_is_called_what_the_keys_listen_for() {
        let kind = Erasure::KIND.unwrap_or_default();
        assert_eq!(format!("event.{}.{kind}.*", Erasure::CONTEXT), SUBJECTS);
        assert_eq!(ErasureEvent::KeyDestroyed {}.name(), KEY_DESTROYED);
    }
}
