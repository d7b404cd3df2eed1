//! The words of the scenarios: orders, facts, and a checkout that takes facts in and says what it
//! asks.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's kit: each scenario file uses a part of it, and a wrong word ends the test"
)]

use checkout::{
    Ask, Checkout, CheckoutEvent, CheckoutFact, CheckoutRefusal, Item, Step, refund_id_of,
};
use chrono::{DateTime, TimeDelta, Utc};
use kernel::{Decider, Fact, Money, OrderId, Sku, UserId};
use notification::Template;
use uuid::Uuid;

pub(crate) fn order_id() -> OrderId {
    OrderId(Uuid::from_u128(0x0198_c1d2_7a4b_7c31_9f5e_2b6c_8d9e_0f1a))
}

pub(crate) fn user_id() -> UserId {
    UserId(Uuid::from_u128(7))
}

pub(crate) fn sku(name: &str) -> Sku {
    name.parse().unwrap()
}

pub(crate) fn total() -> Money {
    Money::new(2598, "EUR".parse().unwrap())
}

/// The time of a scenario, in seconds after the order was placed.
pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
}

pub(crate) fn item(name: &str, quantity: u32) -> Item {
    Item {
        sku: sku(name),
        quantity,
    }
}

pub(crate) fn placed(items: Vec<Item>) -> CheckoutFact {
    CheckoutFact::OrderPlaced {
        order_id: order_id(),
        user_id: user_id(),
        items,
        total: total(),
        payment_method: "pm_card_visa".parse().unwrap(),
        started_at: at(0),
        reserved_until: at(0) + checkout::HOLD,
        deadline: at(0) + checkout::PATIENCE,
    }
}

pub(crate) fn reserved(name: &str) -> CheckoutFact {
    CheckoutFact::StockReserved {
        sku: sku(name),
        attempt: 1,
    }
}

pub(crate) fn committed(name: &str) -> CheckoutFact {
    CheckoutFact::ReservationCommitted {
        sku: sku(name),
        attempt: 1,
    }
}

pub(crate) fn released(name: &str) -> CheckoutFact {
    CheckoutFact::ReservationReleased {
        sku: sku(name),
        attempt: 1,
    }
}

pub(crate) fn expired(name: &str) -> CheckoutFact {
    CheckoutFact::ReservationExpired {
        sku: sku(name),
        attempt: 1,
    }
}

pub(crate) fn stock_shipped(name: &str) -> CheckoutFact {
    CheckoutFact::StockShipped {
        sku: sku(name),
        attempt: 1,
    }
}

pub(crate) fn authorized() -> CheckoutFact {
    CheckoutFact::PaymentAuthorized {}
}

pub(crate) fn declined() -> CheckoutFact {
    CheckoutFact::PaymentDeclined {
        code: "card_declined".to_owned(),
    }
}

pub(crate) fn failed() -> CheckoutFact {
    CheckoutFact::PaymentFailed {
        code: "expired_authorization".to_owned(),
    }
}

pub(crate) fn captured() -> CheckoutFact {
    CheckoutFact::PaymentCaptured { amount: total() }
}

pub(crate) fn voided() -> CheckoutFact {
    CheckoutFact::PaymentVoided {}
}

pub(crate) fn refunded(attempt: u32) -> CheckoutFact {
    CheckoutFact::PaymentRefunded {
        refund_id: refund_id_of(order_id(), attempt),
    }
}

pub(crate) fn refund_failed(attempt: u32, seconds: i64) -> CheckoutFact {
    CheckoutFact::RefundFailed {
        refund_id: refund_id_of(order_id(), attempt),
        code: "charge_disputed".to_owned(),
        at: at(seconds),
    }
}

pub(crate) fn confirmed() -> CheckoutFact {
    CheckoutFact::OrderConfirmed {}
}

pub(crate) fn rejected(reason: &str) -> CheckoutFact {
    CheckoutFact::OrderRejected {
        reason: reason.parse().unwrap(),
    }
}

pub(crate) fn canceled() -> CheckoutFact {
    CheckoutFact::OrderCanceled {
        reason: "changed my mind".parse().unwrap(),
    }
}

pub(crate) fn shipped() -> CheckoutFact {
    CheckoutFact::OrderShipped {
        tracking: "1Z999".parse().unwrap(),
    }
}

pub(crate) fn rings(seconds: i64) -> CheckoutFact {
    CheckoutFact::DeadlineReached { at: at(seconds) }
}

