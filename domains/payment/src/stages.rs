//! How a payment moves from stage to stage: the steps of `evolve`.

use kernel::{Money, RefundId};

use crate::{Charge, Payment, Refund, RefundStage};

impl Payment {
    /// Takes the money along to another stage; where there is none, nothing moves.
    pub(crate) fn move_to(&mut self, stage: impl FnOnce(Charge) -> Self) {
        match std::mem::take(self) {
            Self::Unrequested => {}
            Self::CalledOff => *self = Self::CalledOff,
            Self::Requested(charge)
            | Self::ActionRequired { charge, .. }
            | Self::Authorized(charge)
            | Self::Capturing { charge, .. }
            | Self::Captured(charge)
            | Self::Voiding(charge)
            | Self::Voided(charge)
            | Self::Declined { charge, .. }
            | Self::Failed { charge, .. } => *self = stage(charge),
        }
    }

    /// An intent that is found after the void must be let go as well.
    pub(crate) fn take_intent(&mut self, intent_id: &str) {
        if let Some(charge) = self.charge_mut() {
            charge.intent_id = Some(intent_id.to_owned());
        }
        if matches!(self, Self::Voided(_)) {
            self.move_to(Self::Voiding);
        }
    }

    /// "Void wanted" stays wanted, and money that is held after the void must be let go again.
    pub(crate) fn hold(&mut self, amount: Money) {
        let void_wanted = matches!(self, Self::Voiding(_) | Self::Voided(_));
        self.move_to(|charge| {
            let charge = Charge {
                authorized: Some(amount),
                ..charge
            };
            if void_wanted {
                Self::Voiding(charge)
            } else {
                Self::Authorized(charge)
            }
        });
    }

    /// What is taken was held, whether or not anybody told us.
    pub(crate) fn take(&mut self, amount: Money) {
        self.move_to(|charge| {
            Self::Captured(Charge {
                authorized: charge.authorized.or(Some(amount)),
                captured: Some(amount),
                ..charge
            })
        });
    }

    /// Nothing is held any more; before there was anything to hold it is a tombstone.
    pub(crate) fn let_go(&mut self) {
        if matches!(self, Self::Unrequested) {
            *self = Self::CalledOff;
        }
        self.move_to(Self::Voided);
    }

    pub(crate) fn promise(&mut self, refund_id: RefundId, amount: Money, key: &str) {
        if let Some(charge) = self.charge_mut() {
            let refund = Refund {
                amount,
                key: key.to_owned(),
                stage: RefundStage::Pending,
            };
            charge.refunds.insert(refund_id, refund);
        }
    }

    pub(crate) fn fail_refund(&mut self, refund_id: RefundId, code: &str) {
        let code = code.to_owned();
        self.settle(refund_id, RefundStage::Failed { code });
    }

    pub(crate) fn settle(&mut self, refund_id: RefundId, stage: RefundStage) {
        if let Some(charge) = self.charge_mut()
            && let Some(refund) = charge.refunds.get_mut(&refund_id)
        {
            refund.stage = stage;
        }
    }

    pub(crate) fn charge_mut(&mut self) -> Option<&mut Charge> {
        match self {
            Self::Unrequested | Self::CalledOff => None,
            Self::Requested(charge)
            | Self::ActionRequired { charge, .. }
            | Self::Authorized(charge)
            | Self::Capturing { charge, .. }
            | Self::Captured(charge)
            | Self::Voiding(charge)
            | Self::Voided(charge)
            | Self::Declined { charge, .. }
            | Self::Failed { charge, .. } => Some(charge),
        }
    }
}
