//! Works what the payment provider tells by itself: stream INBOX, letter by letter.
//!
//! ```text
//!   letter ──► whose payment? ──► on record already? ──yes──► echo: remove the letter
//!                  │                      no
//!                  │                      ▼
//!                  │              ask the provider how it stands ──► record what is new, or that
//!                  │                                                 it was ignored, and remove
//!                  ├─ somebody else's with the same account: remove the letter
//!                  └─ nobody's yet: it waits, and is worked again at its timer, ever more rarely,
//!                     until it expires
//! ```
//!
//! What a letter claims is never recorded as such: it is late, repeated and out of order, and says
//! nothing about now. The provider's own record does.

use async_trait::async_trait;
use kernel::{AggregateId, Decider, Position};
use payment::{Claim, IgnoredBecause, Payment, PaymentCommand, RefundStage};
use streams::inbox::{Inbox, Letter};
use streams::lanes::{HandleError, Handler};
use streams::subscription::Delivery;
use streams::timers::DueTimer;
use streams::{Connection, Loaded, Streams};
use thiserror::Error;

use crate::PAYMENT_DURABLE;
use crate::failure::ProviderError;
use crate::notice::Notice;
use crate::outcome::{Outcome, given_back, outcome_of};
use crate::provider::Provider;
use crate::recorder::{Cause, Record, Recorded, Recorder};
use crate::waiting::Waiting;

/// As what this reactor acts.
const ACTOR: &str = "reactor:inbox";

/// Whose letters these are.
pub(crate) const SOURCE: &str = "payment";

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum Heard {
    /// It told something new, which is recorded.
    Recorded,
    /// What it tells is on record.
    Echo,
    /// It changes nothing, which is recorded.
    Ignored,
    /// It is about no payment.
    Foreign,
    /// It can't be matched with a payment now.
    Waits,
    /// It is no event that this code can read; other code may.
    Unreadable,
}

/// Whose an intent is.
enum Whose {
    /// A payment's of ours.
    Ours(AggregateId),
    /// Somebody else's who has the same account at the provider: every intent of ours names its payment.
    Foreign,
    /// The provider doesn't know it, now.
    Unknown,
}

/// The payment moved while its letter was worked: look at it again.
#[derive(Debug, Error)]
#[error("the payment moved on meanwhile: {code}")]
struct MovedOn {
    code: String,
}

/// Works letters, when they come and when their timers ring.
pub(crate) struct Letters {
    streams: Streams,
    recorder: Recorder,
    provider: Provider,
    inbox: Inbox,
    waiting: Waiting,
}

impl Letters {
    pub(crate) fn new(
        connection: &Connection,
        streams: Streams,
        recorder: Recorder,
        provider: Provider,
    ) -> Self {
        Self {
            streams,
            recorder,
            provider,
            inbox: Inbox::new(connection),
            waiting: Waiting::new(connection),
        }
    }

    /// Works a letter, and removes it unless it must wait.
    async fn work(&self, letter: &Letter) -> Result<(), HandleError> {
        let heard = match Notice::read(&letter.body) {
            Some(notice) => self.hear(&notice).await?,
            None => Heard::Unreadable,
        };
        let outcome: &'static str = heard.into();
        metrics::counter!("payment_letters_total", "outcome" => outcome).increment(1);
        match heard {
            Heard::Waits | Heard::Unreadable => {
                tracing::info!(letter = %letter.id.id, about = %letter.id.key, outcome, "a letter waits");
                self.waiting
                    .wake_later(letter)
                    .await
                    .map_err(HandleError::retryable)
            }
            Heard::Recorded | Heard::Echo | Heard::Ignored | Heard::Foreign => {
                let removed = self.inbox.remove(letter).await;
                removed.map_err(HandleError::retryable)
            }
        }
    }

    async fn hear(&self, notice: &Notice) -> Result<Heard, HandleError> {
        let Some(intent_id) = &notice.intent_id else {
            return Ok(Heard::Foreign);
        };
        let id = match self.whose(notice, intent_id).await {
            Ok(Whose::Ours(id)) => id,
            Ok(Whose::Foreign) => return Ok(Heard::Foreign),
            Ok(Whose::Unknown) => return Ok(Heard::Waits),
            Err(error) => return unanswered(error),
        };
        let payment = self.streams.load::<Payment>(&id).await?.state;
        if payment.intent_id() == Some(intent_id) && notice.claim.is_some_and(|c| payment.knows(c))
        {
            // What stands on record once stays there.
            return Ok(Heard::Echo);
        }
        let loaded = self.streams.load_current::<Payment>(&id).await?;
        let payment = &loaded.state;
        let Some(known) = payment.intent_id() else {
            // Never requested, or its intent is not on record yet.
            return Ok(Heard::Waits);
        };
        if known != intent_id {
            let because = IgnoredBecause::OtherIntent;
            return self.ignore(&id, &loaded, notice, because).await;
        }
        let Some(claim) = notice.claim else {
            let because = IgnoredBecause::Irrelevant;
            return self.ignore(&id, &loaded, notice, because).await;
        };
        if payment.knows(claim) {
            return Ok(Heard::Echo);
        }
        match self.news(payment, intent_id, claim).await {
            Ok(news) => self.take_in(&id, &loaded, notice, news).await,
            Err(error) => unanswered(error),
        }
    }

    /// The payment that the letter names, or the provider's record of its intent.
    async fn whose(&self, notice: &Notice, intent_id: &str) -> Result<Whose, ProviderError> {
        if let Some(id) = notice.payment_id.clone() {
            return Ok(Whose::Ours(id));
        }
        let Some(intent) = self.provider.find(intent_id).await? else {
            return Ok(Whose::Unknown);
        };
        Ok(intent.payment_id().map_or(Whose::Foreign, Whose::Ours))
    }

