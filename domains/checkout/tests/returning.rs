//! Goods that came back, as facts in and asks out.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a scenario that can not go on fails"
)]

mod kit;

use std::collections::BTreeSet;

use checkout::returning::{RESTOCK_PATIENCE, ReturnAsk, ReturnStep, fact};
use checkout::{
    RETURN_ATTEMPTS_MAX, Returning, ReturningEvent, ReturningFact, Saga, refund_id_by_hand,
    refund_id_of_return, returns_of,
};
use inventory::{InventoryCommand, InventoryEvent, Stock};
use kernel::{Decider, Money, RefundId, ReturnId};
use kit::{at, item, order_id, sku, user_id};
use notification::{Channel, Template, notification_id};
use order::{OrderCommand, OrderEvent, ReturnLine};
use payment::{PaymentCommand, PaymentEvent, payment_id};
use uuid::Uuid;

const BACK: ReturnId = ReturnId(Uuid::from_u128(0xB));

fn amount() -> Money {
    kit::total()
}

fn received() -> ReturningFact {
    ReturningFact::ReturnReceived {
        return_id: BACK,
        order_id: order_id(),
        items: vec![item("MUG", 2), item("TEE", 1)],
        amount: amount(),
        user_id: Some(user_id()),
        received_at: at(0),
    }
}

fn restocked(name: &str) -> ReturningFact {
    ReturningFact::ReturnRestocked { sku: sku(name) }
}

fn refunded() -> ReturningFact {
    refunded_by(1)
}

/// At this attempt.
fn refunded_by(attempt: u32) -> ReturningFact {
    let refund_id = refund_id_of_return(BACK, attempt);
    ReturningFact::PaymentRefunded { refund_id }
}

fn failed() -> ReturningFact {
    ReturningFact::RefundFailed {
        refund_id: refund_id_of_return(BACK, 1),
        code: "charge_disputed".to_owned(),
    }
}

fn refused(step: ReturnStep) -> ReturningFact {
    ReturningFact::AskRefused {
        ask: ReturnAsk::Step { step },
        code: "no".to_owned(),
        message: "can't be done".to_owned(),
    }
}

fn restock(name: &str) -> ReturnStep {
    ReturnStep::RestockReturn { sku: sku(name) }
}

/// The saga after these facts.
fn after(facts: &[ReturningFact]) -> Returning {
    let mut saga = Returning::default();
    for fact in facts {
        for event in saga.decide(fact).unwrap() {
            saga.evolve(&event);
        }
    }
    saga
}

fn asks(saga: &Returning) -> Vec<ReturnStep> {
    let due = saga.pending(at(1)).into_iter();
    let steps = due.filter_map(|due| match due.label {
        ReturnAsk::Step { step } => Some(step),
        ReturnAsk::RecordRefund | ReturnAsk::Notify => None,
    });
    steps.collect()
}

#[test]
fn goods_are_restocked_and_paid_back_side_by_side() {
    let saga = after(&[received()]);
    let all = [restock("MUG"), restock("TEE"), ReturnStep::RefundPayment];
    assert_eq!(asks(&saga), all);
    assert_eq!(saga.deadline(), None);
}

#[test]
fn each_context_is_asked_in_its_own_words() {
    let due = after(&[received()]).pending(at(1));
    let command: InventoryCommand = serde_json::from_value(due[0].command.clone()).unwrap();
    let restock = InventoryCommand::RestockReturn {
        return_id: BACK,
        quantity: 2,
        expires_at: at(0) + RESTOCK_PATIENCE,
        at: at(1),
    };
    assert_eq!((due[0].context, command), ("inventory", restock));
    assert_eq!(due[0].aggregate_id.as_str(), "MUG");
    let command: PaymentCommand = serde_json::from_value(due[2].command.clone()).unwrap();
    let refund = PaymentCommand::RefundPayment {
        refund_id: refund_id_of_return(BACK, 1),
        amount: amount(),
        reason: "goods returned".parse().unwrap(),
    };
    assert_eq!((due[2].context, command), ("payment", refund));
    assert_eq!(due[2].aggregate_id, payment_id(order_id()).into());
}

