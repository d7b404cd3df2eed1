//! Old and new definitions side by side: a checkout goes on by the table that it started under,
//! whatever is deployed meanwhile; a build that doesn't know the table leaves the checkout alone.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test: what can't be is a finding, and ends it"
)]

mod definitions;
mod kit;
mod world;

use checkout::{
    Ask, CheckoutBy, CheckoutEvent, CheckoutFact, CheckoutRefusal, Definitions, Status, Step,
};
use definitions::{LATE_STOCK, Today, Tomorrow, Yesterday};
use kernel::{Decider, Sku};
use kit::{authorized, canceled, committed, item, placed, released, reserved, rings, voided};
use world::WorldBy;
use world::play::{check, play};

/// Schedules in one run; a failing one prints its story.
const SEEDS: u64 = 500;

/// Random moves under each build.
const MOVES: usize = 30;

/// A checkout that started under `revision`, known to `D`.
fn started<D: Definitions>(revision: u32, facts: &[CheckoutFact]) -> CheckoutBy<D> {
    let mut state = CheckoutBy::NotStarted;
    let first = placed(vec![item("MUG", 2)]);
    for mut event in CheckoutBy::<D>::NotStarted.decide(&first).unwrap() {
        if let CheckoutEvent::CheckoutStarted {
            revision: number, ..
        } = &mut event
        {
            *number = revision;
        }
        state.evolve(&event);
    }
    for fact in facts {
        for event in state.decide(fact).unwrap() {
            state.evolve(&event);
        }
    }
    state
}

/// What it asks, mails aside.
fn asks<D: Definitions>(state: &CheckoutBy<D>) -> Vec<String> {
    let due = state.pending(kit::at(1)).into_iter();
    let work = due.filter(|due| !matches!(due.label, Ask::Notify { .. }));
    work.map(|due| due.label.to_string()).collect()
}

#[test]
fn each_asks_and_undoes_by_the_table_that_it_started_under() {
    let ways = [
        (
            1,
            [reserved("MUG"), authorized()],
            ["authorize_payment/1", "commit_stock-MUG/1"],
            ["undo-commit_stock-MUG/1", "undo-authorize_payment/1"],
            [released("MUG"), voided()],
        ),
        (
            2,
            [reserved("MUG"), committed("MUG")],
            ["commit_stock-MUG/1", "authorize_payment/1"],
            ["undo-authorize_payment/1", "undo-commit_stock-MUG/1"],
            [voided(), released("MUG")],
        ),
    ];
    for (revision, facts, forward, back, undone) in ways {
        let mut done = Vec::new();
        for (fact, next) in facts.into_iter().zip(forward) {
            done.push(fact);
            let state = started::<Today>(revision, &done);
            assert_eq!(asks(&state), [next], "revision {revision}");
        }
        done.push(canceled());
        for (fact, next) in undone.into_iter().zip(back) {
            let state = started::<Today>(revision, &done);
            assert_eq!(asks(&state), [next], "revision {revision}");
            done.push(fact);
        }
        let state = started::<Today>(revision, &done);
        assert_eq!(state.status(), Status::Ended);
        assert_eq!(state.revision(), Some(revision));
    }
}

#[test]
fn each_gives_up_for_the_reason_in_its_own_table() {
    for (revision, reason) in [(1, checkout::RESERVATION_TIMED_OUT), (2, LATE_STOCK)] {
        let late = [rings(100_000), released("MUG")];
        let state = started::<Today>(revision, &late);
        let asked = state.pending(kit::at(100_001));
        let rejects = asked.iter().find(|due| due.context == "order").unwrap();
        assert!(rejects.command.to_string().contains(reason), "{rejects:?}");
    }
}

#[test]
fn what_starts_now_follows_the_current_one() {
    let first = placed(vec![item("MUG", 2)]);
    let current = |events: Vec<CheckoutEvent>| match events.first() {
        Some(CheckoutEvent::CheckoutStarted { revision, .. }) => *revision,
        other => panic!("{other:?}"),
    };
    let decided = CheckoutBy::<Yesterday>::NotStarted.decide(&first);
    assert_eq!(current(decided.unwrap()), 1);
    let decided = CheckoutBy::<Today>::NotStarted.decide(&first);
    assert_eq!(current(decided.unwrap()), 2);
}

#[test]
fn a_build_that_does_not_know_a_definition_touches_nothing() {
    let facts = [reserved("MUG")];
    let newer = started::<Today>(2, &facts);
    let mut older = started::<Yesterday>(2, &[]);
    older.evolve(&CheckoutEvent::StepSucceeded {
        step: Step::ReserveStock { sku: sku() },
    });
    assert_eq!(older.unknown_revision(), Some(2));
    assert_eq!(asks(&older), Vec::<String>::new());
    assert_eq!(older.deadline(), None);
    for fact in [reserved("MUG"), committed("MUG"), canceled(), rings(9_999)] {
        let refused = CheckoutRefusal::RevisionUnknown { revision: 2 };
        assert_eq!(older.decide(&fact), Err(refused));
    }
    // Nor does it leave or take a snapshot that a build which knows it would go on from.
    assert!(serde_json::to_value(&older).is_err());
    let kept = serde_json::to_value(&newer).unwrap();
    assert!(serde_json::from_value::<CheckoutBy<Yesterday>>(kept.clone()).is_err());
    let again: CheckoutBy<Today> = serde_json::from_value(kept).unwrap();
    assert_eq!(again, newer);
    assert_eq!(asks(&again), asks(&newer));
}

