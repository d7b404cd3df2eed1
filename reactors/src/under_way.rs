//! The sagas that are under way, and whose orders they are about: until they are over, money or a mail
//! may still be on its way to somebody.
//!
//! ```text
//!   checkout  started: open ── ended, resolved: over ── something comes late: open, until it is undone
//!   return    goods here: open ── all done, or seen to by a person: over
//!   refund    money gone: open ── the order knows, or a person has seen to it: over
//! ```

use std::collections::HashMap;

use checkout::settling::SagaId;
use checkout::{Checkout, CheckoutEvent, Refunding, RefundingEvent, Returning, ReturningEvent};
use kernel::{Decider, OrderId, UserId};
use order::Order;
use streams::subscription::{OrderedSubscription, SubscriptionError};
use streams::{Connection, LoadError, RecordedEvent, Streams};
use uuid::Uuid;

/// Where the sagas are.
pub(crate) const CHECKOUT: &str = "CHECKOUT";

/// Most sagas under way that are remembered, 64 bytes each and a little; with more, everybody waits
/// for as long as they may at most.
const OPEN_MAX: usize = 1_000_000;

/// The sagas that are not over.
pub(crate) struct UnderWay {
    events: OrderedSubscription,
    /// Up to where CHECKOUT was read.
    read: u64,
    open: Open,
    /// There were too many, or one that can't be read: whose are open can't be told.
    overrun: bool,
}

/// By saga.
type Open = HashMap<SagaId, Saga>;

/// One that is not over.
#[derive(Debug, PartialEq, Eq)]
struct Saga {
    order_id: OrderId,
    /// Where the saga's own events don't say it, the order does.
    owner: Option<UserId>,
    /// It is over when what it does now is done.
    last: bool,
}

/// What an event says of its saga.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// It begins, and whose it is, if that is said.
    Begins(Option<UserId>),
    /// It goes on, or is begun anew.
    GoesOn,
    /// It has one more thing to do, if it was over.
    OnceMore,
    /// It waits for a person, and when they have seen to it nothing is left to do.
    Last,
    /// One thing is done.
    Done,
    Over,
}

impl UnderWay {
    pub(crate) fn new(connection: &Connection) -> Self {
        Self {
            events: connection.ordered_matching(CHECKOUT, "event.checkout.>", 0),
            read: 0,
            open: Open::new(),
            overrun: false,
        }
    }

    pub(crate) async fn next(&mut self) -> Result<RecordedEvent, SubscriptionError> {
        let event = self.events.next().await;
        self.overrun |= matches!(event, Err(SubscriptionError::Unreadable { .. }));
        event
    }

    pub(crate) fn take_in(&mut self, event: &RecordedEvent) {
        self.read = event.position.sequence;
        let Some((saga, told)) = read(event) else {
            // Whose it is can't be told: it must not be taken for nobody's.
            self.overrun = true;
            return;
        };
        let flow = event.correlation_id.as_deref().unwrap_or_default();
        // Of no order: then it may be anybody's.
        let order_id = flow.parse().unwrap_or(OrderId(Uuid::nil()));
        note(&mut self.open, saga, order_id, &told);
        self.overrun |= self.open.len() > OPEN_MAX;
        if self.overrun {
            self.open.clear();
        }
    }

    /// Asks the orders whose they are, where that is not known.
    ///
    /// # Errors
    /// An order can't be read now: nothing is known of it.
    pub(crate) async fn learn_owners(&mut self, streams: &Streams) -> Result<(), LoadError> {
        for saga in self.open.values_mut().filter(|saga| saga.owner.is_none()) {
            let order = streams.load::<Order>(&saga.order_id.into()).await?;
            saga.owner = order.state.owner();
        }
        Ok(())
    }

    /// Is nothing of this user's under way, as of `end` of CHECKOUT? What is nobody's may be theirs.
    pub(crate) fn are_over(&self, user_id: UserId, end: u64) -> bool {
        let theirs = |saga: &Saga| saga.owner.is_none_or(|owner| owner == user_id);
        self.read >= end && !self.overrun && !self.open.values().any(theirs)
    }
}

