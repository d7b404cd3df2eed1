//! The refund on one page.

use super::RefundAsk;
use crate::tasks::ENDED;
use crate::{Each, Refused, Row};

/// The order is being told.
pub(crate) const RECORDING: &str = "recording";

/// A line of a refund's table.
pub type RefundRow = Row<RefundAsk, &'static str>;

/// The refund, revision 1. The mail to the customer is none of its steps: it stays due for good.
#[rustfmt::skip]
pub static REFUND_STEPS: [RefundRow; 1] = [
    Row { stage: RECORDING, step: Each::Order(RefundAsk::RecordRefund), context: "order", command: "record_refund", success: "order_refunded", refusal: Refused::Suspend, timeout: None, undo: None, then: ENDED },
];