#[test]
fn a_return_ends_with_the_last_step_whichever_it_is() {
    let orders = [
        [restocked("MUG"), restocked("TEE"), refunded()],
        [refunded(), restocked("TEE"), restocked("MUG")],
        [restocked("TEE"), refunded(), restocked("MUG")],
    ];
    for facts in orders {
        let mut saga = after(&[received()]);
        let mut story = Vec::new();
        for fact in &facts {
            let event = saga.react(fact).unwrap();
            saga.evolve(&event);
            story.push(event);
            assert_eq!(saga.react(fact), None, "repeated");
        }
        assert!(matches!(
            story[0],
            ReturningEvent::ReturningStepSucceeded { .. }
        ));
        assert!(matches!(story[2], ReturningEvent::ReturningEnded { .. }));
        assert_eq!(asks(&saga), []);
        assert_eq!(saga.suspended(), None);
        assert_eq!(saga.react(&received()), None, "a second start");
    }
}

#[test]
fn the_same_ask_has_the_same_id_whenever_it_is_sent() {
    let ids = |saga: &Returning, seconds| -> Vec<Uuid> {
        let due = saga.pending(at(seconds)).into_iter();
        due.map(|due| due.ask_id).collect()
    };
    let saga = after(&[received()]);
    assert_eq!(ids(&saga, 1), ids(&saga, 999));
    let distinct: BTreeSet<_> = ids(&saga, 1).into_iter().collect();
    assert_eq!(distinct.len(), 3);
}

#[test]
fn a_step_that_is_refused_waits_for_a_person_and_the_others_go_on() {
    let saga = after(&[received(), refused(ReturnStep::RefundPayment)]);
    assert_eq!(asks(&saga), [restock("MUG"), restock("TEE")]);
    let why = saga.suspended().unwrap();
    assert_eq!(why, "refund_payment: no: can't be done");
    assert_eq!(saga.react(&refused(ReturnStep::RefundPayment)), None);
    let all = [
        received(),
        refused(ReturnStep::RefundPayment),
        restocked("MUG"),
        restocked("TEE"),
    ];
    let saga = after(&all);
    assert!(saga.suspended().is_some(), "not over without the money");
    let ended = ReturningEvent::ReturningEnded {
        step: ReturnStep::RefundPayment,
    };
    assert_eq!(saga.react(&refunded()), Some(ended));
}

#[test]
fn a_refund_that_fails_waits_for_a_person_also_after_the_end() {
    let done = [received(), restocked("MUG"), restocked("TEE"), refunded()];
    for facts in [&done[..1], &done[..]] {
        let mut saga = after(facts);
        let event = saga.react(&failed()).unwrap();
        saga.evolve(&event);
        let why = saga.suspended().unwrap();
        assert_eq!(why, "refund_payment: the refund failed: charge_disputed");
        assert!(!asks(&saga).contains(&ReturnStep::RefundPayment));
        assert_eq!(saga.react(&failed()), None);
    }
}

#[test]
fn a_person_has_what_is_stuck_asked_again_under_other_ids() {
    let resumed = ReturningFact::Resumed {
        by: "operator:ada".to_owned(),
    };
    let stuck = after(&[received(), restocked("TEE"), failed()]);
    let mut again = stuck.clone();
    again.evolve(&stuck.react(&resumed).unwrap());
    assert_eq!(again.suspended(), None);
    assert_eq!(asks(&again), [restock("MUG"), ReturnStep::RefundPayment]);
    let ask = |saga: &Returning, step: ReturnStep| {
        let mut due = saga.pending(at(1)).into_iter();
        due.find(|due| due.label == ReturnAsk::Step { step: step.clone() })
            .unwrap()
    };
    let (before, now) = (after(&[received()]), &again);
    let of_restock = [&before, now].map(|saga| ask(saga, restock("MUG")).ask_id);
    assert_eq!(of_restock[0], of_restock[1], "it was never stuck");
    let refunds = [&before, now].map(|saga| ask(saga, ReturnStep::RefundPayment));
    assert_ne!(refunds[0].ask_id, refunds[1].ask_id);
    assert_ne!(
        refunds[0].command, refunds[1].command,
        "under the first id the provider would only repeat its no"
    );
    assert_eq!(again.react(&refunded()), None, "not the refund of now");
    assert!(again.react(&refunded_by(2)).is_some());
    assert_eq!(again.react(&resumed), None, "nothing is stuck any more");
}

