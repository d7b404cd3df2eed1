//! The picture of a table: what follows from it, drawn.

use chrono::DateTime;
use uuid::Uuid;

use super::state::{DONE, UNDOING, UNDONE};
use super::{Asks, Done, Plan, Step, Stepwise, Table, Try};
use crate::evolve::reason;
use crate::picture::{Cells, NOT_STARTED, Picture, Transition};
use crate::tasks::{RESOLVED, SUSPENDED};
use crate::{Due, Refused, Saga};

/// A saga under each of its plans, the newest first, as long as nobody does what it has not asked: that
/// may lead from anywhere to anywhere behind it.
pub fn pictures<T: Table>() -> Vec<Picture> {
    let newest_first = T::plans().iter().rev();
    let picture = |plan: &'static Plan<T>| Picture {
        saga: Stepwise::<T>::NAME,
        revision: plan.revision,
        about: T::ABOUT,
        table: cells(plan),
        transitions: plan.transitions(),
    };
    newest_first.map(picture).collect()
}

fn cells<T: Table>(plan: &Plan<T>) -> Vec<Cells> {
    let after = plan.steps.iter().skip(1).map(|step| step.name);
    let rows = plan.steps.iter().zip(after.chain([DONE]));
    rows.map(|(step, then)| step.cells(then)).collect()
}

impl<T: Table> Step<T> {
    fn cells(&self, then: &str) -> Cells {
        let (of, asks) = match self.asks {
            Some(asks) => asked(self.name, asks),
            None => ("–".to_owned(), "waits".to_owned()),
        };
        let refused = match self.refused {
            Refused::Undo => "undo",
            Refused::Suspend => "a person sees to it",
        };
        let late = self
            .within
            .map(|within| format!("{} s", within.num_seconds()));
        let undo = self.undo.map(|(asks, done)| {
            let (_, command) = asked(self.name, asks);
            format!("{command} → {}", done.told())
        });
        [
            self.name.to_owned(),
            asks,
            of,
            self.done.told(),
            refused.to_owned(),
            late.unwrap_or("–".to_owned()),
            undo.unwrap_or("–".to_owned()),
            then.to_owned(),
        ]
    }
}

/// Whom, and what, of the example.
fn asked<T: Table>(step: &str, asks: Asks<T>) -> (String, String) {
    let now = Try {
        attempt: 1,
        at: DateTime::UNIX_EPOCH,
        why: reason(step),
    };
    let due: Due<()> = asks(&T::example(), now).due(Uuid::nil(), ());
    let command = due.command.get("type").and_then(|name| name.as_str());
    let command = command.unwrap_or_default();
    (due.context.to_owned(), format!("`{command}`"))
}

impl Done {
    fn told(self) -> String {
        match self {
            Self::Fact(fact) => format!("`{fact}`"),
            Self::Answer => "it is answered".to_owned(),
        }
    }
}

const BEGUN: &str = "saga_begun";
const STEP_DONE: &str = "saga_step_done";
const UNDO_STARTED: &str = "saga_undo_started";
const STEP_UNDONE: &str = "saga_step_undone";
const UNDO_FAILED: &str = "saga_undo_failed";
const SAGA_SUSPENDED: &str = "saga_suspended";
const SETTLED: &str = "saga_settled";

const fn arrow(from: &'static str, event: &'static str, to: &'static str) -> Transition {
    Transition { from, event, to }
}

impl<T> Plan<T> {
    fn transitions(&self) -> Vec<Transition> {
        let begin = self.nexts(0).map(|to| arrow(NOT_STARTED, BEGUN, to));
        let mut all: Vec<_> = begin.collect();
        // Its beginning comes last.
        if self.waits_from(0) {
            all.push(arrow(NOT_STARTED, STEP_DONE, NOT_STARTED));
        }
        if !self.undone_by.is_empty() {
            all.push(arrow(NOT_STARTED, UNDO_STARTED, UNDONE));
            all.push(arrow(UNDONE, BEGUN, UNDONE));
        }
        for (index, step) in self.steps.iter().enumerate() {
            all.extend(self.of_step(index, step));
        }
        all.extend(self.of_undo());
        let mut drawn = Vec::new();
        all.retain(|one| {
            let new = !drawn.contains(one);
            drawn.push(*one);
            new
        });
        all
    }

