//! What has happened to one checkout, as it stands on the wire.

use chrono::{DateTime, Utc};
use kernel::{Money, OrderId, PaymentMethod, Reason, Sku, Tracking, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use crate::{Stage, Step};

/// One line of the order: all that the saga needs of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Item {
    /// Which stock.
    pub sku: Sku,
    /// How many.
    pub quantity: u32,
}

/// What outside the steps makes a checkout undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Cause {
    /// The order was canceled.
    OrderCanceled {
        /// In the canceler's words.
        reason: Reason,
    },
    /// The hold on stock lapsed before it was made firm: its units are free already.
    HoldLapsed {
        /// Which stock.
        sku: Sku,
    },
    /// The authorization was let go by somebody else: no money is held any more.
    AuthorizationLost {},
    /// A step succeeded after it had been given up. Only that step is undone.
    LateSuccess {
        /// Which.
        step: Step,
    },
}

/// How a checkout ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, VariantNames, JsonSchema)]
#[serde(tag = "name", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// The goods left the house.
    Shipped {},
    /// The order was rejected; nothing is held and no money is kept.
    Rejected {
        /// The code of what came in the way.
        reason: Reason,
    },
    /// The order was canceled; nothing is held and no money is kept.
    Canceled {
        /// In the canceler's words.
        reason: Reason,
    },
}

/// Facts about one checkout. At most one for each fact taken in.
#[derive(
    Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames, JsonSchema,
)]
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
        /// When the saga took the order in.
        started_at: DateTime<Utc>,
        /// When the holds on stock lapse.
        reserved_until: DateTime<Utc>,
        /// When the saga gives up waiting for the payment to be authorized.
        deadline: DateTime<Utc>,
        /// The saga's definition that this checkout keeps to its end.
        revision: u32,
    },
    /// A step is done. While undoing: the money was taken all the same, and is to go back.
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
        /// There was nothing to undo, and nothing bars the step from happening late; then that late
        /// success is undone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        moot: bool,
    },
    /// A step's undo failed; it is tried again until its budget is spent.
    UndoFailed {
        /// Which. For [`Step::ConfirmOrder`]: rejecting the order.
        step: Step,
        /// Counted from 1.
        attempt: u32,
        /// What was answered.
        message: String,
        /// Not before this it is tried again.
        retry_at: DateTime<Utc>,
    },
    /// The order is confirmed, which takes the place of the last step's success. Not the end:
    /// shipping or a cancellation follows.
    CheckoutCompleted {},
    /// The order left the house: its stock is booked out.
    ShippingStarted {
        /// The carrier's number.
        tracking: Tracking,
    },
    /// Everything that was done is undone; the order is to be rejected.
    CheckoutUndone {
        /// The undo that came last; it has no `UndoSucceeded` of its own.
        step: Step,
        /// As in `UndoSucceeded`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        moot: bool,
    },
    /// It waits for an operator.
    CheckoutSuspended {
        /// What can't be done or undone.
        step: Step,
        /// The attempt that was the last; the next one is the operator's.
        attempt: u32,
        /// What is wrong.
        why: String,
    },
    /// An operator lets it go on.
    CheckoutResumed {
        /// Who.
        by: String,
    },
    /// An operator has dealt by hand with what could not be done or undone; it goes on with the next.
    StepSkipped {
        /// Which. For [`Step::ConfirmOrder`]: rejecting the order.
        step: Step,
        /// Who.
        by: String,
        /// In their words.
        reason: Reason,
        /// Where the checkout is then.
        stage: Stage,
        /// How it ended, if there was nothing left to do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outcome: Option<Outcome>,
    },
    /// An operator has dealt with all of it by hand: nothing more is asked, and nothing that comes
    /// later changes that. Only stock that was being given back still is.
    CheckoutResolved {
        /// Who.
        by: String,
        /// In their words.
        reason: Reason,
    },
    /// The order is closed. Nothing more will be asked, except to undo a late success.
    CheckoutEnded {
        /// How.
        outcome: Outcome,
        /// The step, or its undo, that came last and has no event of its own. `None` when it was
        /// the order's own word that ended the checkout.
        step: Option<Step>,
        /// As in `UndoSucceeded`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        moot: bool,
    },
}

impl CheckoutEvent {
    /// The definition under which it starts a checkout, if it is the first.
    pub fn starts(&self) -> Option<u32> {
        match self {
            Self::CheckoutStarted { revision, .. } => Some(*revision),
            Self::StepSucceeded { .. }
            | Self::StepRefused { .. }
            | Self::StepTimedOut { .. }
            | Self::UndoStarted { .. }
            | Self::UndoSucceeded { .. }
            | Self::UndoFailed { .. }
            | Self::CheckoutCompleted {}
            | Self::ShippingStarted { .. }
            | Self::CheckoutUndone { .. }
            | Self::CheckoutSuspended { .. }
            | Self::CheckoutResumed { .. }
            | Self::StepSkipped { .. }
            | Self::CheckoutResolved { .. }
            | Self::CheckoutEnded { .. } => None,
        }
    }

    /// Is the checkout closed from here on? It needs its definition no more then.
    pub fn closes(&self) -> bool {
        match self {
            Self::CheckoutResolved { .. } | Self::CheckoutEnded { .. } => true,
            Self::StepSkipped { stage, .. } => stage.is_closed(),
            Self::CheckoutStarted { .. }
            | Self::StepSucceeded { .. }
            | Self::StepRefused { .. }
            | Self::StepTimedOut { .. }
            | Self::UndoStarted { .. }
            | Self::UndoSucceeded { .. }
            | Self::UndoFailed { .. }
            | Self::CheckoutCompleted {}
            | Self::ShippingStarted { .. }
            | Self::CheckoutUndone { .. }
            | Self::CheckoutSuspended { .. }
            | Self::CheckoutResumed { .. } => false,
        }
    }
}

kernel::fact!(CheckoutEvent);
