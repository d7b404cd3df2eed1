//! Steps that don't wait for each other: each is asked until a fact settles it, or until a "no" leaves
//! it to a person. What a return and a refund have in common.
//!
//! ```text
//!   Due ──done──► Done      Due ──"no"──► Stuck ──resumed──► Due, the next attempt
//!                                           ├──done all the same──► Done
//!                                           └──skipped────────────► Skipped
//! ```

use std::fmt;

use kernel::Sku;
use serde::{Deserialize, Serialize};

use crate::{Each, Row};

/// A person is waited for.
pub(crate) const SUSPENDED: &str = "suspended";

/// Nothing is left to do.
pub(crate) const ENDED: &str = "ended";

/// A person has dealt with all of it.
pub(crate) const RESOLVED: &str = "resolved";

/// It follows a definition that this build does not know. In no picture.
pub(crate) const UNKNOWN: &str = "unknown";

/// The steps of one saga, in the order of its table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Tasks<S>(Vec<Task<S>>);

/// A step, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task<S> {
    pub(crate) step: S,
    /// From 1; above 1 only after an operator resumed.
    pub(crate) attempt: u32,
    pub(crate) stage: TaskStage,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TaskStage {
    /// It is asked for.
    Due,
    /// It goes no further by itself.
    Stuck {
        /// Why.
        why: String,
    },
    Done,
    /// A person has done it.
    Skipped,
}

impl<S: Clone + PartialEq + fmt::Display> Tasks<S> {
    /// All steps of a table, for lines of these goods.
    pub(crate) fn of<P>(table: &[Row<S, P>], skus: &[&Sku]) -> Self {
        let steps = table.iter().flat_map(|row| match &row.step {
            Each::Line(of) => skus.iter().map(|sku| of((*sku).clone())).collect(),
            Each::Order(own) => vec![own.clone()],
        });
        let task = |step| Task {
            step,
            attempt: 1,
            stage: TaskStage::Due,
        };
        Self(steps.map(task).collect())
    }

    /// Where the saga is, in the word of its picture: `busy` while something is due.
    pub(crate) fn stage(&self, busy: &'static str) -> &'static str {
        if self.stuck().next().is_some() {
            SUSPENDED
        } else if self.0.iter().any(Task::is_open) {
            busy
        } else {
            ENDED
        }
    }

    pub(crate) fn of_step(&self, step: &S) -> Option<&Task<S>> {
        self.0.iter().find(|task| task.step == *step)
    }

    pub(crate) fn due(&self) -> impl Iterator<Item = &Task<S>> {
        self.0.iter().filter(|task| task.is_due())
    }

    /// What a person is waited for, and why.
    pub(crate) fn stuck(&self) -> impl Iterator<Item = (&Task<S>, &str)> {
        self.0.iter().filter_map(|task| match &task.stage {
            TaskStage::Stuck { why } => Some((task, why.as_str())),
            TaskStage::Due | TaskStage::Done | TaskStage::Skipped => None,
        })
    }

    /// The stuck step of this name: an operator settles what they have looked at.
    pub(crate) fn stuck_at(&self, name: &str) -> Option<&S> {
        let mut steps = self.stuck().map(|(task, _)| &task.step);
        steps.find(|step| step.to_string() == name)
    }

    /// Is only one left to do?
    pub(crate) fn is_last(&self) -> bool {
        self.0.iter().filter(|task| task.is_open()).count() == 1
    }

    pub(crate) fn set(&mut self, step: &S, stage: TaskStage) {
        if let Some(task) = self.0.iter_mut().find(|task| task.step == *step) {
            task.stage = stage;
        }
    }

    /// May anything that is stuck be asked again?
    pub(crate) fn may_resume(&self, attempts_max: u32) -> bool {
        self.stuck().any(|(task, _)| task.attempt < attempts_max)
    }

    /// What is stuck is asked again, under another id.
    pub(crate) fn resume(&mut self, attempts_max: u32) {
        for task in &mut self.0 {
            if matches!(task.stage, TaskStage::Stuck { .. }) && task.attempt < attempts_max {
                task.attempt += 1;
                task.stage = TaskStage::Due;
            }
        }
    }
}

impl<S> Task<S> {
    pub(crate) fn is_due(&self) -> bool {
        self.stage == TaskStage::Due
    }

    /// Not settled yet?
    pub(crate) fn is_open(&self) -> bool {
        match self.stage {
            TaskStage::Due | TaskStage::Stuck { .. } => true,
            TaskStage::Done | TaskStage::Skipped => false,
        }
    }
}
