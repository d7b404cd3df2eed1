//! What has happened to the telling of one refund, as it stands on the wire.

use chrono::{DateTime, Utc};
use kernel::{Money, OrderId, Reason, RefundId, UserId};
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

use crate::definition::{first, is_first};

/// Facts about the telling of one refund. At most one for each fact taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RefundingEvent {
    /// Money went back; the saga begins.
    RefundingStarted {
        /// Which refund.
        refund_id: RefundId,
        /// Of which order.
        order_id: OrderId,
        /// To whom.
        user_id: UserId,
        /// How much.
        amount: Money,
        /// When.
        started_at: DateTime<Utc>,
        /// The saga's definition that it keeps to its end.
        #[serde(default = "first", skip_serializing_if = "is_first")]
        revision: u32,
    },
    /// The money can't go back, or is here again, and nobody has been told that it went: nobody will
    /// be. The first and last event then.
    RefundingDropped {
        /// The provider's code.
        code: String,
    },
    /// It goes no further by itself: a person sees to it.
    RefundingSuspended {
        /// What is wrong.
        why: String,
        /// The money did not stay there: there is nothing left to tell the order.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        failed: bool,
    },
    /// A person has seen to it.
    RefundingResumed {
        /// Who.
        by: String,
    },
    /// A person has told the order, or whoever else was to be told. The mail stays due.
    RefundingSkipped {
        /// Who.
        by: String,
        /// In their words.
        reason: Reason,
    },
    /// A person has dealt with all of it: nothing more is asked, and nothing that comes later
    /// changes that.
    RefundingResolved {
        /// Who.
        by: String,
        /// In their words.
        reason: Reason,
    },
    /// The order knows. The mail stays due, under one id.
    RefundingEnded {},
}

impl RefundingEvent {
    /// Is nothing left to do from here on?
    pub fn closes(&self) -> bool {
        match self {
            Self::RefundingDropped { .. }
            | Self::RefundingSkipped { .. }
            | Self::RefundingResolved { .. }
            | Self::RefundingEnded {} => true,
            Self::RefundingStarted { .. }
            | Self::RefundingSuspended { .. }
            | Self::RefundingResumed { .. } => false,
        }
    }
}

kernel::fact!(RefundingEvent);
