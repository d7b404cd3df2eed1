//! What follows from a fact: one event, or none when it is repeated, late or of no concern. Only what
//! begins a saga may be what a step waits for as well.

use chrono::{DateTime, Utc};
use kernel::OrderId;
use serde_json::Value;

use super::state::{Course, StepStage};
use super::{Cause, Done, Step, StepAsk, Stepwise, StepwiseEvent, StepwiseFact, Table};
use crate::answer::wait_after;
use crate::settling::Wish;
use crate::{Refused, UNDO_FAILURES_MAX};

impl<T: Table> Stepwise<T> {
    /// What follows from a fact.
    pub fn react(&self, fact: &StepwiseFact) -> Vec<StepwiseEvent> {
        let (mut next, mut events) = (self.clone(), Vec::new());
        while let Some(event) = next.follows(fact) {
            next.follow(&event);
            let begun = matches!(event, StepwiseEvent::SagaBegun { .. });
            events.push(if next.is_over() {
                event.ending()
            } else {
                event
            });
            if !begun {
                break;
            }
        }
        events
    }

    fn follows(&self, fact: &StepwiseFact) -> Option<StepwiseEvent> {
        if self.course == Course::Resolved {
            // A person has it in hand.
            return None;
        }
        match fact {
            StepwiseFact::Heard {
                order_id,
                begins: Some(data),
                at,
                ..
            } if self.begun.is_none() => self.begins(*order_id, data, *at),
            StepwiseFact::Heard { fact, at, .. } => self.heard(fact, *at),
            StepwiseFact::Answered { ask, already, at } => self.answered(ask, *already, *at),
            StepwiseFact::Refused {
                ask,
                code,
                message,
                at,
            } => self.refused(ask, (code, message), *at),
            StepwiseFact::TimeCame { at } => self.time_came(*at),
            StepwiseFact::Settled { wish, by, at } => self.settled(wish, by, *at),
        }
    }

    /// Also when it was called off before: then what somebody has done of it is undone.
    fn begins(&self, order_id: OrderId, data: &Value, at: DateTime<Utc>) -> Option<StepwiseEvent> {
        let plan = self.plan()?;
        Some(StepwiseEvent::SagaBegun {
            order_id,
            data: data.clone(),
            revision: plan.revision,
            at,
            until: at + plan.within,
            ends: false,
        })
    }

    /// After a crash its beginning may come after what followed it. So that is remembered, should the
    /// saga begin, whoever did it.
    fn heard(&self, fact: &str, at: DateTime<Utc>) -> Option<StepwiseEvent> {
        let plan = self.plan()?;
        if let Some(step) = plan.steps.iter().find(|step| step.done.is(fact)) {
            return self.succeeded(step, at);
        }
        let undone = |step: &&Step<T>| step.undo.is_some_and(|(_, done)| done.is(fact));
        if let Some(step) = plan.steps.iter().find(undone) {
            return self.undone(step);
        }
        let called_off = plan.undone_by.contains(&fact);
        let fact = fact.to_owned();
        called_off.then(|| self.turned(Cause::CalledOff { fact }))?
    }

    fn succeeded(&self, of: &Step<T>, at: DateTime<Utc>) -> Option<StepwiseEvent> {
        let step = of.name.to_owned();
        let known = self.steps.get(of.name);
        match self.course {
            Course::Forward => {
                let open = self.stage_of(of.name) == StepStage::Open;
                let ends = false;
                open.then_some(StepwiseEvent::SagaStepDone { step, at, ends })
            }
            // It was given up, and its undo may have found nothing to undo.
            Course::Back => {
                let repeated = known.is_some_and(|known| known.succeeded);
                let steps = vec![step.clone()];
                (of.undo.is_some() && !repeated)
                    .then(|| undo_started(Cause::LateSuccess { step }, steps))
            }
            Course::Resolved => None,
        }
    }

    /// When the saga asked for it, that is an undo done; when it did not, the step is lost.
    fn undone(&self, of: &Step<T>) -> Option<StepwiseEvent> {
        let step = of.name.to_owned();
        match self.stage_of(of.name) {
            StepStage::Undoing => Some(StepwiseEvent::SagaStepUndone { step, ends: false }),
            StepStage::Done => self.turned(Cause::Lost { step }),
            StepStage::Open | StepStage::Undone => None,
        }
    }