#[test]
fn that_a_refund_went_is_no_news_once_it_has_come_back() {
    let saga = after(&[received(), restocked("MUG"), restocked("TEE"), failed()]);
    assert_eq!(saga.react(&refunded()), None, "told late");
    assert!(saga.suspended().is_some());
    let resumed = ReturningFact::Resumed {
        by: "operator:ada".to_owned(),
    };
    let mut again = saga.clone();
    again.evolve(&saga.react(&resumed).unwrap());
    assert!(again.react(&refunded_by(2)).is_some());
}

fn skipped(step: &str) -> ReturningFact {
    ReturningFact::Skipped {
        step: step.to_owned(),
        by: "operator:ada".to_owned(),
        reason: "done by hand".parse().unwrap(),
    }
}

fn resolved() -> ReturningFact {
    ReturningFact::Resolved {
        by: "operator:ada".to_owned(),
        reason: "settled on the phone".parse().unwrap(),
    }
}

#[test]
fn a_refund_made_by_hand_is_skipped_and_the_rest_goes_on() {
    let mut saga = after(&[received(), restocked("TEE"), failed()]);
    assert_eq!(
        saga.react(&skipped("restock_return-MUG")),
        None,
        "not stuck"
    );
    let event = saga.react(&skipped("refund_payment")).unwrap();
    assert!(matches!(
        event,
        ReturningEvent::ReturningStepSkipped { last: false, .. }
    ));
    saga.evolve(&event);
    assert_eq!(saga.suspended(), None);
    assert_eq!(asks(&saga), [restock("MUG")]);
    assert_eq!(saga.react(&skipped("refund_payment")), None, "once");
    assert_eq!(saga.react(&failed()), None, "a person has seen to it");
    assert_eq!(saga.react(&refunded()), None);
    let ended = saga.react(&restocked("MUG")).unwrap();
    assert!(matches!(ended, ReturningEvent::ReturningEnded { .. }));
}

#[test]
fn what_a_person_paid_by_hand_the_order_and_the_customer_hear_of() {
    let mut saga = after(&[received(), restocked("TEE"), failed()]);
    let tells = |saga: &Returning| {
        let due = saga.pending(at(1)).into_iter();
        let told = due.filter(|due| !matches!(due.label, ReturnAsk::Step { .. }));
        told.collect::<Vec<_>>()
    };
    assert!(tells(&saga).is_empty());
    saga.evolve(&saga.react(&skipped("refund_payment")).unwrap());
    let told = tells(&saga);
    let command: OrderCommand = serde_json::from_value(told[0].command.clone()).unwrap();
    // Not the refund that failed: it may have been told before it came back, and be taken back yet.
    let refund_id = refund_id_by_hand(BACK);
    let record = OrderCommand::RecordRefund {
        refund_id,
        amount: amount(),
    };
    assert_eq!((told[0].context, command), ("order", record));
    let template = Template::OrderRefunded;
    let mail = notification_id(refund_id.0, template, Channel::Email, user_id());
    assert_eq!(told[1].aggregate_id, mail.into());
    // However it goes on: a repeat is harmless.
    let no = ReturningFact::AskRefused {
        ask: ReturnAsk::RecordRefund,
        code: "refund_exceeds_total".to_owned(),
        message: "no".to_owned(),
    };
    assert_eq!(saga.react(&no), None);
    saga.evolve(&saga.react(&restocked("MUG")).unwrap());
    assert_eq!((saga.stage(), tells(&saga)), ("ended", told));
    // What was skipped by an older version stays told under the id that it had then.
    let mut before = after(&[received(), failed()]);
    before.evolve(&ReturningEvent::ReturningStepSkipped {
        step: ReturnStep::RefundPayment,
        by: "operator:ada".to_owned(),
        reason: "by bank transfer".parse().unwrap(),
        last: false,
        paid: None,
    });
    let OrderCommand::RecordRefund { refund_id, .. } =
        serde_json::from_value(tells(&before)[0].command.clone()).unwrap()
    else {
        panic!("something else is told");
    };
    assert_eq!(refund_id, refund_id_of_return(BACK, 1));
    // A return that began before it was known whose it is tells the order alone.
    let old = after(&[
        received().bought_by(None),
        failed(),
        skipped("refund_payment"),
    ]);
    assert_eq!(tells(&old).len(), 1);
}

