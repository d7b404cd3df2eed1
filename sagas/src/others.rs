//! Sagas beside the checkout, the return and the refund: each is a file and a line.

use std::sync::Arc;

use async_trait::async_trait;
use checkout::picture::Picture;
use checkout::settling::{Settled, Wish};
use checkout::stepwise::Heard;
use checkout::{Checkout, Listens, Refunding, Returning, Saga};
use chrono::{DateTime, Utc};
use inventory::{InventoryEvent, StockItem};
use kernel::{OrderId, Sku};
use order::{Order, OrderEvent};
use payment::{Payment, PaymentEvent};
use streams::bus::{Bus, QuestionError};
use streams::lanes::{HandleError, Handler};
use streams::subscription::Delivery;
use streams::timers::{DueTimer, Timers};
use streams::{RecordedEvent, Streams, clock};

use crate::Config;
use crate::intake::{Source, order_of, parse};
use crate::runner::{Origin, Runner};
use crate::settling::Terms;
use crate::sweep::Told;

type Make = fn(&Streams, &Bus, &Timers, &Config) -> Arc<dyn Other>;

/// One of them.
#[derive(Debug, Clone)]
struct Added {
    called: Called,
    make: Make,
    pictures: fn() -> Vec<Picture>,
}

/// As its timers are called, and as its aggregate is.
#[derive(Debug, Clone, Copy)]
struct Called {
    name: &'static str,
    kind: Option<&'static str>,
}

impl Called {
    const fn of<S: Saga>() -> Self {
        let (name, kind) = (S::NAME, S::KIND);
        Self { name, kind }
    }
}

/// Which they are.
#[derive(Debug, Clone, Default)]
pub struct Others(Vec<Added>);

impl Others {
    /// And this one. The role does not start with two of one name.
    #[must_use]
    pub fn with<S: Listens>(mut self) -> Self {
        self.0.push(Added {
            called: Called::of::<S>(),
            make: |streams, bus, timers, config| {
                Arc::new(Runner::<S>::new(streams, bus, timers, config))
            },
            pictures: S::pictures,
        });
        self
    }

    /// One that is called as another saga is: it would get that one's timers and events.
    pub(crate) fn taken(&self) -> Option<&'static str> {
        let mut taken = vec![
            Called::of::<Checkout>(),
            Called::of::<Returning>(),
            Called::of::<Refunding>(),
        ];
        for Added { called, .. } in &self.0 {
            let same = |other: &Called| other.name == called.name || other.kind == called.kind;
            if taken.iter().any(same) {
                return Some(called.name);
            }
            taken.push(*called);
        }
        None
    }

    pub(crate) fn pictures(&self) -> Vec<Picture> {
        self.0.iter().flat_map(|one| (one.pictures)()).collect()
    }

    pub(crate) fn start(
        &self,
        streams: &Streams,
        bus: &Bus,
        timers: &Timers,
        config: &Config,
    ) -> Vec<Arc<dyn Other>> {
        let all = self.0.iter();
        all.map(|one| (one.make)(streams, bus, timers, config))
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

    /// The timer of this one of them has rung.
    async fn on_timer(&self, id: &str, timer: &DueTimer) -> Result<(), HandleError>;

    /// What an event of its own says, if it is one.
    fn told(&self, event: &RecordedEvent) -> Option<Told>;

    /// Sets the timer of this one again, if it should be set and isn't; false = it has no deadline.
    async fn arm_again(&self, id: &str) -> Result<bool, HandleError>;

    /// Has this one ask what is due.
    async fn wake(&self, id: &str, origin: &Origin) -> Result<(), HandleError>;

    /// Records what an operator wishes of this one.
    async fn settle(&self, id: &str, wish: Wish, terms: Terms) -> Result<Settled, QuestionError>;
}

/// Reads facts off one stream and hands them to all of them.
pub(crate) struct Intake {
    source: Source,
    others: Vec<Arc<dyn Other>>,
}

impl Intake {
    pub(crate) fn new(source: Source, others: Vec<Arc<dyn Other>>) -> Self {
        Self { source, others }
    }

    async fn of_order(&self, event: &RecordedEvent) -> Result<(), HandleError> {
        let order_id = parse(event.aggregate_id.as_str())?;
        let told = event.decode::<Order>().map_err(HandleError::permanent)?;
        for other in &self.others {
            other.of_order(order_id, &told, event).await?;
        }
        Ok(())
    }

    async fn of_inventory(&self, event: &RecordedEvent) -> Result<(), HandleError> {
        let sku = parse(event.aggregate_id.as_str())?;
        let moved = event.decode::<StockItem>();
        let moved = moved.map_err(HandleError::permanent)?;
        for other in &self.others {
            other.of_inventory(&sku, &moved, event).await?;
        }
        Ok(())
    }

