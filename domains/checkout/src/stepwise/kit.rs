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

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, TimeDelta, Utc};
use kernel::{Decider, OrderId, Reason, TextError};
use serde_json::{Value, to_value};
use uuid::Uuid;

use super::{Done, Plan, Step, StepAsk, Stepwise, StepwiseEvent, StepwiseFact, Table};
use crate::settling::Wish;
use crate::{Checkout, Due, Refunding, Refused, Returning, Saga, UNDO_FAILURES_MAX};

/// Most facts, with the beginning, of which every order is tried: 5040 of them.
const PERMUTED_MAX: usize = 7;

/// How many orders of more facts are tried.
const SHUFFLES: u64 = 1_000;

/// Plays the saga through: as it should go, and with each step failing, late, and called off.
///
/// # Errors
/// What is wrong with the table.
pub fn check<T: Table>() -> Result<(), String> {
    well_formed::<T>()?;
    let plan = current::<T>()?;
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
    every_order::<T>(&mut facts)?;
    facts.extend(plan.undone_by.first());
    every_order::<T>(&mut facts)
}

/// One saga under way, and what there is of it in the world.
#[derive(Clone)]
struct Walk<T> {
    saga: Stepwise<T>,
    now: DateTime<Utc>,
    /// The steps that are done and not undone, whatever the saga knows of it.
    done: BTreeSet<&'static str>,
    /// The steps that were undone, in this order.
    undone: Vec<&'static str>,
}

impl<T: Table> Walk<T> {
    fn new() -> Self {
        Self {
            saga: Stepwise::default(),
            now: DateTime::UNIX_EPOCH,
            done: BTreeSet::new(),
            undone: Vec::new(),
        }
    }

    /// Begun, and these steps done.
    fn after(steps: usize) -> Result<Self, String> {
        let mut walk = Self::new();
        walk.begin("")?;
        for _ in 0..steps {
            walk.now += TimeDelta::seconds(1);
            walk.succeed()?;
        }
        Ok(walk)
    }

    fn begin(&mut self, fact: &str) -> Result<(), String> {
        let begins = to_value(T::example()).map_err(|error| error.to_string())?;
        self.hear(fact, Some(begins))
    }

    /// It is told something, and told so again.
    fn tell(&mut self, fact: &StepwiseFact) -> Result<Option<StepwiseEvent>, String> {
        let events = self.decided(fact)?;
        for event in &events {
            self.saga.evolve(event);
        }
        let ends = events.last().is_some_and(StepwiseEvent::ends);
        ensure(events.is_empty() || ends == self.saga.is_over(), || {
            format!("{events:?} does not say whether it is over")
        })?;
        let again = self.decided(fact)?;
        let begun = matches!(events.first(), Some(StepwiseEvent::SagaBegun { .. }));
        ensure(
            events.len() <= 1 + usize::from(begun) && again.is_empty(),
            || format!("{fact:?} leads to {events:?}, and then to {again:?}"),
        )?;
        Ok(events.into_iter().next())
    }

    fn decided(&self, fact: &StepwiseFact) -> Result<Vec<StepwiseEvent>, String> {
        self.saga.decide(fact).map_err(|error| error.to_string())
    }

    fn hear(&mut self, fact: &str, begins: Option<Value>) -> Result<(), String> {
        let heard = StepwiseFact::Heard {
            order_id: OrderId(Uuid::nil()),
            fact: fact.to_owned(),
            begins,
            at: self.now,
        };
        self.tell(&heard).map(|_| ())
    }

    /// It is woken.
    fn wake(&mut self, at: DateTime<Utc>) -> Result<(), String> {
        self.now = at;
        self.tell(&StepwiseFact::TimeCame { at }).map(|_| ())
    }

    /// What it asks: the same, however often it is asked.
    fn due(&self) -> Result<Option<Due<StepAsk>>, String> {
        let due = self.saga.pending(self.now);
        ensure(due.len() <= 1 && due == self.saga.pending(self.now), || {
            format!("{due:?}")
        })?;
        Ok(due.into_iter().next())
    }

    fn ask_id(&self) -> Result<Option<Uuid>, String> {
        Ok(self.due()?.map(|due| due.ask_id))
    }

    /// The step at which it is, or its undo, is done and told.
    fn succeed(&mut self) -> Result<(), String> {
        let plan = current::<T>()?;
        let Some(due) = self.due()? else {
            let mut waits = plan.steps.iter();
            let step = waits.find(|step| step.name == self.saga.stage());
            let step = step.ok_or_else(|| format!("nothing is due when {}", self.saga.stage()))?;
            return self.done(step);
        };
        let ask = due.label;
        let step = plan.steps.iter().find(|step| step.name == ask.step);
        let step = step.ok_or_else(|| format!("{ask} is in no table"))?;
        if !ask.undo {
            return self.done(step);
        }
        self.done.remove(step.name);
        self.undone.push(step.name);
        let done = step.undo.map_or(Done::Answer, |(_, done)| done);
        self.told(done, &ask)
    }

