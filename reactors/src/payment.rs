//! The payment reactor: does at the provider what the payment's state says is due.
//!
//! ```text
//!   delivery ──► take it in ──► due? ──no──────────────────────────► acknowledge
//!      ▲                          └─► still, says the leader? ──no──►    ▲
//!      │                                   └─► provider call ──► record ─┘
//!      └── what was recorded ◄─────────────────────────────────────┘
//! ```
//!
//! What begins a payment and gets no usable answer for a while is acknowledged, and due again at its timer:
//! of what waits unacknowledged there is a bound, and captures, voids and refunds would wait behind it. A
//! timer that is lost costs the order: its checkout calls the payment off at its deadline.

use async_trait::async_trait;
use chrono::TimeDelta;
use kernel::{AggregateId, Money, OrderId, Position, RefundId};
use payment::{Payment, ProviderAction};
use streams::lanes::{HandleError, Handler};
use streams::subscription::Delivery;
use streams::timers::{DueTimer, TimerId, Timers};
use streams::topology::{Acks, DurableSpec, OnFailure};
use streams::{RecordedEvent, Streams, clock};

use crate::PAYMENT_DURABLE;
use crate::failure::ProviderError;
use crate::outcome::{
    Outcome, authorized_or_not, captured, declined, failed, given_back, intent_recorded,
    not_settled, voided,
};
use crate::provider::{IntentStatus, Provider};
use crate::recorder::{Cause, Record, Recorded, Recorder};

/// As what this reactor acts.
const ACTOR: &str = "reactor:payment";

/// Whose timers these are.
const TIMERS: &str = "payment";

/// Rings for payments that can't begin. What may be called off is never set aside.
pub(crate) const TIMER_DURABLE: DurableSpec = DurableSpec {
    name: "payment-timers",
    stream: "TIMERS",
    kind: None,
    acks: Acks::Each,
    on_failure: OnFailure::Retry,
};

/// How long what begins a payment is tried again where it is.
const IN_PLACE: TimeDelta = TimeDelta::seconds(10);

/// The longest pause after that: each is as long as it has waited.
const PAUSE_MAX: TimeDelta = TimeDelta::minutes(1);

/// Most calls for one delivery: what is recorded is a delivery of its own, so there is another one only
/// where a payment moved on meanwhile.
const CALLS_MAX: usize = 16;

/// What the payment context answers to an amount that is not its own.
const AMOUNT_DIFFERS: &str = "amount_differs";

/// Executes the intents of the payment context at the provider.
pub(crate) struct PaymentReactor {
    streams: Streams,
    recorder: Recorder,
    provider: Provider,
    timers: Timers,
}

impl PaymentReactor {
    pub(crate) fn new(
        streams: Streams,
        recorder: Recorder,
        provider: Provider,
        timers: Timers,
    ) -> Self {
        Self {
            streams,
            recorder,
            provider,
            timers,
        }
    }

    async fn record(
        &self,
        id: &AggregateId,
        outcome: &Outcome,
        cause: &RecordedEvent,
    ) -> Result<Recorded, HandleError> {
        let record = Record {
            id,
            command: &outcome.command,
            label: &outcome.label,
            cause: &Cause::from(cause),
            actor: ACTOR,
        };
        Ok(self.recorder.record::<Payment>(record).await?)
    }

    /// Does what is due at the provider. What comes back is what the provider said, or an error
    /// that says nothing about the outcome, so that the same action is due again.
    async fn execute(
        &self,
        id: &AggregateId,
        action: ProviderAction,
    ) -> Result<Outcome, ProviderError> {
        match action {
            ProviderAction::CreateIntent {
                key,
                amount,
                order_id,
                ..
            } => {
                let metadata = [
                    ("order_id", order_id.to_string()),
                    ("payment_id", id.to_string()),
                ];
                match self.provider.create(&key, amount, &metadata).await {
                    Ok(intent) => Ok(intent_recorded(intent)),
                    Err(ProviderError::Refused { code, .. }) => Ok(failed("create", code)),
                    Err(error) => Err(error),
                }
            }
            ProviderAction::Confirm {
                order_id,
                intent_id,
                method,
            } => self.confirm(&intent_id, method.as_str(), order_id).await,
            ProviderAction::Capture {
                intent_id, amount, ..
            } => self.capture(&intent_id, amount).await,
            ProviderAction::Cancel {
                intent_id: Some(intent_id),
                ..
            } => self.cancel(&intent_id).await,
            // No intent was recorded. If one was made all the same it was never confirmed, and an
            // unconfirmed intent holds no money.
            ProviderAction::Cancel {
                intent_id: None, ..
            } => Ok(voided()),
            ProviderAction::Refund {
                refund_id,
                intent_id,
                amount,
                key,
            } => self.refund(refund_id, &intent_id, amount, &key).await,
        }
    }

