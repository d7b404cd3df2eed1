//! What the bus's answers mean: a refused step starts the undo, a refused undo is tried again.

use chrono::{DateTime, TimeDelta, Utc};

use crate::state::{Fate, Flow, Hold};
use crate::{Ask, CheckoutEvent, Outcome, Refused, Stage, Step};

/// How often an undo may fail before an operator is asked. With the waits below: ten minutes.
pub const UNDO_FAILURES_MAX: u32 = 8;

/// The wait after the first failure, in seconds; it doubles with each one.
pub const UNDO_WAIT_FIRST_SECONDS: i64 = 5;

/// The longest wait, in seconds.
pub const UNDO_WAIT_MAX_SECONDS: i64 = 300;

/// Refusals of a void that are no failure: the money was taken or is just being taken. What became
/// of it comes as a fact, and then it is refunded.
const VOID_COMES_TOO_LATE: [&str; 2] = ["capture_in_progress", "payment_captured"];

impl Flow {
    /// Only what is due now can be refused: any other refusal is late or repeated.
    pub(crate) fn ask_refused(
        &self,
        ask: &Ask,
        code: &str,
        message: &str,
        at: DateTime<Utc>,
    ) -> Option<CheckoutEvent> {
        if !self.asks().contains(ask) {
            return None;
        }
        match ask {
            Ask::Step { step, attempt } => Some(self.step_refused(step, *attempt, code, message)),
            Ask::Undo { step, .. } => {
                let void = *step == Step::AuthorizePayment;
                (!(void && VOID_COMES_TOO_LATE.contains(&code)))
                    .then(|| self.failed(step.clone(), &format!("{code}: {message}"), at))
            }
            Ask::RejectOrder { .. } => {
                Some(self.failed(Step::ConfirmOrder, &format!("{code}: {message}"), at))
            }
            // Failing to tell somebody never undoes an order, nor stops a checkout.
            Ask::RecordRefund | Ask::Notify { .. } => None,
        }
    }

    fn step_refused(&self, step: &Step, attempt: u32, code: &str, message: &str) -> CheckoutEvent {
        let refusal = self.row().map(|row| row.refusal);
        if refusal == Some(Refused::Suspend) {
            return CheckoutEvent::CheckoutSuspended {
                step: step.clone(),
                attempt,
                why: format!("{code}: {message}"),
            };
        }
        CheckoutEvent::StepRefused {
            step: step.clone(),
            code: code.to_owned(),
            message: message.to_owned(),
        }
    }

    /// Of a hold that was seen, the end is on its way: it can't be made again. One that never was
    /// seen could still be made by a late reserve.
    pub(crate) fn nothing_to_undo(&self, ask: &Ask) -> Option<CheckoutEvent> {
        let Ask::Undo { step, .. } = ask else {
            return None;
        };
        let line = self.line(step.sku()?)?;
        if !self.asks().contains(ask) {
            return None;
        }
        if line.hold == Hold::Reserving {
            return Some(self.never_done(step.clone()));
        }
        Some(self.undone(step.clone()))
    }

    /// One undo is done, and its context bars the step from happening late.
    pub(crate) fn undone(&self, step: Step) -> CheckoutEvent {
        self.settled(step, false)
    }

    /// The step that was to be undone had never been done, and nothing bars a late success.
    pub(crate) fn never_done(&self, step: Step) -> CheckoutEvent {
        self.settled(step, true)
    }

    /// The last one says that all are.
    fn settled(&self, step: Step, moot: bool) -> CheckoutEvent {
        let mut next = self.clone();
        next.undo(&step, moot);
        if self.stage != Stage::Undoing || !next.is_clean() {
            return CheckoutEvent::UndoSucceeded { step, moot };
        }
        match &self.fate {
            Fate::Canceled { reason } => CheckoutEvent::CheckoutEnded {
                outcome: Outcome::Canceled {
                    reason: reason.clone(),
                },
                step: Some(step),
                moot,
            },
            Fate::Open | Fate::Rejecting { .. } | Fate::Rejected { .. } | Fate::Shipped => {
                CheckoutEvent::CheckoutUndone { step, moot }
            }
        }
    }

    /// An undo failed: again after a wait, or a case for the operator.
    pub(crate) fn failed(&self, step: Step, why: &str, at: DateTime<Utc>) -> CheckoutEvent {
        let tries = self.tries(&step).cloned().unwrap_or_default();
        let attempt = tries.attempt;
        if tries.failures >= UNDO_FAILURES_MAX {
            return CheckoutEvent::CheckoutSuspended {
                step,
                attempt,
                why: why.to_owned(),
            };
        }
        CheckoutEvent::UndoFailed {
            step,
            attempt,
            message: why.to_owned(),
            retry_at: at + wait_after(tries.failures),
        }
    }
}

/// 5, 10, 20, … seconds, at most five minutes.
pub(crate) fn wait_after(failures: u32) -> TimeDelta {
    let doubled = 1_i64.checked_shl(failures).unwrap_or(i64::MAX);
    let seconds = UNDO_WAIT_FIRST_SECONDS.saturating_mul(doubled);
    TimeDelta::seconds(seconds.clamp(UNDO_WAIT_FIRST_SECONDS, UNDO_WAIT_MAX_SECONDS))
}
