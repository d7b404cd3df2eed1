//! The facts of a saga in other orders than they should come in.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::ensure;
use super::walk::Walk;
use crate::stepwise::{Plan, Table};

/// Most facts, with the beginning, of which every order is tried: 5040 of them.
const PERMUTED_MAX: usize = 7;

/// How many orders of more facts are tried.
const SHUFFLES: u64 = 1_000;

/// In whatever order these facts come, each twice, before or after its beginning, whoever did it.
pub(super) fn every_order<T: Table>(
    plan: &'static Plan<T>,
    facts: &mut Vec<&'static str>,
) -> Result<(), String> {
    facts.push("");
    orders(facts, &mut |order| {
        in_order(plan, order).map_err(|error| format!("{order:?}: {error}"))
    })?;
    facts.retain(|fact| !fact.is_empty());
    Ok(())
}

/// Every order of a few, the same sample of the orders of many each time.
fn orders(
    facts: &mut [&'static str],
    visit: &mut impl FnMut(&[&'static str]) -> Result<(), String>,
) -> Result<(), String> {
    if facts.len() <= PERMUTED_MAX {
        return permute(facts, 0, visit);
    }
    (0..SHUFFLES).try_for_each(|seed| {
        facts.sort_by_cached_key(|fact| {
            let mut hasher = DefaultHasher::new();
            (seed, fact).hash(&mut hasher);
            hasher.finish()
        });
        visit(facts)
    })
}

fn in_order<T: Table>(plan: &'static Plan<T>, order: &[&'static str]) -> Result<(), String> {
    let mut walk = Walk::new(plan);
    let begins = walk.may_begin_now();
    if !begins {
        walk.begin("")?;
    }
    for fact in order {
        let step = plan.steps.iter().find(|step| step.done.is(fact));
        match step {
            None if fact.is_empty() && begins => walk.begin("")?,
            None => walk.hear(fact, None)?,
            Some(step) => walk.done(step)?,
        }
    }
    let (stage, before) = (walk.saga.stage(), walk.saga.clone());
    for fact in order {
        walk.hear(fact, None)?;
    }
    ensure(walk.saga == before, || {
        "something follows from a repeat".to_owned()
    })?;
    let back = ["undone", "undoing"].contains(&stage);
    walk.ends(if back { "undone" } else { "done" }).map(|_| ())
}

fn permute<I: Copy>(
    items: &mut [I],
    from: usize,
    visit: &mut impl FnMut(&[I]) -> Result<(), String>,
) -> Result<(), String> {
    if from >= items.len() {
        return visit(items);
    }
    for index in from..items.len() {
        items.swap(from, index);
        permute(items, from + 1, visit)?;
        items.swap(from, index);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// As if the table minded which of two facts comes first.
    fn minds(first: &str, second: &str) -> bool {
        let mut facts = ["a", "b", "c", "d", "e", "f", "g", "h", ""];
        let place = |order: &[&str], of| order.iter().position(|fact| *fact == of);
        let told = orders(&mut facts, &mut |order| {
            ensure(place(order, first) > place(order, second), String::new)
        });
        told.is_err()
    }

    #[test]
    fn of_many_facts_each_comes_before_each_other() {
        assert!(minds("", "a"), "also the beginning before all");
        assert!(minds("b", "a") && minds("a", "h") && minds("h", "a") && minds("h", "g"));
    }

    #[test]
    fn each_of_many_facts_comes_first_once() {
        let mut facts = ["a", "b", "c", "d", "e", "f", "g", "h", ""];
        let mut first = BTreeSet::new();
        let told = orders(&mut facts, &mut |order| {
            first.extend(order.first().copied());
            Ok(())
        });
        assert_eq!((told, first), (Ok(()), BTreeSet::from(facts)));
    }
}
