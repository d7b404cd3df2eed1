//! Which facts the checkout takes in, and from where.

use std::sync::Arc;

use async_trait::async_trait;
use checkout::{CheckoutFact, fact};
use chrono::{TimeDelta, Utc};
use inventory::StockItem;
use kernel::{OrderId, Sku};
use order::Order;
use payment::Payment;
use streams::RecordedEvent;
use streams::lanes::{HandleError, Handler};
use streams::subscription::Delivery;
use streams::timers::DueTimer;
use streams::topology::DurableSpec;
use uuid::Uuid;

use crate::runner::{Origin, Runner};
use crate::{INVENTORY_DURABLE, ORDER_DURABLE, PAYMENT_DURABLE};

/// A stream that the checkout listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Order,
    Inventory,
    Payment,
}

/// Every durable with what it carries.
pub(crate) const SOURCES: [(DurableSpec, Source); 3] = [
    (ORDER_DURABLE, Source::Order),
    (INVENTORY_DURABLE, Source::Inventory),
    (PAYMENT_DURABLE, Source::Payment),
];

/// Reads facts off one stream and hands them to the runner.
pub(crate) struct Intake {
    source: Source,
    runner: Arc<Runner>,
    /// How long an order waits for its authorization.
    patience: TimeDelta,
}

impl Intake {
    pub(crate) fn new(source: Source, runner: Arc<Runner>, patience: TimeDelta) -> Self {
        Self {
            source,
            runner,
            patience,
        }
    }

    /// The order that an event is about, and what it tells the checkout; `None` = nothing.
    fn fact(&self, event: &RecordedEvent) -> Result<Option<(OrderId, CheckoutFact)>, HandleError> {
        match self.source {
            Source::Order if event.kind.is_none() => {
                let order_id = parse(event.aggregate_id.as_str())?;
                let placed = event.decode::<Order>().map_err(HandleError::permanent)?;
                let fact = fact::from_order(order_id, &placed, event.time, self.patience);
                Ok(fact.map(|fact| (order_id, fact)))
            }
            Source::Inventory if event.kind.is_none() => {
                let sku: Sku = parse(event.aggregate_id.as_str())?;
                let moved = event
                    .decode::<StockItem>()
                    .map_err(HandleError::permanent)?;
                Ok(fact::from_inventory(&sku, &moved))
            }
            Source::Payment if event.kind.is_none() => {
                let paid = event.decode::<Payment>().map_err(HandleError::permanent)?;
                let Some(fact) = fact::from_payment(&paid, event.time) else {
                    return Ok(None);
                };
                let order_id = event.correlation_id.as_deref().unwrap_or_default();
                Ok(Some((parse(order_id)?, fact)))
            }
            // A context's secondary kinds of aggregate are no part of a checkout.
            Source::Order | Source::Inventory | Source::Payment => Ok(None),
        }
    }
}

fn parse<T>(text: &str) -> Result<T, HandleError>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    text.parse().map_err(HandleError::permanent)
}

#[async_trait]
impl Handler for Intake {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let event = &delivery.event;
        let Some((order_id, fact)) = self.fact(event)? else {
            return Ok(());
        };
        let origin = Origin {
            fact_id: Uuid::new_v5(&event.id, b"checkout"),
            causation_id: Some(event.id.to_string()),
            traceparent: event.traceparent.clone(),
        };
        self.runner.advance(order_id, fact, &origin).await
    }
}

/// Hands the checkout's timers to the runner when they ring.
pub(crate) struct Alarm {
    runner: Arc<Runner>,
}

impl Alarm {
    pub(crate) fn new(runner: Arc<Runner>) -> Self {
        Self { runner }
    }
}

#[async_trait]
impl Handler<DueTimer> for Alarm {
    async fn handle(&self, delivery: &Delivery<DueTimer>) -> Result<(), HandleError> {
        let timer = &delivery.event;
        let order_id: OrderId = parse(timer.id.id.as_str())?;
        let rung = format!("checkout/{order_id}/{}", timer.due);
        let origin = Origin {
            fact_id: Uuid::new_v5(&Uuid::NAMESPACE_OID, rung.as_bytes()),
            causation_id: None,
            traceparent: None,
        };
        let fact = CheckoutFact::DeadlineReached { at: Utc::now() };
        self.runner.advance(order_id, fact, &origin).await
    }
}
