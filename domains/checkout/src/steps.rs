//! What a table of steps is made of, and the checkout's: every step, what it asks, what says that it
//! is done, and its undo.

use std::fmt;

use kernel::Sku;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::Stage;

/// The order's reason when stock was not set aside in time.
pub const RESERVATION_TIMED_OUT: &str = "reservation_timed_out";

/// The order's reason when the payment was not authorized in time.
pub const PAYMENT_TIMED_OUT: &str = "payment_timed_out";

/// A step forward.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    VariantNames,
    JsonSchema,
)]
#[serde(tag = "name", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Step {
    /// Set stock aside. Undo: release it.
    ReserveStock {
        /// Which.
        sku: Sku,
    },
    /// Have the amount held. Undo: void it.
    AuthorizePayment,
    /// Make the hold on stock firm. Undo: release it.
    CommitStock {
        /// Which.
        sku: Sku,
    },
    /// Take the amount. Undo: refund it.
    CapturePayment,
    /// Tell the order that it is paid and held. Nothing of it is undone: an order that can't be
    /// had is rejected, and one that was canceled knows already.
    ConfirmOrder,
    /// Book the stock out once the order has left the house. No undo: the goods are gone.
    ShipStock {
        /// Which.
        sku: Sku,
    },
}

impl Step {
    /// The stock that the step is about, if it is about stock.
    pub fn sku(&self) -> Option<&Sku> {
        match self {
            Self::ReserveStock { sku } | Self::CommitStock { sku } | Self::ShipStock { sku } => {
                Some(sku)
            }
            Self::AuthorizePayment | Self::CapturePayment | Self::ConfirmOrder => None,
        }
    }

    /// While the checkout is there, the step is due: under every definition.
    pub fn stage(&self) -> Stage {
        match self {
            Self::ReserveStock { .. } => Stage::Reserving,
            Self::AuthorizePayment => Stage::Authorizing,
            Self::CommitStock { .. } => Stage::Committing,
            Self::CapturePayment => Stage::Capturing,
            Self::ConfirmOrder => Stage::Confirming,
            Self::ShipStock { .. } => Stage::Shipping,
        }
    }
}

impl fmt::Display for Step {
    /// `reserve_stock-MUG`, `capture_payment`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReserveStock { sku } => write!(f, "reserve_stock-{sku}"),
            Self::AuthorizePayment => f.write_str("authorize_payment"),
            Self::CommitStock { sku } => write!(f, "commit_stock-{sku}"),
            Self::CapturePayment => f.write_str("capture_payment"),
            Self::ConfirmOrder => f.write_str("confirm_order"),
            Self::ShipStock { sku } => write!(f, "ship_stock-{sku}"),
        }
    }
}

/// How often a step is taken.
#[derive(Debug, Clone)]
pub enum Each<S = Step> {
    /// Once for each line, all at the same time.
    Line(fn(Sku) -> S),
    /// Once for the order (the return, the refund).
    Order(S),
}

/// What a business "no" to a step leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// What was done is undone, newest first, and the order is rejected with the refusal's code.
    Undo,
    /// A person sees to it: what it follows from can't be undone.
    Suspend,
}

/// One line of a table: the checkout's unless said otherwise.
#[derive(Debug, Clone)]
pub struct Row<S = Step, P = Stage> {
    /// While the saga is here, the step is due.
    pub stage: P,
    /// The step.
    pub step: Each<S>,
    /// Whom it asks.
    pub context: &'static str,
    /// What it asks.
    pub command: &'static str,
    /// What says that it is done.
    pub success: &'static str,
    /// What a business "no" leads to.
    pub refusal: Refused,
    /// Why the order is rejected when the step is not done by the checkout's deadline. `None` = the
    /// step is asked until it is answered: money is held by then, or goods are back.
    pub timeout: Option<&'static str>,
    /// What asks to undo it, and what says that this is done.
    pub undo: Option<(&'static str, &'static str)>,
    /// Where the saga goes when the step is done (for every line).
    pub then: P,
}

/// The checkout, revision 1; [`crate::picture`] draws it. `pending` walks down this table; the undo
/// goes up, newest first. One release gives back a loose and a firm hold alike, and one void or
/// refund undoes all that was done with money. Another table is another
/// [`Definition`](crate::Definition).
#[rustfmt::skip]
pub static STEPS: [Row; 6] = [
    Row { stage: Stage::Reserving,   step: Each::Line(|sku| Step::ReserveStock { sku }), context: "inventory", command: "reserve_stock",      success: "stock_reserved",        refusal: Refused::Undo,    timeout: Some(RESERVATION_TIMED_OUT), undo: Some(("release_reservation", "reservation_released")), then: Stage::Authorizing },
    Row { stage: Stage::Authorizing, step: Each::Order(Step::AuthorizePayment),          context: "payment",   command: "request_payment",    success: "payment_authorized",    refusal: Refused::Undo,    timeout: Some(PAYMENT_TIMED_OUT),     undo: Some(("void_payment", "payment_voided")),              then: Stage::Committing },
    Row { stage: Stage::Committing,  step: Each::Line(|sku| Step::CommitStock { sku }),  context: "inventory", command: "commit_reservation", success: "reservation_committed", refusal: Refused::Undo,    timeout: None,                        undo: Some(("release_reservation", "reservation_released")), then: Stage::Capturing },
    Row { stage: Stage::Capturing,   step: Each::Order(Step::CapturePayment),            context: "payment",   command: "capture_payment",    success: "payment_captured",      refusal: Refused::Undo,    timeout: None,                        undo: Some(("refund_payment", "payment_refunded")),          then: Stage::Confirming },
    Row { stage: Stage::Confirming,  step: Each::Order(Step::ConfirmOrder),              context: "order",     command: "confirm_order",      success: "order_confirmed",       refusal: Refused::Undo,    timeout: None,                        undo: None,                                                  then: Stage::Completed },
    Row { stage: Stage::Shipping,    step: Each::Line(|sku| Step::ShipStock { sku }),    context: "inventory", command: "ship_reservation",   success: "stock_shipped",         refusal: Refused::Suspend, timeout: None,                        undo: None,                                                  then: Stage::Ended },
];
