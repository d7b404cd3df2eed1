//! The payment provider: Stripe's `PaymentIntents` over HTTP.
//!
//! An intent is created unconfirmed, its id is recorded, and only then is it confirmed: so
//! confirm, capture and cancel are idempotent by the intent's own state, and after a time-out the
//! state is retrieved, never assumed. Only create and refund need the provider's idempotency key.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::{Money, RefundId};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::ProviderConfig;
use crate::listing::Refund;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Most bytes of an unexpected answer that are quoted in an error.
const QUOTE_LENGTH_MAX: usize = 200;

/// The code of Stripe's answer to an operation that the intent's state does not allow.
const UNEXPECTED_STATE: &str = "payment_intent_unexpected_state";

/// The issuer's code that says nothing more than "declined".
const GENERIC_DECLINE: &str = "generic_decline";

/// Where an intent stands, in the provider's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentStatus {
    /// The last method was declined, or none is attached.
    RequiresPaymentMethod,
    /// Created, nothing asked of the issuer yet.
    RequiresConfirmation,
    /// The customer must act.
    RequiresAction,
    /// The provider is still working on it.
    Processing,
    /// Authorized: the amount is held.
    RequiresCapture,
    /// Captured.
    Succeeded,
    /// Let go.
    Canceled,
}

/// The provider's record of one payment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Intent {
    /// The provider's id (`pi_…`).
    pub id: String,
    /// Where it stands.
    pub status: IntentStatus,
    /// Asked for, in minor units.
    pub amount: i64,
    /// In lower case, as the provider writes it.
    pub currency: String,
    /// Captured, in minor units.
    #[serde(default)]
    pub amount_received: i64,
    /// Why the last try failed.
    #[serde(default)]
    pub last_payment_error: Option<LastError>,
    /// What the customer must do.
    #[serde(default)]
    pub next_action: Option<serde_json::Value>,
    /// What we gave it along: `payment_id` and `order_id`.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

impl Intent {
    /// What was asked for, and is held once it is authorized.
    ///
    /// # Errors
    /// The provider names a currency that the shop doesn't know.
    pub fn asked(&self) -> Result<Money, ProviderError> {
        self.money(self.amount)
    }

    /// What was captured.
    ///
    /// # Errors
    /// As [`Intent::asked`].
    pub fn received(&self) -> Result<Money, ProviderError> {
        self.money(self.amount_received)
    }

    pub(crate) fn money(&self, amount: i64) -> Result<Money, ProviderError> {
        let currency = self.currency.to_ascii_uppercase().parse();
        let currency = currency.map_err(|error: kernel::MoneyError| ProviderError::Refused {
            code: "unknown_currency".to_owned(),
            message: error.to_string(),
        })?;
        Ok(Money::new(amount, currency))
    }

    /// The page on which the customer acts, if one is named.
    pub fn action_url(&self) -> Option<String> {
        let url = self
            .next_action
            .as_ref()?
            .pointer("/redirect_to_url/url")?
            .as_str()?;
        Some(url.to_owned())
    }
}

/// Why the last try of an intent failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LastError {
    /// The provider's code.
    #[serde(default)]
    pub code: Option<String>,
    /// The issuer's code.
    #[serde(default)]
    pub decline_code: Option<String>,
}

/// What the provider could not do.
#[derive(Debug, Error)]
pub enum ProviderError {
    /// No answer, or the provider's own fault: the outcome is unknown, ask again.
    #[error("no usable answer of the payment provider")]
    Unreachable(#[source] reqwest::Error),
    /// The provider is overloaded or broken: the outcome is unknown, ask again.
    #[error("the payment provider answered {status}: {quote}")]
    Unavailable {
        /// The status.
        status: u16,
        /// The answer, cut.
        quote: String,
    },
    /// The issuer said no.
    #[error("declined: {code}")]
    Declined {
        /// The issuer's code if there is one, else the provider's.
        code: String,
    },
    /// The intent's state does not allow the operation: retrieve it and see.
    #[error("the intent's state does not allow this")]
    UnexpectedState,
    /// The request is wrong; trying again won't help.
    #[error("the payment provider refuses: {code}: {message}")]
    Refused {
        /// The provider's code.
        code: String,
        /// The provider's words.
        message: String,
    },
}

impl ProviderError {
    /// May the very same request succeed later?
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Unavailable { .. })
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorFields,
}

#[derive(Deserialize)]
struct ErrorFields {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    decline_code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// A client of the payment provider.
#[derive(Clone)]
pub struct Provider {
    http: reqwest::Client,
    base: String,
    secret_key: String,
}

impl Provider {
    /// A client with the time-outs of `config`.
    ///
    /// # Errors
    /// The HTTP client can't be made.
    pub fn new(config: &ProviderConfig) -> Result<Self, ProviderError> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(config.timeout())
            .build()
            .map_err(ProviderError::Unreachable)?;
        Ok(Self {
            http,
            base: config.url.trim_end_matches('/').to_owned(),
            secret_key: config.secret_key.clone(),
        })
    }

