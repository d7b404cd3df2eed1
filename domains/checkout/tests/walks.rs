//! Every transition that is drawn is one that some sequence of facts takes: long random walks over
//! everything that may be told to a saga, under each of its definitions.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test: what can't be ends it"
)]

#[path = "world/chance.rs"]
mod chance;
mod definitions;
mod kit;

use std::collections::BTreeSet;

use chance::Chance;
use checkout::picture::{NOT_STARTED, Picture, Transition, pictures_of};
use checkout::refunding::RefundAsk;
use checkout::returning::ReturnStep;
use checkout::{
    Ask, Checkout, CheckoutBy, CheckoutEvent, CheckoutFact, Definitions, RefundRow, Refunding,
    RefundingBy, RefundingEvent, RefundingFact, ReturnRow, Returning, ReturningBy, ReturningEvent,
    ReturningFact, Saga, Shop, Step, refund_id_of_return,
};
use definitions::Today;
use kernel::{Decider, Fact, Reason, RefundId, ReturnId};
use kit::{
    authorized, canceled, captured, committed, confirmed, declined, expired, failed, item, placed,
    refund_failed, refunded, refused_at, rejected, released, reserved, resolved, resumed, rings,
    shipped, skipped, stock_shipped, voided,
};
use uuid::Uuid;

/// Walks under each definition.
const WALKS: u64 = 3_000;

/// Facts of one walk.
const FACTS: usize = 80;

/// Seconds between two facts: undos are tried again within five minutes.
const PACE_SECONDS: i64 = 400;

const SKUS: [&str; 2] = ["MUG", "TEE"];

/// Anything that may be told now: what the contexts say, what is answered, what a person does. In
/// `answers` of 100 cases it is an answer, in `noes` of 100 of these "no".
fn something<D: Definitions>(
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

/// Where it is, in the word of its picture.
fn stage<D: Definitions>(state: &CheckoutBy<D>) -> &'static str {
    state.stage().map_or(NOT_STARTED, Into::into)
}

fn walked<D: Definitions>(picture: &Picture) -> BTreeSet<Transition> {
    let mut taken = BTreeSet::new();
    for seed in 0..WALKS {
        let mut chance = Chance::new(seed);
        let mut state = CheckoutBy::<D>::NotStarted;
        let ways = ([10, 50, 80][chance.below(3)], [5, 40, 95][chance.below(3)]);
        let lines = 1 + chance.below(SKUS.len());
        let items = SKUS[..lines].iter().map(|sku| item(sku, 1)).collect();
        let mut fact = placed(items);
        for moves in 1..=FACTS {
            let events = state.decide(&fact).unwrap();
            assert!(events.len() <= 1, "{events:?}");
            for mut event in events {
                if let CheckoutEvent::CheckoutStarted { revision, .. } = &mut event {
                    *revision = picture.revision;
                }
                let from = stage(&state);
                state.evolve(&event);
                let to = stage(&state);
                let event = event.name();
                taken.insert(Transition { from, event, to });
            }
            let seconds = PACE_SECONDS * i64::try_from(moves).unwrap();
            fact = something(&state, &mut chance, ways, seconds);
        }
    }
    taken
}

/// A return or a refund: what may be told it does not depend on where it is. Not everything is told in
/// every walk, so that some go far without an end.
fn wandered<S: Decider>(
    facts: &[S::Command],
    place: fn(&S) -> &'static str,
    under: impl Fn(&mut S::Event),
) -> BTreeSet<Transition> {
    let mut taken = BTreeSet::new();
    for seed in 0..WALKS {
        let mut chance = Chance::new(seed);
        let mut state = S::default();
        let some = facts.iter().filter(|_| chance.percent(60));
        let some: Vec<_> = some.chain(&facts[..1]).collect();
        let mut fact = &facts[0];
        for _ in 0..FACTS {
            for mut event in state.decide(fact).unwrap() {
                under(&mut event);
                let from = place(&state);
                state.evolve(&event);
                let (event, to) = (event.name(), place(&state));
                taken.insert(Transition { from, event, to });
            }
            fact = some[chance.below(some.len())];
        }
    }
    taken
}

fn of_a_return() -> Vec<ReturningFact> {
    let return_id = ReturnId(Uuid::from_u128(0xB));
    let by = "operator:ada".to_owned();
    let reason: Reason = "by hand".parse().unwrap();
    let mut facts = vec![ReturningFact::ReturnReceived {
        return_id,
        order_id: kit::order_id(),
        items: vec![item("MUG", 1)],
        amount: kit::total(),
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
            step,
            code: "no".to_owned(),
            message: "no".to_owned(),
        });
    }
    facts.push(ReturningFact::Resumed { by: by.clone() });
    facts.push(ReturningFact::Resolved { by, reason });
    facts
}

fn of_a_refund() -> Vec<RefundingFact> {
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

fn every_transition_is_taken<D>(of: fn(&Picture) -> bool)
where
    D: Definitions + Definitions<ReturnRow> + Definitions<RefundRow>,
{
    for picture in pictures_of::<D>().into_iter().filter(of) {
        let taken = match picture.saga {
            Checkout::NAME => walked::<D>(&picture),
            Returning::NAME => wandered(&of_a_return(), ReturningBy::<D>::stage, |event| {
                if let ReturningEvent::ReturningStarted { revision, .. } = event {
                    *revision = picture.revision;
                }
            }),
            Refunding::NAME => wandered(&of_a_refund(), RefundingBy::<D>::stage, |event| {
                if let RefundingEvent::RefundingStarted { revision, .. } = event {
                    *revision = picture.revision;
                }
            }),
            other => panic!("no walk through {other}"),
        };
        let drawn: BTreeSet<_> = picture.transitions.iter().copied().collect();
        let (saga, revision) = (picture.saga, picture.revision);
        let missed: Vec<_> = drawn.difference(&taken).collect();
        assert!(missed.is_empty(), "{saga} {revision} never: {missed:#?}");
        let more: Vec<_> = taken.difference(&drawn).collect();
        assert!(more.is_empty(), "{saga} {revision} undrawn: {more:#?}");
    }
}

#[test]
fn every_transition_of_the_shops_sagas_is_taken() {
    every_transition_is_taken::<Shop>(|_| true);
}

#[test]
fn every_transition_of_another_definition_is_taken() {
    every_transition_is_taken::<Today>(|picture| picture.revision == 2);
}
