//! What the payment reactor must do next at the provider: load the state, do what is due, record
//! what came of it, and look again.

use kernel::{Money, OrderId, PaymentMethod, RefundId};

use crate::{Charge, Payment, RefundStage, id};

/// One call to the payment provider. `key` is its idempotency key there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderAction {
    /// Make an intent, unconfirmed and captured by hand; then `RecordIntent`.
    CreateIntent {
        /// The idempotency key.
        key: String,
        /// The whole of it.
        amount: Money,
        /// How it is to be paid.
        method: PaymentMethod,
        /// For the provider's metadata.
        order_id: OrderId,
    },
    /// Have the amount held; then `RecordAuthorization`, `RecordActionRequired`, `RecordDecline`
    /// or `RecordFailure`. Idempotent by the intent's own state.
    Confirm {
        /// For the page that the customer comes back to.
        order_id: OrderId,
        /// The provider's id.
        intent_id: String,
        /// How it is paid.
        method: PaymentMethod,
    },
    /// Take what is held; then `RecordCapture`, or `RecordFailure` when it can't be had any more.
    Capture {
        /// The provider's id.
        intent_id: String,
        /// How much.
        amount: Money,
        /// The idempotency key.
        key: String,
    },
    /// Let go; then `RecordVoid`, or `RecordCapture` when it turns out to have been taken.
    Cancel {
        /// The provider's id. None = no intent is known: a create call may have been made whose
        /// answer was lost, so ask the provider (or create again under the same key) before
        /// recording that nothing is there.
        intent_id: Option<String>,
        /// The idempotency key.
        key: String,
    },
    /// Give back; then `RecordRefund` or `RecordRefundFailure`.
    Refund {
        /// Which refund.
        refund_id: RefundId,
        /// The provider's id.
        intent_id: String,
        /// How much.
        amount: Money,
        /// The idempotency key.
        key: String,
    },
}

impl Payment {
    /// What must be done next at the provider, if anything. Pure: the same state, the same answer,
    /// so a reactor that crashed does it again under the same key.
    pub fn due(&self) -> Option<ProviderAction> {
        match self {
            Self::Unrequested
            | Self::CalledOff
            | Self::ActionRequired { .. }
            | Self::Authorized(_)
            | Self::Declined { .. }
            | Self::Failed { .. }
            | Self::Voided(_) => None,
            Self::Requested(charge) => {
                Some(with_intent(charge, |intent_id| ProviderAction::Confirm {
                    order_id: charge.order_id,
                    intent_id,
                    method: charge.method.clone(),
                }))
            }
            Self::Capturing {
                charge,
                amount,
                key,
            } => Some(with_intent(charge, |intent_id| ProviderAction::Capture {
                intent_id,
                amount: *amount,
                key: key.clone(),
            })),
            Self::Captured(charge) => refund_due(charge),
            Self::Voiding(charge) => Some(ProviderAction::Cancel {
                intent_id: charge.intent_id.clone(),
                key: id::cancel_key(charge.order_id),
            }),
        }
    }
}

/// Without an intent there is nothing to act on: making one under the same key finds it.
fn with_intent(charge: &Charge, action: impl FnOnce(String) -> ProviderAction) -> ProviderAction {
    match &charge.intent_id {
        Some(intent_id) => action(intent_id.clone()),
        None => ProviderAction::CreateIntent {
            key: charge.create_key.clone(),
            amount: charge.amount,
            method: charge.method.clone(),
            order_id: charge.order_id,
        },
    }
}

fn refund_due(charge: &Charge) -> Option<ProviderAction> {
    let pending = |stage: &RefundStage| *stage == RefundStage::Pending;
    let (refund_id, refund) = charge.refunds.iter().find(|(_, r)| pending(&r.stage))?;
    Some(with_intent(charge, |intent_id| ProviderAction::Refund {
        refund_id: *refund_id,
        intent_id,
        amount: refund.amount,
        key: refund.key.clone(),
    }))
}