    /// Makes an intent, unconfirmed: no money moves. Repeated under `key` it is the same intent.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn create(
        &self,
        key: &str,
        amount: Money,
        metadata: &[(&str, String)],
    ) -> Result<Intent, ProviderError> {
        let mut form = vec![
            ("amount".to_owned(), amount.amount.to_string()),
            (
                "currency".to_owned(),
                amount.currency.code().to_ascii_lowercase(),
            ),
            ("capture_method".to_owned(), "manual".to_owned()),
        ];
        for (name, value) in metadata {
            form.push((format!("metadata[{name}]"), value.clone()));
        }
        self.post("payment_intents", Some(key), &form).await
    }

    /// Asks the issuer to hold the amount.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn confirm(&self, intent_id: &str, method: &str) -> Result<Intent, ProviderError> {
        let form = [("payment_method".to_owned(), method.to_owned())];
        let path = format!("payment_intents/{intent_id}/confirm");
        self.post(&path, None, &form).await
    }

    /// Takes the held amount.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn capture(&self, intent_id: &str, amount: Money) -> Result<Intent, ProviderError> {
        let form = [("amount_to_capture".to_owned(), amount.amount.to_string())];
        let path = format!("payment_intents/{intent_id}/capture");
        self.post(&path, None, &form).await
    }

    /// Lets go of the held amount.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn cancel(&self, intent_id: &str) -> Result<Intent, ProviderError> {
        let path = format!("payment_intents/{intent_id}/cancel");
        self.post(&path, None, &[]).await
    }

    /// Gives money back. Repeated under `key` it is the same refund, and it carries our id.
    ///
    /// # Errors
    /// See [`ProviderError`]; `Refused` when the provider says that the refund failed.
    pub async fn refund(
        &self,
        key: &str,
        intent_id: &str,
        refund_id: RefundId,
        amount: Money,
    ) -> Result<(), ProviderError> {
        let form = [
            ("payment_intent".to_owned(), intent_id.to_owned()),
            ("amount".to_owned(), amount.amount.to_string()),
            ("metadata[refund_id]".to_owned(), refund_id.to_string()),
        ];
        let refund: Refund = self.post("refunds", Some(key), &form).await?;
        match refund.failure() {
            None => Ok(()),
            Some(code) => Err(ProviderError::Refused {
                code,
                message: "the provider could not give the money back".to_owned(),
            }),
        }
    }

    /// How the intent stands now.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn retrieve(&self, intent_id: &str) -> Result<Intent, ProviderError> {
        self.get(&format!("payment_intents/{intent_id}")).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        key: Option<&str>,
        form: &[(String, String)],
    ) -> Result<T, ProviderError> {
        self.send(Method::POST, path, key, Some(form)).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ProviderError> {
        self.send(Method::GET, path, None, None).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        form: Option<&[(String, String)]>,
    ) -> Result<T, ProviderError> {
        let mut request = self
            .http
            .request(method, format!("{}/v1/{path}", self.base))
            .bearer_auth(&self.secret_key);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(form) = form {
            request = request.form(form);
        }
        let answer = request.send().await.map_err(ProviderError::Unreachable)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(ProviderError::Unreachable)?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|_| unavailable(status, &body));
        }
        Err(failure(status, &body))
    }
}

fn unavailable(status: StatusCode, body: &[u8]) -> ProviderError {
    let text = String::from_utf8_lossy(body);
    ProviderError::Unavailable {
        status: status.as_u16(),
        quote: text.chars().take(QUOTE_LENGTH_MAX).collect(),
    }
}

/// Reads Stripe's error object. 409 = our own earlier request under the key is still running.
fn failure(status: StatusCode, body: &[u8]) -> ProviderError {
    let retry = status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::CONFLICT;
    let Ok(ErrorBody { error }) = serde_json::from_slice::<ErrorBody>(body) else {
        return unavailable(status, body);
    };
    if retry {
        return unavailable(status, body);
    }
    let code = error.code.unwrap_or_else(|| error.kind.clone());
    if error.kind == "card_error" {
        // "generic_decline" says less than the code that it refines (`card_declined`).
        let specific = error.decline_code.filter(|code| code != GENERIC_DECLINE);
        return ProviderError::Declined {
            code: specific.unwrap_or(code),
        };
    }
    if code == UNEXPECTED_STATE {
        return ProviderError::UnexpectedState;
    }
    ProviderError::Refused {
        code,
        message: error.message.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decline_is_an_outcome_and_a_server_error_is_not() {
        let declined = br#"{"error":{"type":"card_error","code":"card_declined","decline_code":"insufficient_funds"}}"#;
        assert!(matches!(
            failure(StatusCode::PAYMENT_REQUIRED, declined),
            ProviderError::Declined { code } if code == "insufficient_funds"
        ));
        assert!(failure(StatusCode::BAD_GATEWAY, b"<html>").is_transient());
        assert!(failure(StatusCode::INTERNAL_SERVER_ERROR, declined).is_transient());
        let state = br#"{"error":{"type":"invalid_request_error","code":"payment_intent_unexpected_state"}}"#;
        assert!(matches!(
            failure(StatusCode::BAD_REQUEST, state),
            ProviderError::UnexpectedState
        ));
    }
}
