//! Our payments held against the provider's list: what either side has and the other hasn't.
//!
//! ```text
//!   the provider's list ─┐
//!                        ├─► differ? ──► look at both again, some times ──► still? a mismatch
//!   stream PAYMENT ──────┘
//! ```
//!
//! Both are read while the shop goes on, so a difference is at first only a suspicion: a call may
//! be in flight. What still differs when both were asked again is reported.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use kernel::{AggregateId, Decider, OrderId};
use payment::{Difference, Payment, PaymentStatus, ProviderRecord};
use serde::Serialize;
use streams::verify::{self, ScanError};
use streams::{Connection, LoadError, RecordedEvent, Streams};
use thiserror::Error;

use crate::failure::ProviderError;
use crate::listing::Refund;
use crate::provider::{Intent, IntentStatus, Provider};

/// The stream of our payments.
const STREAM: &str = "PAYMENT";

/// How much earlier than its intent a payment may have been requested: the provider may have been
/// down. One that is older is loaded by itself.
const EARLIER: TimeDelta = TimeDelta::days(1);

/// How often a suspicion is looked at again.
const LOOKS: u32 = 5;

/// Pause before each of these looks: longer than a call takes.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Why nothing can be said.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// The provider's list can't be read.
    #[error("the payment provider's list can't be read")]
    Provider(#[from] ProviderError),
    /// Our stream can't be read.
    #[error("the payments can't be read")]
    Scan(#[from] ScanError),
    /// A payment can't be loaded.
    #[error("a payment can't be loaded")]
    Load(#[from] LoadError),
}

/// How far a reconciliation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many intents are listed.
    Listed(usize),
    /// So many of so many events are read.
    Read(u64, u64),
    /// So many suspicions are looked at again.
    Suspicions(usize),
}

/// What was compared, and what differs.
#[derive(Debug, Clone, Serialize)]
pub struct Reconciliation {
    /// Nothing differs.
    pub ok: bool,
    /// Intents and payments that are older were not compared.
    pub since: DateTime<Utc>,
    /// Intents of the provider.
    pub intents: usize,
    /// Our payments.
    pub payments: usize,
    /// What differs, by intent.
    pub mismatches: Vec<Mismatched>,
    /// What differed when it was compared before, and is equal now.
    #[serde(skip)]
    pub(crate) settled: Vec<Mismatched>,
}

/// One payment whose records differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatched {
    /// The intent.
    pub intent_id: String,
    /// Our payment; none when the intent names none.
    pub payment_id: Option<AggregateId>,
    /// Its order; none when we know nothing of it.
    pub order_id: Option<OrderId>,
    /// How far our payment has come.
    pub status: Option<PaymentStatus>,
    /// In what they differ.
    pub differences: Vec<Difference>,
    /// The provider's record; none when it has none.
    pub provider: Option<ProviderRecord>,
}

/// Compares everything since `since`, as `connection` and `provider` have it.
pub struct Reconciler<'a> {
    /// Reads stream PAYMENT whole.
    pub connection: &'a Connection,
    /// Loads one payment.
    pub streams: &'a Streams,
    /// Whose list it is.
    pub provider: &'a Provider,
    /// Hears how far it is.
    pub progress: &'a (dyn Fn(Progress) + Sync),
}

/// An intent, and whose it is.
#[derive(Debug, Clone)]
struct Pair {
    intent_id: String,
    payment_id: Option<AggregateId>,
}

impl Pair {
    fn of(intent: &Intent) -> Self {
        Self {
            intent_id: intent.id.clone(),
            payment_id: intent.payment_id(),
        }
    }
}

/// A payment as our stream has it.
struct Known {
    payment: Payment,
    requested_at: DateTime<Utc>,
}

type Ours = HashMap<AggregateId, Known>;

