//! What the provider said, as the command that records it.

use kernel::RefundId;
use payment::PaymentCommand;

use crate::failure::ProviderError;
use crate::provider::{Intent, IntentStatus};

/// What the provider calls a decline that another try with the same method may pass.
const RETRYABLE_DECLINES: [&str; 3] = [
    "processing_error",
    "try_again_later",
    "issuer_not_available",
];

/// An outcome, and the label that its command id is derived from.
pub(crate) struct Outcome {
    pub(crate) label: String,
    pub(crate) command: PaymentCommand,
}

impl Outcome {
    pub(crate) fn new(label: impl Into<String>, command: PaymentCommand) -> Self {
        Self {
            label: label.into(),
            command,
        }
    }

    /// Of the payment at this version: what is due again later, as a second void after a late
    /// authorization is, is another command.
    pub(crate) fn at(self, version: u64) -> Self {
        Self {
            label: format!("{}/{version}", self.label),
            ..self
        }
    }
}

/// A state that must pass before the outcome is known: ask again.
pub(crate) fn not_settled(status: IntentStatus) -> ProviderError {
    ProviderError::Unavailable {
        status: 200,
        quote: format!("the intent is still {status:?}"),
    }
}

pub(crate) fn intent_recorded(intent: Intent) -> Outcome {
    Outcome::new(
        "intent",
        PaymentCommand::RecordIntent {
            intent_id: intent.id,
        },
    )
}

pub(crate) fn authorized_or_not(intent: &Intent) -> Result<Outcome, ProviderError> {
    match intent.status {
        IntentStatus::RequiresCapture => Ok(Outcome::new(
            "authorized",
            PaymentCommand::RecordAuthorization {
                amount: intent.asked()?,
            },
        )),
        IntentStatus::Succeeded => captured(intent),
        IntentStatus::RequiresAction => Ok(Outcome::new(
            "action_required",
            PaymentCommand::RecordActionRequired {
                action_url: intent.action_url(),
            },
        )),
        IntentStatus::RequiresPaymentMethod => {
            let error = intent.last_payment_error.as_ref();
            let code = error.and_then(|e| e.decline_code.clone().or_else(|| e.code.clone()));
            Ok(declined(code.unwrap_or_else(|| "card_declined".to_owned())))
        }
        IntentStatus::Canceled => Ok(voided()),
        status @ (IntentStatus::RequiresConfirmation | IntentStatus::Processing) => {
            Err(not_settled(status))
        }
    }
}

/// How an intent stands of which the provider told something by itself, if that is worth recording:
/// what is still under way is not.
pub(crate) fn outcome_of(intent: &Intent) -> Result<Option<Outcome>, ProviderError> {
    match intent.status {
        IntentStatus::RequiresConfirmation | IntentStatus::Processing => Ok(None),
        // Just made, or waiting for another method: nothing was declined.
        IntentStatus::RequiresPaymentMethod if intent.last_payment_error.is_none() => Ok(None),
        IntentStatus::RequiresPaymentMethod
        | IntentStatus::RequiresAction
        | IntentStatus::RequiresCapture
        | IntentStatus::Succeeded
        | IntentStatus::Canceled => authorized_or_not(intent).map(Some),
    }
}

pub(crate) fn declined(code: String) -> Outcome {
    let retryable = RETRYABLE_DECLINES.contains(&code.as_str());
    Outcome::new(
        "declined",
        PaymentCommand::RecordDecline { code, retryable },
    )
}

pub(crate) fn failed(stage: &str, code: String) -> Outcome {
    Outcome::new(
        format!("failed/{stage}"),
        PaymentCommand::RecordFailure { code },
    )
}

pub(crate) fn captured(intent: &Intent) -> Result<Outcome, ProviderError> {
    let amount = intent.received()?;
    Ok(Outcome::new(
        "captured",
        PaymentCommand::RecordCapture { amount },
    ))
}

/// What became of a refund of ours; `failure` = why the money did not go back.
pub(crate) fn given_back(refund_id: RefundId, failure: Option<String>) -> Outcome {
    match failure {
        None => Outcome::new(
            format!("refunded/{refund_id}"),
            PaymentCommand::RecordRefund { refund_id },
        ),
        Some(code) => Outcome::new(
            format!("refund_failed/{refund_id}"),
            PaymentCommand::RecordRefundFailure { refund_id, code },
        ),
    }
}

pub(crate) fn voided() -> Outcome {
    Outcome::new("voided", PaymentCommand::RecordVoid {})
}
