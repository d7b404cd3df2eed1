//! W3C Trace Context: a `traceparent` is accepted or made, and goes on into the events.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;

/// The header's name.
pub const TRACEPARENT: &str = "traceparent";

/// The trace that a request belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    id: String,
    span: String,
    sampled: bool,
}

impl Trace {
    /// Goes on with the caller's trace, or begins one. Our own span is new either way.
    pub fn accept(headers: &HeaderMap) -> Self {
        let said = headers.get(TRACEPARENT).and_then(|v| v.to_str().ok());
        match said.and_then(parse) {
            Some((id, sampled)) => Self {
                id: id.to_owned(),
                span: new_span(),
                sampled,
            },
            None => Self::begin(),
        }
    }

    /// A trace that starts here.
    pub fn begin() -> Self {
        let id = rand::random_range(1..=u128::MAX);
        Self {
            id: format!("{id:032x}"),
            span: new_span(),
            sampled: true,
        }
    }

    /// 32 hexadecimal digits: what finds the request in every log.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The header's value for whatever the request causes.
    pub fn traceparent(&self) -> String {
        let flags = u8::from(self.sampled);
        format!("00-{}-{}-{flags:02x}", self.id, self.span)
    }
}

/// 16 hexadecimal digits that are not all zero (W3C Trace Context §3.2.2.4).
fn new_span() -> String {
    format!("{:016x}", rand::random_range(1..=u64::MAX))
}

/// `version-traceid-parentid-flags`; a version above 00 may have more parts.
fn parse(value: &str) -> Option<(&str, bool)> {
    let mut parts = value.trim().split('-');
    let (version, trace_id) = (parts.next()?, parts.next()?);
    let (parent, flags) = (parts.next()?, parts.next()?);
    let shaped =
        is_hex(version, 2) && is_hex(trace_id, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    let known = version != "ff" && (version != "00" || parts.next().is_none());
    let set = trace_id.bytes().any(|b| b != b'0') && parent.bytes().any(|b| b != b'0');
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (shaped && known && set).then_some((trace_id, flags & 1 == 1))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl<S: Send + Sync> FromRequestParts<S> for Trace {
    type Rejection = Infallible;

    /// The trace that [`crate::guarded`] put there.
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let known = parts.extensions.get::<Self>().cloned();
        Ok(known.unwrap_or_else(|| Self::accept(&parts.headers)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str) -> Trace {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, value.parse().unwrap());
        Trace::accept(&headers)
    }

    #[test]
    fn a_callers_trace_goes_on_under_a_new_span() {
        let trace = accept("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(!trace.traceparent().contains("00f067aa0ba902b7"));
        assert!(trace.traceparent().ends_with("-01"));
        assert_eq!(parse(&trace.traceparent()).unwrap().0, trace.id());
    }

    #[test]
    fn nonsense_begins_a_trace() {
        for bad in [
            "",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6-00f067aa0ba902b7-01",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
            assert_eq!(accept(bad).id().len(), 32);
        }
    }
}
