//! Which facts the sagas take in, and from where.

use std::sync::Arc;

use async_trait::async_trait;
use checkout::settling::SagaId;
use checkout::{
    CheckoutBy, Definitions, Refunding, Returning, Saga, fact, refunding, returning, returns_of,
};
use chrono::TimeDelta;
use inventory::StockItem;
use kernel::{OrderId, RefundId, ReturnId, Sku};
use order::Order;
use payment::Payment;
use streams::lanes::{HandleError, Handler};
use streams::subscription::Delivery;
use streams::timers::{DueTimer, TimerId};
use streams::topology::DurableSpec;
use streams::{RecordedEvent, clock};
use uuid::Uuid;

use crate::others::Other;
use crate::runner::{Origin, Runner, id_of};
use crate::{INVENTORY_DURABLE, ORDER_DURABLE, OTHERS_DURABLES, PAYMENT_DURABLE};

/// A stream that the sagas listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Order,
    Inventory,
    Payment,
}

/// The durables of each: of the shop's own sagas, and of the others.
pub(crate) const SOURCES: [([DurableSpec; 2], Source); 3] = [
    ([ORDER_DURABLE, OTHERS_DURABLES[0]], Source::Order),
    ([INVENTORY_DURABLE, OTHERS_DURABLES[1]], Source::Inventory),
    ([PAYMENT_DURABLE, OTHERS_DURABLES[2]], Source::Payment),
];

/// Every saga, the checkout by the definitions of `D`.
pub(crate) struct Sagas<D: Definitions> {
    pub(crate) checkout: Runner<CheckoutBy<D>>,
    pub(crate) returning: Runner<Returning>,
    pub(crate) refunding: Runner<Refunding>,
    /// The rest.
    pub(crate) others: Vec<Arc<dyn Other>>,
    /// How long an order waits for its authorization.
    pub(crate) patience: TimeDelta,
}

impl<D: Definitions> Sagas<D> {
    /// The return that a refund pays back, if it is one of a return.
    async fn return_of(&self, refund_id: RefundId) -> Result<Option<ReturnId>, HandleError> {
        for return_id in returns_of(refund_id) {
            let saga = self.returning.current(return_id).await?;
            if saga.asked_for(refund_id) {
                return Ok(Some(return_id));
            }
        }
        Ok(None)
    }
}

/// Reads facts off one stream and hands them to those of the shop's own sagas that they concern.
pub(crate) struct Intake<D: Definitions> {
    source: Source,
    sagas: Arc<Sagas<D>>,
}

impl<D: Definitions> Intake<D> {
    pub(crate) fn new(source: Source, sagas: Arc<Sagas<D>>) -> Self {
        Self { source, sagas }
    }

    async fn of_order(&self, event: &RecordedEvent) -> Result<(), HandleError> {
        let order_id = parse(event.aggregate_id.as_str())?;
        let told = event.decode::<Order>().map_err(HandleError::permanent)?;
        let origin = Origin::of(event, order_id);
        let patience = self.sagas.patience;
        // Of two takings-in the first stands in the log, with its times.
        let at = event.time.max(origin.at);
        if let Some(fact) = fact::from_order(order_id, &told, at, patience) {
            self.sagas.checkout.advance(order_id, fact, &origin).await?;
        }
        if let Some((id, fact)) = returning::fact::from_order(order_id, &told, event.time) {
            let checkout = self.sagas.checkout.current(order_id).await?;
            let fact = fact.bought_by(checkout.user_id());
            self.sagas.returning.advance(id, fact, &origin).await?;
        }
        if let Some((id, fact)) = refunding::fact::from_order(&told) {
            self.sagas.refunding.advance(id, fact, &origin).await?;
        }
        Ok(())
    }

    async fn of_inventory(&self, event: &RecordedEvent) -> Result<(), HandleError> {
        let sku: Sku = parse(event.aggregate_id.as_str())?;
        let moved = event.decode::<StockItem>();
        let moved = moved.map_err(HandleError::permanent)?;
        if let Some((order_id, fact)) = fact::from_inventory(&sku, &moved) {
            let origin = Origin::of(event, order_id);
            self.sagas.checkout.advance(order_id, fact, &origin).await?;
        }
        if let Some((id, fact)) = returning::fact::from_inventory(&sku, &moved) {
            let origin = Origin::of(event, order_of(event)?);
            self.sagas.returning.advance(id, fact, &origin).await?;
        }
        Ok(())
    }

    async fn of_payment(&self, event: &RecordedEvent) -> Result<(), HandleError> {
        let paid = &event.decode::<Payment>().map_err(HandleError::permanent)?;
        let Some(fact) = fact::from_payment(paid, event.time) else {
            return Ok(());
        };
        let order_id = order_of(event)?;
        let origin = Origin::of(event, order_id);
        self.sagas.checkout.advance(order_id, fact, &origin).await?;
        let Some((_, returned)) = returning::fact::from_payment(paid) else {
            // No money that goes back.
            return Ok(());
        };
        let checkout = self.sagas.checkout.current(order_id).await?;
        let refund = refunding::fact::from_payment(&checkout, paid, event.time);
        let Some((refund_id, told)) = refund else {
            return Ok(());
        };
        let sagas = &self.sagas;
        if let Some(return_id) = sagas.return_of(refund_id).await? {
            sagas
                .returning
                .advance(return_id, returned, &origin)
                .await?;
        }
        sagas.refunding.advance(refund_id, told, &origin).await
    }
}

