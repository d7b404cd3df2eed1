//! Our payments held against the provider's list: what either side has and the other hasn't.
//!
//! ```text
//!   the provider's list ─┐
//!                        ├─► differ? ──► look at both again, some times ──► still? a mismatch
//!   stream PAYMENT ──────┘
//! ```
//!
//! Both are read while the shop goes on, so a difference is at first only a suspicion: a call may
//! be in flight. What still differs when both were asked again is reported. A payment on whose record a
//! mismatch stands is looked at again in any case, however old it is: so the mismatch has an end.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use kernel::{AggregateId, Decider, OrderId};
use payment::{Difference, Payment, PaymentEvent, PaymentStatus, ProviderRecord};
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
    /// Intents and payments that are older were not compared, but for payments on whose record a mismatch
    /// stands.
    pub since: DateTime<Utc>,
    /// Intents of the provider.
    pub intents: usize,
    /// Our payments.
    pub payments: usize,
    /// What differs, by intent.
    pub mismatches: Vec<Mismatched>,
    /// Of payments on whose record a mismatch stands, and of which nothing differs any more.
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
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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

/// What the scan of our stream has told.
#[derive(Default)]
struct Ours {
    payments: HashMap<AggregateId, Known>,
    /// On whose record a mismatch stands, of whatever age, and the intent that was seen then, if any was.
    standing: HashMap<AggregateId, Option<String>>,
}

impl Ours {
    /// As far as the scan could read it; it says nothing of one that is older.
    fn state(&self, id: &AggregateId) -> Payment {
        let known = self.payments.get(id);
        known.map(|known| known.payment.clone()).unwrap_or_default()
    }
}

