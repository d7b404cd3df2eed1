//! Why the payment context says no.

use kernel::Money;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Reasons to refuse, in the order in which they are checked.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum PaymentRefusal {
    /// The id stands for a payment with other content.
    #[error("the payment exists with other content")]
    PaymentDiffers,
    /// Nothing was requested under this id.
    #[error("there is no such payment")]
    PaymentUnknown,
    /// The money was let go, or the payment was called off before it began.
    #[error("the payment was voided")]
    PaymentVoided,
    /// The money is to be let go.
    #[error("the payment is being voided")]
    VoidRequested,
    /// The issuer said no.
    #[error("the payment was declined: {reason}")]
    PaymentDeclined {
        /// The provider's code.
        reason: String,
    },
    /// It could not be done.
    #[error("the payment failed: {reason}")]
    PaymentFailed {
        /// What the provider said.
        reason: String,
    },
    /// No money is held.
    #[error("the payment is not authorized")]
    PaymentNotAuthorized,
    /// The provider was asked for the money, and what came of it isn't known yet.
    #[error("the payment is being captured")]
    CaptureInProgress,
    /// The money is ours: refund it.
    #[error("the payment was captured")]
    PaymentCaptured,
    /// There is nothing to give back.
    #[error("the payment was not captured")]
    PaymentNotCaptured,
    /// Nothing is to be moved.
    #[error("the amount must be above zero")]
    AmountNotPositive,
    /// Another amount or currency than the payment's.
    #[error("the amount differs from {expected}")]
    AmountDiffers {
        /// The payment's own.
        expected: Money,
    },
    /// The provider made another intent for this payment.
    #[error("the payment has the intent {intent_id}")]
    IntentDiffers {
        /// The one that is known.
        intent_id: String,
    },
    /// No such refund was requested.
    #[error("there is no such refund")]
    RefundUnknown,
    /// The refund was requested with another amount.
    #[error("the refund exists with the amount {requested}")]
    RefundDiffers {
        /// What was requested.
        requested: Money,
    },
    /// The refund failed for good: ask again under a new id.
    #[error("the refund failed: {reason}")]
    RefundFailed {
        /// What the provider said.
        reason: String,
    },
    /// Pending and done refunds together would be more than was captured.
    #[error("at most {available} can be refunded")]
    RefundExceedsCaptured {
        /// What is left.
        available: Money,
    },
    /// Our record and the provider's are equal, as far as anybody has looked.
    #[error("no mismatch with the provider stands on the payment's record")]
    NoMismatch,
    /// More refunds than one payment may have.
    #[error("a payment has at most {max} refunds")]
    TooManyRefunds {
        /// The bound.
        max: u32,
    },
}
