//! What the order's facts mean, and what the saga's own timer and operator do.

use chrono::{DateTime, Utc};
use kernel::{Reason, Tracking};

use crate::state::{Fate, Flow};
use crate::{Ask, Cause, CheckoutEvent, Outcome, Stage, Step};

impl Flow {
    pub(crate) fn confirmed(&self) -> Option<CheckoutEvent> {
        (self.stage == Stage::Confirming).then_some(CheckoutEvent::CheckoutCompleted {})
    }

    /// An order that has shipped was confirmed, even if that word comes later.
    pub(crate) fn shipped(&self, tracking: &Tracking) -> Option<CheckoutEvent> {
        matches!(self.stage, Stage::Confirming | Stage::Completed).then(|| {
            CheckoutEvent::ShippingStarted {
                tracking: tracking.clone(),
            }
        })
    }

    pub(crate) fn rejected(&self, reason: &Reason) -> Option<CheckoutEvent> {
        let outcome = Outcome::Rejected {
            reason: reason.clone(),
        };
        self.awaits_rejection()
            .then_some(CheckoutEvent::CheckoutEnded {
                outcome,
                step: None,
                moot: false,
            })
    }

    /// A cancellation starts the undo, joins one that is under way (the order is then not to be
    /// rejected), or ends a checkout that waited for the order's rejection.
    pub(crate) fn canceled(&self, reason: &Reason) -> Option<CheckoutEvent> {
        let reason = reason.clone();
        if self.awaits_rejection() {
            return Some(CheckoutEvent::CheckoutEnded {
                outcome: Outcome::Canceled { reason },
                step: None,
                moot: false,
            });
        }
        match (self.stage, &self.fate) {
            (
                Stage::Reserving
                | Stage::Authorizing
                | Stage::Committing
                | Stage::Capturing
                | Stage::Confirming
                | Stage::Completed
                | Stage::Undoing,
                Fate::Open | Fate::Rejecting { .. },
            ) => Some(CheckoutEvent::UndoStarted {
                cause: Cause::OrderCanceled { reason },
            }),
            // Late or repeated: ignore.
            _ => None,
        }
    }

    /// Only the waits that have an end in the table: once money is held, a step is retried until it
    /// is answered.
    pub(crate) fn timed_out(&self, at: DateTime<Utc>) -> Option<CheckoutEvent> {
        self.row()?.timeout?;
        let late = at >= self.deadline;
        let step = self.open_steps().into_iter().next().filter(|_| late)?;
        Some(CheckoutEvent::StepTimedOut { step })
    }

    pub(crate) fn resumed(&self, by: &str) -> Option<CheckoutEvent> {
        self.suspension
            .is_some()
            .then(|| CheckoutEvent::CheckoutResumed { by: by.to_owned() })
    }

    /// Only what it is suspended for: an operator settles what they have looked at.
    pub(crate) fn skipped(&self, step: &str, by: &str, reason: &Reason) -> Option<CheckoutEvent> {
        let suspended = &self.suspension.as_ref()?.step;
        if suspended.to_string() != step {
            return None;
        }
        let mut next = self.clone();
        next.skip(suspended);
        Some(CheckoutEvent::StepSkipped {
            step: suspended.clone(),
            by: by.to_owned(),
            reason: reason.clone(),
            stage: next.stage,
            outcome: next.outcome().filter(|_| next.stage != self.stage),
        })
    }

    /// Also while it waits for money to be let go that a capture holds, which is no failure: if the
    /// provider took another amount, no fact ever comes. Should one come yet, it is seen to.
    pub(crate) fn resolved(&self, by: &str, reason: &Reason) -> Option<CheckoutEvent> {
        let void =
            |ask: &Ask| matches!(ask, Ask::Undo { step, .. } if *step == Step::AuthorizePayment);
        let waits = self.stage == Stage::Undoing && self.asks().iter().any(void);
        let open = self.suspension.is_some() || waits;
        open.then(|| CheckoutEvent::CheckoutResolved {
            by: by.to_owned(),
            reason: reason.clone(),
        })
    }
}
