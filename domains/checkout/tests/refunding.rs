//! Money that went back, as facts in and asks out.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

mod kit;

use checkout::refunding::{RefundAsk, fact};
use checkout::{Refunding, RefundingEvent, RefundingFact, Saga, refund_id_of};
use kernel::{Decider, Money, RefundId};
use kit::{Case, at, order_id, user_id};
use notification::{NotificationCommand, Template};
use order::{OrderCommand, OrderEvent};
use payment::PaymentEvent;
use uuid::Uuid;

const BACK: RefundId = RefundId(Uuid::from_u128(0xB));

fn amount() -> Money {
    kit::total()
}

fn refunded() -> RefundingFact {
    RefundingFact::PaymentRefunded {
        refund_id: BACK,
        order_id: order_id(),
        user_id: user_id(),
        amount: amount(),
        refunded_at: at(0),
    }
}

fn failed() -> RefundingFact {
    RefundingFact::RefundFailed {
        code: "charge_disputed".to_owned(),
    }
}

fn refused(ask: RefundAsk) -> RefundingFact {
    RefundingFact::AskRefused {
        ask,
        code: "no".to_owned(),
        message: "can't be done".to_owned(),
    }
}

/// The saga after these facts.
fn after(facts: &[RefundingFact]) -> Refunding {
    let mut saga = Refunding::default();
    for fact in facts {
        for event in saga.decide(fact).unwrap() {
            saga.evolve(&event);
        }
    }
    saga
}

fn asks(saga: &Refunding) -> Vec<RefundAsk> {
    let due = saga.pending(at(1)).into_iter();
    due.map(|due| due.label).collect()
}

#[test]
fn the_order_is_told_and_then_the_customer() {
    let saga = after(&[refunded()]);
    assert_eq!(asks(&saga), [RefundAsk::RecordRefund]);
    let due = saga.pending(at(1)).remove(0);
    let command: OrderCommand = serde_json::from_value(due.command).unwrap();
    let record = OrderCommand::RecordRefund {
        refund_id: BACK,
        amount: amount(),
    };
    assert_eq!((due.context, command), ("order", record));
    let saga = after(&[refunded(), RefundingFact::OrderRefunded {}]);
    assert_eq!(asks(&saga), [RefundAsk::Notify]);
    let due = saga.pending(at(1)).remove(0);
    let NotificationCommand::RequestNotification {
        user_id: to,
        template,
        details,
        ..
    } = serde_json::from_value(due.command).unwrap()
    else {
        unreachable!("a mail is requested");
    };
    assert_eq!((to, template), (user_id(), Template::OrderRefunded));
    assert_eq!(details.amount, Some(amount()));
    assert_eq!(saga.suspended(), None);
    assert_eq!(saga.deadline(), None);
}

#[test]
fn what_is_repeated_changes_nothing() {
    let saga = after(&[refunded()]);
    assert_eq!(saga.react(&refunded()), None);
    let over = after(&[refunded(), RefundingFact::OrderRefunded {}]);
    for fact in [
        refunded(),
        RefundingFact::OrderRefunded {},
        refused(RefundAsk::RecordRefund),
        refused(RefundAsk::Notify),
    ] {
        assert_eq!(over.react(&fact), None);
    }
}

#[test]
fn two_refunds_are_two_mails() {
    let ended = |refund_id| {
        let fact = RefundingFact::PaymentRefunded {
            refund_id,
            order_id: order_id(),
            user_id: user_id(),
            amount: amount(),
            refunded_at: at(0),
        };
        after(&[fact, RefundingFact::OrderRefunded {}])
            .pending(at(1))
            .remove(0)
    };
    let (one, two) = (ended(BACK), ended(RefundId(Uuid::from_u128(0xC))));
    assert_ne!(one.aggregate_id, two.aggregate_id);
    assert_ne!(one.ask_id, two.ask_id);
}

