//! Why the order context says no.

use kernel::{PaymentId, Sku};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Reasons to refuse, in the order in which they are checked. `line` counts from 0, so that an edge
/// can point at `/lines/2/quantity`.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum OrderRefusal {
    /// The id is taken by an earlier order.
    #[error("the order was already placed")]
    OrderAlreadyExists,
    /// Nothing is bought, or returned.
    #[error("at least one line is needed")]
    NoLines,
    /// More lines than one order, or return, may have.
    #[error("there may be at most {max} lines")]
    TooManyLines {
        /// The bound.
        max: u32,
    },
    /// None, or more than one line may have.
    #[error("the quantity must be 1 to {max}")]
    QuantityOutOfRange {
        /// Which line.
        line: u32,
        /// The bound.
        max: u32,
    },
    /// Two lines name one product.
    #[error("{sku} stands in two lines")]
    DuplicateSku {
        /// The second of the two lines.
        line: u32,
        /// Which product.
        sku: Sku,
    },
    /// Prices in two currencies.
    #[error("all lines must have one currency")]
    MixedCurrencies {
        /// The first line that differs from line 0.
        line: u32,
    },
    /// A price of zero or below.
    #[error("the price must be above zero")]
    PriceNotPositive {
        /// Which line.
        line: u32,
    },
    /// The sum has more than 64 bits.
    #[error("the order's total is too large")]
    TotalOverflow,
    /// Nothing was placed under this id.
    #[error("there is no such order")]
    OrderUnknown,
    /// It was called off.
    #[error("the order was canceled")]
    OrderCanceled,
    /// It can't be fulfilled.
    #[error("the order was rejected")]
    OrderRejected,
    /// Another payment paid it.
    #[error("the order was already paid by payment {payment_id}")]
    OrderAlreadyPaid {
        /// The payment that did.
        payment_id: PaymentId,
    },
    /// It is paid, and goods are set aside.
    #[error("the order is already confirmed")]
    OrderAlreadyConfirmed,
    /// It has left the house.
    #[error("the order was already shipped")]
    OrderAlreadyShipped,
    /// It isn't paid yet.
    #[error("the order is not confirmed")]
    OrderNotConfirmed,
    /// It hasn't left the house.
    #[error("the order is not shipped")]
    OrderNotShipped,
    /// It hasn't arrived.
    #[error("the order is not delivered")]
    OrderNotDelivered,
    /// The order has no such line.
    #[error("{sku} was not ordered")]
    SkuNotOrdered {
        /// Which line of the return.
        line: u32,
        /// Which product.
        sku: Sku,
    },
    /// All returns of a line together are at most what was ordered.
    #[error("at most {returnable} of {sku} can still be returned")]
    ReturnExceedsOrdered {
        /// Which line of the return.
        line: u32,
        /// Which product.
        sku: Sku,
        /// What is left.
        returnable: u32,
    },
    /// More returns than one order may have.
    #[error("an order has at most {max} returns")]
    TooManyReturns {
        /// The bound.
        max: u32,
    },
    /// The id stands for a return of other lines, or for another reason.
    #[error("the return was requested with other content")]
    ReturnDiffers,
    /// Nothing of the order is returned under this id.
    #[error("there is no such return")]
    ReturnUnknown,
    /// It is not taken back.
    #[error("the return was refused")]
    ReturnRefused,
    /// Nobody has said that the goods may be sent.
    #[error("the return is not approved")]
    ReturnNotApproved,
    /// The goods are here, and their money goes back.
    #[error("the return was already received")]
    ReturnAlreadyReceived,
    /// Money goes back only for what was called off or rejected, or has left the house.
    #[error("the order is neither canceled nor rejected nor shipped")]
    OrderNotRefundable,
    /// The bank sent the refund's money back.
    #[error("the refund's money came back from the bank")]
    RefundReversed,
    /// The refund was recorded with another amount.
    #[error("the refund was recorded with another amount")]
    RefundDiffers,
    /// A refund is above zero, in the order's currency, and all together are at most its total.
    #[error("the refunds exceed the order's total")]
    RefundExceedsTotal,
}