    async fn refund(
        &self,
        refund_id: RefundId,
        intent_id: &str,
        amount: Money,
        key: &str,
    ) -> Result<Outcome, ProviderError> {
        // The provider forgets a key after a day; what an earlier try has made, it lists for ever.
        let made = self.provider.refunds_of(intent_id).await?;
        let ours = made
            .iter()
            .find(|refund| refund.refund_id() == Some(refund_id));
        if let Some(refund) = ours {
            return Ok(given_back(refund_id, refund.failure()));
        }
        let made = self.provider.refund(key, intent_id, refund_id, amount);
        match made.await {
            Ok(refund) => Ok(given_back(refund_id, refund.failure())),
            Err(ProviderError::Refused { code, .. } | ProviderError::Declined { code }) => {
                Ok(given_back(refund_id, Some(code)))
            }
            Err(ProviderError::UnexpectedState) => {
                Ok(given_back(refund_id, Some("unexpected_state".to_owned())))
            }
            Err(error) => Err(error),
        }
    }

    async fn confirm(
        &self,
        intent_id: &str,
        method: &str,
        order_id: OrderId,
    ) -> Result<Outcome, ProviderError> {
        let confirmed = self.provider.confirm(intent_id, method, order_id);
        let intent = match confirmed.await {
            Ok(intent) => intent,
            Err(ProviderError::Declined { code }) => return Ok(declined(code)),
            Err(ProviderError::UnexpectedState) => self.provider.retrieve(intent_id).await?,
            Err(ProviderError::Refused { code, .. }) => {
                return self.not_confirmed(intent_id, code).await;
            }
            Err(error) => return Err(error),
        };
        authorized_or_not(&intent)
    }

    /// The provider refuses to confirm. An earlier try whose answer was lost may have come through all the
    /// same, so it is looked at first.
    async fn not_confirmed(&self, intent_id: &str, code: String) -> Result<Outcome, ProviderError> {
        let intent = self.provider.retrieve(intent_id).await?;
        match intent.status {
            IntentStatus::RequiresPaymentMethod | IntentStatus::RequiresConfirmation => {
                Ok(failed("confirm", code))
            }
            IntentStatus::RequiresAction
            | IntentStatus::RequiresCapture
            | IntentStatus::Succeeded
            | IntentStatus::Canceled
            | IntentStatus::Processing => authorized_or_not(&intent),
        }
    }

    async fn capture(&self, intent_id: &str, amount: Money) -> Result<Outcome, ProviderError> {
        let intent = match self.provider.capture(intent_id, amount).await {
            Ok(intent) => intent,
            Err(ProviderError::UnexpectedState) => self.provider.retrieve(intent_id).await?,
            Err(ProviderError::Refused { code, .. } | ProviderError::Declined { code }) => {
                return Ok(failed("capture", code));
            }
            Err(error) => return Err(error),
        };
        match intent.status {
            IntentStatus::Succeeded => captured(&intent),
            IntentStatus::Canceled => Ok(failed("capture", "canceled_by_provider".to_owned())),
            status @ (IntentStatus::RequiresPaymentMethod
            | IntentStatus::RequiresConfirmation
            | IntentStatus::RequiresAction
            | IntentStatus::RequiresCapture
            | IntentStatus::Processing) => Err(not_settled(status)),
        }
    }

    async fn cancel(&self, intent_id: &str) -> Result<Outcome, ProviderError> {
        let intent = match self.provider.cancel(intent_id).await {
            Ok(intent) => intent,
            Err(ProviderError::UnexpectedState) => self.provider.retrieve(intent_id).await?,
            Err(error) => return Err(error),
        };
        match intent.status {
            IntentStatus::Canceled => Ok(voided()),
            // Captured before the cancel came: a fact about the world, the saga refunds.
            IntentStatus::Succeeded => captured(&intent),
            status @ (IntentStatus::RequiresPaymentMethod
            | IntentStatus::RequiresConfirmation
            | IntentStatus::RequiresAction
            | IntentStatus::RequiresCapture
            | IntentStatus::Processing) => Err(not_settled(status)),
        }
    }

    /// Does what is due of the payment that the event is of.
    async fn work(&self, event: &RecordedEvent) -> Result<(), HandleError> {
        let id = &event.aggregate_id;
        for _ in 0..CALLS_MAX {
            // Money moves on what the leader knows: what was due may have been called off since.
            let payment = self.streams.load_current::<Payment>(id).await?;
            let Some(action) = payment.state.due() else {
                return Ok(());
            };
            let may_be_called_off = may_be_called_off(&action);
            let outcome = match self.execute(id, action).await {
                Ok(outcome) => outcome.at(payment.version),
                Err(error) if error.is_transient() && may_be_called_off => {
                    return self.try_later(event, error).await;
                }
                Err(error) if error.is_transient() => return Err(HandleError::retryable(error)),
                Err(error) => return Err(HandleError::permanent(error)),
            };
            match self.record(id, &outcome, event).await? {
                // What is due then follows with the delivery of what was recorded.
                Recorded::At(position) if position.sequence > payment.position => return Ok(()),
                Recorded::At(_) => {}
                Recorded::Refused(code) => refused(id, &code, may_be_called_off)?,
            }
        }
        Err(HandleError::retryable(TooManyCalls))
    }

