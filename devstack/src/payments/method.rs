//! The payment methods that Stripe publishes for tests (<https://docs.stripe.com/testing>).

use super::refusal::Refusal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What the issuer says when a method is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The money is reserved.
    Approve,
    /// No, with code, decline code and message.
    Decline(&'static str, &'static str, &'static str),
    /// The customer must authenticate first.
    Authenticate,
}

const METHODS: [(&str, Verdict); 12] = [
    ("pm_card_visa", Verdict::Approve),
    ("pm_card_visa_debit", Verdict::Approve),
    ("pm_card_mastercard", Verdict::Approve),
    ("pm_card_amex", Verdict::Approve),
    ("pm_card_authenticationRequired", Verdict::Authenticate),
    (
        "pm_card_chargeDeclined",
        Verdict::Decline(
            "card_declined",
            "generic_decline",
            "Your card was declined.",
        ),
    ),
    (
        "pm_card_chargeDeclinedInsufficientFunds",
        Verdict::Decline(
            "card_declined",
            "insufficient_funds",
            "Your card has insufficient funds.",
        ),
    ),
    (
        "pm_card_chargeDeclinedLostCard",
        Verdict::Decline("card_declined", "lost_card", "Your card was declined."),
    ),
    (
        "pm_card_chargeDeclinedStolenCard",
        Verdict::Decline("card_declined", "stolen_card", "Your card was declined."),
    ),
    (
        "pm_card_chargeDeclinedExpiredCard",
        Verdict::Decline("expired_card", "expired_card", "Your card has expired."),
    ),
    (
        "pm_card_chargeDeclinedIncorrectCvc",
        Verdict::Decline(
            "incorrect_cvc",
            "incorrect_cvc",
            "Your card's security code is incorrect.",
        ),
    ),
    (
        "pm_card_chargeDeclinedProcessingError",
        Verdict::Decline(
            "processing_error",
            "processing_error",
            "An error occurred while processing your card. Try again in a little bit.",
        ),
    ),
];

/// Checks that a method exists.
pub(super) fn known(id: &str) -> Result<(), Refusal> {
    verdict(id).map(|_| ())
}

/// What the issuer says.
pub(super) fn verdict(id: &str) -> Result<Verdict, Refusal> {
    METHODS
        .iter()
        .find(|(name, _)| *name == id)
        .map(|(_, verdict)| *verdict)
        .ok_or_else(|| Refusal::missing_reference("PaymentMethod", id, "payment_method"))
}

/// Why a payment failed, kept on the intent as `last_payment_error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PaymentError {
    pub(super) kind: String,
    pub(super) code: String,
    pub(super) decline_code: Option<String>,
    pub(super) message: String,
    pub(super) payment_method: String,
    pub(super) charge: Option<String>,
}

impl PaymentError {
    /// The issuer said no.
    pub(super) fn declined(verdict: (&str, &str, &str), method: &str, charge: &str) -> Self {
        let (code, decline_code, message) = verdict;
        Self {
            kind: "card_error".to_owned(),
            code: code.to_owned(),
            decline_code: Some(decline_code.to_owned()),
            message: message.to_owned(),
            payment_method: method.to_owned(),
            charge: Some(charge.to_owned()),
        }
    }

    /// The customer could not be authenticated.
    pub(super) fn not_authenticated(method: &str) -> Self {
        Self {
            kind: "invalid_request_error".to_owned(),
            code: "payment_intent_authentication_failure".to_owned(),
            decline_code: None,
            message: "The provided PaymentMethod has failed authentication. You can provide payment_method_data \
                      or a new PaymentMethod to attempt to fulfill this PaymentIntent again."
                .to_owned(),
            payment_method: method.to_owned(),
            charge: None,
        }
    }

    /// Stripe's shape.
    pub(super) fn shape(&self) -> Value {
        let mut shape = json!({
            "type": self.kind,
            "code": self.code,
            "message": self.message,
            "doc_url": format!("https://stripe.com/docs/error-codes/{}", self.code.replace('_', "-")),
            "payment_method": { "id": self.payment_method, "object": "payment_method", "type": "card" },
        });
        if let Value::Object(fields) = &mut shape {
            if let Some(decline_code) = &self.decline_code {
                fields.insert("decline_code".to_owned(), json!(decline_code));
            }
            if let Some(charge) = &self.charge {
                fields.insert("charge".to_owned(), json!(charge));
            }
        }
        shape
    }
}