fn sku() -> Sku {
    kit::sku("MUG")
}

/// It came to a clean rest, step after step in the order of its own table.
fn rests<D: Definitions>(world: &mut WorldBy<D>, revision: u32) {
    world.settle();
    check(world, world.order.status().unwrap());
    assert_eq!(world.checkout.revision(), Some(revision));
    let known = <Today as Definitions>::known().iter();
    let table = known.clone().find(|known| known.revision == revision);
    let table = table.unwrap().steps;
    let line = |step: &Step| table.iter().position(|row| row.stage == step.stage());
    let mut last = Some(0);
    for event in &world.log {
        match event {
            CheckoutEvent::StepSucceeded { step } => {
                let next = line(step);
                assert!(next >= last, "{step}:\n{}", world.story.join("\n"));
                last = next;
            }
            CheckoutEvent::UndoStarted { .. }
            | CheckoutEvent::StepRefused { .. }
            | CheckoutEvent::StepTimedOut { .. } => return,
            CheckoutEvent::CheckoutStarted { .. }
            | CheckoutEvent::UndoSucceeded { .. }
            | CheckoutEvent::UndoFailed { .. }
            | CheckoutEvent::CheckoutCompleted {}
            | CheckoutEvent::ShippingStarted { .. }
            | CheckoutEvent::CheckoutUndone { .. }
            | CheckoutEvent::CheckoutSuspended { .. }
            | CheckoutEvent::CheckoutResumed { .. }
            | CheckoutEvent::StepSkipped { .. }
            | CheckoutEvent::CheckoutResolved { .. }
            | CheckoutEvent::CheckoutEnded { .. } => {}
        }
    }
}

fn moves<D: Definitions>(world: &mut WorldBy<D>, most: usize) {
    for _ in 0..world.chance.below(most) {
        play(world);
    }
}

#[test]
fn whenever_it_is_deployed_old_and_new_end_right_each_by_its_own_table() {
    let (mut old, mut new) = (0, 0);
    for seed in 0..SEEDS {
        let mut before = WorldBy::<Yesterday>::new(seed);
        moves(&mut before, MOVES);
        let begun = !before.log.is_empty();
        let mut after = before.deployed::<Today>();
        moves(&mut after, MOVES);
        rests(&mut after, if begun { 1 } else { 2 });
        *(if begun { &mut old } else { &mut new }) += 1;
        let mut fresh = WorldBy::<Today>::new(seed);
        moves(&mut fresh, MOVES);
        rests(&mut fresh, 2);
    }
    assert!(old > SEEDS / 2 && new > 0, "{old} old, {new} new");
}

#[test]
fn an_older_build_leaves_it_as_it_is_and_a_newer_one_ends_it() {
    let mut met = 0;
    for seed in 0..SEEDS {
        let mut newer = WorldBy::<Today>::new(seed);
        moves(&mut newer, MOVES);
        if newer.log.is_empty() {
            continue;
        }
        newer.late_asks();
        let mut older = newer.deployed::<Yesterday>();
        let (written, asked) = (older.log.len(), older.answered());
        moves(&mut older, MOVES);
        let story = older.story.join("\n");
        assert_eq!(older.log.len(), written, "{story}");
        assert_eq!(older.answered(), asked, "{story}");
        rests(&mut older.deployed::<Today>(), 2);
        met += 1;
    }
    assert!(met > SEEDS / 2, "{met}");
}

#[test]
fn a_closed_checkout_needs_its_table_no_more() {
    let (mut closed, mut open) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = WorldBy::<Yesterday>::new(seed);
        moves(&mut world, MOVES);
        world.settle();
        let known = serde_json::to_value(&world.checkout).unwrap();
        let is_open = world.checkout.status() != Status::Ended;
        let taken_out = world.deployed::<Tomorrow>().checkout;
        if is_open {
            assert_eq!(taken_out.unknown_revision(), Some(1));
            assert!(serde_json::to_value(&taken_out).is_err());
            open += 1;
        } else {
            assert_eq!(taken_out.unknown_revision(), None);
            assert_eq!(serde_json::to_value(&taken_out).unwrap(), known);
            assert!(taken_out.decide(&canceled()).is_ok());
            closed += 1;
        }
    }
    assert!(closed > SEEDS / 10 && open > SEEDS / 10, "{closed}, {open}");
}
