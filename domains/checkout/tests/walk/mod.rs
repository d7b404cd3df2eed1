//! What may be told to a saga on a random walk.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's kit: each test file uses a part of it, and what can't be ends it"
)]

use checkout::refunding::RefundAsk;
use checkout::returning::{ReturnAsk, ReturnStep};
use checkout::{
    Ask, CheckoutBy, CheckoutFact, Definitions, RefundingFact, ReturningFact, Step,
    refund_id_of_return,
};
use kernel::{Reason, RefundId, ReturnId};
use uuid::Uuid;

use crate::chance::Chance;
use crate::kit::{
    self, authorized, canceled, captured, committed, confirmed, declined, expired, failed, item,
    refund_failed, refunded, refused_at, rejected, released, reserved, resolved, resumed, rings,
    shipped, skipped, stock_shipped, voided,
};

/// What is ordered.
pub(crate) const SKUS: [&str; 2] = ["MUG", "TEE"];

/// Facts of one walk.
pub(crate) const FACTS: usize = 80;

/// Seconds between two facts: undos are tried again within five minutes.
pub(crate) const PACE_SECONDS: i64 = 400;

/// Anything that may be told now: what the contexts say, what is answered, what a person does. In
/// `answers` of 100 cases it is an answer, in `noes` of 100 of these "no".
pub(crate) fn something<D: Definitions>(
    state: &CheckoutBy<D>,
    chance: &mut Chance,
    (answers, noes): (usize, usize),
    seconds: i64,
) -> CheckoutFact {
    let sku = SKUS[chance.below(SKUS.len())];
    let asks = state.pending(kit::at(seconds)).into_iter();
    let mut asks: Vec<Ask> = asks.map(|due| due.label).collect();
    if !asks.is_empty() && chance.percent(answers) {
        let ask = asks.swap_remove(chance.below(asks.len()));
        if chance.percent(noes) {
            return refused_at(ask, "no_such_thing", seconds);
        }
        return answered(&ask, chance, seconds);
    }
    if let Some((step, _)) = state.suspended()
        && chance.percent(30)
    {
        let acts = [resumed(), skipped(&step.to_string()), resolved()];
        return acts[chance.below(acts.len())].clone();
    }
    // Also where it only waits for its money.
    if chance.percent(2) {
        return resolved();
    }
    match chance.below(16) {
        0 => canceled(),
        1 => shipped(),
        2 => rejected("nobody knows"),
        3 => confirmed(),
        4 => reserved(sku),
        5 => committed(sku),
        6 => released(sku),
        7 => expired(sku),
        8 => stock_shipped(sku),
        9 => authorized(),
        10 => declined(),
        11 => failed(),
        12 => captured(),
        13 => voided(),
        14 => rings(seconds),
        _ => refund_failed(1, seconds),
    }
}

/// What an ask comes to: mostly what it is for.
fn answered(ask: &Ask, chance: &mut Chance, seconds: i64) -> CheckoutFact {
    match ask {
        Ask::Step { step, .. } => done(step),
        Ask::Undo { step, attempt } => undone(step, *attempt, chance, seconds),
        Ask::RejectOrder { .. } => rejected("it was refused"),
        Ask::RecordRefund | Ask::Notify { .. } => rings(seconds),
    }
}

fn done(step: &Step) -> CheckoutFact {
    match step {
        Step::ReserveStock { sku } => reserved(sku.as_str()),
        Step::CommitStock { sku } => committed(sku.as_str()),
        Step::ShipStock { sku } => stock_shipped(sku.as_str()),
        Step::AuthorizePayment => authorized(),
        Step::CapturePayment => captured(),
        Step::ConfirmOrder => confirmed(),
    }
}

fn undone(step: &Step, attempt: u32, chance: &mut Chance, seconds: i64) -> CheckoutFact {
    match step {
        Step::ReserveStock { sku } | Step::CommitStock { sku } | Step::ShipStock { sku } => {
            released(sku.as_str())
        }
        Step::CapturePayment if chance.percent(50) => refund_failed(attempt, seconds),
        Step::CapturePayment => refunded(attempt),
        Step::AuthorizePayment | Step::ConfirmOrder => voided(),
    }
}

/// All that may be told to a return.
pub(crate) fn of_a_return() -> Vec<ReturningFact> {
    let return_id = ReturnId(Uuid::from_u128(0xB));
    let by = "operator:ada".to_owned();
    let reason: Reason = "by hand".parse().unwrap();
    let mut facts = vec![ReturningFact::ReturnReceived {
        return_id,
        order_id: kit::order_id(),
        items: vec![item("MUG", 1)],
        amount: kit::total(),
        user_id: Some(kit::user_id()),
        received_at: kit::at(0),
    }];
    let sku = kit::sku("MUG");
    facts.push(ReturningFact::ReturnRestocked { sku: sku.clone() });
    for attempt in 1..=2 {
        let refund_id = refund_id_of_return(return_id, attempt);
        let code = "charge_disputed".to_owned();
        facts.push(ReturningFact::PaymentRefunded { refund_id });
        facts.push(ReturningFact::RefundFailed { refund_id, code });
    }
    for step in [ReturnStep::RestockReturn { sku }, ReturnStep::RefundPayment] {
        facts.push(ReturningFact::Skipped {
            step: step.to_string(),
            by: by.clone(),
            reason: reason.clone(),
        });
        facts.push(ReturningFact::AskRefused {
            ask: ReturnAsk::Step { step },
            code: "no".to_owned(),
            message: "no".to_owned(),
        });
    }
    facts.push(ReturningFact::Resumed { by: by.clone() });
    facts.push(ReturningFact::Resolved { by, reason });
    facts
}

/// All that may be told to a refund.
pub(crate) fn of_a_refund() -> Vec<RefundingFact> {
    let by = "operator:ada".to_owned();
    let reason: Reason = "by hand".parse().unwrap();
    let code = "no".to_owned();
    vec![
        RefundingFact::PaymentRefunded {
            refund_id: RefundId(Uuid::from_u128(0xC)),
            order_id: kit::order_id(),
            user_id: kit::user_id(),
            amount: kit::total(),
            refunded_at: kit::at(0),
        },
        RefundingFact::OrderRefunded {},
        RefundingFact::RefundFailed { code: code.clone() },
        RefundingFact::AskRefused {
            ask: RefundAsk::RecordRefund,
            message: code.clone(),
            code,
        },
        RefundingFact::Resumed { by: by.clone() },
        RefundingFact::Skipped {
            step: RefundAsk::RecordRefund.to_string(),
            by: by.clone(),
            reason: reason.clone(),
        },
        RefundingFact::Resolved { by, reason },
    ]
}