impl Reconciler<'_> {
    /// Compares what was made since `since`.
    ///
    /// # Errors
    /// The provider or the stream can't be read to the end: nothing can be said then.
    pub async fn run(&self, since: DateTime<Utc>) -> Result<Reconciliation, ReconcileError> {
        let theirs = self.theirs(since).await?;
        let ours = self.ours(since - EARLIER).await?;
        let mut suspicions = unlisted(&ours, &theirs, since);
        for (intent, record) in &theirs {
            let pair = Pair::of(intent);
            if is_suspicious(&pair, record, &ours) {
                suspicions.push(pair);
            }
        }
        let mut named: HashSet<_> = suspicions.iter().cloned().collect();
        let standing = self.standing(&ours).await?;
        suspicions.extend(
            standing
                .into_iter()
                .filter(|pair| named.insert(pair.clone())),
        );
        let (mismatches, equal) = self.look_again(suspicions, &ours).await?;
        let differing: HashSet<_> = mismatches.iter().map(|it| it.payment_id.clone()).collect();
        // One payment may be named by several intents: it is in order once all of them are.
        let is_settled = |it: &Mismatched| {
            let id = it.payment_id.as_ref();
            id.is_some_and(|id| ours.standing.contains_key(id))
                && !differing.contains(&it.payment_id)
        };
        let settled = equal.into_iter().filter(is_settled).collect();
        Ok(Reconciliation {
            ok: mismatches.is_empty(),
            since,
            intents: theirs.len(),
            payments: ours.payments.len(),
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
        let mut ours = Ours::default();
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

    /// On whose record a mismatch stands, with each intent that may be what it is about.
    async fn standing(&self, ours: &Ours) -> Result<Vec<Pair>, ReconcileError> {
        let mut pairs = Vec::new();
        for (id, seen) in &ours.standing {
            let payment = self.load(id, ours).await?;
            let own = payment.intent_id().map(str::to_owned);
            let intents: BTreeSet<_> = own.into_iter().chain(seen.clone()).collect();
            pairs.extend(intents.into_iter().map(|intent_id| Pair {
                intent_id,
                payment_id: Some(id.clone()),
            }));
        }
        Ok(pairs)
    }

    /// Asks both sides about each again, until they agree or the looks are over: what differs, and what doesn't.
    async fn look_again(
        &self,
        mut pairs: Vec<Pair>,
        ours: &Ours,
    ) -> Result<(Vec<Mismatched>, Vec<Mismatched>), ReconcileError> {
        let (mut differing, mut equal) = (Vec::new(), Vec::new());
        for look in 0..=LOOKS {
            differing.clear();
            if pairs.is_empty() {
                break;
            }
            (self.progress)(Progress::Suspicions(pairs.len()));
            if look > 0 {
                tokio::time::sleep(LOOK_PAUSE).await;
            }
            for pair in std::mem::take(&mut pairs) {
                let compared = self.compare(&pair, ours).await?;
                if compared.differences.is_empty() {
                    equal.push(compared);
                } else {
                    differing.push(compared);
                    pairs.push(pair);
                }
            }
        }
        Ok((differing, equal))
    }

    /// Both sides as they are now.
    async fn compare(&self, pair: &Pair, ours: &Ours) -> Result<Mismatched, ReconcileError> {
        let seen = match self.provider.find(&pair.intent_id).await? {
            Some(intent) => {
                let refunds = self.provider.refunds_of(&intent.id).await?;
                comparable(&intent, &refunds)
            }
            None => None,
        };
        // Ours after theirs: what the provider has was told to us before, or is about to be.
        let payment = match &pair.payment_id {
            Some(id) => self.load(id, ours).await?,
            None => Arc::default(),
        };
        Ok(compared(pair, &payment, seen))
    }

    /// The payment as it is now. One that can't be read is `millrace verify`'s to find, and must not hide what
    /// differs elsewhere: as far as it could be read here, it shows as a difference.
    async fn load(&self, id: &AggregateId, ours: &Ours) -> Result<Arc<Payment>, ReconcileError> {
        match self.streams.load_current::<Payment>(id).await {
            Ok(loaded) => Ok(loaded.state),
            Err(LoadError::Unreadable(error)) => {
                tracing::warn!(payment = %id, %error, "a payment can't be read to its end");
                Ok(Arc::new(ours.state(id)))
            }
            Err(error @ LoadError::Unavailable { .. }) => Err(error.into()),
        }
    }
}

/// Does it differ, at the first look at an intent?
fn is_suspicious(pair: &Pair, record: &ProviderRecord, ours: &Ours) -> bool {
    let Some(id) = &pair.payment_id else {
        // Nobody's: it matters only if there is money in it.
        return record.keeps_money();
    };
    // A payment that is older than those that were read is looked at by itself.
    let known = ours.payments.get(id);
    known.is_none_or(|known| {
        let differs = !known.payment.differences(Some(record)).is_empty();
        differs && !known.payment.accepts(Some(record))
    })
}

/// Our payments with an intent, requested since `since`, that the provider does not list.
fn unlisted(ours: &Ours, theirs: &[(Intent, ProviderRecord)], since: DateTime<Utc>) -> Vec<Pair> {
    let listed: HashSet<&str> = theirs.iter().map(|(intent, _)| &*intent.id).collect();
    let payments = ours.payments.iter();
    let recent = payments.filter(|(_, known)| known.requested_at >= since);
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
    let id = &event.aggregate_id;
    if event.version == 1 && event.recorded_at >= since {
        let known = Known {
            payment: Payment::default(),
            requested_at: event.recorded_at,
        };
        ours.payments.insert(id.clone(), known);
    }
    if let Some(known) = ours.payments.get_mut(id) {
        known.payment.evolve(&fact);
    }
    if let PaymentEvent::ReconciliationMismatched { seen, .. } = fact {
        let seen = seen.map(|seen| seen.intent_id);
        ours.standing.insert(id.clone(), seen);
    } else if matches!(
        fact,
        PaymentEvent::ReconciliationMatched {} | PaymentEvent::ReconciliationAccepted { .. }
    ) {
        ours.standing.remove(id);
    }
}

/// What the provider has against the payment; without a difference, if a person has explained it.
fn compared(pair: &Pair, payment: &Payment, seen: Option<ProviderRecord>) -> Mismatched {
    let mut differences = payment.differences(seen.as_ref());
    if payment.accepts(seen.as_ref()) {
        differences.clear();
    }
    Mismatched {
        order_id: payment.order_id(),
        status: payment.status(),
        differences,
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

    fn recorded(version: u64, event: &PaymentEvent) -> RecordedEvent {
        let written = serde_json::to_value(event).unwrap();
        RecordedEvent {
            position: kernel::Position::new(STREAM, version),
            subject: "event.payment.p-1".to_owned(),
            context: "payment".to_owned(),
            kind: None,
            aggregate_id: "p-1".parse().unwrap(),
            id: uuid::Uuid::nil(),
            event_type: written["type"].as_str().unwrap().to_owned(),
            schema_version: 1,
            version,
            time: DateTime::UNIX_EPOCH,
            recorded_at: DateTime::UNIX_EPOCH,
            command_id: uuid::Uuid::nil(),
            correlation_id: None,
            causation_id: None,
            request_digest: None,
            actor: "system".to_owned(),
            traceparent: None,
            data: written["data"].to_string().into(),
        }
    }

    #[test]
    fn on_whose_record_a_mismatch_stands_is_known_however_old_it_is() {
        let mut ours = Ours::default();
        let mut stands = |version, event| {
            take_in(&mut ours, &recorded(version, &event), Utc::now());
            assert!(
                ours.payments.is_empty(),
                "it is older than what is compared"
            );
            !ours.standing.is_empty()
        };
        let mismatched = PaymentEvent::ReconciliationMismatched {
            differences: vec![Difference::MissingAtProvider],
            seen: None,
        };
        assert!(stands(7, mismatched));
        assert!(!stands(8, PaymentEvent::ReconciliationMatched {}));
    }
}
