//! What a failed call of the payment provider says: a final no, or nothing about the outcome.
//!
//! Final is a short list: the issuer's decline, and the provider's answer that the request itself can't
//! be done. Everything else (a key that it doesn't take, an object that it doesn't know under that
//! key, a limit, a fault of its own) says nothing about the money, which an earlier try may have moved.

use reqwest::StatusCode;
use serde::Deserialize;
use thiserror::Error;
use tower_resilience_circuitbreaker::CircuitBreakerConfigError;

/// Most characters of an unexpected answer that are quoted in an error.
const QUOTE_LENGTH_MAX: usize = 200;

/// The kind of answer in which the issuer says no.
const CARD_ERROR: &str = "card_error";

/// The kind of answer in which the provider says that a request can't be done.
const REQUEST_ERROR: &str = "invalid_request_error";

/// The code of Stripe's answer to an operation that the intent's state does not allow.
const UNEXPECTED_STATE: &str = "payment_intent_unexpected_state";

/// The provider's code for an object that it doesn't have.
const MISSING: &str = "resource_missing";

/// The one object that the customer names; every other is ours, and on record.
const METHOD: &str = "payment_method";

/// Codes that blame the key or the account, not the request.
const OF_THE_ACCOUNT: [&str; 5] = [
    "livemode_mismatch",
    "platform_api_key_expired",
    "secret_key_required",
    "testmode_charges_only",
    "tls_version_unsupported",
];

/// The issuer's code that says nothing more than "declined".
const GENERIC_DECLINE: &str = "generic_decline";

