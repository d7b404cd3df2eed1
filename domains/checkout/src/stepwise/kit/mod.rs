//! The tests that any table must pass: a new saga's own test is one line.
//!
//! ```ignore
//! #[test]
//! fn the_gift_is_a_saga() {
//!     checkout::stepwise::kit::check::<Gift>().unwrap();
//! }
//! ```
//!
//! Only tests call it. Every fact is told twice: the second time nothing must follow from it.

mod form;
mod hearing;
mod orders;
mod walk;

use chrono::{DateTime, TimeDelta};

use self::form::well_formed;
use self::hearing::is_heard;
use self::orders::every_order;
use self::walk::{Walk, by_hand};
use super::{Heard, Plan, Stepwise, Table};
use crate::settling::Wish;
use crate::{Refused, Saga, UNDO_FAILURES_MAX};

/// Holds the table against the events that there are, and plays it through.
///
/// # Errors
/// What is wrong with the table.
pub fn check<T: Table>() -> Result<(), String> {
    check_with::<T>(&[])
}

/// The same of one that only certain events begin, or have a name of its own: these are told as well.
///
/// # Errors
/// What is wrong with the table.
pub fn check_with<T: Table>(more: &[Heard<'_>]) -> Result<(), String> {
    is_heard::<T>(more)?;
    play::<T>()
}

/// Plays the saga through under each of its plans, whatever its facts are called: as it should go, and with each
/// step failing, late, and called off.
///
/// # Errors
/// What is wrong with the table.
pub fn play<T: Table>() -> Result<(), String> {
    well_formed::<T>()?;
    let known = Stepwise::<T>::default().plan().is_some();
    ensure(known, || format!("nobody knows revision {}", T::CURRENT))?;
    T::plans().iter().try_for_each(|plan| {
        let at = |error| format!("revision {}: {error}", plan.revision);
        play_by(plan).map_err(at)
    })
}

fn play_by<T: Table>(plan: &'static Plan<T>) -> Result<(), String> {
    for (index, step) in plan.steps.iter().enumerate() {
        let at = |error| format!("{}: {error}", step.name);
        is_begun_by(plan, index).map_err(at)?;
        fails(plan, index).map_err(at)?;
        is_late(plan, index).map_err(at)?;
        is_called_off(plan, index).map_err(at)?;
        is_lost(plan, index).map_err(at)?;
        can_not_be_undone(plan, index).map_err(at)?;
    }
    let mut facts: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|step| step.done.fact())
        .collect();
    every_order(plan, &mut facts)?;
    facts.extend(plan.undone_by.first());
    every_order(plan, &mut facts)
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Those before `index` that can be undone, newest first.
fn undoable<T: Table>(plan: &Plan<T>, index: usize) -> Vec<&'static str> {
    let before = plan.steps.iter().take(index).rev();
    let undone = before.filter(|step| step.undo.is_some());
    undone.map(|step| step.name).collect()
}

/// What begins it may do a step as well.
fn is_begun_by<T: Table>(plan: &'static Plan<T>, index: usize) -> Result<(), String> {
    let step = plan.steps.get(index);
    let Some((name, fact)) = step.and_then(|step| Some((step.name, step.done.fact()?))) else {
        return Ok(());
    };
    let mut walk = Walk::new(plan);
    walk.done.insert(name);
    walk.begin(fact)?;
    walk.ends("done").map(|_| ())
}

fn fails<T: Table>(plan: &'static Plan<T>, index: usize) -> Result<(), String> {
    let (before, step) = (Walk::after(plan, index)?, plan.steps.get(index));
    let Some(step) = step.filter(|step| step.asks.is_some()) else {
        return Ok(());
    };
    let mut refused = before.clone();
    refused.refuse()?;
    if step.refused == Refused::Undo {
        // It may have been done all the same: a second copy of the ask came through.
        let mut late = refused.clone();
        if step.done.fact().is_some() {
            late.done(step)?;
        }
        late.ends("undone")?;
        let undone = refused.ends("undone")?.undone;
        return ensure(undone == undoable(plan, index), || format!("{undone:?}"));
    }
    let mut resumed = refused.clone();
    resumed.settle(Wish::Resume)?;
    ensure(resumed.ask_id()? != before.ask_id()?, || {
        "it is asked again under the same id".to_owned()
    })?;
    resumed.ends("done")?;
    // It may be done all the same.
    let mut done = refused.clone();
    done.done(step)?;
    done.ends("done")?;
    settled_by_hand(&refused, step.name, "done")
}

/// What it is suspended for is skipped, or all of it resolved; then it is deaf.
fn settled_by_hand<T: Table>(walk: &Walk<T>, step: &str, end: &str) -> Result<(), String> {
    ensure(walk.saga.suspended().is_some(), || {
        "not suspended".to_owned()
    })?;
    let mut other = walk.clone();
    ensure(other.skip("another").is_err(), || {
        "another is skipped".to_owned()
    })?;
    let mut skipped = walk.clone();
    skipped.done.remove(step);
    skipped.skip(step)?;
    skipped.ends(end)?;
    let mut resolved = walk.clone();
    let reason = by_hand()?;
    resolved.settle(Wish::Resolve { reason })?;
    ensure(resolved.due()?.is_none() && resolved.saga.is_over(), || {
        "it is resolved, and goes on".to_owned()
    })
}

