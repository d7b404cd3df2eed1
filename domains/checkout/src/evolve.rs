//! What the events change.

use kernel::{Reason, Sku};

use crate::state::{Fate, Flow, Funds, Hold, Line, Notice, Suspension, Tries};
use crate::{
    Cause, CheckoutEvent, Definitions, Each, Followed, Outcome, PAYMENT_TIMED_OUT,
    RESERVATION_TIMED_OUT, Stage, Step,
};

/// The order's reason when a hold lapsed before it was made firm.
pub const RESERVATION_EXPIRED: &str = "reservation_expired";

/// The order's reason when the authorization was let go by somebody else.
pub const PAYMENT_VOIDED: &str = "payment_voided";

impl Flow {
    /// The state after the first event; any other event is no start.
    pub(crate) fn start<D: Definitions>(event: &CheckoutEvent) -> Option<Self> {
        let CheckoutEvent::CheckoutStarted {
            order_id,
            user_id,
            items,
            total,
            payment_method,
            started_at: _,
            reserved_until,
            deadline,
            revision,
        } = event
        else {
            return None;
        };
        let line = |item: &crate::Item| Line {
            sku: item.sku.clone(),
            quantity: item.quantity,
            hold: Hold::Reserving,
            tries: Tries::default(),
        };
        Some(Self {
            order_id: *order_id,
            user_id: *user_id,
            total: *total,
            payment_method: payment_method.clone(),
            reserved_until: *reserved_until,
            deadline: *deadline,
            revision: *revision,
            followed: Followed::by::<D>(*revision),
            stage: Stage::Reserving,
            lines: items.iter().map(line).collect(),
            funds: Funds::Untouched,
            money_tries: Tries::default(),
            fate: Fate::Open,
            reject_tries: Tries::default(),
            notices: Vec::new(),
            suspension: None,
            money_left: false,
        })
    }

    pub(crate) fn evolve(&mut self, event: &CheckoutEvent) {
        match event {
            CheckoutEvent::CheckoutStarted { .. } => {}
            CheckoutEvent::StepSucceeded { step } => self.succeed(step),
            CheckoutEvent::StepRefused { step, code, .. } => {
                self.refuse(step);
                self.reject_for(code);
            }
            CheckoutEvent::StepTimedOut { step } => {
                let stock = step.sku().is_some();
                let usual = if stock {
                    RESERVATION_TIMED_OUT
                } else {
                    PAYMENT_TIMED_OUT
                };
                let told = self.row_of(step.stage()).and_then(|row| row.timeout);
                self.reject_for(told.unwrap_or(usual));
            }
            CheckoutEvent::UndoStarted { cause } => self.turn_back(cause),
            CheckoutEvent::UndoSucceeded { step, moot } => self.undo(step, *moot),
            CheckoutEvent::UndoFailed {
                step,
                attempt,
                retry_at,
                ..
            } => {
                self.reopen(step);
                if let Some(tries) = self.tries_mut(step) {
                    tries.attempt = attempt.saturating_add(1);
                    tries.failures = tries.failures.saturating_add(1);
                    tries.retry_at = Some(*retry_at);
                }
            }
            CheckoutEvent::CheckoutCompleted {} => self.enter(Stage::Completed),
            CheckoutEvent::ShippingStarted { tracking } => {
                self.enter(Stage::Completed);
                self.enter(Stage::Shipping);
                let tracking = tracking.clone();
                self.notices.push(Notice::Shipped { tracking });
            }
            CheckoutEvent::CheckoutUndone { step, moot } => {
                self.undo(step, *moot);
                self.enter(Stage::Undone);
            }
            CheckoutEvent::CheckoutSuspended { step, attempt, why } => {
                self.suspend(step, *attempt, why);
            }
            CheckoutEvent::CheckoutResumed { .. } => self.suspension = None,
            CheckoutEvent::StepSkipped { step, .. } => self.skip(step),
            CheckoutEvent::CheckoutResolved { .. } => self.resolve(),
            CheckoutEvent::CheckoutEnded {
                outcome,
                step,
                moot,
            } => {
                if let Some(step) = step {
                    self.settle(outcome, step, *moot);
                }
                self.end(outcome);
            }
        }
    }

    fn succeed(&mut self, step: &Step) {
        match step {
            Step::ReserveStock { sku } => self.hold(sku, Hold::Reserved),
            Step::CommitStock { sku } => self.hold(sku, Hold::Committed),
            Step::ShipStock { sku } => self.hold(sku, Hold::Shipped),
            Step::AuthorizePayment => self.funds = Funds::Authorized,
            Step::CapturePayment => self.funds = Funds::Captured,
            Step::ConfirmOrder => {}
        }
        self.wait_no_more(step);
        let Some(row) = self.row().filter(|_| self.stage.is_forward()) else {
            return;
        };
        let done = match row.step {
            Each::Line(_) => self.lines.iter().all(|line| match line.hold {
                Hold::Reserved => self.stage == Stage::Reserving,
                Hold::Committed => self.stage == Stage::Committing,
                Hold::Reserving
                | Hold::Committing
                | Hold::Shipping
                | Hold::Shipped
                | Hold::Refused
                | Hold::Free => false,
            }),
            // Money that is taken was held.
            Each::Order(ref own) => {
                own == step || (self.stage == Stage::Authorizing && self.funds == Funds::Captured)
            }
        };
        if done {
            self.enter(row.then);
        }
    }

