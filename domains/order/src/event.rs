//! What has happened in the order context, as it stands on the wire.

use kernel::{
    Money, PaymentId, PaymentMethod, Reason, RefundId, ReturnId, Sealed, Sku, Title, Tracking,
    UserId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

/// What is bought: title and price as they were when the order was placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Which product.
    pub sku: Sku,
    /// What it was called.
    pub title: Title,
    /// How many, 1 to 10,000.
    pub quantity: u32,
    /// What one unit cost.
    pub unit_price: Money,
}

/// What is to come back of one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "LineOfReturn")]
pub struct ReturnLine {
    /// Which product.
    pub sku: Sku,
    /// How many, 1 to 10,000.
    pub quantity: u32,
}

/// Facts about one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum OrderEvent {
    /// A customer bought, at these prices.
    OrderPlaced {
        /// Who.
        user_id: UserId,
        /// What.
        lines: Vec<Line>,
        /// The sum over all lines.
        total: Money,
        /// Where to, sealed.
        shipping_address: Sealed,
        /// How it is paid.
        payment_method: PaymentMethod,
    },
    /// Paid, and the stock is committed.
    OrderConfirmed {
        /// The payment that was captured.
        payment_id: PaymentId,
    },
    /// It can't be fulfilled.
    OrderRejected {
        /// The refusal's code.
        reason: Reason,
    },
    /// It was called off.
    OrderCanceled {
        /// Why.
        reason: Reason,
    },
    /// It left the house.
    OrderShipped {
        /// The carrier's number.
        tracking: Tracking,
    },
    /// It arrived.
    OrderDelivered {},
    /// Somebody wants to send goods back.
    ReturnRequested {
        /// Which return.
        return_id: ReturnId,
        /// What.
        lines: Vec<ReturnLine>,
        /// Why.
        reason: Reason,
        /// What these lines cost.
        amount: Money,
    },
    /// The goods may be sent.
    ReturnApproved {
        /// Which return.
        return_id: ReturnId,
    },
    /// The goods are not taken back, or never came.
    ReturnRefused {
        /// Which return.
        return_id: ReturnId,
        /// Why.
        reason: Reason,
    },
    /// The goods are here.
    ReturnReceived {
        /// Which return.
        return_id: ReturnId,
        /// What.
        lines: Vec<ReturnLine>,
        /// What is to go back for them.
        amount: Money,
    },
    /// Money went back.
    OrderRefunded {
        /// The refund of the payment.
        refund_id: RefundId,
        /// How much.
        amount: Money,
    },
    /// The money of a refund is here again: the bank sent it back.
    OrderRefundReversed {
        /// The refund of the payment.
        refund_id: RefundId,
        /// How much the order counted as gone back for it; zero = nothing yet, and it never will.
        amount: Money,
    },
}

kernel::fact!(OrderEvent);