    async fn of_payment(&self, event: &RecordedEvent) -> Result<(), HandleError> {
        let paid = event.decode::<Payment>().map_err(HandleError::permanent)?;
        for other in &self.others {
            other.of_payment(&paid, event).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Handler for Intake {
    /// A context's secondary kinds of aggregate are no part of a saga.
    async fn sift(&self, batch: &[Delivery]) -> Result<Vec<bool>, HandleError> {
        let heard = |delivery: &Delivery| delivery.event.kind.is_none() && !self.others.is_empty();
        Ok(batch.iter().map(heard).collect())
    }

    /// In a build that has none of them.
    async fn rests(&self) -> Result<bool, HandleError> {
        Ok(self.others.is_empty())
    }

    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        match self.source {
            Source::Order => self.of_order(&delivery.event).await,
            Source::Inventory => self.of_inventory(&delivery.event).await,
            Source::Payment => self.of_payment(&delivery.event).await,
        }
    }
}

/// When a fact is taken in: a saga that was away gives nobody less time.
fn taken_in(event: &RecordedEvent) -> DateTime<Utc> {
    event.time.max(clock::now())
}

/// A wish that ends it leaves nothing to ask.
fn said<S: Listens>(event: &S::Event) -> Told {
    if S::ends(event) {
        Told::Over
    } else if S::goes_on(event) {
        Told::Resumed
    } else {
        Told::UnderWay
    }
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
        // Holds that lapse are told of in the batch of the order that takes their units.
        let own = Heard::Inventory(sku, moved).order_id();
        let Some(order_id) = own.or_else(|| order_of(event).ok()) else {
            // Of no order, so it is none of theirs.
            return Ok(());
        };
        self.advance(id, fact, &Origin::of(event, order_id)).await
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

    async fn on_timer(&self, id: &str, timer: &DueTimer) -> Result<(), HandleError> {
        self.on_timer(parse(id)?, timer).await
    }

    fn told(&self, event: &RecordedEvent) -> Option<Told> {
        if event.kind.as_deref() != S::KIND {
            return None;
        }
        // What can't be read leaves it under way.
        let event = event.decode::<S>();
        Some(event.map_or(Told::UnderWay, |event| said::<S>(&event)))
    }

    async fn arm_again(&self, id: &str) -> Result<bool, HandleError> {
        self.arm_again(parse(id)?).await
    }

    async fn wake(&self, id: &str, origin: &Origin) -> Result<(), HandleError> {
        self.wake(parse(id)?, origin).await
    }

    async fn settle(&self, id: &str, wish: Wish, terms: Terms) -> Result<Settled, QuestionError> {
        let id = id.parse().map_err(QuestionError::bad_request)?;
        self.fulfil(id, wish, terms).await
    }
}

#[cfg(test)]
mod tests {
    use checkout::Addressed;
    use checkout::stepwise::{Heard, Plan, Step, Stepwise, StepwiseEvent, Table, Try};
    use chrono::TimeDelta;
    use order::OrderCommand;
    use serde::{Deserialize, Serialize};
    use uuid::Uuid;

    use super::*;

    /// Something of this name.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Named<const N: usize>;

    const NAMES: [&str; 6] = [
        "checkout.gift",
        "checkout.box",
        "checkout.return",
        "checkout.refunding",
        "checkout.returning",
        "checkout.checkout",
    ];

    fn asks<const N: usize>(_: &Named<N>, _: Try) -> Addressed {
        Addressed::order(OrderId(Uuid::nil()), &OrderCommand::DeliverOrder {})
    }

    impl<const N: usize> Table for Named<N> {
        const TYPE: &'static str = NAMES[N];
        const ABOUT: &'static str = "Something is tried.";

        fn plans() -> &'static [Plan<Self>] {
            const {
                &[Plan {
                    revision: 1,
                    within: TimeDelta::days(1),
                    undone_by: &[],
                    steps: &[Step::tell("told", asks)],
                }]
            }
        }

        fn begins(_: &Heard<'_>) -> Option<Self> {
            None
        }

        fn example() -> Self {
            Self
        }
    }

    #[test]
    fn one_that_an_operator_ends_is_over() {
        let settled = |ends| StepwiseEvent::SagaSettled {
            how: Wish::Resume,
            by: "operator:ada".to_owned(),
            at: DateTime::UNIX_EPOCH,
            ends,
        };
        let said = |ends| said::<Stepwise<Named<0>>>(&settled(ends));
        assert_eq!([said(true), said(false)], [Told::Over, Told::Resumed]);
    }

    fn and<const N: usize>(others: Others) -> Others {
        others.with::<Stepwise<Named<N>>>()
    }

    #[test]
    fn two_sagas_of_one_name_do_not_start() {
        let fine = and::<1>(and::<0>(Others::default()));
        assert_eq!(fine.taken(), None);
        for (twice, name) in [
            (and::<0>(fine.clone()), "gift"),
            (and::<2>(fine.clone()), "return"),
            (and::<3>(fine.clone()), "refunding"),
            (and::<4>(fine.clone()), "returning"),
            (and::<5>(fine.clone()), "checkout"),
        ] {
            assert_eq!(twice.taken(), Some(name));
        }
    }
}
