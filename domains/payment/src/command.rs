//! What can be asked of the payment context.

use kernel::{Money, OrderId, PaymentMethod, Reason, RefundId, UserId};
use serde::{Deserialize, Serialize};

use crate::{IgnoredBecause, ProviderRecord};

/// Asked of one payment. The `Record…` commands are the payment reactor's: what the provider said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum PaymentCommand {
    /// The saga: take this amount for that order.
    RequestPayment {
        /// For which order.
        order_id: OrderId,
        /// Who pays.
        user_id: UserId,
        /// The whole of it, above zero.
        amount: Money,
        /// How.
        method: PaymentMethod,
    },
    /// The provider made an intent; nothing is authorized yet.
    RecordIntent {
        /// The provider's id (`pi_…`).
        intent_id: String,
    },
    /// The customer must act first (3-D Secure).
    RecordActionRequired {
        /// Where the customer acts, if the provider names a page.
        action_url: Option<String>,
    },
    /// The amount is held.
    RecordAuthorization {
        /// Held, in the payment's currency.
        amount: Money,
    },
    /// The issuer said no.
    RecordDecline {
        /// The provider's code (`card_declined`, `insufficient_funds`).
        code: String,
        /// May the same method be tried again?
        retryable: bool,
    },
    /// It can't be done for a technical reason that will not go away.
    RecordFailure {
        /// What the provider said.
        code: String,
    },
    /// The saga: take the authorized amount.
    CapturePayment {},
    /// The provider took it.
    RecordCapture {
        /// Taken.
        amount: Money,
    },
    /// The saga: let go of the money. Before anything was asked it leaves a tombstone; during a
    /// call in flight it means "void wanted".
    VoidPayment {
        /// Why.
        reason: Reason,
    },
    /// The provider let go.
    RecordVoid {},
    /// The saga or an operator: give money back.
    RefundPayment {
        /// The refund, its own idempotency key at the provider.
        refund_id: RefundId,
        /// How much, above zero; pending and done refunds never exceed what was captured.
        amount: Money,
        /// Why.
        reason: Reason,
    },
    /// The provider gave it back.
    RecordRefund {
        /// Which refund.
        refund_id: RefundId,
    },
    /// The provider can't give it back; the amount is free for another refund.
    RecordRefundFailure {
        /// Which refund.
        refund_id: RefundId,
        /// What the provider said.
        code: String,
    },
    /// The provider told something by itself that changes nothing. (What does is recorded with the
    /// other commands.)
    RecordProviderEvent {
        /// The provider's id of it (`evt_…`).
        event_id: String,
        /// What the provider calls it.
        event_type: String,
        /// Why it changes nothing.
        because: IgnoredBecause,
    },
    /// The reconciliation: hold the payment against what the provider has, and record whether it
    /// differs.
    ReconcilePayment {
        /// What the provider has; `None` = no such intent.
        seen: Option<ProviderRecord>,
    },
    /// A person knows why the records differ: the mismatch that stands is none any more, for as long
    /// as it stays the same.
    RecordReconciliation {
        /// Why.
        reason: Reason,
    },
}
