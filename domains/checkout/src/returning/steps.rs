//! The return on one page.

use super::ReturnStep;
use crate::tasks::ENDED;
use crate::{Each, Refused, Row};

/// Something is due, and nothing is stuck.
pub(crate) const RUNNING: &str = "running";

/// A line of a return's table.
pub type ReturnRow = Row<ReturnStep, &'static str>;

/// The return, revision 1. The steps don't wait for each other, and nothing of them is undone: the
/// goods are here, whatever becomes of the rest.
#[rustfmt::skip]
pub static RETURN_STEPS: [ReturnRow; 2] = [
    Row { stage: RUNNING, step: Each::Line(|sku| ReturnStep::RestockReturn { sku }), context: "inventory", command: "restock_return", success: "return_restocked", refusal: Refused::Suspend, timeout: None, undo: None, then: ENDED },
    Row { stage: RUNNING, step: Each::Order(ReturnStep::RefundPayment),              context: "payment",   command: "refund_payment", success: "payment_refunded", refusal: Refused::Suspend, timeout: None, undo: None, then: ENDED },
];
