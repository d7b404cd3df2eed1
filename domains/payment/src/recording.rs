//! What the provider said. It comes late, twice and out of order: what really happened to money is
//! recorded, and what is stale is already true.

use kernel::{Money, RefundId};

use crate::aggregate::Decision;
use crate::asking::must_be_positive;
use crate::{Charge, Payment, PaymentEvent, PaymentRefusal, Refund, RefundStage};

impl Payment {
    pub(crate) fn record_intent(&self, intent_id: &str) -> Decision {
        match &self.must_be_requested()?.intent_id {
            Some(known) if known == intent_id => Ok(vec![]),
            Some(known) => Err(PaymentRefusal::IntentDiffers {
                intent_id: known.clone(),
            }),
            None => Ok(vec![PaymentEvent::ProviderIntentCreated {
                intent_id: intent_id.to_owned(),
            }]),
        }
    }

    pub(crate) fn record_action_required(&self, action_url: Option<&str>) -> Decision {
        self.must_be_requested()?;
        let known = matches!(self, Self::ActionRequired { action_url: known, .. }
            if known.as_deref() == action_url);
        if known || !self.is_asked_for() {
            return Ok(vec![]);
        }
        Ok(vec![PaymentEvent::PaymentActionRequired {
            action_url: action_url.map(str::to_owned),
        }])
    }

    /// Also after a decline, a failure or the void: the money is held, and somebody must let it go.
    pub(crate) fn record_authorization(&self, amount: Money) -> Decision {
        let charge = self.must_be_requested()?;
        if charge.authorized.is_some() {
            return Ok(vec![]);
        }
        if amount != charge.amount {
            return Err(PaymentRefusal::AmountDiffers {
                expected: charge.amount,
            });
        }
        Ok(vec![PaymentEvent::PaymentAuthorized { amount }])
    }

    /// A decline is the end of asking for the money. Once it is held, or to be let go, a decline
    /// is the stale answer to an earlier try.
    pub(crate) fn record_decline(&self, code: &str, retryable: bool) -> Decision {
        self.must_be_requested()?;
        if !self.is_asked_for() {
            return Ok(vec![]);
        }
        Ok(vec![PaymentEvent::PaymentDeclined {
            code: code.to_owned(),
            retryable,
        }])
    }

    /// Of the call in flight. Without one it is stale; of a void it is no answer, for a void goes
    /// on until the money is known to be gone.
    pub(crate) fn record_failure(&self, code: &str) -> Decision {
        self.must_be_requested()?;
        if !self.is_asked_for() && !matches!(self, Self::Capturing { .. }) {
            return Ok(vec![]);
        }
        Ok(vec![PaymentEvent::PaymentFailed {
            code: code.to_owned(),
        }])
    }

    /// From every stage: money that was taken was taken. Neither more than was held, which the provider
    /// can't do, nor less: somebody took a part by hand, and the order would be sent for it. The
    /// reconciliation tells of that, and a person sees to it.
    pub(crate) fn record_capture(&self, amount: Money) -> Decision {
        let charge = self.must_be_requested()?;
        match charge.captured {
            Some(known) if known == amount => return Ok(vec![]),
            Some(expected) => return Err(PaymentRefusal::AmountDiffers { expected }),
            None => {}
        }
        must_be_positive(amount)?;
        let expected = charge.authorized.unwrap_or(charge.amount);
        if amount != expected {
            return Err(PaymentRefusal::AmountDiffers { expected });
        }
        Ok(vec![PaymentEvent::PaymentCaptured { amount }])
    }

    /// Also when nobody asked for it: a hold lapses at the provider after some days.
    pub(crate) fn record_void(&self) -> Decision {
        match self {
            Self::Unrequested => Err(PaymentRefusal::PaymentUnknown),
            Self::Captured(_) => Err(PaymentRefusal::PaymentCaptured),
            Self::CalledOff | Self::Voided(_) => Ok(vec![]),
            Self::Declined { charge, .. } | Self::Failed { charge, .. } if !charge.is_held() => {
                Ok(vec![])
            }
            Self::Requested(_)
            | Self::ActionRequired { .. }
            | Self::Authorized(_)
            | Self::Capturing { .. }
            | Self::Voiding(_)
            | Self::Declined { .. }
            | Self::Failed { .. } => Ok(vec![PaymentEvent::PaymentVoided {}]),
        }
    }

    pub(crate) fn record_refund(&self, refund_id: RefundId) -> Decision {
        let refund = self.must_know(refund_id)?;
        match &refund.stage {
            RefundStage::Done => Ok(vec![]),
            RefundStage::Failed { code } => Err(PaymentRefusal::RefundFailed {
                reason: code.clone(),
            }),
            RefundStage::Pending => Ok(vec![PaymentEvent::PaymentRefunded {
                refund_id,
                amount: refund.amount,
            }]),
        }
    }

    /// Also of a refund that was done: a bank sends money back.
    pub(crate) fn record_refund_failure(&self, refund_id: RefundId, code: &str) -> Decision {
        let refund = self.must_know(refund_id)?;
        let came_back = match refund.stage {
            RefundStage::Failed { .. } => return Ok(vec![]),
            RefundStage::Pending => None,
            RefundStage::Done => Some(refund.amount),
        };
        Ok(vec![PaymentEvent::RefundFailed {
            refund_id,
            code: code.to_owned(),
            came_back,
        }])
    }

    /// Was the provider asked for the money, without an answer for good?
    fn is_asked_for(&self) -> bool {
        matches!(self, Self::Requested(_) | Self::ActionRequired { .. })
    }

    pub(crate) fn must_be_requested(&self) -> Result<&Charge, PaymentRefusal> {
        self.charge().ok_or(if *self == Self::CalledOff {
            PaymentRefusal::PaymentVoided
        } else {
            PaymentRefusal::PaymentUnknown
        })
    }

    fn must_know(&self, refund_id: RefundId) -> Result<&Refund, PaymentRefusal> {
        let refunds = &self.must_be_requested()?.refunds;
        refunds.get(&refund_id).ok_or(PaymentRefusal::RefundUnknown)
    }
}