    /// Everything that was done, or is just being asked, is undone. Nothing is asked before it begins.
    fn turned(&self, cause: Cause) -> Option<StepwiseEvent> {
        if !self.may_turn() {
            return None;
        }
        let here = self.current().filter(|_| self.begun.is_some());
        let here = here.map(|(index, _)| index);
        let gone = match &cause {
            Cause::Refused { step, .. } | Cause::Lost { step } => Some(step.clone()),
            Cause::TimedOut { .. }
            | Cause::Overdue {}
            | Cause::CalledOff { .. }
            | Cause::LateSuccess { .. } => None,
        };
        let steps = self.plan()?.steps.iter().enumerate().rev();
        let steps = steps.filter(|(index, step)| {
            let reached = self.stage_of(step.name) == StepStage::Done || Some(*index) == here;
            reached && step.undo.is_some() && gone.as_deref() != Some(step.name)
        });
        let steps = steps.map(|(_, step)| step.name.to_owned()).collect();
        Some(undo_started(cause, steps))
    }

    /// What another plan is told by the answer, this one may be told by a fact.
    fn answered(&self, ask: &StepAsk, already: bool, at: DateTime<Utc>) -> Option<StepwiseEvent> {
        let (step, _) = self.last_asked().filter(|(_, due)| due == ask)?;
        if ask.undo {
            let told = step.undo.is_some_and(|(_, done)| done == Done::Answer);
            return (told || already).then(|| self.undone(step))?;
        }
        (step.done == Done::Answer).then(|| self.succeeded(step, at))?
    }

    /// Only what is due now can be refused: any other refusal is late or repeated.
    fn refused(
        &self,
        ask: &StepAsk,
        (code, message): (&str, &str),
        at: DateTime<Utc>,
    ) -> Option<StepwiseEvent> {
        let (of, _) = self.asked().filter(|(_, due)| due == ask)?;
        let (step, why) = (ask.step.clone(), format!("{code}: {message}"));
        if !ask.undo {
            let (code, message) = (code.to_owned(), message.to_owned());
            return match of.refused {
                Refused::Undo => self.turned(Cause::Refused {
                    step,
                    code,
                    message,
                }),
                Refused::Suspend => Some(suspended(step, why, false)),
            };
        }
        let failures = self.tries(&step).failures;
        if failures >= UNDO_FAILURES_MAX {
            return Some(suspended(step, why, false));
        }
        Some(StepwiseEvent::SagaUndoFailed {
            step,
            attempt: ask.attempt,
            message: why,
            retry_at: at + wait_after(failures),
        })
    }

    /// A timer is a hint: what it was for may be done by now.
    fn time_came(&self, at: DateTime<Utc>) -> Option<StepwiseEvent> {
        let (_, of) = self.current()?;
        let step = of.name.to_owned();
        if self.step_ends_at().is_some_and(|late| late <= at) {
            return match of.refused {
                Refused::Undo => self.turned(Cause::TimedOut { step }),
                Refused::Suspend => {
                    let why = "not done in its time".to_owned();
                    Some(suspended(step, why, true))
                }
            };
        }
        let overdue = self.ends_at().is_some_and(|late| late <= at);
        overdue.then(|| self.turned(Cause::Overdue {}))?
    }

    /// Only what it is suspended for: an operator settles what they have looked at.
    fn settled(&self, wish: &Wish, by: &str, at: DateTime<Utc>) -> Option<StepwiseEvent> {
        let suspended = &self.suspension.as_ref()?.step;
        let meant = match wish {
            Wish::Skip { step, .. } => step == suspended,
            Wish::Resume | Wish::Resolve { .. } => true,
        };
        meant.then(|| StepwiseEvent::SagaSettled {
            how: wish.clone(),
            by: by.to_owned(),
            at,
            ends: false,
        })
    }

    /// When the step at which it is takes too long: its time runs from when those before it were done,
    /// whatever else is done before its turn.
    pub(super) fn step_ends_at(&self) -> Option<DateTime<Utc>> {
        let begun = self.begun.as_ref().filter(|_| self.is_forward())?;
        let (index, step) = self.current()?;
        let before = self.plan()?.steps.iter().take(index);
        let done = before.filter_map(|step| self.steps.get(step.name)?.done_at);
        Some(done.fold(begun.since, DateTime::max) + step.within?)
    }

    /// When the whole takes too long.
    pub(super) fn ends_at(&self) -> Option<DateTime<Utc>> {
        let begun = self.begun.as_ref().filter(|_| self.is_forward())?;
        self.may_turn().then_some(begun.until)
    }

    fn is_forward(&self) -> bool {
        self.course == Course::Forward && self.suspension.is_none()
    }
}

impl Done {
    pub(super) fn is(self, fact: &str) -> bool {
        matches!(self, Self::Fact(own) if own == fact)
    }
}

fn suspended(step: String, why: String, late: bool) -> StepwiseEvent {
    StepwiseEvent::SagaSuspended { step, why, late }
}

/// What ends with it is said by [`StepwiseEvent::ending`].
fn undo_started(cause: Cause, steps: Vec<String>) -> StepwiseEvent {
    StepwiseEvent::SagaUndoStarted {
        cause,
        steps,
        ends: false,
    }
}
