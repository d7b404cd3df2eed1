//! Sagas beside the checkout, the return and the refund: each is a file and a line.

use std::sync::Arc;

use async_trait::async_trait;
use checkout::Listens;
use inventory::InventoryEvent;
use kernel::{OrderId, Sku};
use order::OrderEvent;
use payment::PaymentEvent;
use streams::bus::Bus;
use streams::lanes::HandleError;
use streams::timers::{DueTimer, Timers};
use streams::{RecordedEvent, Streams};

use crate::Config;
use crate::intake::{order_of, parse};
use crate::runner::{Origin, Runner};

type Make = fn(&Streams, &Bus, &Timers, &Config) -> Arc<dyn Other>;

/// Which they are.
#[derive(Debug, Clone, Default)]
pub struct Others(Vec<Make>);

impl Others {
    /// And this one.
    #[must_use]
    pub fn with<S: Listens>(mut self) -> Self {
        self.0.push(|streams, bus, timers, config| {
            Arc::new(Runner::<S>::new(streams, bus, timers, config))
        });
        self
    }

    pub(crate) fn start(
        &self,
        streams: &Streams,
        bus: &Bus,
        timers: &Timers,
        config: &Config,
    ) -> Vec<Arc<dyn Other>> {
        let all = self.0.iter();
        all.map(|make| make(streams, bus, timers, config)).collect()
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
        let Some((id, fact)) = S::from_order(order_id, told, event.time) else {
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
        let Some((id, fact)) = S::from_inventory(sku, moved, event.time) else {
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
        let Some((id, fact)) = S::from_payment(paid, event.time) else {
            return Ok(());
        };
        let origin = Origin::of(event, order_of(event)?);
        self.advance(id, fact, &origin).await
    }

    async fn rang(&self, id: &str, timer: &DueTimer) -> Result<(), HandleError> {
        self.rung(parse(id)?, timer).await
    }
}
