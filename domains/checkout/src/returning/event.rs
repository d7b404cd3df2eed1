//! What has happened to the handling of one return, as it stands on the wire.

use std::fmt;

use chrono::{DateTime, Utc};
use kernel::{Money, OrderId, Reason, RefundId, ReturnId, Sku, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use crate::Item;
use crate::definition::{first, is_first};

/// One thing to be done about a return.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum ReturnStep {
    /// Put the goods of one line on the shelf.
    RestockReturn {
        /// Which stock.
        sku: Sku,
    },
    /// Give their money back.
    RefundPayment,
}

impl fmt::Display for ReturnStep {
    /// `restock_return-MUG`, `refund_payment`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RestockReturn { sku } => write!(f, "restock_return-{sku}"),
            Self::RefundPayment => f.write_str("refund_payment"),
        }
    }
}

/// What a return asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum ReturnAsk {
    /// To take a step.
    Step {
        /// Which.
        step: ReturnStep,
    },
    /// To note on the order that a person has paid for the goods.
    RecordRefund,
    /// To tell the customer so.
    Notify,
}

impl fmt::Display for ReturnAsk {
    /// `restock_return-MUG`, `refund_payment`, `record_refund`, `notify`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step { step } => step.fmt(f),
            Self::RecordRefund => f.write_str("record_refund"),
            Self::Notify => f.write_str("notify"),
        }
    }
}

/// Facts about the handling of one return. At most one for each fact taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ReturningEvent {
    /// Goods are back; the saga begins.
    ReturningStarted {
        /// Of which return.
        return_id: ReturnId,
        /// Of which order.
        order_id: OrderId,
        /// What.
        items: Vec<Item>,
        /// What is to go back for them.
        amount: Money,
        /// Who bought them. Returns that began without one tell nobody.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user_id: Option<UserId>,
        /// When.
        started_at: DateTime<Utc>,
        /// Until when the goods may be put on the shelf by themselves.
        restock_until: DateTime<Utc>,
        /// The saga's definition that it keeps to its end.
        #[serde(default = "first", skip_serializing_if = "is_first")]
        revision: u32,
    },
    /// A step is done.
    ReturningStepSucceeded {
        /// Which.
        step: ReturnStep,
    },
    /// A step goes no further by itself: a person sees to it.
    ReturningSuspended {
        /// Which.
        step: ReturnStep,
        /// What is wrong.
        why: String,
        /// The money can't go back by this refund, or did not stay there.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        failed: bool,
    },
    /// A person has seen to what was stuck: it is asked again.
    ReturningResumed {
        /// Who.
        by: String,
    },
    /// A person has done what was stuck; the rest goes on.
    ReturningStepSkipped {
        /// Which.
        step: ReturnStep,
        /// Who.
        by: String,
        /// In their words.
        reason: Reason,
        /// Nothing is left to do.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        last: bool,
        /// Of the refund: under which id the order hears that it was made by hand. Events of before told the
        /// id of the refund that was asked for last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        paid: Option<RefundId>,
    },
    /// A person has dealt with all of it: nothing more is asked, and nothing that comes later
    /// changes that.
    ReturningResolved {
        /// Who.
        by: String,
        /// In their words.
        reason: Reason,
    },
    /// Everything is done.
    ReturningEnded {
        /// The step that came last; it has no event of its own.
        step: ReturnStep,
    },
}

impl ReturningEvent {
    /// Is nothing left to do from here on?
    pub fn closes(&self) -> bool {
        match self {
            Self::ReturningResolved { .. } | Self::ReturningEnded { .. } => true,
            Self::ReturningStepSkipped { last, .. } => *last,
            Self::ReturningStarted { .. }
            | Self::ReturningStepSucceeded { .. }
            | Self::ReturningSuspended { .. }
            | Self::ReturningResumed { .. } => false,
        }
    }
}

kernel::fact!(ReturningEvent);