impl<D: Definitions> Sagas<D> {
    /// Has this saga ask what is due.
    pub(crate) async fn wake(&self, saga: SagaId, origin: &Origin) -> Result<(), HandleError> {
        match saga {
            SagaId::Checkout(id) => self.checkout.wake(id, origin).await,
            SagaId::Returning(id) => self.returning.wake(id, origin).await,
            SagaId::Refunding(id) => self.refunding.wake(id, origin).await,
        }
    }
}

impl Origin {
    pub(crate) fn of(event: &RecordedEvent, order_id: OrderId) -> Self {
        Self {
            source_id: event.id,
            order_id,
            causation_id: Some(event.id.to_string()),
            traceparent: event.traceparent.clone(),
            at: clock::now(),
        }
    }

    pub(crate) fn of_timer(timer: &DueTimer, order_id: OrderId) -> Self {
        let TimerId { saga, id } = &timer.id;
        let rung = format!("{saga}/{id}/{}", timer.due);
        Self {
            source_id: Uuid::new_v5(&Uuid::NAMESPACE_OID, rung.as_bytes()),
            order_id,
            causation_id: None,
            traceparent: timer.traceparent.clone(),
            at: timer.due.max(clock::now()),
        }
    }
}

/// The order whose flow an event belongs to.
pub(crate) fn order_of(event: &RecordedEvent) -> Result<OrderId, HandleError> {
    parse(event.correlation_id.as_deref().unwrap_or_default())
}

pub(crate) fn parse<T>(text: &str) -> Result<T, HandleError>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    text.parse().map_err(HandleError::permanent)
}

#[async_trait]
impl<D: Definitions> Handler for Intake<D> {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let event = &delivery.event;
        if event.kind.is_some() {
            // A context's secondary kinds of aggregate are no part of a saga.
            return Ok(());
        }
        match self.source {
            Source::Order => self.of_order(event).await,
            Source::Inventory => self.of_inventory(event).await,
            Source::Payment => self.of_payment(event).await,
        }
    }
}

/// Hands a saga's timers to its runner when they have rung.
pub(crate) struct TimerHandler<D: Definitions> {
    sagas: Arc<Sagas<D>>,
}

impl<D: Definitions> TimerHandler<D> {
    pub(crate) fn new(sagas: Arc<Sagas<D>>) -> Self {
        Self { sagas }
    }
}

#[async_trait]
impl<D: Definitions> Handler<DueTimer> for TimerHandler<D> {
    async fn handle(&self, delivery: &Delivery<DueTimer>) -> Result<(), HandleError> {
        let timer = &delivery.event;
        for other in &self.sagas.others {
            if let Some(id) = id_of(&timer.id, other.name()) {
                return other.on_timer(id, timer).await;
            }
        }
        match saga_of(&timer.id)? {
            SagaId::Checkout(id) => self.sagas.checkout.on_timer(id, timer).await,
            SagaId::Returning(id) => self.sagas.returning.on_timer(id, timer).await,
            SagaId::Refunding(id) => self.sagas.refunding.on_timer(id, timer).await,
        }
    }
}

/// The saga that set it.
fn saga_of(timer: &TimerId) -> Result<SagaId, HandleError> {
    if let Some(id) = id_of(timer, Returning::NAME) {
        return Ok(SagaId::Returning(parse(id)?));
    }
    if let Some(id) = id_of(timer, Refunding::NAME) {
        return Ok(SagaId::Refunding(parse(id)?));
    }
    Ok(SagaId::Checkout(parse(timer.id.as_str())?))
}

#[cfg(test)]
mod tests {
    use checkout::Checkout;
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::runner::timer_of;

    fn of_timer(due: DateTime<Utc>) -> Origin {
        let order_id = OrderId(Uuid::new_v4());
        let id = TimerId {
            saga: "checkout".to_owned(),
            id: order_id.into(),
        };
        let traceparent =
            Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned());
        let timer = DueTimer {
            id,
            due,
            since: None,
            traceparent,
        };
        let origin = Origin::of_timer(&timer, order_id);
        assert_eq!(origin.traceparent, timer.traceparent);
        origin
    }

    #[test]
    fn each_saga_hears_its_own_timer() {
        let id = Uuid::new_v4();
        let (order, back, refund) = (OrderId(id), ReturnId(id), RefundId(id));
        for (timer, saga) in [
            (timer_of::<Checkout>(order), SagaId::Checkout(order)),
            (timer_of::<Returning>(back), SagaId::Returning(back)),
            (timer_of::<Refunding>(refund), SagaId::Refunding(refund)),
        ] {
            assert_eq!(saga_of(&timer.unwrap()).unwrap(), saga);
        }
    }

    #[test]
    fn a_timer_rings_when_it_was_due_or_later() {
        let before = Utc::now();
        let (ahead, ago) = (before + TimeDelta::hours(1), before - TimeDelta::hours(1));
        let origin = of_timer(ahead);
        assert_eq!(origin.at, ahead, "another machine's clock is ahead");
        assert_eq!(
            origin.now(),
            ahead,
            "what fails then is tried again after that"
        );
        let late = of_timer(ago).now();
        assert!((before..=Utc::now()).contains(&late), "{late}");
    }
}
