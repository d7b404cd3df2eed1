//! The table of steps says what the code does: commands, facts and undos by their wire names.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test: what can't be is a finding, and ends it"
)]

mod kit;

use checkout::{
    Ask, Definitions, Due, Each, REFUND_STEPS, RETURN_STEPS, RefundRow, Refunding, RefundingFact,
    Refused, ReturnRow, Returning, ReturningFact, Row, STEPS, Saga, Shop, Stage, Step,
    refund_id_of_return,
};
use kernel::{RefundId, ReturnId};
use kit::{
    Case, authorized, canceled, captured, committed, confirmed, refunded, released, reserved,
    shipped, stock_shipped, voided,
};
use uuid::Uuid;

/// A fact for every success in the table, in its order.
fn flow() -> Vec<checkout::CheckoutFact> {
    vec![
        reserved("MUG"),
        authorized(),
        committed("MUG"),
        captured(),
        confirmed(),
        shipped(),
        stock_shipped("MUG"),
    ]
}

fn tag(value: &serde_json::Value) -> String {
    value["type"].as_str().unwrap_or_default().to_owned()
}

fn work(case: &Case) -> Vec<Due> {
    let due = case.state.pending(kit::at(1)).into_iter();
    due.filter(|due| !matches!(due.label, Ask::Notify { .. }))
        .collect()
}

#[test]
fn every_row_asks_what_it_says_and_ends_with_what_it_says() {
    let mut case = Case::placed();
    let mut facts = flow().into_iter();
    for row in &STEPS {
        if case.state.stage() == Some(Stage::Completed) {
            assert!(work(&case).is_empty(), "a confirmed order asks for nothing");
            case.when(&facts.next().unwrap());
        }
        assert_eq!(case.state.stage(), Some(row.stage));
        let due = work(&case).remove(0);
        assert_eq!(
            (due.context, tag(&due.command)),
            (row.context, row.command.to_owned())
        );
        let fact = facts.next().unwrap();
        assert_eq!(tag(&serde_json::to_value(&fact).unwrap()), row.success);
        case.when(&fact);
        assert_eq!(case.state.stage(), Some(row.then), "after {}", row.success);
    }
}

#[test]
fn every_undo_asks_what_its_row_says_and_ends_with_what_it_says() {
    let facts = flow();
    let undone = [released("MUG"), voided(), released("MUG"), refunded(1)];
    for (index, row) in STEPS.iter().enumerate().take(4) {
        let (command, success) = row.undo.unwrap();
        // The step is done, or it is the next and may be asked: either way it is to be undone.
        let mut case = Case::placed()
            .given(facts[..=index].to_vec())
            .given([canceled()]);
        let asked = loop {
            let due = work(&case);
            let Some(due) = due.into_iter().next() else {
                panic!("{command} is never asked");
            };
            let Ask::Undo { step, .. } = &due.label else {
                panic!("{due:?}");
            };
            if tag(&due.command) == command && is_of(step, &row.step) {
                break due;
            }
            let done = match step {
                Step::CapturePayment => refunded(1),
                Step::AuthorizePayment => voided(),
                _ => released("MUG"),
            };
            case.when(&done);
        };
        assert_eq!(asked.context, row.context);
        assert_eq!(tag(&serde_json::to_value(&undone[index]).unwrap()), success);
        assert!(case.when(&undone[index]).is_some());
    }
}

fn is_of(step: &Step, each: &Each) -> bool {
    match each {
        Each::Line(of) => *step == of(kit::sku("MUG")),
        Each::Order(own) => step == own,
    }
}

fn is_in_order<R: 'static>()
where
    Shop: Definitions<R>,
{
    let known = <Shop as Definitions<R>>::known();
    assert!(known.is_sorted_by(|a, b| a.revision < b.revision));
    let current = <Shop as Definitions<R>>::numbered(<Shop as Definitions<R>>::CURRENT);
    assert!(current.is_some(), "nobody knows what starts");
}