    /// What the provider's record says, as far as it concerns the claim.
    async fn news(
        &self,
        payment: &Payment,
        intent_id: &str,
        claim: Claim,
    ) -> Result<Vec<Outcome>, ProviderError> {
        match claim {
            Claim::Refunded(_) => self.refunds(payment, intent_id).await,
            Claim::ActionRequired
            | Claim::Authorized
            | Claim::Captured
            | Claim::Declined
            | Claim::Voided => {
                let intent = self.provider.retrieve(intent_id).await?;
                Ok(outcome_of(&intent)?.into_iter().collect())
            }
        }
    }

    /// What became of our refunds. One that somebody else made is the reconciliation's to find.
    async fn refunds(
        &self,
        payment: &Payment,
        intent_id: &str,
    ) -> Result<Vec<Outcome>, ProviderError> {
        let refunds = self.provider.refunds_of(intent_id).await?;
        let of = |id| payment.charge().and_then(|charge| charge.refunds.get(&id));
        let ours = refunds.iter().filter_map(|refund| {
            let refund_id = refund.refund_id()?;
            let known = of(refund_id)?;
            match refund.failure() {
                // It failed for good in our books: a contradiction that a person must see.
                None if matches!(known.stage, RefundStage::Failed { .. }) => None,
                failure => Some(given_back(refund_id, failure)),
            }
        });
        Ok(ours.collect())
    }

    /// Records what is new, or that nothing is.
    async fn take_in(
        &self,
        id: &AggregateId,
        payment: &Loaded<Payment>,
        notice: &Notice,
        news: Vec<Outcome>,
    ) -> Result<Heard, HandleError> {
        let mut heard = None;
        for outcome in news {
            match payment.state.decide(&outcome.command) {
                Ok(events) if events.is_empty() => {}
                Ok(_) => {
                    self.record(id, payment, notice, &outcome).await?;
                    heard = Some(Heard::Recorded);
                }
                Err(refusal) => {
                    tracing::error!(payment = %id, event = notice.id, %refusal, "the provider's record contradicts ours");
                    let because = IgnoredBecause::Contradiction;
                    heard = Some(self.ignore(id, payment, notice, because).await?);
                }
            }
        }
        if let Some(heard) = heard {
            return Ok(heard);
        }
        let because = IgnoredBecause::Stale;
        self.ignore(id, payment, notice, because).await
    }

    async fn ignore(
        &self,
        id: &AggregateId,
        payment: &Loaded<Payment>,
        notice: &Notice,
        because: IgnoredBecause,
    ) -> Result<Heard, HandleError> {
        let command = PaymentCommand::RecordProviderEvent {
            event_id: notice.id.clone(),
            event_type: notice.event_type.clone(),
            because,
        };
        let outcome = Outcome::new("ignored", command);
        self.record(id, payment, notice, &outcome).await?;
        Ok(Heard::Ignored)
    }

    async fn record(
        &self,
        id: &AggregateId,
        payment: &Loaded<Payment>,
        notice: &Notice,
        outcome: &Outcome,
    ) -> Result<(), HandleError> {
        let label = format!("letter/{}/{}", notice.id, outcome.label);
        // The provider knows no trace: it goes on where the payment was left.
        let at = Position::new(PAYMENT_DURABLE.stream, payment.position);
        let left = self.streams.event_at(&at).await?;
        let order_id = payment.state.order_id();
        let cause = Cause {
            correlation_id: order_id.map(|order_id| order_id.to_string()),
            causation_id: Some(notice.id.clone()),
            traceparent: left.and_then(|event| event.traceparent),
        };
        let record = Record {
            id,
            command: &outcome.command,
            label: &label,
            cause: &cause,
            actor: ACTOR,
        };
        match self.recorder.record::<Payment>(record).await? {
            Recorded::At(_) => Ok(()),
            Recorded::Refused(code) => Err(HandleError::retryable(MovedOn { code })),
        }
    }
}

/// The provider is asked again at once while that may help. What it refuses to tell, or doesn't know, may be
/// another matter in an hour, so the letter waits: tried where it is, it would stand in the others' way.
fn unanswered(error: ProviderError) -> Result<Heard, HandleError> {
    if error.is_transient() && !matches!(error, ProviderError::Missing { .. }) {
        return Err(HandleError::retryable(error));
    }
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        "the provider tells nothing about a letter"
    );
    Ok(Heard::Waits)
}

#[async_trait]
impl Handler<Letter> for Letters {
    async fn handle(&self, delivery: &Delivery<Letter>) -> Result<(), HandleError> {
        self.work(&delivery.event).await
    }
}

#[async_trait]
impl Handler<DueTimer> for Letters {
    async fn handle(&self, delivery: &Delivery<DueTimer>) -> Result<(), HandleError> {
        let id = &delivery.event.id.id;
        let letter = self.inbox.read(SOURCE, id).await;
        match letter.map_err(HandleError::retryable)? {
            Some(letter) => self.work(&letter).await,
            // Worked meanwhile, or expired.
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_about_what_the_provider_does_not_know_waits_at_its_timer() {
        let message = "No such payment_intent".to_owned();
        let heard = unanswered(ProviderError::Missing { message });
        assert_eq!(heard.unwrap(), Heard::Waits);
        // While it doesn't answer at all, every letter waits alike.
        assert!(!unanswered(ProviderError::LeftAlone).unwrap_err().permanent);
    }
}
