//! The one shape of an error on the wire: `application/problem+json` (RFC 9457).

mod page;

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

pub use page::{COMMON, Page, pages};

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// What a client is told to wait when nothing better is known.
pub const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// What a body under a content coding is refused with.
const CODED: &str = "content_encoding_refused";

/// What the detail about a missing scope begins with; the scope follows, which a header says too.
const NOT_GOOD_FOR: &str = "the token is not good for ";

/// One field of the request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// Where in the body, as a JSON pointer (RFC 6901); empty = the whole body.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

impl FieldError {
    /// `detail` at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

/// Why a request was not done.
///
/// `instance` and `trace_id` are filled in by [`crate::guarded`], which knows the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// What went wrong, in snake case: what a program decides by. The page `/problems/<code>`
    /// explains it.
    pub code: Cow<'static, str>,
    /// The same in words for people, without particulars.
    pub title: Cow<'static, str>,
    /// The particulars.
    pub detail: String,
    /// Which fields of the request are wrong.
    pub errors: Vec<FieldError>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem that stays one however often it is tried.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) -> Self {
        let code = code.into();
        let title = page::title(&code).map_or_else(|| Cow::Owned(in_words(&code)), Cow::Borrowed);
        Self {
            status,
            code,
            title,
            detail: detail.into(),
            errors: Vec::new(),
            retryable: false,
            retry_after: None,
        }
    }

    /// Names a field that is wrong.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError::new(pointer, detail));
        self
    }

    /// Says that trying again later may help, and when.
    #[must_use]
    pub fn retry(mut self, after: Duration) -> Self {
        self.retryable = true;
        self.retry_after = Some(after);
        self
    }

    /// 400: the request can't be read.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed_request", detail)
    }

    /// 422: fields don't keep to their rules.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = errors
            .first()
            .map_or_else(String::new, |error| error.detail.clone());
        Self {
            errors,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", detail)
        }
    }

    /// 400: a parameter of the query can't be used.
    pub fn parameter(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "parameter_invalid", detail)
    }

    /// 415: the body is under a content coding.
    pub fn coded() -> Self {
        let detail = "the body must be sent as it is, without Content-Encoding";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, CODED, detail)
    }

    /// 401: no token, or one that is not accepted.
    pub fn unauthorized(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    /// 403: who asks is known, and may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 403: the token is good for other calls alone (RFC 6750 §3.1).
    pub fn insufficient_scope(scope: &str) -> Self {
        let detail = format!("{NOT_GOOD_FOR}{scope}");
        Self::new(StatusCode::FORBIDDEN, "insufficient_scope", detail)
    }

    /// 404: there is nothing here, or nothing of yours.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 412: the thing has changed since the version that `If-Match` names.
    pub fn stale(version: u64) -> Self {
        let detail = format!("its version is \"{version}\" now: read it again");
        Self::new(StatusCode::PRECONDITION_FAILED, "version_is_stale", detail)
    }

    /// 503: a part is down; nothing was done.
    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry(RETRY_AFTER_DEFAULT)
    }

    /// 503: more requests than can be worked on at once; nothing was done.
    pub fn overloaded() -> Self {
        Self::unavailable("overloaded", "too many requests are being worked on")
    }

    /// 503: the request was given up; what it asked for may have been done.
    pub fn timeout() -> Self {
        let detail =
            "the request took too long and was given up; what it asked for may have happened";
        Self::unavailable("request_timeout", detail)
    }

    /// 408: the body did not come in within `time`; nothing was done. The connection is closed behind it: what
    /// is left of the body may still be on its way (RFC 9110 §15.5.9).
    pub fn body_timeout(time: Duration) -> Self {
        let detail = format!("the body was not there within {time:?}; nothing was done");
        Self {
            retryable: true,
            ..Self::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", detail)
        }
    }

    /// 500: a fault of ours. The particulars are in the log under the trace id.
    pub fn internal() -> Self {
        let detail = "the fault is on our side; the trace id finds it in the log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", detail)
    }

    /// What stands for an error answer that was made without a body of ours.
    pub fn of_status(status: StatusCode) -> Self {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => ("not_found", "there is nothing at this path"),
            StatusCode::METHOD_NOT_ALLOWED => (
                "method_not_allowed",
                "the path exists; the header Allow says which methods it takes",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => ("body_too_large", "the body is too large"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => (
                "unsupported_media_type",
                "the body must be application/json",
            ),
            _ if status.is_server_error() => return Self::internal_as(status),
            _ => ("malformed_request", "the request can't be read"),
        };
        Self::new(status, code, detail)
    }

    fn internal_as(status: StatusCode) -> Self {
        Self {
            status,
            ..Self::internal()
        }
    }

    /// The answer, with what only the request knows.
    pub(crate) fn render(self, instance: Option<&str>, trace_id: Option<&str>) -> Response {
        let body = Wire {
            kind: format!("/problems/{}", self.code),
            title: &self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            instance,
            code: &self.code,
            errors: &self.errors,
            retryable: self.retryable,
            trace_id,
        };
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, challenge(&self.code));
        }
        if let Some(scope) = self.detail.strip_prefix(NOT_GOOD_FOR) {
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
            // A path of ours, for whoever asks another one gets no further.
            if let Ok(challenge) = HeaderValue::try_from(challenge) {
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
        }
        if self.status == StatusCode::REQUEST_TIMEOUT {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.code == CODED {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// RFC 6750: without credentials no error is named.
fn challenge(code: &str) -> HeaderValue {
    HeaderValue::from_static(if code == "token_invalid" {
        "Bearer error=\"invalid_token\""
    } else {
        "Bearer"
    })
}

/// `order_already_shipped` → "Order already shipped".
fn in_words(code: &str) -> String {
    let words = code.replace('_', " ");
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.render(None, None)
    }
}

/// Why a request was not done (RFC 9457).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct Wire<'a> {
    /// Leads to a page that explains the problem and its cure.
    #[serde(rename = "type")]
    kind: String,
    /// What went wrong, for people, without particulars.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// The particulars.
    detail: &'a str,
    /// The path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    /// What went wrong, for programs.
    code: &'a str,
    /// Which fields of the request are wrong.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    /// Whether the same request may succeed later.
    retryable: bool,
    /// Finds the request in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_has_the_members_of_rfc_9457_and_ours() {
        let problem = Problem::new(StatusCode::CONFLICT, "order_already_shipped", "it left")
            .at("/lines/0/sku", "unknown")
            .retry(Duration::from_secs(3));
        let response = problem.render(Some("/v1/orders/7/cancel"), Some("abc"));
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(response.headers()[CONTENT_TYPE], MEDIA_TYPE);
        assert_eq!(response.headers()[RETRY_AFTER], "3");
        let body = axum::body::to_bytes(response.into_body(), 4096)
            .await
            .unwrap();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "/problems/order_already_shipped",
                "title": "Order already shipped",
                "status": 409,
                "detail": "it left",
                "instance": "/v1/orders/7/cancel",
                "code": "order_already_shipped",
                "errors": [{"pointer": "/lines/0/sku", "detail": "unknown"}],
                "retryable": true,
                "trace_id": "abc",
            })
        );
    }

    #[test]
    fn a_401_says_how_to_authenticate() {
        let none = Problem::unauthorized("token_required", "send one").into_response();
        assert_eq!(none.headers()[WWW_AUTHENTICATE], "Bearer");
        let bad = Problem::unauthorized("token_invalid", "expired").into_response();
        assert_eq!(
            bad.headers()[WWW_AUTHENTICATE],
            "Bearer error=\"invalid_token\""
        );
    }
}
