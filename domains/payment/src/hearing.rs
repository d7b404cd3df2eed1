//! What the provider tells by itself: an event of it claims that something has happened.
//!
//! A claim is a reason to look, never a fact. Most are the echo of our own calls; of the others the
//! payment reactor asks the provider how things stand, and records that with the commands that
//! there are for it. What is left, and says nothing that counts, is ignored for the record.

use kernel::Money;
use serde::{Deserialize, Serialize};

use crate::aggregate::Decision;
use crate::{Payment, PaymentEvent, PaymentStatus};

/// How many provider events a payment remembers to have ignored; more come from a provider that
/// repeats itself, and are found among the aggregate's commands.
const IGNORED_REMEMBERED_MAX: usize = 16;

/// What an event of the provider says has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The customer must act.
    ActionRequired,
    /// The amount is held.
    Authorized,
    /// The amount is ours.
    Captured,
    /// The issuer, or the customer, said no.
    Declined,
    /// The hold was let go.
    Voided,
    /// So much went back in all; `None` = it doesn't say.
    Refunded(Option<Money>),
}

/// Why an event of the provider changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IgnoredBecause {
    /// It tells of something that has passed, or never came to stay.
    Stale,
    /// It says nothing about the money.
    Irrelevant,
    /// It is about an intent that is not this payment's.
    OtherIntent,
    /// What the provider has can't be this payment's: see the reconciliation.
    Contradiction,
}

impl Payment {
    /// Is what an event claims on record, so that it is the echo of what was done or heard before?
    pub fn knows(&self, claim: Claim) -> bool {
        let Some(charge) = self.charge() else {
            return false;
        };
        match claim {
            Claim::ActionRequired => !matches!(self, Self::Requested(_)),
            Claim::Authorized => charge.authorized.is_some(),
            Claim::Captured => charge.captured.is_some(),
            Claim::Declined => matches!(self, Self::Declined { .. }),
            Claim::Voided => self.status() == Some(PaymentStatus::Voided),
            Claim::Refunded(total) => {
                total == Some(charge.refunded()) && charge.refunding().amount == 0
            }
        }
    }

    pub(crate) fn record_provider_event(
        &self,
        event_id: &str,
        event_type: &str,
        because: IgnoredBecause,
    ) -> Decision {
        let charge = self.must_be_requested()?;
        if charge.ignored.iter().any(|known| known == event_id) {
            return Ok(vec![]);
        }
        Ok(vec![PaymentEvent::ProviderEventIgnored {
            event_id: event_id.to_owned(),
            event_type: event_type.to_owned(),
            because,
        }])
    }

    pub(crate) fn ignore(&mut self, event_id: &str) {
        if let Some(charge) = self.charge_mut() {
            charge.ignored.push_back(event_id.to_owned());
            if charge.ignored.len() > IGNORED_REMEMBERED_MAX {
                charge.ignored.pop_front();
            }
        }
    }
}
