//! What the payment's facts mean. Money whose outcome is unknown is never undone: the payment
//! context is asked to let it go, and what it then says decides between done and refund.

use chrono::{DateTime, Utc};
use kernel::RefundId;

use crate::state::{Flow, Funds};
use crate::stock::late;
use crate::{Cause, CheckoutEvent, Stage, Step, refund_id_of};

impl Flow {
    pub(crate) fn authorized(&self) -> Option<CheckoutEvent> {
        let step = Step::AuthorizePayment;
        match self.funds {
            Funds::Requested if self.stage == Stage::Authorizing => {
                Some(CheckoutEvent::StepSucceeded { step })
            }
            // It was declined, yet here it is.
            Funds::Declined => Some(late(step)),
            // Repeated; or being undone, and the void is due already.
            Funds::Untouched
            | Funds::Requested
            | Funds::Authorized
            | Funds::Capturing
            | Funds::Captured
            | Funds::Voided
            | Funds::Refunded => None,
        }
    }

    /// The payment is over and holds nothing.
    pub(crate) fn declined(&self, code: &str, message: &str) -> Option<CheckoutEvent> {
        let step = self.open_authorization()?;
        if self.is_unwinding() {
            return Some(self.undone(step));
        }
        self.stage.is_forward().then(|| CheckoutEvent::StepRefused {
            step,
            code: code.to_owned(),
            message: message.to_owned(),
        })
    }

    pub(crate) fn voided(&self) -> Option<CheckoutEvent> {
        let step = self.open_authorization()?;
        if self.is_unwinding() {
            return Some(self.undone(step));
        }
        self.stage
            .is_forward()
            .then_some(CheckoutEvent::UndoStarted {
                cause: Cause::AuthorizationLost {},
            })
    }

    /// The step that a payment's end without money concerns, while one could still be held.
    fn open_authorization(&self) -> Option<Step> {
        match self.funds {
            Funds::Requested | Funds::Authorized | Funds::Capturing => Some(Step::AuthorizePayment),
            Funds::Untouched
            | Funds::Captured
            | Funds::Declined
            | Funds::Voided
            | Funds::Refunded => None,
        }
    }

    /// While undoing, this is the outcome that was waited for: now the money can go back.
    pub(crate) fn captured(&self) -> Option<CheckoutEvent> {
        let step = Step::CapturePayment;
        match self.funds {
            Funds::Capturing if self.stage == Stage::Capturing => {
                Some(CheckoutEvent::StepSucceeded { step })
            }
            Funds::Requested | Funds::Authorized | Funds::Capturing if self.is_unwinding() => {
                Some(CheckoutEvent::StepSucceeded { step })
            }
            Funds::Declined | Funds::Voided => Some(late(step)),
            // Repeated.
            Funds::Untouched
            | Funds::Requested
            | Funds::Authorized
            | Funds::Capturing
            | Funds::Captured
            | Funds::Refunded => None,
        }
    }

    pub(crate) fn refunded(&self, refund_id: RefundId) -> Option<CheckoutEvent> {
        let ours = (1..=self.money_tries.attempt)
            .any(|attempt| refund_id_of(self.order_id, attempt) == refund_id);
        (ours && self.funds == Funds::Captured && self.is_unwinding())
            .then(|| self.undone(Step::CapturePayment))
    }

    pub(crate) fn refund_failed(
        &self,
        refund_id: RefundId,
        code: &str,
        at: DateTime<Utc>,
    ) -> Option<CheckoutEvent> {
        let current = refund_id_of(self.order_id, self.money_tries.attempt);
        (refund_id == current && self.funds == Funds::Captured && self.suspension.is_none())
            .then(|| self.failed(Step::CapturePayment, code, at))
    }
}
