//! On whatever walk a saga goes, its read model says where it stands.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test: what can't be ends it"
)]

#[path = "../../domains/checkout/tests/world/chance.rs"]
mod chance;
#[path = "../../domains/checkout/tests/kit/mod.rs"]
mod kit;
#[path = "../../domains/checkout/tests/walk/mod.rs"]
mod walk;

use std::collections::HashMap;

use chance::Chance;
use checkout::returning::{ReturnAsk, ReturnStep};
use checkout::{
    Checkout, RETURN_ATTEMPTS_MAX, Refunding, Returning, ReturningFact, Status, refund_id_of_return,
};
use cqrs_es::EventEnvelope;
use kernel::{Decider, ReturnId};
use kit::{item, placed};
use projections::{
    AftermathStage, CheckoutStage, CheckoutTimeline, EntityView, RefundHandling, ReturnHandling,
};
use uuid::Uuid;
use walk::{FACTS, PACE_SECONDS, SKUS, of_a_refund, of_a_return, something};

const WALKS: u64 = 3_000;

/// A saga and its row.
struct Both<S, V> {
    saga: S,
    row: V,
    events: usize,
}

impl<S: Decider, V: EntityView<S>> Both<S, V> {
    fn new() -> Self {
        let (saga, row) = (S::default(), V::default());
        Self {
            saga,
            row,
            events: 0,
        }
    }

    fn take(&mut self, fact: &S::Command) {
        for event in self.saga.decide(fact).unwrap() {
            self.saga.evolve(&event);
            self.events += 1;
            self.row.update(&EventEnvelope {
                aggregate_id: "1".to_owned(),
                sequence: self.events,
                payload: event,
                metadata: HashMap::new(),
            });
        }
    }
}

/// Whether all is undone, only the saga knows.
fn word(status: Status) -> CheckoutStage {
    match status {
        Status::NotStarted | Status::Running => CheckoutStage::Running,
        Status::Completed => CheckoutStage::Completed,
        Status::Shipping => CheckoutStage::Shipping,
        Status::Undoing | Status::Undone => CheckoutStage::Undoing,
        Status::Suspended => CheckoutStage::Suspended,
        Status::Ended => CheckoutStage::Ended,
        Status::Resolved => CheckoutStage::Resolved,
    }
}

#[test]
fn a_checkout_waits_for_an_operator_if_and_only_if_its_row_says_so() {
    for seed in 0..WALKS {
        let mut chance = Chance::new(seed);
        let mut both = Both::<Checkout, CheckoutTimeline>::new();
        let ways = ([10, 50, 80][chance.below(3)], [5, 40, 95][chance.below(3)]);
        let lines = 1 + chance.below(SKUS.len());
        let mut fact = placed(SKUS[..lines].iter().map(|sku| item(sku, 1)).collect());
        for moves in 1..=FACTS {
            both.take(&fact);
            let mut row = both.row.status;
            if row == CheckoutStage::Undone {
                row = CheckoutStage::Undoing;
            }
            let (saga, steps) = (word(both.saga.status()), &both.row.steps);
            assert_eq!(row, saga, "seed {seed}, after {steps:#?}");
            let told = both.row.suspended.as_ref();
            let why = told.map(|suspended| (&suspended.step, suspended.why.as_str()));
            assert_eq!(why, both.saga.suspended(), "seed {seed}");
            let seconds = PACE_SECONDS * i64::try_from(moves).unwrap();
            fact = something(&both.saga, &mut chance, ways, seconds);
        }
    }
}

/// A return or a refund: see `domains/checkout/tests/walks.rs`.
fn wandered<S: Decider, V: EntityView<S>>(
    facts: &[S::Command],
    stages: impl Fn(&S, &V) -> (&'static str, AftermathStage),
) {
    for seed in 0..WALKS {
        let mut chance = Chance::new(seed);
        let mut both = Both::<S, V>::new();
        let some = facts.iter().filter(|_| chance.percent(60));
        let some: Vec<_> = some.chain(&facts[..1]).collect();
        for _ in 0..FACTS {
            both.take(some[chance.below(some.len())]);
            let (saga, row) = stages(&both.saga, &both.row);
            let expected = match saga {
                "suspended" => AftermathStage::Suspended,
                "ended" => AftermathStage::Ended,
                "resolved" => AftermathStage::Resolved,
                _ => AftermathStage::Running,
            };
            assert_eq!(row, expected, "seed {seed}");
        }
    }
}

#[test]
fn a_returns_row_stands_where_the_return_does() {
    wandered::<Returning, ReturnHandling>(&of_a_return(), |saga, row| (saga.stage(), row.status));
}

#[test]
fn a_refunds_row_stands_where_the_refund_does() {
    wandered::<Refunding, RefundHandling>(&of_a_refund(), |saga, row| (saga.stage(), row.status));
}

#[test]
fn what_was_tried_too_often_stays_stuck_when_the_rest_goes_on() {
    let mut both = Both::<Returning, ReturnHandling>::new();
    let of_return = of_a_return();
    both.take(&of_return[0]);
    let resumed = ReturningFact::Resumed {
        by: "operator:ada".to_owned(),
    };
    for attempt in 1..=RETURN_ATTEMPTS_MAX {
        both.take(&ReturningFact::RefundFailed {
            refund_id: refund_id_of_return(ReturnId(Uuid::from_u128(0xB)), attempt),
            code: "charge_disputed".to_owned(),
        });
        if attempt < RETURN_ATTEMPTS_MAX {
            both.take(&resumed);
        }
    }
    let sku = kit::sku("MUG");
    both.take(&ReturningFact::AskRefused {
        ask: ReturnAsk::Step {
            step: ReturnStep::RestockReturn { sku },
        },
        code: "no".to_owned(),
        message: "no".to_owned(),
    });
    both.take(&resumed);
    assert_eq!(both.saga.stage(), "suspended");
    assert_eq!(both.row.status, AftermathStage::Suspended);
    let stuck: Vec<_> = both.row.stuck.iter().map(|stuck| &stuck.step).collect();
    assert_eq!(stuck, [&ReturnStep::RefundPayment]);
}
