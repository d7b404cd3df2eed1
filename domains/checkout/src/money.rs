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
            // Repeated; or being undone, and the void is due already. What is held after a void, the
            // payment lets go by itself.
            Funds::Untouched
            | Funds::Requested
            | Funds::Authorized
            | Funds::Capturing
            | Funds::Captured
            | Funds::Voided
            | Funds::Refunded => None,
        }
    }

    /// The issuer's no: nothing was ever held.
    pub(crate) fn declined(&self, code: &str) -> Option<CheckoutEvent> {
        (self.funds == Funds::Requested)
            .then(|| self.without_money(code, "the issuer declined the payment"))
            .flatten()
    }

    /// The provider's final no to the call in flight. To a capture it leaves the money held: that
    /// is still to be voided.
    pub(crate) fn payment_failed(&self, code: &str) -> Option<CheckoutEvent> {
        match self.funds {
            Funds::Requested => self.without_money(code, "the payment failed"),
            Funds::Capturing if self.stage == Stage::Capturing => {
                Some(CheckoutEvent::StepRefused {
                    step: Step::CapturePayment,
                    code: code.to_owned(),
                    message: "the capture failed".to_owned(),
                })
            }
            // Late or repeated; or being undone, and the void is due already.
            Funds::Untouched
            | Funds::Authorized
            | Funds::Capturing
            | Funds::Captured
            | Funds::Declined
            | Funds::Voided
            | Funds::Refunded => None,
        }
    }

    fn without_money(&self, code: &str, message: &str) -> Option<CheckoutEvent> {
        let step = Step::AuthorizePayment;
        if self.is_unwinding() {
            return Some(self.never_done(step));
        }
        self.stage.is_forward().then(|| CheckoutEvent::StepRefused {
            step,
            code: code.to_owned(),
            message: message.to_owned(),
        })
    }

    /// Let go. When the checkout did not ask for it (a hold lapses at the provider after some
    /// days), the order has lost its money.
    pub(crate) fn voided(&self) -> Option<CheckoutEvent> {
        match self.funds {
            Funds::Requested | Funds::Authorized | Funds::Capturing => {}
            Funds::Untouched
            | Funds::Captured
            | Funds::Declined
            | Funds::Voided
            | Funds::Refunded => return None,
        }
        if self.is_unwinding() {
            return Some(self.undone(Step::AuthorizePayment));
        }
        self.stage
            .is_forward()
            .then_some(CheckoutEvent::UndoStarted {
                cause: Cause::AuthorizationLost {},
            })
    }

    /// Also before it was asked for: somebody captures by hand at the provider. While undoing, this
    /// is the outcome that was waited for: now the money can go back.
    pub(crate) fn captured(&self) -> Option<CheckoutEvent> {
        let step = Step::CapturePayment;
        match self.funds {
            Funds::Requested | Funds::Authorized | Funds::Capturing => {
                Some(CheckoutEvent::StepSucceeded { step })
            }
            Funds::Declined | Funds::Voided => Some(late(step)),
            // Repeated.
            Funds::Untouched | Funds::Captured | Funds::Refunded => None,
        }
    }

    pub(crate) fn refunded(&self, refund_id: RefundId) -> Option<CheckoutEvent> {
        (refund_id == self.refund_id() && self.funds == Funds::Captured && self.is_unwinding())
            .then(|| self.undone(Step::CapturePayment))
    }

    /// Also of a refund that was done: a bank sends money back after days. Then it is tried again, unless an
    /// operator is waited for because of that very money.
    pub(crate) fn refund_failed(
        &self,
        refund_id: RefundId,
        code: &str,
        at: DateTime<Utc>,
    ) -> Option<CheckoutEvent> {
        let open = matches!(self.funds, Funds::Captured | Funds::Refunded);
        let suspended = self.suspension.as_ref();
        let in_hand = suspended.is_some_and(|s| s.step == Step::CapturePayment);
        (refund_id == self.refund_id() && open && self.is_unwinding() && !in_hand)
            .then(|| self.failed(Step::CapturePayment, code, at))
    }

    /// Is it one of the refunds that undo the capture?
    pub(crate) fn asked_for(&self, refund_id: RefundId) -> bool {
        let mut attempts = 1..=self.money_tries.attempt;
        attempts.any(|attempt| refund_id == refund_id_of(self.order_id, attempt))
    }

    /// The refund that is or was asked for last.
    pub(crate) fn refund_id(&self) -> RefundId {
        refund_id_of(self.order_id, self.money_tries.attempt)
    }
}