/// In time, too late, and done when it was too late.
fn is_late<T: Table>(plan: &'static Plan<T>, index: usize) -> Result<(), String> {
    let (before, Some(step)) = (Walk::after(plan, index)?, plan.steps.get(index)) else {
        return Ok(());
    };
    let whole = (index < plan.no_return()).then(|| DateTime::UNIX_EPOCH + plan.within);
    let own = step.within.map(|within| before.now + within);
    let deadline = own.into_iter().chain(whole).min();
    let told = before.saga.deadline();
    ensure(told == deadline, || format!("it is late at {told:?}"))?;
    let Some(deadline) = deadline else {
        return Ok(());
    };
    let mut early = before.clone();
    early.wake(deadline - TimeDelta::milliseconds(1))?;
    ensure(early.saga == before.saga, || {
        "it is late too early".to_owned()
    })?;
    // What is done before its turn gives nobody more time.
    for later in plan.steps.iter().skip(index + 1) {
        if later.done.fact().is_some() {
            early.done(later)?;
            let told = early.saga.deadline();
            ensure(told == Some(deadline), || {
                format!("{} has it late at {told:?}", later.name)
            })?;
        }
    }
    let mut late = before.clone();
    late.wake(deadline)?;
    let mut done = late.clone();
    done.done(step)?;
    if step.refused == Refused::Suspend {
        done.ends("done")?;
        let mut resumed = late.clone();
        resumed.settle(Wish::Resume)?;
        ensure(resumed.ask_id()? == before.ask_id()?, || {
            "it may be done, and is asked again under another id".to_owned()
        })?;
        return settled_by_hand(&late, step.name, "done");
    }
    done.ends("undone")?;
    let undone = late.ends("undone")?.undone;
    // It may have been asked.
    let undone_by = undoable(plan, index + 1);
    ensure(undone == undone_by, || format!("{undone:?}"))?;
    // The timer of a step that is done means nothing.
    let mut done = Walk::after(plan, index + 1)?;
    let next = done.saga.deadline();
    let over = next.is_none_or(|next| next > deadline);
    done.wake(deadline)?;
    ensure(!over || done.saga.stage() != "undoing", || {
        "it is late when it is done".to_owned()
    })
}

/// What calls it off has everything undone, as long as that can be.
fn is_called_off<T: Table>(plan: &'static Plan<T>, index: usize) -> Result<(), String> {
    for fact in plan.undone_by {
        let mut walk = Walk::after(plan, index)?;
        walk.hear(fact, None)?;
        let back = index < plan.no_return();
        let undone = walk.ends(if back { "undone" } else { "done" })?.undone;
        let all = undoable(plan, if back { index + 1 } else { 0 });
        ensure(undone == all, || format!("{fact}: {undone:?}"))?;
        if plan.revision != T::CURRENT {
            continue;
        }
        // Its beginning may come after that.
        let mut walk = Walk::new(plan);
        walk.hear(fact, None)?;
        walk.begin("")?;
        ensure(walk.saga.is_over(), || format!("{fact}: it begins"))?;
    }
    Ok(())
}

/// Somebody else undoes a step: then the others are undone as well, as long as they can be.
fn is_lost<T: Table>(plan: &'static Plan<T>, index: usize) -> Result<(), String> {
    let step = plan.steps.get(index);
    let undo = step.and_then(|step| Some((step.name, step.undo?.1.fact()?)));
    let Some((name, fact)) = undo else {
        return Ok(());
    };
    let mut walk = Walk::after(plan, index + 1)?;
    let back = index + 1 < plan.no_return();
    walk.done.remove(name);
    walk.hear(fact, None)?;
    let undone = walk.ends(if back { "undone" } else { "done" })?.undone;
    ensure(!undone.contains(&name), || format!("{undone:?}"))
}

/// An undo is tried again, less and less often; then a person is asked.
fn can_not_be_undone<T: Table>(plan: &'static Plan<T>, index: usize) -> Result<(), String> {
    let Some(step) = plan.steps.get(index).filter(|step| step.undo.is_some()) else {
        return Ok(());
    };
    let mut walk = Walk::after(plan, index)?;
    let late = walk.saga.deadline().ok_or("it has no deadline")?;
    walk.wake(late)?;
    for _ in 0..UNDO_FAILURES_MAX {
        walk.refuse()?;
        ensure(walk.due()?.is_none(), || {
            "it is tried again at once".to_owned()
        })?;
        let again = walk.saga.deadline().ok_or("it is not tried again")?;
        walk.wake(again)?;
    }
    walk.refuse()?;
    settled_by_hand(&walk, step.name, "undone")?;
    walk.settle(Wish::Resume)?;
    walk.ends("undone").map(|_| ())
}
