//! What the shop wants of a payment: to have it requested, captured, voided, refunded.

use kernel::{Money, OrderId, PaymentMethod, Reason, RefundId, UserId};

use crate::aggregate::Decision;
use crate::{Charge, Payment, PaymentEvent, PaymentRefusal, RefundStage, id};

/// Most refunds of one payment, failed ones too: the state stays small.
pub const REFUNDS_MAX: u32 = 100;

impl Payment {
    pub(crate) fn request(
        &self,
        order_id: OrderId,
        user_id: UserId,
        amount: Money,
        method: &PaymentMethod,
    ) -> Decision {
        match self {
            Self::CalledOff | Self::Voided(_) => return Err(PaymentRefusal::PaymentVoided),
            Self::Unrequested => {}
            Self::Requested(known)
            | Self::ActionRequired { charge: known, .. }
            | Self::Authorized(known)
            | Self::Capturing { charge: known, .. }
            | Self::Captured(known)
            | Self::Voiding(known)
            | Self::Declined { charge: known, .. }
            | Self::Failed { charge: known, .. } => {
                let same = (known.order_id, known.user_id, known.amount, &known.method)
                    == (order_id, user_id, amount, method);
                return if same {
                    Ok(vec![])
                } else {
                    Err(PaymentRefusal::PaymentDiffers)
                };
            }
        }
        must_be_positive(amount)?;
        Ok(vec![PaymentEvent::PaymentRequested {
            order_id,
            user_id,
            amount,
            method: method.clone(),
            provider_key: id::create_key(order_id),
        }])
    }

    pub(crate) fn capture(&self) -> Decision {
        match self {
            Self::Unrequested => Err(PaymentRefusal::PaymentUnknown),
            Self::CalledOff | Self::Voided(_) => Err(PaymentRefusal::PaymentVoided),
            Self::Voiding(_) => Err(PaymentRefusal::VoidRequested),
            Self::Declined { code, .. } => Err(PaymentRefusal::PaymentDeclined {
                reason: code.clone(),
            }),
            Self::Failed { code, .. } => Err(PaymentRefusal::PaymentFailed {
                reason: code.clone(),
            }),
            Self::Requested(_) | Self::ActionRequired { .. } => {
                Err(PaymentRefusal::PaymentNotAuthorized)
            }
            Self::Capturing { .. } | Self::Captured(_) => Ok(vec![]),
            Self::Authorized(charge) => Ok(vec![PaymentEvent::CaptureRequested {
                amount: charge.authorized.unwrap_or(charge.amount),
                provider_key: id::capture_key(charge.order_id),
            }]),
        }
    }

    /// Money with an unknown outcome is never undone: while a capture is in flight the void is
    /// refused, and the asker waits for what comes of it.
    pub(crate) fn void(&self, reason: &Reason) -> Decision {
        match self {
            Self::Unrequested => Ok(vec![PaymentEvent::PaymentVoided {}]),
            Self::Capturing { .. } => Err(PaymentRefusal::CaptureInProgress),
            Self::Captured(_) => Err(PaymentRefusal::PaymentCaptured),
            Self::CalledOff | Self::Voided(_) | Self::Voiding(_) => Ok(vec![]),
            // A failed capture may leave the money held.
            Self::Declined { charge, .. } | Self::Failed { charge, .. } if !charge.is_held() => {
                Ok(vec![])
            }
            Self::Requested(charge)
            | Self::ActionRequired { charge, .. }
            | Self::Authorized(charge)
            | Self::Declined { charge, .. }
            | Self::Failed { charge, .. } => Ok(vec![PaymentEvent::VoidRequested {
                reason: reason.clone(),
                provider_key: id::cancel_key(charge.order_id),
            }]),
        }
    }

    pub(crate) fn refund(&self, refund_id: RefundId, amount: Money, reason: &Reason) -> Decision {
        let charge = self.must_be_captured()?;
        if let Some(known) = charge.refunds.get(&refund_id) {
            if known.amount != amount {
                return Err(PaymentRefusal::RefundDiffers {
                    requested: known.amount,
                });
            }
            return match &known.stage {
                RefundStage::Pending | RefundStage::Done => Ok(vec![]),
                RefundStage::Failed { code } => Err(PaymentRefusal::RefundFailed {
                    reason: code.clone(),
                }),
            };
        }
        must_be_positive(amount)?;
        if charge.refunds.len() >= REFUNDS_MAX as usize {
            return Err(PaymentRefusal::TooManyRefunds { max: REFUNDS_MAX });
        }
        let available = charge.refundable();
        if amount.currency != available.currency || amount.amount > available.amount {
            return Err(PaymentRefusal::RefundExceedsCaptured { available });
        }
        Ok(vec![PaymentEvent::RefundRequested {
            refund_id,
            amount,
            reason: reason.clone(),
            provider_key: id::refund_key(refund_id),
        }])
    }

    /// Ours to give back?
    pub(crate) fn must_be_captured(&self) -> Result<&Charge, PaymentRefusal> {
        match self {
            Self::Unrequested => Err(PaymentRefusal::PaymentUnknown),
            Self::Captured(charge) => Ok(charge),
            Self::CalledOff
            | Self::Requested(_)
            | Self::ActionRequired { .. }
            | Self::Authorized(_)
            | Self::Capturing { .. }
            | Self::Voiding(_)
            | Self::Voided(_)
            | Self::Declined { .. }
            | Self::Failed { .. } => Err(PaymentRefusal::PaymentNotCaptured),
        }
    }
}

pub(crate) fn must_be_positive(amount: Money) -> Result<(), PaymentRefusal> {
    if amount.is_positive() {
        Ok(())
    } else {
        Err(PaymentRefusal::AmountNotPositive)
    }
}