    fn done(&mut self, step: &'static Step<T>) -> Result<(), String> {
        self.done.insert(step.name);
        let ask = StepAsk {
            step: step.name.to_owned(),
            undo: false,
            attempt: self.saga.last_asked().map_or(1, |(_, ask)| ask.attempt),
        };
        self.told(step.done, &ask)
    }

    fn told(&mut self, done: Done, ask: &StepAsk) -> Result<(), String> {
        match done {
            Done::Fact(fact) => self.hear(fact, None),
            Done::Answer => {
                let (ask, at) = (ask.clone(), self.now);
                self.tell(&StepwiseFact::Answered { ask, at }).map(|_| ())
            }
        }
    }

    /// What it asks is refused.
    fn refuse(&mut self) -> Result<(), String> {
        let due = self.due()?.ok_or("nothing is due")?;
        let (code, message) = ("no".to_owned(), "no".to_owned());
        let refused = Stepwise::<T>::refused(&due, code, message, self.now);
        self.tell(&refused).map(|_| ())
    }

    /// An operator settles it.
    fn settle(&mut self, wish: Wish) -> Result<(), String> {
        let (by, at) = ("operator:ada".to_owned(), self.now);
        let settled = self.tell(&StepwiseFact::Settled { wish, by, at })?;
        settled.map(|_| ()).ok_or("it is not suspended".to_owned())
    }

    fn skip(&mut self, step: &str) -> Result<(), String> {
        let step = step.to_owned();
        let reason = by_hand()?;
        self.settle(Wish::Skip { step, reason })
    }

    /// It goes on as it should, and comes to `end`; what was done and can be undone is undone,
    /// newest first, unless all is done.
    fn ends(mut self, end: &str) -> Result<Self, String> {
        let plan = current::<T>()?;
        // Every step is asked, undone, and undone again at most.
        for _ in 0..=plan.steps.len() * 3 {
            if self.saga.is_over() {
                break;
            }
            self.succeed()?;
        }
        let stage = self.saga.stage();
        ensure(stage == end, || format!("it ends {stage}, not {end}"))?;
        let mut undoable = plan.steps.iter().filter(|step| step.undo.is_some());
        let left = undoable.find(|step| self.done.contains(step.name));
        ensure(end == "done" || left.is_none(), || {
            format!("{:?} is left", left.map(|step| step.name))
        })?;
        Ok(self)
    }
}

impl Done {
    fn fact(self) -> Option<&'static str> {
        match self {
            Self::Fact(fact) => Some(fact),
            Self::Answer => None,
        }
    }
}

fn by_hand() -> Result<Reason, String> {
    "by hand"
        .parse()
        .map_err(|error: TextError| error.to_string())
}

fn current<T: Table>() -> Result<&'static Plan<T>, String> {
    let plan = Stepwise::<T>::default().plan();
    plan.ok_or_else(|| format!("nobody knows revision {}", T::CURRENT))
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// What is read of the log is what was written, and each word of a plan stands for one thing.
fn well_formed<T: Table>() -> Result<(), String> {
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
    let mut names = BTreeSet::from(super::state::STAGES);
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
    let mut walk = Walk::<T>::new();
    walk.done.insert(name);
    walk.begin(fact)?;
    walk.ends("done").map(|_| ())
}

fn fails<T: Table>(plan: &'static Plan<T>, index: usize) -> Result<(), String> {
    let (before, step) = (Walk::<T>::after(index)?, plan.steps.get(index));
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
    let (before, Some(step)) = (Walk::<T>::after(index)?, plan.steps.get(index)) else {
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
    let mut done = Walk::<T>::after(index + 1)?;
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
        let mut walk = Walk::<T>::after(index)?;
        walk.hear(fact, None)?;
        let back = index < plan.no_return();
        let undone = walk.ends(if back { "undone" } else { "done" })?.undone;
        let all = undoable(plan, if back { index + 1 } else { 0 });
        ensure(undone == all, || format!("{fact}: {undone:?}"))?;
        // Its beginning may come after that.
        let mut walk = Walk::<T>::new();
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
    let mut walk = Walk::<T>::after(index + 1)?;
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
    let mut walk = Walk::<T>::after(index)?;
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

/// In whatever order these facts come, each twice, before or after its beginning, whoever did it.
fn every_order<T: Table>(facts: &mut Vec<&'static str>) -> Result<(), String> {
    facts.push("");
    orders(facts, &mut |order| {
        in_order::<T>(order).map_err(|error| format!("{order:?}: {error}"))
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

fn in_order<T: Table>(order: &[&'static str]) -> Result<(), String> {
    let plan = current::<T>()?;
    let mut walk = Walk::<T>::new();
    for fact in order {
        let step = plan.steps.iter().find(|step| step.done.is(fact));
        match step {
            None if fact.is_empty() => walk.begin("")?,
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