fn note(open: &mut Open, saga: SagaId, order_id: OrderId, told: &Told) {
    let new = |owner, last| Saga {
        order_id,
        owner,
        last,
    };
    match told {
        Told::Begins(owner) => {
            open.insert(saga, new(*owner, false));
        }
        Told::GoesOn => {
            open.entry(saga).or_insert(new(None, false));
        }
        Told::OnceMore => {
            open.entry(saga).or_insert(new(None, true));
        }
        Told::Last => {
            open.entry(saga).or_insert(new(None, true)).last = true;
        }
        Told::Done if open.get(&saga).is_none_or(|saga| !saga.last) => {}
        Told::Done | Told::Over => {
            open.remove(&saga);
        }
    }
}

/// Which saga an event is about, and what it says. `None` = it can't be read.
fn read(event: &RecordedEvent) -> Option<(SagaId, Told)> {
    let id = event.aggregate_id.as_str();
    match event.kind.as_deref() {
        None => {
            let told = of_checkout(&event.decode::<Checkout>().ok()?);
            Some((SagaId::Checkout(id.parse().ok()?), told))
        }
        kind if kind == Returning::KIND => {
            let told = of_return(&event.decode::<Returning>().ok()?);
            Some((SagaId::Returning(id.parse().ok()?), told))
        }
        kind if kind == Refunding::KIND => {
            let told = of_refund(&event.decode::<Refunding>().ok()?);
            Some((SagaId::Refunding(id.parse().ok()?), told))
        }
        Some(_) => None,
    }
}

fn of_checkout(event: &CheckoutEvent) -> Told {
    match event {
        _ if event.closes() => Told::Over,
        CheckoutEvent::CheckoutStarted { user_id, .. } => Told::Begins(Some(*user_id)),
        CheckoutEvent::UndoStarted { .. }
        | CheckoutEvent::UndoFailed { .. }
        | CheckoutEvent::StepSucceeded { .. }
        | CheckoutEvent::CheckoutSuspended { .. }
        | CheckoutEvent::CheckoutResumed { .. } => Told::OnceMore,
        CheckoutEvent::UndoSucceeded { .. } => Told::Done,
        CheckoutEvent::StepRefused { .. }
        | CheckoutEvent::StepTimedOut { .. }
        | CheckoutEvent::CheckoutCompleted {}
        | CheckoutEvent::ShippingStarted { .. }
        | CheckoutEvent::CheckoutUndone { .. }
        | CheckoutEvent::StepSkipped { .. }
        | CheckoutEvent::CheckoutResolved { .. }
        | CheckoutEvent::CheckoutEnded { .. } => Told::GoesOn,
    }
}

fn of_return(event: &ReturningEvent) -> Told {
    match event {
        ReturningEvent::ReturningStarted { user_id, .. } => Told::Begins(*user_id),
        ReturningEvent::ReturningStepSkipped { last: true, .. }
        | ReturningEvent::ReturningResolved { .. }
        | ReturningEvent::ReturningEnded { .. } => Told::Over,
        ReturningEvent::ReturningStepSucceeded { .. }
        | ReturningEvent::ReturningSuspended { .. }
        | ReturningEvent::ReturningResumed { .. }
        | ReturningEvent::ReturningStepSkipped { .. } => Told::GoesOn,
    }
}

fn of_refund(event: &RefundingEvent) -> Told {
    match event {
        RefundingEvent::RefundingStarted { user_id, .. } => Told::Begins(Some(*user_id)),
        RefundingEvent::RefundingSuspended { failed: true, .. } => Told::Last,
        RefundingEvent::RefundingSuspended { .. } => Told::GoesOn,
        RefundingEvent::RefundingResumed { .. } => Told::Done,
        RefundingEvent::RefundingDropped { .. }
        | RefundingEvent::RefundingSkipped { .. }
        | RefundingEvent::RefundingResolved { .. }
        | RefundingEvent::RefundingEnded {} => Told::Over,
    }
}

#[cfg(test)]
mod tests {
    use checkout::Step;
    use chrono::DateTime;
    use kernel::Money;

    use super::*;

    const ORDER: OrderId = OrderId(Uuid::from_u128(1));
    const ANN: UserId = UserId(Uuid::from_u128(2));