#[test]
fn the_definitions_are_in_order_and_what_starts_is_known() {
    is_in_order::<Row>();
    is_in_order::<ReturnRow>();
    is_in_order::<RefundRow>();
}

/// With nothing else due the saga asks what the row says, leaves a "no" to a person, and comes with the
/// success to where the row says.
fn is_true<S: Saga, A>(
    row: &Row<A, &'static str>,
    facts: &[S::Command],
    success: &S::Command,
    stage: fn(&S) -> &'static str,
) {
    let before = facts.iter().fold(S::default(), told);
    let [due] = &before.pending(kit::at(1))[..] else {
        panic!("{} and something else is due", row.command);
    };
    assert_eq!(
        (due.context, tag(&due.command)),
        (row.context, row.command.to_owned())
    );
    let no = S::refused(due, "no".to_owned(), "no".to_owned(), kit::at(1));
    let refused = told(before.clone(), &no).suspended().is_some();
    assert_eq!(refused, row.refusal == Refused::Suspend);
    assert_eq!(tag(&serde_json::to_value(success).unwrap()), row.success);
    assert_eq!(
        (stage(&before), stage(&told(before, success))),
        (row.stage, row.then)
    );
}

fn told<S: Saga>(mut saga: S, fact: &S::Command) -> S {
    for event in saga.decide(fact).unwrap() {
        saga.evolve(&event);
    }
    saga
}

#[test]
fn every_row_of_a_return_says_what_is_asked_and_taken_in() {
    let return_id = ReturnId(Uuid::from_u128(0xB));
    let received = ReturningFact::ReturnReceived {
        return_id,
        order_id: kit::order_id(),
        items: vec![kit::item("MUG", 1)],
        amount: kit::total(),
        user_id: None,
        received_at: kit::at(0),
    };
    let successes = [
        ReturningFact::ReturnRestocked {
            sku: kit::sku("MUG"),
        },
        ReturningFact::PaymentRefunded {
            refund_id: refund_id_of_return(return_id, 1),
        },
    ];
    for (index, row) in RETURN_STEPS.iter().enumerate() {
        let other = successes[1 - index].clone();
        let stage = Returning::stage;
        is_true(row, &[received.clone(), other], &successes[index], stage);
    }
}

#[test]
fn every_row_of_a_refund_says_what_is_asked_and_taken_in() {
    let [record] = &REFUND_STEPS;
    let refunded = RefundingFact::PaymentRefunded {
        refund_id: RefundId(Uuid::from_u128(0xB)),
        order_id: kit::order_id(),
        user_id: kit::user_id(),
        amount: kit::total(),
        refunded_at: kit::at(0),
    };
    let success = RefundingFact::OrderRefunded {};
    is_true(record, &[refunded], &success, Refunding::stage);
}

#[test]
fn every_stage_with_a_step_has_its_row_and_no_other() {
    for definition in <Shop as Definitions>::known() {
        assert_eq!(
            definition.steps[0].stage,
            Stage::Reserving,
            "what starts reserves"
        );
        for row in definition.steps {
            let found = definition.row(row.stage).map(|found| found.command);
            assert_eq!(found, Some(row.command));
            let step = match &row.step {
                Each::Line(of) => of(kit::sku("MUG")),
                Each::Order(own) => own.clone(),
            };
            assert_eq!(step.stage(), row.stage);
        }
        for stage in [
            Stage::Completed,
            Stage::Undoing,
            Stage::Undone,
            Stage::Ended,
            Stage::Resolved,
        ] {
            assert!(definition.row(stage).is_none());
        }
    }
}

#[test]
fn no_transition_is_drawn_twice_and_every_stage_is_reached() {
    for picture in checkout::picture::pictures() {
        let all = &picture.transitions;
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{}", picture.saga);
        for transition in all {
            let from = transition.from;
            let reached = from == checkout::picture::NOT_STARTED
                || all
                    .iter()
                    .any(|other| other.to == from && other.from != from);
            assert!(reached, "{}: nothing leads to {from}", picture.saga);
        }
    }
}