pub(crate) fn resumed() -> CheckoutFact {
    CheckoutFact::Resumed {
        by: "operator:ada".to_owned(),
    }
}

pub(crate) fn skipped(step: &str) -> CheckoutFact {
    CheckoutFact::Skipped {
        step: step.to_owned(),
        by: "operator:ada".to_owned(),
        reason: "done by hand".parse().unwrap(),
    }
}

pub(crate) fn resolved() -> CheckoutFact {
    CheckoutFact::Resolved {
        by: "operator:ada".to_owned(),
        reason: "settled on the phone".parse().unwrap(),
    }
}

pub(crate) fn refused(ask: Ask, code: &str) -> CheckoutFact {
    refused_at(ask, code, 0)
}

pub(crate) fn refused_at(ask: Ask, code: &str, seconds: i64) -> CheckoutFact {
    CheckoutFact::AskRefused {
        ask,
        code: code.to_owned(),
        message: "no".to_owned(),
        at: at(seconds),
    }
}

pub(crate) fn reserve(name: &str) -> Step {
    Step::ReserveStock { sku: sku(name) }
}

pub(crate) fn commit(name: &str) -> Step {
    Step::CommitStock { sku: sku(name) }
}

pub(crate) fn ship(name: &str) -> Step {
    Step::ShipStock { sku: sku(name) }
}

pub(crate) fn step(step: Step) -> Ask {
    Ask::Step { step, attempt: 1 }
}

pub(crate) fn undo(step: Step) -> Ask {
    undo_again(step, 1)
}

pub(crate) fn undo_again(step: Step, attempt: u32) -> Ask {
    Ask::Undo { step, attempt }
}

pub(crate) fn reject() -> Ask {
    Ask::RejectOrder { attempt: 1 }
}

pub(crate) fn notify(template: Template) -> Ask {
    Ask::Notify { template }
}

/// A checkout under test.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Case {
    pub(crate) state: Checkout,
    /// The events written, by name.
    pub(crate) story: Vec<&'static str>,
}

impl Case {
    /// One line, one mug.
    pub(crate) fn placed() -> Self {
        Self::default().given([placed(vec![item("MUG", 2)])])
    }

    /// Two lines.
    pub(crate) fn placed_two() -> Self {
        Self::default().given([placed(vec![item("MUG", 2), item("TEE", 1)])])
    }

    /// Takes the facts in, whatever follows from them.
    pub(crate) fn given(mut self, facts: impl IntoIterator<Item = CheckoutFact>) -> Self {
        for fact in facts {
            self.take(&fact);
        }
        self
    }

    /// Takes one fact in and answers what followed.
    pub(crate) fn when(&mut self, fact: &CheckoutFact) -> Option<CheckoutEvent> {
        self.take(fact)
    }

    /// Takes one fact in that must change nothing: no event, the same state, the same asks.
    pub(crate) fn ignores(&mut self, fact: &CheckoutFact) {
        let before = (self.state.clone(), self.ids());
        assert_eq!(self.take(fact), None, "{fact:?} in {:?}", self.state);
        assert_eq!((self.state.clone(), self.ids()), before);
    }

    /// What is asked, waits over.
    pub(crate) fn asks(&self) -> Vec<Ask> {
        self.asks_at(100_000)
    }

    pub(crate) fn asks_at(&self, seconds: i64) -> Vec<Ask> {
        let due = self.state.pending(at(seconds)).into_iter();
        due.map(|due| due.label).collect()
    }

    /// What is asked, mails aside.
    pub(crate) fn works(&self) -> Vec<Ask> {
        let asks = self.asks().into_iter();
        asks.filter(|ask| !matches!(ask, Ask::Notify { .. }))
            .collect()
    }

    fn ids(&self) -> Vec<Uuid> {
        let due = self.state.pending(at(100_000)).into_iter();
        due.map(|due| due.ask_id).collect()
    }

    fn take(&mut self, fact: &CheckoutFact) -> Option<CheckoutEvent> {
        let decided: Result<Vec<_>, CheckoutRefusal> = self.state.decide(fact);
        let mut events = decided.expect("the checkout has started");
        assert!(events.len() <= 1, "at most one event for each fact");
        let event = events.pop()?;
        self.state.evolve(&event);
        self.story.push(event.name());
        Some(event)
    }
}