    /// Being in a stage means that its step may have been asked, so its outcome is unknown from
    /// here on.
    fn enter(&mut self, stage: Stage) {
        match stage {
            Stage::Authorizing => self.funds = Funds::Requested,
            Stage::Committing => self.hold_all(Hold::Committing),
            Stage::Capturing if self.funds == Funds::Captured => {
                let next = self.row_of(Stage::Capturing);
                return self.enter(next.map_or(Stage::Confirming, |row| row.then));
            }
            Stage::Capturing => self.funds = Funds::Capturing,
            Stage::Completed => {
                if !self.notices.contains(&Notice::Confirmed) {
                    self.notices.push(Notice::Confirmed);
                }
            }
            Stage::Shipping => self.hold_all(Hold::Shipping),
            Stage::Reserving
            | Stage::Confirming
            | Stage::Undoing
            | Stage::Undone
            | Stage::Ended
            | Stage::Resolved => {}
        }
        self.stage = stage;
    }

    fn refuse(&mut self, step: &Step) {
        match step {
            Step::ReserveStock { sku } => self.hold(sku, Hold::Refused),
            Step::AuthorizePayment => self.funds = Funds::Declined,
            Step::CapturePayment => self.funds = Funds::Authorized,
            // The hold itself is still there, or has lapsed: its release will tell.
            Step::CommitStock { .. } | Step::ShipStock { .. } | Step::ConfirmOrder => {}
        }
    }

    /// With nothing to undo, the order can be rejected at once.
    fn reject_for(&mut self, code: &str) {
        self.fate = Fate::Rejecting {
            reason: reason(code),
        };
        let clean = self.is_clean();
        self.enter(if clean { Stage::Undone } else { Stage::Undoing });
    }

    fn turn_back(&mut self, cause: &Cause) {
        match cause {
            Cause::OrderCanceled { reason } => {
                let reason = reason.clone();
                self.fate = Fate::Canceled { reason };
                self.enter(Stage::Undoing);
            }
            Cause::HoldLapsed { sku } => {
                self.hold(sku, Hold::Free);
                self.reject_for(RESERVATION_EXPIRED);
            }
            Cause::AuthorizationLost {} => {
                self.funds = Funds::Voided;
                self.reject_for(PAYMENT_VOIDED);
            }
            // The stage stays: also an ended checkout undoes what comes late.
            Cause::LateSuccess { step } => {
                match step {
                    Step::ReserveStock { sku } | Step::CommitStock { sku } => {
                        self.hold(sku, Hold::Reserved);
                    }
                    Step::AuthorizePayment => self.funds = Funds::Authorized,
                    Step::CapturePayment => self.funds = Funds::Captured,
                    Step::ConfirmOrder | Step::ShipStock { .. } => {}
                }
                // An earlier undo of it may have been asked and answered: this is another one.
                if let Some(tries) = self.tries_mut(step) {
                    tries.attempt = tries.attempt.saturating_add(1);
                }
            }
        }
    }

    pub(crate) fn undo(&mut self, step: &Step, moot: bool) {
        match step {
            Step::ReserveStock { sku } | Step::CommitStock { sku } => {
                self.hold(sku, if moot { Hold::Refused } else { Hold::Free });
            }
            Step::AuthorizePayment if moot => self.funds = Funds::Declined,
            Step::AuthorizePayment => self.funds = Funds::Voided,
            Step::CapturePayment => self.funds = Funds::Refunded,
            Step::ConfirmOrder | Step::ShipStock { .. } => {}
        }
        self.wait_no_more(step);
    }

    /// What it was suspended for is done.
    fn wait_no_more(&mut self, step: &Step) {
        self.suspension.take_if(|waits| waits.step == *step);
    }

    /// A refund that came back was none.
    fn reopen(&mut self, step: &Step) {
        if *step == Step::CapturePayment {
            self.funds = Funds::Captured;
        }
    }

    fn suspend(&mut self, step: &Step, attempt: u32, why: &str) {
        self.reopen(step);
        self.suspension = Some(Suspension {
            step: step.clone(),
            why: why.to_owned(),
        });
        if let Some(tries) = self.tries_mut(step) {
            *tries = Tries {
                attempt: attempt.saturating_add(1),
                ..Tries::default()
            };
        }
    }

    /// The last step, or the last undo, that has no event of its own.
    fn settle(&mut self, outcome: &Outcome, step: &Step, moot: bool) {
        match outcome {
            Outcome::Shipped {} => self.succeed(step),
            Outcome::Rejected { .. } | Outcome::Canceled { .. } => self.undo(step, moot),
        }
    }

