//! The table of steps says what the code does: commands, facts and undos by their wire names.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test: what can't be is a finding, and ends it"
)]

mod kit;

use checkout::{Ask, Definitions, Due, Each, Followed, STEPS, Shop, Stage, Step};
use kit::{
    Case, authorized, canceled, captured, committed, confirmed, refunded, released, reserved,
    shipped, stock_shipped, voided,
};

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

#[test]
fn every_stage_with_a_step_has_its_row_and_no_other() {
    assert!(Shop::known().is_sorted_by(|a, b| a.revision < b.revision));
    let current = Shop::followed(Shop::CURRENT);
    assert!(
        matches!(current, Followed::Known(_)),
        "nobody knows what starts"
    );
    for definition in Shop::known() {
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
fn the_page_of_the_sagas_is_what_follows_from_the_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sagas.md");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let page = checkout::picture::page();
    assert!(
        committed == page,
        "docs/sagas.md is stale: millrace sagas > docs/sagas.md"
    );
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
