//! Where a saga of a table is. What its events change needs no table: a build that does not know its
//! plan remembers the same.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use chrono::{DateTime, Utc};
use kernel::OrderId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Cause, Plan, Step, StepAsk, StepwiseEvent, Table};
use crate::picture::NOT_STARTED;
use crate::settling::Wish;
use crate::state::Tries;
use crate::tasks::{RESOLVED, SUSPENDED, UNKNOWN};

/// All steps are done.
pub(super) const DONE: &str = "done";

/// Steps are being undone.
pub(super) const UNDOING: &str = "undoing";

/// All that was to be undone is.
pub(super) const UNDONE: &str = "undone";

/// Words that no step is called.
pub(super) const STAGES: [&str; 7] = [
    NOT_STARTED,
    DONE,
    UNDOING,
    UNDONE,
    SUSPENDED,
    RESOLVED,
    UNKNOWN,
];

/// One saga of the table `T`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Stepwise<T> {
    pub(super) begun: Option<Begun>,
    /// Those of which anything was heard.
    pub(super) steps: BTreeMap<String, Progress>,
    pub(super) course: Course,
    /// Why it goes back.
    pub(super) cause: Option<Cause>,
    pub(super) suspension: Option<Suspension>,
    #[serde(skip)]
    table: PhantomData<fn() -> T>,
}

/// Its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) order_id: OrderId,
    pub(super) data: Value,
    pub(super) revision: u32,
    /// When it began, or when a person last saw to it.
    pub(super) since: DateTime<Utc>,
    pub(super) until: DateTime<Utc>,
}

/// Which way it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Course {
    Forward,
    Back,
    /// A person has dealt with all of it.
    Resolved,
}

/// How far a step is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) stage: StepStage,
    /// Its success was heard of, so another word of it is a repeat.
    pub(super) succeeded: bool,
    pub(super) done_at: Option<DateTime<Utc>>,
    pub(super) tries: Tries,
}

/// Where a step is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StepStage {
    #[default]
    Open,
    Done,
    /// It is to be undone.
    Undoing,
    Undone,
}

/// An operator is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Suspension {
    pub(super) step: String,
    pub(super) why: String,
    /// Nobody has refused it.
    pub(super) late: bool,
}

impl<T> Default for Stepwise<T> {
    fn default() -> Self {
        Self {
            begun: None,
            steps: BTreeMap::new(),
            course: Course::Forward,
            cause: None,
            suspension: None,
            table: PhantomData,
        }
    }
}