impl Reconciler<'_> {
    /// Compares what was made since `since`.
    ///
    /// # Errors
    /// The provider or the stream can't be read to the end: nothing can be said then.
    pub async fn run(&self, since: DateTime<Utc>) -> Result<Reconciliation, ReconcileError> {
        let theirs = self.theirs(since).await?;
        let ours = self.ours(since - EARLIER).await?;
        let mut suspicions = unlisted(&ours, &theirs, since);
        let mut settled = Vec::new();
        for (intent, record) in &theirs {
            let pair = Pair::of(intent);
            match judge(&pair, record, &ours) {
                Judged::Equal => {}
                Judged::EqualAgain(payment) => {
                    settled.push(mismatched(&pair, payment, Some(record.clone())));
                }
                Judged::Suspicious => suspicions.push(pair),
            }
        }
        let mismatches = self.look_again(suspicions).await?;
        Ok(Reconciliation {
            ok: mismatches.is_empty(),
            since,
            intents: theirs.len(),
            payments: ours.len(),
            mismatches,
            settled,
        })
    }

    /// The provider's record of every intent that may be ours.
    async fn theirs(
        &self,
        since: DateTime<Utc>,
    ) -> Result<Vec<(Intent, ProviderRecord)>, ReconcileError> {
        let listed = |count| (self.progress)(Progress::Listed(count));
        let intents = self.provider.intents_since(since, &listed).await?;
        let mut by_intent: BTreeMap<String, Vec<Refund>> = BTreeMap::new();
        for refund in self.provider.refunds_since(since).await? {
            if let Some(intent_id) = refund.payment_intent.clone() {
                by_intent.entry(intent_id).or_default().push(refund);
            }
        }
        let with_refunds = intents.into_iter().filter_map(|intent| {
            let refunds = by_intent.remove(&intent.id).unwrap_or_default();
            let record = comparable(&intent, &refunds)?;
            Some((intent, record))
        });
        Ok(with_refunds.collect())
    }

    /// Our payments that were requested since `since`, as the stream has them.
    async fn ours(&self, since: DateTime<Utc>) -> Result<Ours, ReconcileError> {
        let ends = verify::ends(self.connection, STREAM).await?;
        let mut ours = Ours::new();
        verify::scan(self.connection, STREAM, ends.last, |message| {
            let read = message.position.sequence;
            (self.progress)(Progress::Read(read, ends.last));
            // What can't be read is `millrace verify`'s to find; here it shows as a difference.
            if let Ok(event) = message.event() {
                take_in(&mut ours, &event, since);
            }
        })
        .await?;
        Ok(ours)
    }

    /// Asks both sides about each again, until they agree or the looks are over.
    async fn look_again(&self, mut pairs: Vec<Pair>) -> Result<Vec<Mismatched>, ReconcileError> {
        let mut differing = Vec::new();
        for look in 0..=LOOKS {
            if pairs.is_empty() {
                return Ok(Vec::new());
            }
            (self.progress)(Progress::Suspicions(pairs.len()));
            if look > 0 {
                tokio::time::sleep(LOOK_PAUSE).await;
            }
            differing.clear();
            for pair in std::mem::take(&mut pairs) {
                if let Some(mismatched) = self.compare(&pair).await? {
                    differing.push(mismatched);
                    pairs.push(pair);
                }
            }
        }
        Ok(differing)
    }

    /// Both sides as they are now.
    async fn compare(&self, pair: &Pair) -> Result<Option<Mismatched>, ReconcileError> {
        let seen = match self.provider.find(&pair.intent_id).await? {
            Some(intent) => {
                let refunds = self.provider.refunds_of(&intent.id).await?;
                comparable(&intent, &refunds)
            }
            None => None,
        };
        // Ours after theirs: what the provider has was told to us before, or is about to be.
        let payment = match &pair.payment_id {
            Some(id) => self.streams.load_current::<Payment>(id).await?.state,
            None => Arc::default(),
        };
        if payment.accepts(seen.as_ref()) {
            return Ok(None);
        }
        let mismatched = mismatched(pair, &payment, seen);
        Ok((!mismatched.differences.is_empty()).then_some(mismatched))
    }
}

/// What the first look at an intent says.
enum Judged<'a> {
    Equal,
    /// A mismatch stands on record, and is none any more.
    EqualAgain(&'a Payment),
    Suspicious,
}

