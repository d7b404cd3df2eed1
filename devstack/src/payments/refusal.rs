//! Errors in the shape that Stripe publishes (<https://docs.stripe.com/api/errors>).

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

/// The finished answer to a request: what an idempotency key gives back again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

impl Answer {
    /// 200 with an object.
    pub(super) fn ok(object: &Value) -> Self {
        Self {
            status: 200,
            body: object.to_string(),
        }
    }
}

/// A request that is answered with an error.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    message: String,
    param: Option<String>,
    /// Further fields of the error: `decline_code`, `payment_intent`, `charge`.
    more: Map<String, Value>,
}

impl Refusal {
    fn new(
        status: StatusCode,
        kind: &'static str,
        code: Option<&'static str>,
        message: String,
    ) -> Self {
        Self {
            status,
            kind,
            code,
            message,
            param: None,
            more: Map::new(),
        }
    }

    fn request(code: &'static str, message: String) -> Self {
        let status = StatusCode::BAD_REQUEST;
        Self::new(status, "invalid_request_error", Some(code), message)
    }

    fn param(self, param: &str) -> Self {
        Self {
            param: Some(param.to_owned()),
            ..self
        }
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// A parameter has a value that can't be.
    pub(super) fn invalid(code: &'static str, message: String, param: &str) -> Self {
        Self::request(code, message).param(param)
    }

    /// A parameter that the call doesn't have.
    pub(super) fn unknown_parameter(name: &str) -> Self {
        Self::invalid(
            "parameter_unknown",
            format!("Received unknown parameter: {name}"),
            name,
        )
    }

    /// A parameter that the call needs.
    pub(super) fn missing_parameter(name: &str) -> Self {
        Self::invalid(
            "parameter_missing",
            format!("Missing required param: {name}."),
            name,
        )
    }

    /// A number that is none.
    pub(super) fn invalid_integer(name: &str, text: &str) -> Self {
        Self::invalid(
            "parameter_invalid_integer",
            format!("Invalid integer: {text}"),
            name,
        )
    }

    /// More than there is or than can be.
    pub(super) fn amount_too_large(message: String, param: &str) -> Self {
        Self::invalid("amount_too_large", message, param)
    }

    /// A charge whose money has all been given back.
    pub(super) fn already_refunded(charge: &str) -> Self {
        let message = format!("Charge {charge} has already been refunded.");
        Self::request("charge_already_refunded", message).with("charge", json!(charge))
    }

    /// The intent's status forbids the call; the error carries the intent.
    pub(super) fn unexpected_state(message: String, intent: Value) -> Self {
        Self::request("payment_intent_unexpected_state", message).with("payment_intent", intent)
    }

    /// The intent accepts methods that send the customer elsewhere, and nobody says where they come back to.
    pub(super) fn return_url_missing(intent: Value) -> Self {
        let message = "A `return_url` must be specified because this Payment Intent is configured to automatically \
                       accept the payment methods enabled in the Dashboard, some of which may require a full page \
                       redirect to succeed. If you do not want to accept redirect-based payment methods, set \
                       `automatic_payment_methods[enabled]` to `true` and \
                       `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and \
                       Payment Intents.";
        let status = StatusCode::BAD_REQUEST;
        Self::new(status, "invalid_request_error", None, message.to_owned())
            .with("payment_intent", intent)
    }

    /// No such object.
    pub(super) fn missing(what: &str, id: &str, param: &str) -> Self {
        let message = format!("No such {what}: '{id}'");
        let missing = Some("resource_missing");
        let status = StatusCode::NOT_FOUND;
        Self::new(status, "invalid_request_error", missing, message).param(param)
    }

    /// No such object, named by a parameter of a call on another one.
    pub(super) fn missing_reference(what: &str, id: &str, param: &str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            ..Self::missing(what, id, param)
        }
    }

    /// No such call.
    pub(super) fn unknown_call(method: &str, path: &str) -> Self {
        let message = format!("Unrecognized request URL ({method}: {path}).");
        Self::new(
            StatusCode::NOT_FOUND,
            "invalid_request_error",
            None,
            message,
        )
    }

    /// A body that isn't form-encoded.
    pub(super) fn not_a_form() -> Self {
        let message = "Request bodies must be sent as application/x-www-form-urlencoded.";
        let status = StatusCode::BAD_REQUEST;
        Self::new(status, "invalid_request_error", None, message.to_owned())
    }

    /// No API key, or a wrong one.
    pub(super) fn unauthorized(given: bool) -> Self {
        let message = if given {
            "Invalid API Key provided."
        } else {
            "You did not provide an API key. You need to provide your API key in the Authorization header, \
             using Bearer auth."
        };
        let status = StatusCode::UNAUTHORIZED;
        Self::new(status, "invalid_request_error", None, message.to_owned())
    }

    /// The issuer said no; the error carries the intent.
    pub(super) fn card(error: Value, intent: Value) -> Self {
        let refusal = Self::new(
            StatusCode::PAYMENT_REQUIRED,
            "card_error",
            None,
            String::new(),
        );
        let Value::Object(fields) = error else {
            return refusal;
        };
        let more = fields.into_iter().collect();
        Self { more, ..refusal }.with("payment_intent", intent)
    }

    /// The same key came with another request.
    pub(super) fn other_request(key: &str) -> Self {
        let message = format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. \
             Try using a key other than '{key}' if you meant to execute a different request."
        );
        Self::new(StatusCode::BAD_REQUEST, "idempotency_error", None, message)
    }

    /// The first request with this key still runs.
    pub(super) fn key_in_use(key: &str) -> Self {
        let message = format!(
            "There is currently another in-progress request using this Idempotent Key: {key}. \
             Please try again later."
        );
        let code = Some("idempotency_key_in_use");
        Self::new(StatusCode::CONFLICT, "idempotency_error", code, message)
    }

    /// An idempotency key that is too long.
    pub(super) fn key_too_long(limit: usize) -> Self {
        let message = format!("Idempotency keys can have up to {limit} characters.");
        let status = StatusCode::BAD_REQUEST;
        Self::new(status, "idempotency_error", None, message)
    }

    /// Too many requests.
    pub(super) fn rate_limited() -> Self {
        let message = "Request rate limit exceeded.".to_owned();
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self::new(status, "invalid_request_error", Some("rate_limit"), message)
    }

    /// Something on the provider's side.
    pub(super) fn internal(message: &str) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "api_error", None, message.to_owned())
    }

    /// Status and body.
    pub(super) fn answer(self) -> Answer {
        let mut error = self.more;
        let mut set = |name: &str, value: Value| {
            error.insert(name.to_owned(), value);
        };
        set("type", json!(self.kind));
        if let Some(code) = self.code {
            set("code", json!(code));
        }
        if !self.message.is_empty() {
            set("message", json!(self.message));
        }
        if let Some(param) = self.param {
            set("param", json!(param));
        }
        Answer {
            status: self.status.as_u16(),
            body: json!({ "error": error }).to_string(),
        }
    }
}
