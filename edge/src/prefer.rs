//! `Prefer` (RFC 7240): what a client would like; what isn't understood is ignored.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// Longest `wait`, in seconds. A client that asks for more gets this, and `Preference-Applied`
/// says so.
pub const WAIT_MAX_S: u64 = 30;

/// The header of a request.
pub const PREFER: &str = "prefer";

/// The header of an answer that names what was honored.
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The preferences that this API knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prefer {
    /// `wait=n`: how long to wait for an outcome or a view, at most [`WAIT_MAX_S`].
    pub wait: Option<Duration>,
    /// `handling=lenient`: rather a stale answer than none.
    pub lenient: bool,
}

impl Prefer {
    /// Reads every `Prefer` header; of a preference that is named twice the first counts.
    pub fn parse(headers: &HeaderMap) -> Self {
        let (mut wait, mut handling) = (None, None);
        for value in headers.get_all(PREFER) {
            for preference in value.to_str().unwrap_or_default().split(',') {
                // Parameters of a preference (after `;`) mean nothing here.
                let preference = preference.split(';').next().unwrap_or_default();
                let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
                let value = value.trim().trim_matches('"');
                match name.trim().to_ascii_lowercase().as_str() {
                    "wait" if wait.is_none() => wait = seconds(value),
                    "handling" if handling.is_none() => handling = Some(value == "lenient"),
                    _ => {}
                }
            }
        }
        Self {
            wait,
            lenient: handling.unwrap_or(false),
        }
    }

    /// `Preference-Applied: wait=n`.
    pub fn applied_wait(wait: Duration) -> (HeaderName, HeaderValue) {
        let value = HeaderValue::try_from(format!("wait={}", wait.as_secs()));
        // Digits are always a header value; the fallback only spares an unwrap.
        let value = value.unwrap_or(HeaderValue::from_static("wait"));
        (PREFERENCE_APPLIED, value)
    }
}

fn seconds(value: &str) -> Option<Duration> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    // More digits than a u64 has are more seconds than the bound.
    digits.then(|| Duration::from_secs(value.parse().unwrap_or(u64::MAX).min(WAIT_MAX_S)))
}

impl<S: Send + Sync> FromRequestParts<S> for Prefer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::parse(&parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefer(values: &[&str]) -> Prefer {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, value.parse().unwrap());
        }
        Prefer::parse(&headers)
    }

    #[test]
    fn waits_are_read_and_bounded() {
        for (value, wait) in [
            ("wait=5", Some(5)),
            ("Wait = \"5\"; x=y", Some(5)),
            ("respond-async, wait=7, wait=9", Some(7)),
            ("wait=0", Some(0)),
            ("wait=3600", Some(WAIT_MAX_S)),
            ("wait=99999999999999999999999", Some(WAIT_MAX_S)),
            ("wait=-1", None),
            ("wait=1.5", None),
            ("wait", None),
            ("", None),
        ] {
            assert_eq!(
                prefer(&[value]).wait,
                wait.map(Duration::from_secs),
                "{value}"
            );
        }
    }

    #[test]
    fn preferences_may_stand_in_several_headers() {
        let both = prefer(&["handling=lenient", "wait=2"]);
        assert!(both.lenient);
        assert_eq!(both.wait, Some(Duration::from_secs(2)));
        assert!(!prefer(&["handling=strict"]).lenient);
    }
}
