//! What has happened to one checkout, as it stands on the wire.

use chrono::{DateTime, Utc};
use kernel::{Fact, Money, OrderId, PaymentMethod, Reason, Sku, UserId};
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// One line of the order: all that the saga needs of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Which stock.
    pub sku: Sku,
    /// How many.
    pub quantity: u32,
}

/// A step forward; each has an undo.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
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
    /// Tell the order. No undo: the last step.
    ConfirmOrder,
}

/// Why a checkout is being undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Cause {
    /// The order was canceled.
    OrderCanceled {
        /// In the canceler's words.
        reason: Reason,
    },
    /// A step succeeded after it had been given up.
    LateSuccess {
        /// Which.
        step: Step,
    },
}

/// Facts about one checkout. At most one for each fact taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum CheckoutEvent {
    /// An order was placed; the saga begins.
    CheckoutStarted {
        /// Which order.
        order_id: OrderId,
        /// Whose.
        user_id: UserId,
        /// What.
        items: Vec<Item>,
        /// The order's total.
        total: Money,
        /// How it is paid.
        payment_method: PaymentMethod,
        /// When.
        started_at: DateTime<Utc>,
        /// When the holds on stock lapse.
        reserved_until: DateTime<Utc>,
        /// When the saga gives up waiting for the payment to be authorized.
        deadline: DateTime<Utc>,
        /// The saga's definition that this checkout keeps to its end.
        revision: u32,
    },
    /// A step is done.
    StepSucceeded {
        /// Which.
        step: Step,
    },
    /// A step was answered with a business "no": everything is undone from here on.
    StepRefused {
        /// Which.
        step: Step,
        /// The refusal's code.
        code: String,
        /// The refusal in words.
        message: String,
    },
    /// A step took too long: everything is undone from here on.
    StepTimedOut {
        /// Which.
        step: Step,
    },
    /// Something outside the steps asks for the undo.
    UndoStarted {
        /// What.
        cause: Cause,
    },
    /// A step's undo is done.
    UndoSucceeded {
        /// Which.
        step: Step,
    },
    /// A step's undo failed; it is tried again until its budget is spent.
    UndoFailed {
        /// Which.
        step: Step,
        /// Counted from 1.
        attempt: u32,
        /// What was answered.
        message: String,
    },
    /// The order is confirmed. Not the end: shipping or a cancellation follows.
    CheckoutCompleted {},
    /// Everything that was done is undone.
    CheckoutUndone {},
    /// It waits for an operator.
    CheckoutSuspended {
        /// What is wrong.
        why: String,
    },
    /// An operator lets it go on.
    CheckoutResumed {
        /// Who.
        by: String,
    },
    /// Nothing more will be asked, except to undo a late success.
    CheckoutEnded {},
}

impl cqrs_es::DomainEvent for CheckoutEvent {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }

    fn event_version(&self) -> String {
        self.schema_version().to_string()
    }
}

impl Fact for CheckoutEvent {
    fn name(&self) -> &'static str {
        self.into()
    }
}
