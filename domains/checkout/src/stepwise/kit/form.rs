//! A table can be read in one way only.

use std::collections::BTreeSet;

use kernel::Decider;
use serde_json::to_value;

use super::ensure;
use crate::stepwise::{Plan, Stepwise, Table, state};
use crate::{Checkout, Refunding, Refused, Returning, Saga};

/// What is read of the log is what was written, and each word of a plan stands for one thing.
pub(super) fn well_formed<T: Table>() -> Result<(), String> {
    let read = to_value(T::example()).and_then(serde_json::from_value::<T>);
    let same = read.is_ok_and(|read| read == T::example());
    ensure(same, || "the example is not what is read of it".to_owned())?;
    let name = Stepwise::<T>::NAME;
    let lower = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
    ensure(lower && T::TYPE.starts_with("checkout."), || {
        format!("{} is no token after `checkout.`", T::TYPE)
    })?;
    let names = [Checkout::NAME, Returning::NAME, Refunding::NAME];
    let kinds = [Returning::KIND, Refunding::KIND];
    let taken = names.contains(&name) || kinds.contains(&Stepwise::<T>::KIND);
    ensure(!taken, || format!("another saga is called {name}"))?;
    let plans = T::plans();
    ensure(plans.is_sorted_by(|a, b| a.revision < b.revision), || {
        "the plans are not in order".to_owned()
    })?;
    plans.iter().try_for_each(is_clear)
}

fn is_clear<T>(plan: &Plan<T>) -> Result<(), String> {
    let mut names = BTreeSet::from(state::STAGES);
    let mut facts: BTreeSet<_> = plan.undone_by.iter().copied().collect();
    for (index, step) in plan.steps.iter().enumerate() {
        let undo = step.undo.and_then(|(_, done)| done.fact());
        let told = [step.done.fact(), undo].into_iter().flatten();
        let clear = names.insert(step.name) && told.into_iter().all(|fact| facts.insert(fact));
        ensure(clear, || format!("{} is told twice", step.name))?;
        let one_way = step.undo.is_none() && step.refused == Refused::Suspend;
        ensure(index < plan.no_return() || one_way, || {
            format!("{}: there is no way back", step.name)
        })?;
        ensure(step.asks.is_some() || step.undo.is_none(), || {
            format!("{}: what is not asked is not undone", step.name)
        })?;
    }
    Ok(())
}