    /// A person has done what the step or its undo should have, and it goes on behind it. When the
    /// facts have overtaken that (the money could not be let go, and was taken), only the wait ends.
    pub(crate) fn skip(&mut self, step: &Step) {
        self.suspension = None;
        if self.is_open(step) {
            match step {
                Step::ShipStock { .. } => self.succeed(step),
                Step::ReserveStock { .. }
                | Step::CommitStock { .. }
                | Step::AuthorizePayment
                | Step::CapturePayment
                | Step::ConfirmOrder => self.undo(step, false),
            }
        }
        let clean = self.is_clean();
        match self.stage {
            Stage::Undoing if clean => match &self.fate {
                Fate::Canceled { reason } => {
                    let reason = reason.clone();
                    self.end(&Outcome::Canceled { reason });
                }
                Fate::Open | Fate::Rejecting { .. } | Fate::Rejected { .. } | Fate::Shipped => {
                    self.enter(Stage::Undone);
                }
            },
            Stage::Undone if *step == Step::ConfirmOrder => {
                if let Fate::Rejecting { reason } = &self.fate {
                    let reason = reason.clone();
                    self.end(&Outcome::Rejected { reason });
                }
            }
            Stage::Shipping if self.stock_is_clean() => self.end(&Outcome::Shipped {}),
            Stage::Reserving
            | Stage::Authorizing
            | Stage::Committing
            | Stage::Capturing
            | Stage::Confirming
            | Stage::Completed
            | Stage::Shipping
            | Stage::Undoing
            | Stage::Undone
            | Stage::Ended
            | Stage::Resolved => {}
        }
    }

    /// A person has done what it was suspended for, and sees to the money. Stock that is still held
    /// they can't give back: that goes on.
    fn resolve(&mut self) {
        self.money_left = self.suspension.is_none();
        if let Some(Suspension { step, .. }) = self.suspension.take()
            && step.sku().is_some()
            && self.is_unwinding()
        {
            self.undo(&step, false);
        }
        self.enter(Stage::Resolved);
    }

    /// Is what it was suspended for still to be done?
    fn is_open(&self, step: &Step) -> bool {
        match step {
            Step::ReserveStock { sku } | Step::CommitStock { sku } | Step::ShipStock { sku } => {
                self.line(sku).is_some_and(|line| !line.is_clean())
            }
            Step::AuthorizePayment => match self.funds {
                Funds::Requested | Funds::Authorized | Funds::Capturing => true,
                Funds::Untouched
                | Funds::Captured
                | Funds::Declined
                | Funds::Voided
                | Funds::Refunded => false,
            },
            Step::CapturePayment => self.funds == Funds::Captured,
            Step::ConfirmOrder => self.stage == Stage::Undone,
        }
    }

    /// How it ended, if it has.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        match self.fate.clone() {
            _ if self.stage != Stage::Ended => None,
            Fate::Shipped => Some(Outcome::Shipped {}),
            Fate::Rejecting { reason } | Fate::Rejected { reason } => {
                Some(Outcome::Rejected { reason })
            }
            Fate::Canceled { reason } => Some(Outcome::Canceled { reason }),
            Fate::Open => None,
        }
    }

    fn end(&mut self, outcome: &Outcome) {
        self.suspension = None;
        match outcome.clone() {
            Outcome::Shipped {} => self.fate = Fate::Shipped,
            Outcome::Rejected { reason } => {
                let why = reason.clone();
                self.notices.push(Notice::Rejected { reason: why });
                self.fate = Fate::Rejected { reason };
            }
            Outcome::Canceled { reason } => {
                let why = reason.clone();
                self.notices.push(Notice::Canceled { reason: why });
                self.fate = Fate::Canceled { reason };
            }
        }
        self.enter(Stage::Ended);
    }

    fn hold(&mut self, sku: &Sku, hold: Hold) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.sku == *sku) {
            line.hold = hold;
        }
    }

    fn hold_all(&mut self, hold: Hold) {
        for line in &mut self.lines {
            line.hold = hold;
        }
    }
}

/// A code as the order's reason. Codes come from the bus: whatever a reason can't hold is dropped.
#[expect(
    clippy::expect_used,
    reason = "a literal that parses; the test below proves it"
)]
pub(crate) fn reason(code: &str) -> Reason {
    let kept = code.chars().filter(|c| !c.is_control());
    let kept: String = kept.take(Reason::LENGTH_MAX).collect();
    kept.parse()
        .unwrap_or_else(|_| "refused".parse().expect("a reason"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_code_becomes_a_reason() {
        assert_eq!(reason("card_declined").as_str(), "card_declined");
        assert_eq!(reason("a\r\nb").as_str(), "ab");
        assert_eq!(reason(" ").as_str(), "refused");
        assert_eq!(reason(&"x".repeat(900)).as_str().len(), Reason::LENGTH_MAX);
    }
}
