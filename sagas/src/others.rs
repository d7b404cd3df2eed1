//! Sagas beside the checkout, the return and the refund: each is a file and a line.

use std::sync::Arc;

use async_trait::async_trait;
use checkout::Listens;
use checkout::picture::Picture;
use checkout::settling::{Settled, Wish};
use chrono::{DateTime, Utc};
use inventory::InventoryEvent;
use kernel::{OrderId, Sku};
use order::OrderEvent;
use payment::PaymentEvent;
use streams::bus::{Bus, QuestionError};
use streams::lanes::HandleError;
use streams::timers::{DueTimer, Timers};
use streams::{CommandMeta, RecordedEvent, Streams, clock};

use crate::Config;
use crate::intake::{order_of, parse};
use crate::runner::{Origin, Runner};
use crate::settling::record;
use crate::sweep::Told;

type Make = fn(&Streams, &Bus, &Timers, &Config) -> Arc<dyn Other>;

type Draw = fn() -> Vec<Picture>;

/// Which they are.
#[derive(Debug, Clone, Default)]
pub struct Others(Vec<(Make, Draw)>);

impl Others {
    /// And this one.
    #[must_use]
    pub fn with<S: Listens>(mut self) -> Self {
        let make: Make =
            |streams, bus, timers, config| Arc::new(Runner::<S>::new(streams, bus, timers, config));
        self.0.push((make, S::pictures));
        self
    }

    pub(crate) fn pictures(&self) -> Vec<Picture> {
        self.0.iter().flat_map(|(_, pictures)| pictures()).collect()
    }

    pub(crate) fn start(
        &self,
        streams: &Streams,
        bus: &Bus,
        timers: &Timers,
        config: &Config,
    ) -> Vec<Arc<dyn Other>> {
        let all = self.0.iter();
        all.map(|(make, _)| make(streams, bus, timers, config))
            .collect()
    }
}

/// The runner of one, whichever it is.
#[async_trait]
pub(crate) trait Other: Send + Sync {
    /// As its timers are called.
    fn name(&self) -> &'static str;

    /// An order's event.
    async fn of_order(
        &self,
        order_id: OrderId,
        told: &OrderEvent,
        event: &RecordedEvent,
    ) -> Result<(), HandleError>;

    /// A stock item's event.
    async fn of_inventory(
        &self,
        sku: &Sku,
        moved: &InventoryEvent,
        event: &RecordedEvent,
    ) -> Result<(), HandleError>;

    /// A payment's event.
    async fn of_payment(
        &self,
        paid: &PaymentEvent,
        event: &RecordedEvent,
    ) -> Result<(), HandleError>;

    /// The timer of this one of them.
    async fn rang(&self, id: &str, timer: &DueTimer) -> Result<(), HandleError>;

    /// What an event of its own says, if it is one.
    fn told(&self, event: &RecordedEvent) -> Option<Told>;

    /// Sets the timer of this one again, if it should be set and isn't; false = it has no deadline.
    async fn arm_again(&self, id: &str) -> Result<bool, HandleError>;

    /// Has this one ask what is due.
    async fn wake(&self, id: &str, origin: &Origin) -> Result<(), HandleError>;

    /// Records what an operator wishes of this one.
    async fn settle(
        &self,
        id: &str,
        wish: Wish,
        meta: CommandMeta,
    ) -> Result<Settled, QuestionError>;
}

/// When a fact is taken in: a saga that was away gives nobody less time.
fn taken_in(event: &RecordedEvent) -> DateTime<Utc> {
    event.time.max(clock::now())
}

#[async_trait]
impl<S: Listens> Other for Runner<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    async fn of_order(
        &self,
        order_id: OrderId,
        told: &OrderEvent,
        event: &RecordedEvent,
    ) -> Result<(), HandleError> {
        let Some((id, fact)) = S::from_order(order_id, told, taken_in(event)) else {
            return Ok(());
        };
        self.advance(id, fact, &Origin::of(event, order_id)).await
    }

    async fn of_inventory(
        &self,
        sku: &Sku,
        moved: &InventoryEvent,
        event: &RecordedEvent,
    ) -> Result<(), HandleError> {
        let Some((id, fact)) = S::from_inventory(sku, moved, taken_in(event)) else {
            return Ok(());
        };
        let origin = Origin::of(event, order_of(event)?);
        self.advance(id, fact, &origin).await
    }

    async fn of_payment(
        &self,
        paid: &PaymentEvent,
        event: &RecordedEvent,
    ) -> Result<(), HandleError> {
        let Ok(order_id) = order_of(event) else {
            // Of no order, so it is none of theirs.
            return Ok(());
        };
        let Some((id, fact)) = S::from_payment(order_id, paid, taken_in(event)) else {
            return Ok(());
        };
        self.advance(id, fact, &Origin::of(event, order_id)).await
    }

    async fn rang(&self, id: &str, timer: &DueTimer) -> Result<(), HandleError> {
        self.rung(parse(id)?, timer).await
    }

    fn told(&self, event: &RecordedEvent) -> Option<Told> {
        if event.kind.as_deref() != S::KIND {
            return None;
        }
        // What can't be read leaves it under way.
        let event = event.decode::<S>().ok();
        Some(match event {
            Some(event) if S::goes_on(&event) => Told::Resumed,
            Some(event) if S::ends(&event) => Told::Over,
            Some(_) | None => Told::UnderWay,
        })
    }

    async fn arm_again(&self, id: &str) -> Result<bool, HandleError> {
        self.arm_again(parse(id)?).await
    }

    async fn wake(&self, id: &str, origin: &Origin) -> Result<(), HandleError> {
        self.wake(parse(id)?, origin).await
    }

    async fn settle(
        &self,
        id: &str,
        wish: Wish,
        meta: CommandMeta,
    ) -> Result<Settled, QuestionError> {
        let id: S::Id = id.parse().map_err(QuestionError::bad_request)?;
        let Some(fact) = S::settled(wish, meta.actor.clone(), clock::now()) else {
            return Ok(Settled::NotSuspended);
        };
        record::<S>(self.streams(), id, fact, meta).await
    }
}
