//! Fulfilment, payment and return: three fields that say where an order stands, each on its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantNames};

use crate::Order;

/// How far an order has come.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum OrderStatus {
    /// Payment and stock are being seen to.
    Placed,
    /// Paid, and the stock is committed.
    Confirmed,
    /// It can't be fulfilled.
    Rejected,
    /// It was called off.
    Canceled,
    /// It left the house.
    Shipped,
    /// It arrived.
    Delivered,
}

/// What an order knows of its money.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    VariantNames,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PaymentStatus {
    /// Not yet taken.
    #[default]
    Pending,
    /// Not yet taken: the customer must act first (3-D Secure). Their payment knows that, and whoever
    /// shows an order says so; no event of the order does.
    ActionRequired,
    /// Taken.
    Captured,
    /// Some of it went back.
    PartiallyRefunded,
    /// All of it went back.
    Refunded,
    /// The order ended before it was confirmed: nothing is kept.
    Released,
}

/// What an order knows of goods that come back.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    VariantNames,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ReturnStatus {
    /// Nothing does.
    #[default]
    None,
    /// An operator is to say whether they may be sent.
    Requested,
    /// They are on their way.
    Approved,
    /// Some are here.
    PartiallyReturned,
    /// All are here.
    Returned,
    /// They are not taken back.
    Refused,
}

impl ReturnStatus {
    /// What all returns of an order come to: the stage and the units of each, and how many units
    /// were ordered. What somebody still waits for comes first.
    pub fn of(returns: impl IntoIterator<Item = (ReturnStage, u64)>, ordered: u64) -> Self {
        let (mut requested, mut approved, mut refused, mut received) = (false, false, false, 0);
        for (stage, units) in returns {
            match stage {
                ReturnStage::Requested => requested = true,
                ReturnStage::Approved => approved = true,
                ReturnStage::Refused => refused = true,
                ReturnStage::Received => received += units,
            }
        }
        match (requested, approved, received, refused) {
            (true, _, _, _) => Self::Requested,
            (false, true, _, _) => Self::Approved,
            (false, false, 0, true) => Self::Refused,
            (false, false, 0, false) => Self::None,
            (false, false, received, _) if received < ordered => Self::PartiallyReturned,
            (false, false, _, _) => Self::Returned,
        }
    }
}

/// How far one return has come.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum ReturnStage {
    /// An operator is to say whether the goods may be sent.
    Requested,
    /// They may.
    Approved,
    /// They are not taken back, or never came.
    Refused,
    /// They are here.
    Received,
}

impl Order {
    /// How far it has come, once placed.
    pub fn status(&self) -> Option<OrderStatus> {
        match self {
            Self::Unplaced => None,
            Self::Placed(_) => Some(OrderStatus::Placed),
            Self::Confirmed(_) => Some(OrderStatus::Confirmed),
            Self::Rejected { .. } => Some(OrderStatus::Rejected),
            Self::Canceled { .. } => Some(OrderStatus::Canceled),
            Self::Shipped { .. } => Some(OrderStatus::Shipped),
            Self::Delivered { .. } => Some(OrderStatus::Delivered),
        }
    }

    /// Where its money is, once placed.
    pub fn payment_status(&self) -> Option<PaymentStatus> {
        let purchase = self.purchase()?;
        let untouched = purchase.payment_id.is_none()
            && purchase.refunds.is_empty()
            && purchase.reversed.is_empty();
        Some(match self {
            Self::Rejected { .. } | Self::Canceled { .. } if untouched => PaymentStatus::Released,
            Self::Unplaced | Self::Placed(_) => PaymentStatus::Pending,
            Self::Confirmed(_)
            | Self::Rejected { .. }
            | Self::Canceled { .. }
            | Self::Shipped { .. }
            | Self::Delivered { .. } => purchase.paid(),
        })
    }

    /// Which of its goods come back, once placed.
    pub fn return_status(&self) -> Option<ReturnStatus> {
        let purchase = self.purchase()?;
        Some(purchase.returns.status(&purchase.lines))
    }
}
