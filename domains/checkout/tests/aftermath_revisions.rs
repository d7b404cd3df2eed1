//! Old and new definitions of returns and refunds side by side: each goes on by the table that it
//! started under, and a build that doesn't know the table leaves it alone.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test: what can't be is a finding, and ends it"
)]

mod definitions;
mod kit;

use checkout::refunding::RefundAsk;
use checkout::returning::{ReturnAsk, ReturnStep};
use checkout::{
    RefundingBy, RefundingEvent, RefundingFact, ReturningBy, ReturningEvent, ReturningFact, Saga,
    SagaRefusal, refund_id_of_return,
};
use definitions::{Today, Yesterday};
use kernel::{Decider, RefundId, ReturnId};
use serde_json::{Value, json};
use uuid::Uuid;

const BACK: ReturnId = ReturnId(Uuid::from_u128(0xB));

const REFUND: RefundId = RefundId(Uuid::from_u128(0xC));

fn received() -> ReturningFact {
    ReturningFact::ReturnReceived {
        return_id: BACK,
        order_id: kit::order_id(),
        items: vec![kit::item("MUG", 1)],
        amount: kit::total(),
        user_id: Some(kit::user_id()),
        received_at: kit::at(0),
    }
}

fn restocked() -> ReturningFact {
    let sku = kit::sku("MUG");
    ReturningFact::ReturnRestocked { sku }
}

fn paid_back() -> ReturningFact {
    let refund_id = refund_id_of_return(BACK, 1);
    ReturningFact::PaymentRefunded { refund_id }
}

fn refunded() -> RefundingFact {
    RefundingFact::PaymentRefunded {
        refund_id: REFUND,
        order_id: kit::order_id(),
        user_id: kit::user_id(),
        amount: kit::total(),
        refunded_at: kit::at(0),
    }
}

/// Everything that the saga writes when this build is told these facts.
fn log<S: Saga>(facts: &[S::Command]) -> Vec<S::Event> {
    let (mut saga, mut log) = (S::default(), Vec::new());
    for fact in facts {
        for event in saga.decide(fact).unwrap() {
            saga.evolve(&event);
            log.push(event);
        }
    }
    log
}

/// The saga as this build reads it.
fn read<S: Saga>(log: &[S::Event]) -> S {
    let mut saga = S::default();
    for event in log {
        saga.evolve(event);
    }
    saga
}

fn asks<S: Saga>(saga: &S) -> Vec<S::Ask> {
    let due = saga.pending(kit::at(1)).into_iter();
    due.map(|due| due.label).collect()
}

#[test]
fn a_return_asks_by_the_table_that_it_started_under() {
    let restock = ReturnStep::RestockReturn {
        sku: kit::sku("MUG"),
    };
    let before = log::<ReturningBy<Yesterday>>(&[received()]);
    let after = log::<ReturningBy<Today>>(&[received()]);
    let mut old: ReturningBy<Today> = read(&before);
    let new: ReturningBy<Today> = read(&after);
    assert_eq!((old.revision(), new.revision()), (Some(1), Some(2)));
    let [restock, refund] =
        [restock, ReturnStep::RefundPayment].map(|step| ReturnAsk::Step { step });
    assert_eq!(asks(&old), [restock, refund.clone()]);
    assert_eq!(asks(&new), [refund]);
    let ended = ReturningEvent::ReturningEnded {
        step: ReturnStep::RefundPayment,
    };
    assert_eq!(new.react(&restocked()), None, "it waits for no goods");
    assert_eq!(new.react(&paid_back()), Some(ended.clone()));
    old.evolve(&old.react(&restocked()).unwrap());
    assert_eq!(old.react(&paid_back()), Some(ended));
}