/// What the provider could not do.
#[derive(Debug, Error)]
pub enum ProviderError {
    /// No answer, or the provider's own fault: the outcome is unknown, ask again.
    #[error("no usable answer of the payment provider")]
    Unreachable(#[source] reqwest::Error),
    /// It has not answered for a while, and is not asked at every turn: the outcome is unknown, ask again.
    #[error("the payment provider does not answer, and is left alone for a while")]
    LeftAlone,
    /// What leaves it alone can't be made.
    #[error("the payment provider's circuit breaker can't be made")]
    Breaker(#[source] CircuitBreakerConfigError),
    /// The provider is overloaded or broken, or takes no request of ours: the outcome is unknown, ask
    /// again.
    #[error("the payment provider answered {status}: {quote}")]
    Unavailable {
        /// The status.
        status: u16,
        /// The answer, cut.
        quote: String,
    },
    /// It has no such object, as far as this key may see: that says nothing about the money, ask again.
    #[error("the payment provider knows no such object: {message}")]
    Missing {
        /// The provider's words.
        message: String,
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
    /// The request can't be done; trying again won't help.
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
        match self {
            Self::Unreachable(_)
            | Self::LeftAlone
            | Self::Unavailable { .. }
            | Self::Missing { .. } => true,
            Self::Breaker(_)
            | Self::Declined { .. }
            | Self::UnexpectedState
            | Self::Refused { .. } => false,
        }
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
    #[serde(default)]
    param: Option<String>,
}

impl ErrorFields {
    /// An object is missing that we know of.
    fn misses_ours(&self) -> bool {
        self.code.as_deref() == Some(MISSING) && self.param.as_deref() != Some(METHOD)
    }

    fn blames_the_account(&self) -> bool {
        let code = self.code.as_deref();
        code.is_some_and(|code| OF_THE_ACCOUNT.contains(&code))
    }

    fn declined(self) -> ProviderError {
        // "generic_decline" says less than the code that it refines (`card_declined`).
        let specific = self.decline_code.filter(|code| code != GENERIC_DECLINE);
        let code = specific.or(self.code);
        ProviderError::Declined {
            code: code.unwrap_or(self.kind),
        }
    }

    fn refused(self) -> ProviderError {
        if self.code.as_deref() == Some(UNEXPECTED_STATE) {
            return ProviderError::UnexpectedState;
        }
        ProviderError::Refused {
            code: self.code.unwrap_or(self.kind),
            message: self.message.unwrap_or_default(),
        }
    }

    fn missing(self) -> ProviderError {
        ProviderError::Missing {
            message: self.message.unwrap_or_default(),
        }
    }
}

/// An answer that says nothing about the outcome.
pub(crate) fn unavailable(status: StatusCode, body: &[u8]) -> ProviderError {
    let text = String::from_utf8_lossy(body);
    ProviderError::Unavailable {
        status: status.as_u16(),
        quote: text.chars().take(QUOTE_LENGTH_MAX).collect(),
    }
}

/// Reads Stripe's error object (<https://docs.stripe.com/api/errors>).
pub(crate) fn failure(status: StatusCode, body: &[u8]) -> ProviderError {
    let Ok(ErrorBody { error }) = serde_json::from_slice::<ErrorBody>(body) else {
        return unavailable(status, body);
    };
    match (status, error.kind.as_str()) {
        (StatusCode::PAYMENT_REQUIRED, CARD_ERROR) => error.declined(),
        (StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND, REQUEST_ERROR) if error.misses_ours() => {
            error.missing()
        }
        (StatusCode::BAD_REQUEST, REQUEST_ERROR) if !error.blames_the_account() => error.refused(),
        _ => unavailable(status, body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, fields: &str) -> ProviderError {
        let body = format!(r#"{{"error":{{{fields}}}}}"#);
        failure(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn a_decline_is_an_outcome_and_a_server_error_is_not() {
        let declined =
            r#""type":"card_error","code":"card_declined","decline_code":"insufficient_funds""#;
        assert!(matches!(
            answered(402, declined),
            ProviderError::Declined { code } if code == "insufficient_funds"
        ));
        assert!(answered(500, declined).is_transient());
        assert!(failure(StatusCode::BAD_GATEWAY, b"<html>").is_transient());
    }

    #[test]
    fn what_can_not_be_done_is_final() {
        let state = r#""type":"invalid_request_error","code":"payment_intent_unexpected_state""#;
        assert!(matches!(
            answered(400, state),
            ProviderError::UnexpectedState
        ));
        for fields in [
            r#""type":"invalid_request_error","code":"amount_too_small""#,
            r#""type":"invalid_request_error","code":"charge_already_refunded""#,
            r#""type":"invalid_request_error","code":"resource_missing","param":"payment_method""#,
        ] {
            let refused = answered(400, fields);
            assert!(
                matches!(refused, ProviderError::Refused { .. }),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn whatever_is_not_about_the_request_says_nothing_about_the_money() {
        let request = r#""type":"invalid_request_error","message":"no""#;
        for status in [401, 403, 404, 405, 408, 409, 425, 429, 500, 503] {
            assert!(answered(status, request).is_transient(), "{status}");
        }
        for (status, fields) in [
            (400, r#""type":"idempotency_error""#),
            (400, r#""type":"api_error""#),
            (
                400,
                r#""type":"invalid_request_error","code":"livemode_mismatch""#,
            ),
            (
                400,
                r#""type":"invalid_request_error","code":"resource_missing","param":"payment_intent""#,
            ),
            (
                402,
                r#""type":"invalid_request_error","code":"card_declined""#,
            ),
            (401, r#""type":"authentication_error""#),
        ] {
            assert!(answered(status, fields).is_transient(), "{status} {fields}");
        }
    }

    #[test]
    fn an_object_that_is_not_there_is_told_from_a_call_that_is_not() {
        let missing =
            r#""type":"invalid_request_error","code":"resource_missing","param":"intent""#;
        assert!(matches!(
            answered(404, missing),
            ProviderError::Missing { .. }
        ));
        let call = r#""type":"invalid_request_error","message":"Unrecognized request URL""#;
        assert!(matches!(
            answered(404, call),
            ProviderError::Unavailable { .. }
        ));
    }
}