    /// Where it may be when the steps before `index` are done: what it then waits for may have been
    /// told before.
    fn nexts(&self, index: usize) -> impl Iterator<Item = &'static str> {
        let rest = self.steps.iter().skip(index);
        let told = rest.clone().take_while(|step| step.asks.is_none());
        let names = rest.map(|step| step.name).chain([DONE]);
        names.take(told.count() + 1)
    }

    /// May something be told before its turn?
    fn waits_from(&self, index: usize) -> bool {
        let mut rest = self.steps.iter().skip(index);
        rest.any(|step| step.asks.is_none())
    }

    fn of_step(&self, index: usize, step: &Step<T>) -> Vec<Transition> {
        let (here, waits) = (step.name, self.waits_from(index + 1));
        let done = self.nexts(index + 1).map(|to| arrow(here, STEP_DONE, to));
        let mut all: Vec<_> = done.collect();
        all.extend(waits.then(|| arrow(here, STEP_DONE, here)));
        if index < self.no_return() {
            all.extend(self.turns(index, step));
            return all;
        }
        if step.asks.is_none() && step.within.is_none() {
            return all;
        }
        all.extend([
            arrow(here, SAGA_SUSPENDED, SUSPENDED),
            arrow(SUSPENDED, SETTLED, here),
            arrow(SUSPENDED, SETTLED, RESOLVED),
        ]);
        let skipped = self.nexts(index + 1);
        all.extend(skipped.map(|to| arrow(SUSPENDED, SETTLED, to)));
        let done = self.nexts(index + 1);
        all.extend(done.map(|to| arrow(SUSPENDED, STEP_DONE, to)));
        all.extend(waits.then(|| arrow(SUSPENDED, STEP_DONE, SUSPENDED)));
        all
    }

    /// Back from a step: whether there is something to undo depends on what leads there.
    fn turns(&self, index: usize, step: &Step<T>) -> Vec<Transition> {
        let before = || self.steps.iter().take(index).filter_map(|step| step.undo);
        let lost = before().any(|(_, done)| done != Done::Answer);
        let (done, own) = (before().count(), usize::from(step.undo.is_some()));
        // Too late or called off; refused; something else is lost.
        let left = [
            Some(done + own),
            step.asks.map(|_| done),
            lost.then(|| (done + own).saturating_sub(1)),
        ];
        let to = |left| if left == 0 { UNDONE } else { UNDOING };
        let left = left.into_iter().flatten();
        left.map(|left| arrow(step.name, UNDO_STARTED, to(left)))
            .collect()
    }

    fn of_undo(&self) -> Vec<Transition> {
        let undos = || self.steps.iter().filter(|step| step.undo.is_some());
        if undos().next().is_none() {
            return Vec::new();
        }
        let several = undos().count() > 1;
        let mut all = vec![
            arrow(UNDOING, STEP_UNDONE, UNDONE),
            arrow(UNDOING, UNDO_FAILED, UNDOING),
            arrow(UNDOING, SAGA_SUSPENDED, SUSPENDED),
            arrow(SUSPENDED, SETTLED, UNDOING),
            arrow(SUSPENDED, SETTLED, UNDONE),
            arrow(SUSPENDED, SETTLED, RESOLVED),
            arrow(SUSPENDED, STEP_UNDONE, UNDONE),
        ];
        all.extend(several.then(|| arrow(UNDOING, STEP_UNDONE, UNDOING)));
        all.extend(several.then(|| arrow(SUSPENDED, STEP_UNDONE, UNDOING)));
        let told = |done: Done| done != Done::Answer;
        if undos().any(|step| step.undo.is_some_and(|(_, done)| told(done))) {
            all.extend(several.then(|| arrow(SUSPENDED, STEP_UNDONE, SUSPENDED)));
        }
        // A success that comes late.
        if undos().any(|step| told(step.done)) {
            all.extend([
                arrow(UNDOING, UNDO_STARTED, UNDOING),
                arrow(UNDONE, UNDO_STARTED, UNDOING),
                arrow(SUSPENDED, UNDO_STARTED, SUSPENDED),
            ]);
        }
        all
    }
}