fn judge<'a>(pair: &Pair, record: &ProviderRecord, ours: &'a Ours) -> Judged<'a> {
    let Some(id) = &pair.payment_id else {
        // Nobody's: it matters only if there is money in it.
        return if record.moved_money() {
            Judged::Suspicious
        } else {
            Judged::Equal
        };
    };
    // A payment that is older than those that were read is looked at by itself.
    let Some(known) = ours.get(id) else {
        return Judged::Suspicious;
    };
    let differs = !known.payment.differences(Some(record)).is_empty();
    if differs && !known.payment.accepts(Some(record)) {
        return Judged::Suspicious;
    }
    let charge = known.payment.charge();
    if charge.is_some_and(|charge| charge.mismatch.is_some()) {
        Judged::EqualAgain(&known.payment)
    } else {
        Judged::Equal
    }
}

/// Our payments with an intent, requested since `since`, that the provider does not list.
fn unlisted(ours: &Ours, theirs: &[(Intent, ProviderRecord)], since: DateTime<Utc>) -> Vec<Pair> {
    let listed: HashSet<&str> = theirs.iter().map(|(intent, _)| &*intent.id).collect();
    let recent = ours.iter().filter(|(_, known)| known.requested_at >= since);
    let unlisted = recent.filter_map(|(id, known)| {
        let intent_id = known.payment.intent_id()?;
        (!listed.contains(intent_id)).then(|| Pair {
            intent_id: intent_id.to_owned(),
            payment_id: Some(id.clone()),
        })
    });
    unlisted.collect()
}

fn take_in(ours: &mut Ours, event: &RecordedEvent, since: DateTime<Utc>) {
    let Ok(fact) = event.decode::<Payment>() else {
        return;
    };
    if event.version == 1 && event.recorded_at >= since {
        let known = Known {
            payment: Payment::default(),
            requested_at: event.recorded_at,
        };
        ours.insert(event.aggregate_id.clone(), known);
    }
    if let Some(known) = ours.get_mut(&event.aggregate_id) {
        known.payment.evolve(&fact);
    }
}

fn mismatched(pair: &Pair, payment: &Payment, seen: Option<ProviderRecord>) -> Mismatched {
    Mismatched {
        order_id: payment.order_id(),
        status: payment.status(),
        differences: payment.differences(seen.as_ref()),
        intent_id: pair.intent_id.clone(),
        payment_id: pair.payment_id.clone(),
        provider: seen,
    }
}

/// What the provider has under an intent; `None` = it is in a currency that is none of ours, so no
/// payment of ours can have asked for it. One that names it as its own misses it then, which is told.
fn comparable(intent: &Intent, refunds: &[Refund]) -> Option<ProviderRecord> {
    record(intent, refunds)
        .inspect_err(
            |error| tracing::warn!(intent = %intent.id, %error, "an intent is not compared"),
        )
        .ok()
}

/// What the provider has under an intent.
fn record(intent: &Intent, refunds: &[Refund]) -> Result<ProviderRecord, ProviderError> {
    let back = refunds.iter().filter(|refund| refund.failure().is_none());
    let refunded = back.fold(0_i64, |sum, refund| sum.saturating_add(refund.amount));
    let held = match intent.status {
        IntentStatus::RequiresCapture => intent.amount,
        IntentStatus::RequiresPaymentMethod
        | IntentStatus::RequiresConfirmation
        | IntentStatus::RequiresAction
        | IntentStatus::Processing
        | IntentStatus::Succeeded
        | IntentStatus::Canceled => 0,
    };
    Ok(ProviderRecord {
        intent_id: intent.id.clone(),
        amount: intent.asked()?,
        held: intent.money(held)?,
        captured: intent.received()?,
        refunded: intent.money(refunded)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_in_a_currency_of_somebody_else_is_not_compared() {
        let intent = |currency: &str| -> Intent {
            let json = serde_json::json!({
                "id": "pi_1", "status": "succeeded", "amount": 500, "amount_received": 500,
                "currency": currency,
            });
            serde_json::from_value(json).unwrap()
        };
        assert_eq!(comparable(&intent("zar"), &[]), None);
        let ours = comparable(&intent("eur"), &[]).unwrap();
        assert_eq!(ours.captured.to_string(), ours.amount.to_string());
    }
}