    async fn try_later(
        &self,
        event: &RecordedEvent,
        error: ProviderError,
    ) -> Result<(), HandleError> {
        let (now, id) = (clock::now(), &event.aggregate_id);
        let waited = now - event.recorded_at;
        if waited < IN_PLACE {
            return Err(HandleError::retryable(error));
        }
        tracing::warn!(
            payment = %id, error = &error as &dyn std::error::Error,
            "a payment can't begin; it is tried again at its timer"
        );
        let timer = TimerId {
            saga: TIMERS.to_owned(),
            id: id.clone(),
        };
        let set = self.timers.set(&timer, now + waited.min(PAUSE_MAX)).await;
        set.map_err(HandleError::retryable)
    }
}

#[async_trait]
impl Handler for PaymentReactor {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let payment = self.streams.load_with::<Payment>(&delivery.event).await?;
        if payment.state.due().is_none() {
            return Ok(());
        }
        self.work(&delivery.event).await
    }
}

#[async_trait]
impl Handler<DueTimer> for PaymentReactor {
    async fn handle(&self, delivery: &Delivery<DueTimer>) -> Result<(), HandleError> {
        let id = &delivery.event.id.id;
        let payment = self.streams.load_current::<Payment>(id).await?;
        if !payment
            .state
            .due()
            .is_some_and(|due| may_be_called_off(&due))
        {
            // What is due by now is another delivery's.
            return Ok(());
        }
        let last = Position::new(PAYMENT_DURABLE.stream, payment.position);
        match self.streams.event_at(&last).await? {
            Some(event) => self.work(&event).await,
            None => Ok(()),
        }
    }
}

/// May the payment still turn to something else? A capture and a void are ends of it.
fn may_be_called_off(action: &ProviderAction) -> bool {
    match action {
        ProviderAction::CreateIntent { .. } | ProviderAction::Confirm { .. } => true,
        ProviderAction::Capture { .. }
        | ProviderAction::Cancel { .. }
        | ProviderAction::Refund { .. } => false,
    }
}

/// The payment moved on while the provider was asked: it is looked at again. What the provider says of an
/// amount it will say the next time too: a person is to look. Where what is due may be called off yet, it is
/// tried now and then meanwhile and not set aside, for that must not wait behind it.
fn refused(id: &AggregateId, code: &str, may_be_called_off: bool) -> Result<(), HandleError> {
    if code == AMOUNT_DIFFERS {
        return Err(if may_be_called_off {
            HandleError::retryable(OtherAmount)
        } else {
            HandleError::permanent(OtherAmount)
        });
    }
    tracing::info!(payment = %id, %code, "the payment context refused an outcome");
    Ok(())
}

/// The payment keeps asking for calls.
#[derive(Debug, thiserror::Error)]
#[error("the payment still has calls due after {CALLS_MAX}")]
struct TooManyCalls;

/// Somebody has taken a part of the money on the provider's own page, or the provider holds another
/// amount. A person is to look; the reconciliation says what differs.
#[derive(Debug, thiserror::Error)]
#[error("the provider holds or took another amount than the payment's")]
struct OtherAmount;

#[cfg(test)]
mod tests {
    use kernel::{Money, Refusal};
    use payment::PaymentRefusal;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn another_amount_stands_in_no_voids_way_and_else_waits_for_a_person() {
        let id = kernel::PaymentId(Uuid::nil()).into();
        let expected = Money::new(2_500, "EUR".parse().unwrap());
        let differs = PaymentRefusal::AmountDiffers { expected };
        let (intent_id, key) = ("pi_1".to_owned(), "k".to_owned());
        let confirm = ProviderAction::Confirm {
            order_id: OrderId(Uuid::nil()),
            intent_id: intent_id.clone(),
            method: "pm_card_visa".parse().unwrap(),
        };
        let capture = ProviderAction::Capture {
            intent_id: intent_id.clone(),
            amount: expected,
            key: key.clone(),
        };
        let cancel = ProviderAction::Cancel {
            intent_id: Some(intent_id),
            key,
        };
        for (action, is_set_aside) in [(confirm, false), (capture, true), (cancel, true)] {
            let may = may_be_called_off(&action);
            let left = refused(&id, differs.code().as_ref(), may).unwrap_err();
            assert_eq!(left.permanent, is_set_aside, "{action:?}");
        }
        let moved_on = PaymentRefusal::PaymentVoided;
        assert!(refused(&id, moved_on.code().as_ref(), true).is_ok());
    }
}
