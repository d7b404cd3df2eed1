//! Our record held against the provider's: what must be equal, and what is not.
//!
//! The record may be ahead or behind while a call is in flight, so whoever compares looks again
//! before it reports; see the reactor's `reconcile`.

use kernel::{Money, Reason};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::aggregate::Decision;
use crate::{Charge, Payment, PaymentEvent, PaymentRefusal};

/// What the provider's list says of one intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderRecord {
    /// The provider's id (`pi_…`).
    pub intent_id: String,
    /// Asked for.
    pub amount: Money,
    /// Held and not taken.
    pub held: Money,
    /// Taken, before refunds.
    pub captured: Money,
    /// Given back.
    pub refunded: Money,
}

/// In what our record and the provider's differ.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// The provider doesn't know the intent that our record names.
    MissingAtProvider,
    /// The provider holds or keeps money under an intent that is not the payment's.
    UnknownIntent,
    /// Another amount or currency was asked for.
    Amount,
    /// Another amount is held.
    Held,
    /// Another amount was taken.
    Captured,
    /// Another amount went back.
    Refunded,
}

/// A difference that was found and still stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mismatch {
    /// In what.
    pub differences: Vec<Difference>,
    /// What the provider's list said; `None` = it has no such intent.
    pub seen: Option<ProviderRecord>,
}

impl ProviderRecord {
    /// Does it hold money, or has it taken some that did not go back whole?
    pub fn keeps_money(&self) -> bool {
        self.held.is_positive() || self.captured.amount > self.refunded.amount
    }
}

impl Payment {
    /// In what the payment differs from what the provider has under its intent (`None`: the
    /// provider knows no such intent). Equal records give nothing.
    pub fn differences(&self, seen: Option<&ProviderRecord>) -> Vec<Difference> {
        let ours = self.charge().filter(|charge| charge.intent_id.is_some());
        let Some(seen) = seen else {
            return ours
                .map(|_| Difference::MissingAtProvider)
                .into_iter()
                .collect();
        };
        let ours = ours.filter(|charge| charge.intent_id.as_ref() == Some(&seen.intent_id));
        let Some(charge) = ours else {
            // An intent that was never confirmed, or whose money went back, is nobody's loss.
            let unknown = seen.keeps_money().then_some(Difference::UnknownIntent);
            return unknown.into_iter().collect();
        };
        let pairs = [
            (Difference::Amount, charge.amount, seen.amount),
            (Difference::Held, self.held(charge), seen.held),
            (Difference::Captured, charge.captured(), seen.captured),
            (Difference::Refunded, charge.refunded(), seen.refunded),
        ];
        let differing = pairs.into_iter().filter(|(_, ours, theirs)| ours != theirs);
        differing.map(|(what, ..)| what).collect()
    }

    /// A mismatch is recorded once, for as long as it stays the same, and so is its end.
    pub(crate) fn reconcile(&self, seen: Option<&ProviderRecord>) -> Decision {
        let charge = self.must_be_requested()?;
        let differences = self.differences(seen);
        if differences.is_empty() || self.accepts(seen) {
            let settled = charge.mismatch.is_some();
            return Ok(settled
                .then_some(PaymentEvent::ReconciliationMatched {})
                .into_iter()
                .collect());
        }
        let found = Mismatch {
            differences,
            seen: seen.cloned(),
        };
        if charge.mismatch.as_ref() == Some(&found) {
            return Ok(vec![]);
        }
        Ok(vec![PaymentEvent::ReconciliationMismatched {
            differences: found.differences,
            seen: found.seen,
        }])
    }

    /// A person has looked at the mismatch that stands, and knows why.
    pub(crate) fn accept(&self, reason: &Reason) -> Decision {
        let charge = self.must_be_requested()?;
        let Some(Mismatch { differences, seen }) = charge.mismatch.clone() else {
            return Err(PaymentRefusal::NoMismatch);
        };
        Ok(vec![PaymentEvent::ReconciliationAccepted {
            differences,
            seen,
            reason: reason.clone(),
        }])
    }

    /// Has a person explained that the provider has this, and nothing changed since?
    pub fn accepts(&self, seen: Option<&ProviderRecord>) -> bool {
        let accepted = self.charge().and_then(|charge| charge.accepted.as_ref());
        accepted.is_some_and(|accepted| {
            accepted.seen.as_ref() == seen && accepted.differences == self.differences(seen)
        })
    }

    pub(crate) fn take_as_it_is(&mut self, accepted: Mismatch) {
        if let Some(charge) = self.charge_mut() {
            charge.mismatch = None;
            charge.accepted = Some(accepted);
        }
    }

    pub(crate) fn differ(&mut self, mismatch: Option<Mismatch>) {
        if let Some(charge) = self.charge_mut() {
            charge.mismatch = mismatch;
        }
    }

    /// What the provider holds of it, as far as we know.
    fn held(&self, charge: &Charge) -> Money {
        let voided = matches!(self, Self::Voided(_));
        let held = charge.authorized.filter(|_| charge.is_held() && !voided);
        held.unwrap_or(Money::zero(charge.amount.currency))
    }
}