#[test]
fn a_refund_tells_by_the_table_that_it_started_under() {
    let before = log::<RefundingBy<Yesterday>>(&[refunded()]);
    let after = log::<RefundingBy<Today>>(&[refunded()]);
    let old: RefundingBy<Today> = read(&before);
    let new: RefundingBy<Today> = read(&after);
    assert_eq!((old.revision(), new.revision()), (Some(1), Some(2)));
    assert_eq!(asks(&old), [RefundAsk::RecordRefund]);
    assert_eq!(asks(&new), [RefundAsk::Notify]);
    let told = RefundingFact::OrderRefunded {};
    assert_eq!(old.react(&told), Some(RefundingEvent::RefundingEnded {}));
    assert_eq!(new.react(&told), None);
}

/// Neither decides, asks nor keeps a state of a saga of revision 2.
fn is_left_alone<Older, Newer>(log: &[Newer::Event], facts: &[Newer::Command])
where
    Older: Saga<Command = Newer::Command, Event = Newer::Event, Error = SagaRefusal>,
    Newer: Saga<Ask: PartialEq + std::fmt::Debug> + PartialEq + std::fmt::Debug,
{
    let older: Older = read(log);
    assert_eq!(older.unknown_revision(), Some(2));
    assert!(older.pending(kit::at(1)).is_empty());
    assert_eq!((older.deadline(), older.suspended()), (None, None));
    assert_eq!(older.order_id(), Some(kit::order_id()), "it is traced");
    for fact in facts {
        let refused = SagaRefusal::RevisionUnknown { revision: 2 };
        assert_eq!(older.decide(fact).unwrap_err(), refused);
    }
    assert!(serde_json::to_value(&older).is_err());
    let newer: Newer = read(log);
    let kept = serde_json::to_value(&newer).unwrap();
    assert!(serde_json::from_value::<Older>(kept.clone()).is_err());
    let again: Newer = serde_json::from_value(kept).unwrap();
    assert_eq!(again, newer);
    assert_eq!(asks(&again), asks(&newer));
}

#[test]
fn a_build_that_does_not_know_a_definition_leaves_its_returns_and_refunds_alone() {
    let back = [received(), paid_back()];
    for facts in [&back[..1], &back[..]] {
        let log = log::<ReturningBy<Today>>(facts);
        let all = [received(), restocked(), paid_back()];
        is_left_alone::<ReturningBy<Yesterday>, ReturningBy<Today>>(&log, &all);
    }
    let log = log::<RefundingBy<Today>>(&[refunded()]);
    let all = [refunded(), RefundingFact::OrderRefunded {}];
    is_left_alone::<RefundingBy<Yesterday>, RefundingBy<Today>>(&log, &all);
}

#[test]
fn a_refund_of_a_return_that_is_not_understood_is_not_taken_for_nobodys() {
    let log = log::<ReturningBy<Today>>(&[received()]);
    let older: ReturningBy<Yesterday> = read(&log);
    for attempt in [1, 2] {
        assert!(older.asked_for(refund_id_of_return(BACK, attempt)));
    }
    assert!(
        !older.asked_for(RefundId(Uuid::from_u128(0xB0))),
        "another's"
    );
}

/// What began before the definitions had numbers says nothing of them, and what follows the first
/// still doesn't; any other is told.
fn first_is_not_told<Older: Saga, Newer: Saga<Event = Older::Event, Command = Older::Command>>(
    starts: &Older::Command,
    revision: fn(&Newer) -> Option<u32>,
) {
    let starts = std::slice::from_ref(starts);
    let events = [log::<Older>(starts), log::<Newer>(starts)].concat();
    let wire = events
        .iter()
        .map(|event| serde_json::to_value(event).unwrap());
    let wire: Vec<Value> = wire.collect();
    let told = [0, 1].map(|of| wire[of]["data"].get("revision"));
    assert_eq!(told, [None, Some(&json!(2))]);
    let read = wire.into_iter().map(|event| {
        let event = serde_json::from_value(event).unwrap();
        revision(&read(&[event])).unwrap()
    });
    assert_eq!(read.collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn an_event_without_a_revision_is_of_the_first() {
    first_is_not_told::<ReturningBy<Yesterday>, _>(&received(), ReturningBy::<Today>::revision);
    first_is_not_told::<RefundingBy<Yesterday>, _>(&refunded(), RefundingBy::<Today>::revision);
}
