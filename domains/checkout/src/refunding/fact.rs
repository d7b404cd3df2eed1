//! What the refund saga takes in: the contexts' events in its own words, and the bus's refusals.

use ::order::OrderEvent;
use chrono::{DateTime, Utc};
use kernel::{Money, OrderId, Reason, RefundId, UserId};
use payment::PaymentEvent;
use serde::{Deserialize, Serialize};

use super::RefundAsk;
use crate::{CheckoutBy, Definitions};

/// Something that has happened and may concern a refund.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum RefundingFact {
    /// Money went back.
    PaymentRefunded {
        /// Which refund.
        refund_id: RefundId,
        /// Of which order.
        order_id: OrderId,
        /// To whom.
        user_id: UserId,
        /// How much.
        amount: Money,
        /// When.
        refunded_at: DateTime<Utc>,
    },
    /// The order says that it knows.
    OrderRefunded {},
    /// The money can't go back, or came back from the bank.
    RefundFailed {
        /// The provider's code.
        code: String,
    },
    /// The bus answered an ask with a business "no".
    AskRefused {
        /// What was asked.
        ask: RefundAsk,
        /// The refusal's code.
        code: String,
        /// The refusal in words.
        message: String,
    },
    /// An operator has seen to what was wrong.
    Resumed {
        /// Who.
        by: String,
    },
    /// An operator has dealt by hand with what is stuck.
    Skipped {
        /// With what, as [`RefundAsk`] is displayed.
        step: String,
        /// Who.
        by: String,
        /// In their words.
        reason: Reason,
    },
    /// An operator has dealt by hand with all of it.
    Resolved {
        /// Who.
        by: String,
        /// In their words.
        reason: Reason,
    },
}

/// What a payment's event is to one of its refunds; `at` is the event's time. The checkout of the
/// payment's order says who bought; a refund that it asked for itself is none of this saga's.
pub fn from_payment<D: Definitions>(
    checkout: &CheckoutBy<D>,
    event: &PaymentEvent,
    at: DateTime<Utc>,
) -> Option<(RefundId, RefundingFact)> {
    let (refund_id, fact) = match event {
        PaymentEvent::PaymentRefunded { refund_id, amount } => {
            let refunded = RefundingFact::PaymentRefunded {
                refund_id: *refund_id,
                order_id: checkout.order_id()?,
                user_id: checkout.user_id()?,
                amount: *amount,
                refunded_at: at,
            };
            (*refund_id, refunded)
        }
        PaymentEvent::RefundFailed {
            refund_id, code, ..
        } => {
            let code = code.clone();
            (*refund_id, RefundingFact::RefundFailed { code })
        }
        // Not interested: no money that goes back.
        PaymentEvent::PaymentRequested { .. }
        | PaymentEvent::ProviderIntentCreated { .. }
        | PaymentEvent::PaymentActionRequired { .. }
        | PaymentEvent::PaymentAuthorized { .. }
        | PaymentEvent::PaymentDeclined { .. }
        | PaymentEvent::PaymentFailed { .. }
        | PaymentEvent::CaptureRequested { .. }
        | PaymentEvent::PaymentCaptured { .. }
        | PaymentEvent::VoidRequested { .. }
        | PaymentEvent::PaymentVoided {}
        | PaymentEvent::RefundRequested { .. }
        | PaymentEvent::ProviderEventIgnored { .. }
        | PaymentEvent::ReconciliationAccepted { .. }
        | PaymentEvent::ReconciliationMatched {}
        | PaymentEvent::ReconciliationMismatched { .. } => return None,
    };
    (!checkout.asked_for(refund_id)).then_some((refund_id, fact))
}

/// What an order's event is to one of its refunds.
pub fn from_order(event: &OrderEvent) -> Option<(RefundId, RefundingFact)> {
    match event {
        OrderEvent::OrderRefunded { refund_id, .. } => {
            Some((*refund_id, RefundingFact::OrderRefunded {}))
        }
        // Not interested: no money that went back.
        OrderEvent::OrderPlaced { .. }
        | OrderEvent::OrderConfirmed { .. }
        | OrderEvent::OrderRejected { .. }
        | OrderEvent::OrderCanceled { .. }
        | OrderEvent::OrderShipped { .. }
        | OrderEvent::OrderDelivered {}
        | OrderEvent::ReturnRequested { .. }
        | OrderEvent::ReturnApproved { .. }
        | OrderEvent::ReturnRefused { .. }
        | OrderEvent::ReturnReceived { .. }
        // It was told so by the saga itself.
        | OrderEvent::OrderRefundReversed { .. } => None,
    }
}