impl<T: Table> Stepwise<T> {
    /// The plan that it follows, or would; `None` = this build does not know it.
    pub(super) fn plan(&self) -> Option<&'static Plan<T>> {
        let revision = self.revision().unwrap_or(T::CURRENT);
        let mut plans = T::plans().iter();
        plans.find(|plan| plan.revision == revision)
    }

    /// The revision of the plan that it follows, once begun.
    pub fn revision(&self) -> Option<u32> {
        self.begun.as_ref().map(|begun| begun.revision)
    }

    /// What it remembers of its beginning; `None` = it has not begun, or this build can't read it.
    pub fn data(&self) -> Option<T> {
        let begun = self.begun.as_ref()?;
        serde_json::from_value(begun.data.clone()).ok()
    }

    /// The step that is next.
    pub(super) fn current(&self) -> Option<(usize, &'static Step<T>)> {
        let mut steps = self.plan()?.steps.iter().enumerate();
        steps.find(|(_, step)| self.stage_of(step.name) == StepStage::Open)
    }

    /// Can everything still be undone?
    pub(super) fn may_turn(&self) -> bool {
        let here = self.current().map(|(index, _)| index);
        let last = self.plan().map(Plan::no_return);
        let before = here.is_some_and(|here| last.is_some_and(|n| here < n));
        self.course == Course::Forward && (self.begun.is_none() || before)
    }

    pub(super) fn stage_of(&self, step: &str) -> StepStage {
        self.steps.get(step).map_or(StepStage::Open, |of| of.stage)
    }

    pub(super) fn tries(&self, step: &str) -> Tries {
        let known = self.steps.get(step);
        known.map(|of| of.tries.clone()).unwrap_or_default()
    }

    /// What is asked: the next step, or the newest that is to be undone.
    pub(super) fn asked(&self) -> Option<(&'static Step<T>, StepAsk)> {
        self.last_asked().filter(|_| self.suspension.is_none())
    }

    /// The same, or what was asked until it was suspended: it may yet be answered.
    pub(super) fn last_asked(&self) -> Option<(&'static Step<T>, StepAsk)> {
        self.begun.as_ref()?;
        let (step, undo) = match self.course {
            Course::Forward => (self.current()?.1, false),
            Course::Back => (self.newest()?, true),
            Course::Resolved => return None,
        };
        let asks = undo || step.asks.is_some();
        let ask = StepAsk {
            step: step.name.to_owned(),
            undo,
            attempt: self.tries(step.name).attempt,
        };
        asks.then_some((step, ask))
    }

    fn newest(&self) -> Option<&'static Step<T>> {
        let mut steps = self.plan()?.steps.iter().rev();
        steps.find(|step| self.stage_of(step.name) == StepStage::Undoing)
    }

    /// Where it is, in the word of its picture.
    pub fn stage(&self) -> &'static str {
        let begun = self.begun.is_some();
        match self.course {
            Course::Resolved => RESOLVED,
            Course::Forward | Course::Back if self.suspension.is_some() => SUSPENDED,
            Course::Back if self.is_clean() => UNDONE,
            Course::Back => UNDOING,
            Course::Forward if !begun => NOT_STARTED,
            Course::Forward if self.plan().is_none() => UNKNOWN,
            Course::Forward => self.current().map_or(DONE, |(_, step)| step.name),
        }
    }

    /// Is nothing left to do?
    pub fn is_over(&self) -> bool {
        match self.course {
            Course::Resolved => true,
            Course::Forward | Course::Back if self.suspension.is_some() => false,
            Course::Back => self.is_clean(),
            Course::Forward => {
                self.begun.is_some() && self.plan().is_some() && self.current().is_none()
            }
        }
    }

    fn is_clean(&self) -> bool {
        let mut steps = self.steps.values();
        steps.all(|of| of.stage != StepStage::Undoing)
    }

    pub(super) fn follow(&mut self, event: &StepwiseEvent) {
        match event {
            StepwiseEvent::SagaBegun {
                order_id,
                data,
                revision,
                at,
                until,
                ends: _,
            } => {
                self.begun = Some(Begun {
                    order_id: *order_id,
                    data: data.clone(),
                    revision: *revision,
                    since: *at,
                    until: *until,
                });
            }
            StepwiseEvent::SagaStepDone { step, at, ends: _ } => {
                self.enter(step, StepStage::Done);
                let step = self.step(step);
                step.succeeded = true;
                step.done_at = Some(*at);
            }
            StepwiseEvent::SagaUndoStarted { cause, steps, .. } => self.turn(cause, steps),
            StepwiseEvent::SagaStepUndone { step, ends: _ } => {
                self.enter(step, StepStage::Undone);
            }
            StepwiseEvent::SagaUndoFailed {
                step,
                attempt,
                retry_at,
                ..
            } => {
                let tries = &mut self.step(step).tries;
                tries.attempt = attempt.saturating_add(1);
                tries.failures = tries.failures.saturating_add(1);
                tries.retry_at = Some(*retry_at);
            }
            StepwiseEvent::SagaSuspended { step, why, late } => {
                let (step, why, late) = (step.clone(), why.clone(), *late);
                self.suspension = Some(Suspension { step, why, late });
            }
            StepwiseEvent::SagaSettled { how, at, .. } => self.settle(how, *at),
        }
    }

    fn step(&mut self, name: &str) -> &mut Progress {
        self.steps.entry(name.to_owned()).or_default()
    }

    /// What it was suspended for is settled by that.
    fn enter(&mut self, step: &str, stage: StepStage) {
        self.step(step).stage = stage;
        self.suspension.take_if(|waits| waits.step == step);
    }

    fn turn(&mut self, cause: &Cause, steps: &[String]) {
        self.course = Course::Back;
        self.cause.get_or_insert_with(|| cause.clone());
        match cause {
            Cause::Lost { step } | Cause::Refused { step, .. } => {
                self.enter(step, StepStage::Undone);
            }
            Cause::LateSuccess { step } => self.step(step).succeeded = true,
            Cause::TimedOut { .. } | Cause::Overdue {} | Cause::CalledOff { .. } => {}
        }
        for name in steps {
            let step = self.step(name);
            let again = matches!(step.stage, StepStage::Undoing | StepStage::Undone);
            // An earlier undo of it may have been asked and answered: this is another one.
            step.tries = Tries {
                attempt: step.tries.attempt.saturating_add(u32::from(again)),
                ..Tries::default()
            };
            step.stage = StepStage::Undoing;
        }
    }

    fn settle(&mut self, wish: &Wish, at: DateTime<Utc>) {
        let Some(Suspension { step, late, .. }) = self.suspension.take() else {
            return;
        };
        match wish {
            Wish::Resume => {
                let step = self.step(&step);
                step.tries = Tries {
                    attempt: step.tries.attempt.saturating_add(u32::from(!late)),
                    ..Tries::default()
                };
            }
            // A person has done the step, or undone it.
            Wish::Skip { .. } if self.course == Course::Back => {
                self.step(&step).stage = StepStage::Undone;
            }
            Wish::Skip { .. } => self.step(&step).stage = StepStage::Done,
            Wish::Resolve { .. } => self.course = Course::Resolved,
        }
        if let Some(begun) = &mut self.begun {
            begun.since = begun.since.max(at);
        }
    }
}
