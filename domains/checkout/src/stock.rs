//! What the inventory's facts mean.

use kernel::Sku;

use crate::state::{Flow, Hold, Line, RESERVATION_ATTEMPT};
use crate::{Cause, CheckoutEvent, Outcome, Stage, Step};

impl Flow {
    fn held_line(&self, sku: &Sku, attempt: u32) -> Option<&Line> {
        self.line(sku).filter(|_| attempt == RESERVATION_ATTEMPT)
    }

    pub(crate) fn reserved(&self, sku: &Sku, attempt: u32) -> Option<CheckoutEvent> {
        let step = Step::ReserveStock { sku: sku.clone() };
        match self.held_line(sku, attempt)?.hold {
            Hold::Reserving if self.stage == Stage::Reserving => {
                Some(CheckoutEvent::StepSucceeded { step })
            }
            // It was refused, yet here it is: a second copy of the ask came through later.
            Hold::Refused => Some(late(step)),
            // Repeated; or being undone, and the release is due already.
            Hold::Reserving
            | Hold::Reserved
            | Hold::Committing
            | Hold::Committed
            | Hold::Shipping
            | Hold::Shipped
            | Hold::Free => None,
        }
    }

    pub(crate) fn committed(&self, sku: &Sku, attempt: u32) -> Option<CheckoutEvent> {
        let line = self.held_line(sku, attempt)?;
        let sku = sku.clone();
        (self.stage == Stage::Committing && line.hold == Hold::Committing).then_some(
            CheckoutEvent::StepSucceeded {
                step: Step::CommitStock { sku },
            },
        )
    }

    /// Released or lapsed. When the checkout asked for it, that is an undo done; when it did not,
    /// the order has lost its stock.
    pub(crate) fn freed(&self, sku: &Sku, attempt: u32) -> Option<CheckoutEvent> {
        let line = self.held_line(sku, attempt)?;
        if line.is_clean() {
            return None;
        }
        if self.is_unwinding() {
            return Some(self.undone(line.newest_step()));
        }
        self.stage.is_forward().then(|| CheckoutEvent::UndoStarted {
            cause: Cause::HoldLapsed { sku: sku.clone() },
        })
    }

    pub(crate) fn stock_shipped(&self, sku: &Sku, attempt: u32) -> Option<CheckoutEvent> {
        let line = self.held_line(sku, attempt)?;
        if line.hold != Hold::Shipping {
            return None;
        }
        let step = Step::ShipStock { sku: sku.clone() };
        let others = self.lines.iter().filter(|other| other.sku != *sku);
        if others.into_iter().all(|other| other.hold == Hold::Shipped) {
            return Some(CheckoutEvent::CheckoutEnded {
                outcome: Outcome::Shipped {},
                step: Some(step),
                moot: false,
            });
        }
        Some(CheckoutEvent::StepSucceeded { step })
    }
}

/// A step that was given up has succeeded.
pub(crate) fn late(step: Step) -> CheckoutEvent {
    CheckoutEvent::UndoStarted {
        cause: Cause::LateSuccess { step },
    }
}