#[test]
fn an_order_that_says_no_is_left_to_a_person_and_the_customer_is_told() {
    let saga = after(&[refunded(), refused(RefundAsk::RecordRefund)]);
    assert_eq!(saga.suspended().unwrap(), "no: can't be done");
    assert_eq!(asks(&saga), [RefundAsk::Notify]);
    let ended = Some(RefundingEvent::RefundingEnded {});
    assert_eq!(saga.react(&RefundingFact::OrderRefunded {}), ended);
}

#[test]
fn money_that_the_bank_sends_back_is_left_to_a_person() {
    for facts in [
        vec![refunded()],
        vec![refunded(), RefundingFact::OrderRefunded {}],
    ] {
        let mut saga = after(&facts);
        let event = saga.react(&failed()).unwrap();
        saga.evolve(&event);
        let why = saga.suspended().unwrap();
        assert_eq!(why, "the refund failed: charge_disputed");
        assert_eq!(saga.react(&failed()), None);
        assert_eq!(asks(&saga)[0], RefundAsk::ReverseRefund);
    }
}

#[test]
fn the_order_is_told_that_money_came_back_under_one_id_for_good() {
    let stuck = after(&[refunded(), RefundingFact::OrderRefunded {}, failed()]);
    let due = stuck.pending(at(1)).remove(0);
    let command: OrderCommand = serde_json::from_value(due.command).unwrap();
    let reverse = OrderCommand::ReverseRefund { refund_id: BACK };
    assert_eq!((due.context, command), ("order", reverse));
    let resumed = RefundingFact::Resumed {
        by: "operator:ada".to_owned(),
    };
    for seen_to in [resumed, skipped("record_refund")] {
        let mut over = stuck.clone();
        over.evolve(&stuck.react(&seen_to).unwrap());
        assert_eq!(over.stage(), "ended");
        assert_eq!(over.pending(at(1)).remove(0).ask_id, due.ask_id);
    }
    assert_eq!(stuck.react(&refused(RefundAsk::ReverseRefund)), None);
    // Also once a person has dealt with all of it: the order can't know by itself.
    let mut over = stuck.clone();
    over.evolve(&stuck.react(&resolved()).unwrap());
    assert_eq!(over.stage(), "resolved");
    let left: Vec<_> = over
        .pending(at(1))
        .into_iter()
        .map(|due| due.ask_id)
        .collect();
    assert_eq!(left, [due.ask_id]);
}

#[test]
fn money_that_came_back_stays_with_a_person_whatever_the_order_says() {
    let saga = after(&[refunded(), failed()]);
    assert_eq!(saga.react(&RefundingFact::OrderRefunded {}), None);
    let mut stuck = after(&[refunded(), refused(RefundAsk::RecordRefund)]);
    stuck.evolve(&stuck.react(&failed()).unwrap());
    let why = stuck.suspended().unwrap();
    assert_eq!(why, "the refund failed: charge_disputed");
    let resumed = RefundingFact::Resumed {
        by: "operator:ada".to_owned(),
    };
    stuck.evolve(&stuck.react(&resumed).unwrap());
    assert_eq!(asks(&stuck), [RefundAsk::ReverseRefund], "of no refund");
}

#[test]
fn a_person_has_the_order_told_again_or_closes_what_is_over() {
    let resumed = RefundingFact::Resumed {
        by: "operator:ada".to_owned(),
    };
    let resume = |facts: &[RefundingFact]| {
        let mut saga = after(facts);
        saga.evolve(&saga.react(&resumed).unwrap());
        assert_eq!(saga.suspended(), None);
        assert_eq!(saga.react(&resumed), None);
        saga
    };
    let first = after(&[refunded()]).pending(at(1)).remove(0);
    let again = resume(&[refunded(), refused(RefundAsk::RecordRefund)]);
    let due = again.pending(at(1)).remove(0);
    assert_eq!(due.label, RefundAsk::RecordRefund);
    assert_ne!(due.ask_id, first.ask_id, "or its answer would be the same");
    let never_there = resume(&[refunded(), failed()]);
    assert_eq!(asks(&never_there), [RefundAsk::ReverseRefund]);
    let came_back = resume(&[refunded(), RefundingFact::OrderRefunded {}, failed()]);
    let as_before = [RefundAsk::ReverseRefund, RefundAsk::Notify];
    assert_eq!(asks(&came_back), as_before);
}