#[test]
fn the_last_step_skipped_ends_it() {
    let all_back = [received(), restocked("TEE"), restocked("MUG"), failed()];
    let mut saga = after(&all_back);
    let event = saga.react(&skipped("refund_payment")).unwrap();
    assert!(matches!(
        event,
        ReturningEvent::ReturningStepSkipped { last: true, .. }
    ));
    saga.evolve(&event);
    assert_eq!(saga.stage(), "ended");
}

#[test]
fn what_a_person_resolved_asks_for_nothing_more() {
    let running = after(&[received()]);
    assert_eq!(running.react(&resolved()), None, "nothing is stuck");
    let mut saga = after(&[received(), failed()]);
    saga.evolve(&saga.react(&resolved()).unwrap());
    assert_eq!((saga.stage(), asks(&saga)), ("resolved", vec![]));
    assert_eq!(saga.suspended(), None);
    let resumed = ReturningFact::Resumed {
        by: "operator:ada".to_owned(),
    };
    for late in [
        resolved(),
        resumed,
        skipped("refund_payment"),
        restocked("MUG"),
        refunded(),
        failed(),
        received(),
    ] {
        assert_eq!(saga.react(&late), None);
    }
}

#[test]
fn nobody_tries_for_ever() {
    let resumed = ReturningFact::Resumed {
        by: "operator:ada".to_owned(),
    };
    let mut saga = after(&[received()]);
    let mut ids = BTreeSet::new();
    for attempt in 1..=RETURN_ATTEMPTS_MAX {
        let refund_id = refund_id_of_return(BACK, attempt);
        assert!(saga.asked_for(refund_id));
        assert!(returns_of(refund_id).any(|id| id == BACK), "{attempt}");
        assert!(ids.insert(refund_id), "another one each time");
        let code = "charge_disputed".to_owned();
        let failed = ReturningFact::RefundFailed { refund_id, code };
        saga.evolve(&saga.react(&failed).unwrap());
        if attempt < RETURN_ATTEMPTS_MAX {
            saga.evolve(&saga.react(&resumed).unwrap());
        }
    }
    assert_eq!(saga.react(&resumed), None);
    assert!(saga.suspended().is_some());
}

#[test]
fn a_refund_of_no_return_is_ignored() {
    let saga = Returning::default();
    for fact in [refunded(), failed(), restocked("MUG")] {
        assert_eq!(saga.react(&fact), None);
    }
    assert_eq!(asks(&saga), []);
}

#[test]
fn the_state_survives_a_snapshot() {
    let saga = after(&[received(), restocked("TEE"), failed()]);
    let json = serde_json::to_string(&saga).unwrap();
    assert_eq!(serde_json::from_str::<Returning>(&json).unwrap(), saga);
}

#[test]
fn the_contexts_events_tell_which_return_they_are_about() {
    let lines = vec![
        ReturnLine {
            sku: sku("MUG"),
            quantity: 2,
        },
        ReturnLine {
            sku: sku("TEE"),
            quantity: 1,
        },
    ];
    let came_back = OrderEvent::ReturnReceived {
        return_id: BACK,
        lines,
        amount: amount(),
    };
    let told = fact::from_order(order_id(), &came_back, at(0));
    let told = told.map(|(id, fact)| (id, fact.bought_by(Some(user_id()))));
    assert_eq!(told, Some((BACK, received())));
    let shelved = InventoryEvent::ReturnRestocked {
        return_id: BACK,
        quantity: 2,
        expires_at: at(9),
        at: at(1),
        stock: Stock::default(),
    };
    let told = fact::from_inventory(&sku("MUG"), &shelved);
    assert_eq!(told, Some((BACK, restocked("MUG"))));
    let refund_id = refund_id_of_return(BACK, 1);
    let paid_back = PaymentEvent::PaymentRefunded {
        refund_id,
        amount: amount(),
    };
    assert_eq!(
        fact::from_payment(&paid_back),
        Some((refund_id, refunded()))
    );
    let not_paid = PaymentEvent::RefundFailed {
        refund_id: RefundId(BACK.0),
        code: "charge_disputed".to_owned(),
        came_back: None,
    };
    assert_eq!(fact::from_payment(&not_paid), Some((refund_id, failed())));
    let captured = PaymentEvent::PaymentCaptured { amount: amount() };
    assert_eq!(fact::from_payment(&captured), None);
}
