//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) and what is derived from it.
//!
//! There is no table of keys: the id of what is created, or of the command, follows from
//! (principal, route, key), so the log itself knows whether it has been done.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ring::digest::{Context, SHA256};
use serde::Serialize;
use uuid::Uuid;

use crate::Problem;

/// The header of a request.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header of an answer that was given before.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Longest key, in characters.
pub const KEY_LENGTH_MAX: usize = 255;

/// What a client calls one request, so that sending it twice does it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key as sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the header, if there is one.
    ///
    /// # Errors
    /// 400 unless it is 1 to 255 visible ASCII characters, once.
    pub fn parse(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let (Some(value), more) = (values.next(), values.next()) else {
            return Ok(None);
        };
        let bytes = value.as_bytes();
        let visible = bytes.iter().all(u8::is_ascii_graphic);
        if more.is_some() || !visible || !(1..=KEY_LENGTH_MAX).contains(&bytes.len()) {
            let detail = format!(
                "the header Idempotency-Key must be 1 to {KEY_LENGTH_MAX} visible ASCII characters, once"
            );
            return Err(Problem::malformed(detail));
        }
        Ok(value.to_str().ok().map(|key| Self(key.to_owned())))
    }

    /// 400: a call that must be safe to try again came without a key.
    pub fn required() -> Problem {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "idempotency_key_required",
            "send the header Idempotency-Key: it makes trying again safe",
        )
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Self::parse(&parts.headers)?.ok_or_else(Self::required)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        _state: &S,
    ) -> Result<Option<Self>, Self::Rejection> {
        Self::parse(&parts.headers)
    }
}

/// `Idempotency-Replayed: true`.
pub fn replayed() -> (HeaderName, HeaderValue) {
    (IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"))
}

/// The id that follows from who asks (`principal`), what is asked (`route`: the path with its ids)
/// and the key: a `UUIDv8` (RFC 9562 §5.8). `purpose` keeps a command's id apart from the id of
/// what it creates. Without a secret, so that it holds for ever.
pub fn derive_id(purpose: &str, principal: &str, route: &str, key: &IdempotencyKey) -> Uuid {
    let mut context = Context::new(&SHA256);
    for part in [purpose, principal, route, key.as_str()] {
        // With its length first, no two lists of parts run into the same bytes.
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    uuid_of(context.finish().as_ref())
}

fn uuid_of(digest: &[u8]) -> Uuid {
    let mut bytes = [0_u8; 16];
    for (byte, from) in bytes.iter_mut().zip(digest) {
        *byte = *from;
    }
    Uuid::new_v8(bytes)
}

/// `body` as JSON that is the same for the same values, however the client ordered or spaced them:
/// what a request's digest is made of. Secrets must not be in it (`#[serde(skip)]`).
///
/// `None` for what serde can't write as JSON.
pub fn canonical_json<T: Serialize>(body: &T) -> Option<String> {
    let mut value = serde_json::to_value(body).ok()?;
    value.sort_all_objects();
    Some(value.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn key(text: &str) -> IdempotencyKey {
        IdempotencyKey(text.to_owned())
    }

    #[test]
    fn keys_are_visible_ascii_once() {
        let parse = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).unwrap());
            }
            IdempotencyKey::parse(&headers)
        };
        assert_eq!(parse(&[]).unwrap(), None);
        assert_eq!(parse(&[b"a-1"]).unwrap(), Some(key("a-1")));
        assert!(parse(&[&[b'x'; 255]]).is_ok());
        for bad in [
            &[b"".as_slice()] as &[&[u8]],
            &[b"a b"],
            &[b"\xc3\xa4"],
            &[b"a", b"a"],
            &[&[b'x'; 256]],
        ] {
            assert_eq!(parse(bad).unwrap_err().status.as_u16(), 400, "{bad:?}");
        }
    }

    #[test]
    fn ids_follow_from_every_part_and_are_stable() {
        let id = derive_id("order", "user:1", "/v1/orders", &key("k"));
        assert_eq!(id.get_version_num(), 8);
        assert_eq!(id.to_string(), "fd3ed962-14dc-81f5-84c3-68534747313b");
        for other in [
            derive_id("command", "user:1", "/v1/orders", &key("k")),
            derive_id("order", "user:2", "/v1/orders", &key("k")),
            derive_id("order", "user:1", "/v1/order", &key("sk")),
            derive_id("order", "user:1", "/v1/orders", &key("l")),
        ] {
            assert_ne!(id, other);
        }
    }

    #[test]
    fn canonical_json_depends_on_values_alone() {
        let canonical = |json: &str| {
            let value: Value = serde_json::from_str(json).unwrap();
            canonical_json(&value).unwrap()
        };
        let one = canonical(r#"{"b": {"y": "\u00e4\"", "x": [1, 2.5]}, "a": null}"#);
        assert_eq!(one, r#"{"a":null,"b":{"x":[1,2.5],"y":"ä\""}}"#);
        assert_eq!(one, canonical(&one));
        assert_ne!(one, canonical(r#"{"a":null,"b":{"x":[2.5,1],"y":"ä\""}}"#));
    }
}
