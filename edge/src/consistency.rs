//! `Consistency-Token`: read your writes, `STREAM:position,…`.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use kernel::{ConsistencyToken, Position};

use crate::Problem;

/// On a write's answer: where its event stands. On a request: what must be seen.
pub const CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("consistency-token");

/// Says that the answer is older than was asked for.
pub const STALE: HeaderName = HeaderName::from_static("stale");

/// On a read's answer: the streams of the token that the view doesn't consume.
pub const CONSISTENCY_TOKEN_IGNORED: HeaderName =
    HeaderName::from_static("consistency-token-ignored");

/// On a read's answer: how far the view has come.
pub const PROJECTION_POSITION: HeaderName = HeaderName::from_static("projection-position");

/// The token of a request; empty when there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsistencyHeader(pub ConsistencyToken);

impl ConsistencyHeader {
    /// Reads the headers; several are one list.
    ///
    /// # Errors
    /// 400 when it is no token.
    pub fn parse(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut lists = Vec::new();
        for value in headers.get_all(CONSISTENCY_TOKEN) {
            let text = value
                .to_str()
                .map_err(|_| Problem::malformed("the header Consistency-Token is not ASCII"))?;
            lists.push(text);
        }
        if lists.is_empty() {
            return Ok(Self::default());
        }
        lists.join(",").parse().map(Self).map_err(|error| {
            Problem::malformed(format!("the header Consistency-Token is no token: {error}"))
        })
    }
}

/// `Consistency-Token` for an answer.
pub fn header(position: &Position) -> (HeaderName, HeaderValue) {
    // A position is upper-case letters, a colon and digits: always a header value.
    let value = HeaderValue::try_from(position.to_string()).unwrap_or(HeaderValue::from_static(""));
    (CONSISTENCY_TOKEN, value)
}

impl<S: Send + Sync> FromRequestParts<S> for ConsistencyHeader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Self::parse(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Result<ConsistencyHeader, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CONSISTENCY_TOKEN, value.parse().unwrap());
        }
        ConsistencyHeader::parse(&headers)
    }

    #[test]
    fn several_headers_are_one_list() {
        assert_eq!(parse(&[]).unwrap(), ConsistencyHeader::default());
        let token = parse(&["ORDER:7", "USER:3,ORDER:9"]).unwrap().0;
        assert_eq!(token.to_string(), "ORDER:9,USER:3");
        let bad = parse(&["ORDER:7", "nonsense"]).unwrap_err();
        assert_eq!(bad.status.as_u16(), 400);
    }

    #[test]
    fn an_answer_names_its_position() {
        let (name, value) = header(&Position::new("ORDER", 1042));
        assert_eq!(
            (name.as_str(), value.to_str().unwrap()),
            ("consistency-token", "ORDER:1042")
        );
    }
}