    /// Is it under way behind each of these?
    fn open_behind(saga: SagaId, told: impl IntoIterator<Item = Told>) -> Vec<bool> {
        let mut open = Open::new();
        let told = told.into_iter().map(|told| {
            note(&mut open, saga, ORDER, &told);
            open.contains_key(&saga)
        });
        told.collect()
    }

    fn total() -> Money {
        Money::new(2_598, "EUR".parse().unwrap())
    }

    fn started() -> CheckoutEvent {
        CheckoutEvent::CheckoutStarted {
            order_id: ORDER,
            user_id: ANN,
            items: Vec::new(),
            total: total(),
            payment_method: "pm_card_visa".parse().unwrap(),
            started_at: DateTime::UNIX_EPOCH,
            reserved_until: DateTime::UNIX_EPOCH,
            deadline: DateTime::UNIX_EPOCH,
            revision: 1,
        }
    }

    #[test]
    fn a_canceled_order_is_under_way_until_its_money_is_back() {
        let step = Step::CapturePayment;
        let reason: kernel::Reason = "changed my mind".parse().unwrap();
        let failed = CheckoutEvent::UndoFailed {
            step: step.clone(),
            attempt: 1,
            message: "charge_disputed".to_owned(),
            retry_at: DateTime::UNIX_EPOCH,
        };
        let back = CheckoutEvent::UndoSucceeded {
            step: step.clone(),
            moot: false,
        };
        let events = [
            started(),
            CheckoutEvent::CheckoutCompleted {},
            CheckoutEvent::UndoStarted {
                cause: checkout::Cause::OrderCanceled {
                    reason: reason.clone(),
                },
            },
            failed.clone(),
            back.clone(),
            CheckoutEvent::CheckoutEnded {
                outcome: checkout::Outcome::Canceled { reason },
                step: Some(step),
                moot: false,
            },
            // The bank sends it back, and it goes again.
            failed,
            back,
        ];
        let open = open_behind(SagaId::Checkout(ORDER), events.iter().map(of_checkout));
        assert_eq!(open, [true, true, true, true, true, false, true, false]);
        assert_eq!(of_checkout(&started()), Told::Begins(Some(ANN)));
    }

    #[test]
    fn a_refund_is_under_way_until_the_order_knows_or_a_person_has_seen_to_it() {
        let suspended = |failed| RefundingEvent::RefundingSuspended {
            why: "no".to_owned(),
            failed,
        };
        let by = "operator:ada".to_owned();
        let resumed = RefundingEvent::RefundingResumed { by };
        let begun = RefundingEvent::RefundingStarted {
            refund_id: kernel::RefundId(Uuid::from_u128(3)),
            order_id: ORDER,
            user_id: ANN,
            amount: total(),
            started_at: DateTime::UNIX_EPOCH,
            revision: 1,
        };
        let saga = SagaId::Refunding(kernel::RefundId(Uuid::from_u128(3)));
        let told = [
            begun.clone(),
            suspended(false),
            resumed.clone(),
            RefundingEvent::RefundingEnded {},
            suspended(true),
            resumed.clone(),
        ];
        let open = open_behind(saga, told.iter().map(of_refund));
        assert_eq!(open, [true, true, true, false, true, false]);
        let came_back = [begun, suspended(true), resumed];
        let open = open_behind(saga, came_back.iter().map(of_refund));
        assert_eq!(open, [true, true, false]);
    }

    #[test]
    fn a_return_is_under_way_until_all_of_it_is_done() {
        let step = checkout::returning::ReturnStep::RefundPayment;
        let saga = SagaId::Returning(kernel::ReturnId(Uuid::from_u128(4)));
        let skipped = |last| ReturningEvent::ReturningStepSkipped {
            step: step.clone(),
            by: "operator:ada".to_owned(),
            reason: "by hand".parse().unwrap(),
            last,
            paid: None,
        };
        let stuck = ReturningEvent::ReturningSuspended {
            step: step.clone(),
            why: "no".to_owned(),
            failed: true,
        };
        let ended = ReturningEvent::ReturningEnded { step: step.clone() };
        // The bank sends the money back after the end.
        let told = [skipped(false), ended, stuck, skipped(true)];
        let open = open_behind(saga, told.iter().map(of_return));
        assert_eq!(open, [true, false, true, false]);
    }
}