fn skipped(step: &str) -> RefundingFact {
    RefundingFact::Skipped {
        step: step.to_owned(),
        by: "operator:ada".to_owned(),
        reason: "noted by hand".parse().unwrap(),
    }
}

fn resolved() -> RefundingFact {
    RefundingFact::Resolved {
        by: "operator:ada".to_owned(),
        reason: "settled on the phone".parse().unwrap(),
    }
}

#[test]
fn an_order_that_a_person_has_told_is_told_no_more_and_the_mail_stays_due() {
    let mut saga = after(&[refunded(), refused(RefundAsk::RecordRefund)]);
    assert_eq!(saga.react(&skipped("notify")), None, "not stuck");
    saga.evolve(&saga.react(&skipped("record_refund")).unwrap());
    assert_eq!(
        (saga.stage(), asks(&saga)),
        ("ended", vec![RefundAsk::Notify])
    );
    assert_eq!(saga.react(&skipped("record_refund")), None, "once");
}

#[test]
fn what_a_person_resolved_asks_for_nothing_more() {
    assert_eq!(after(&[refunded()]).react(&resolved()), None);
    let mut saga = after(&[refunded(), refused(RefundAsk::RecordRefund)]);
    saga.evolve(&saga.react(&resolved()).unwrap());
    assert_eq!((saga.stage(), asks(&saga)), ("resolved", vec![]));
    assert_eq!(saga.suspended(), None);
    let ended = RefundingFact::OrderRefunded {};
    for late in [
        resolved(),
        skipped("record_refund"),
        ended,
        failed(),
        refunded(),
    ] {
        assert_eq!(saga.react(&late), None);
    }
}

#[test]
fn money_that_was_here_again_before_anybody_was_told_is_told_nobody() {
    let saga = after(&[failed(), refunded()]);
    assert_eq!((saga.stage(), asks(&saga)), ("ended", vec![]));
    assert_eq!(saga.suspended(), None);
    let again = [failed(), refunded(), RefundingFact::OrderRefunded {}];
    assert!(again.iter().all(|fact| saga.react(fact).is_none()));
}

#[test]
fn a_refund_that_never_was_done_is_told_nobody() {
    for fact in [
        RefundingFact::OrderRefunded {},
        refused(RefundAsk::RecordRefund),
    ] {
        assert_eq!(after(&[fact]), Refunding::default());
    }
    assert_eq!(asks(&Refunding::default()), []);
}

#[test]
fn the_state_survives_a_snapshot() {
    for facts in [
        vec![refunded()],
        vec![failed()],
        vec![refunded(), failed()],
        vec![refunded(), RefundingFact::OrderRefunded {}],
    ] {
        let saga = after(&facts);
        let json = serde_json::to_string(&saga).unwrap();
        assert_eq!(serde_json::from_str::<Refunding>(&json).unwrap(), saga);
    }
}

#[test]
fn a_refund_that_the_checkout_asked_for_is_its_own() {
    let checkout = Case::placed().state;
    let back = |refund_id| PaymentEvent::PaymentRefunded {
        refund_id,
        amount: amount(),
    };
    let own = back(refund_id_of(order_id(), 1));
    assert_eq!(fact::from_payment(&checkout, &own, at(0)), None);
    let told = fact::from_payment(&checkout, &back(BACK), at(0));
    assert_eq!(told, Some((BACK, refunded())));
    let not_done = PaymentEvent::RefundFailed {
        refund_id: BACK,
        code: "charge_disputed".to_owned(),
        came_back: None,
    };
    let told = fact::from_payment(&checkout, &not_done, at(0));
    assert_eq!(told, Some((BACK, failed())));
    let noted = OrderEvent::OrderRefunded {
        refund_id: BACK,
        amount: amount(),
    };
    let told = fact::from_order(&noted);
    assert_eq!(told, Some((BACK, RefundingFact::OrderRefunded {})));
}
