//! What is compressed is another representation, and has a tag of its own (RFC 9110 §8.8.3): `"3-gzip"` of
//! what is `"3"` as it is. Whoever sends one back, in a condition on a read or a write, means the same
//! version; nobody behind the gateway knows these.

use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

/// What the tag of something compressed ends in, and one of ours never does.
const PACKED: &str = "-gzip\"";

/// Stands around what compresses.
pub(crate) async fn of_packed(mut request: Request, next: Next) -> Response {
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    let known = plain(request.headers_mut(), &IF_NONE_MATCH);
    plain(request.headers_mut(), &IF_MATCH);
    let mut response = next.run(request).await;
    // The answer to a write has the tag of what was written, and is not that itself.
    if let Some(tag) = packed(&response, &known).filter(|_| reads) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Takes the tags of what is compressed for those of what is not; what stood there before.
fn plain(headers: &mut HeaderMap, name: &HeaderName) -> Vec<HeaderValue> {
    let before: Vec<_> = headers.get_all(name).iter().cloned().collect();
    headers.remove(name);
    for value in &before {
        let text = value.to_str().map(|text| text.replace(PACKED, "\""));
        let plain = text.ok().and_then(|text| HeaderValue::try_from(text).ok());
        headers.append(name, plain.unwrap_or_else(|| value.clone()));
    }
    before
}

/// The tag that this answer is to have, if it is another one: compressed, or not sent to who has it compressed.
fn packed(response: &Response, known: &[HeaderValue]) -> Option<HeaderValue> {
    let headers = response.headers();
    // A weak one (`W/"…"`) says nothing about bytes.
    let own = headers.get(ETAG)?.to_str().ok();
    let own = own.filter(|tag| tag.starts_with('"'))?.strip_suffix('"')?;
    let tag = format!("{own}{PACKED}");
    let has = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains(&tag));
    let is_packed = match response.status() {
        StatusCode::OK => headers.contains_key(CONTENT_ENCODING),
        StatusCode::NOT_MODIFIED => known.iter().any(has),
        _ => false,
    };
    HeaderValue::try_from(tag).ok().filter(|_| is_packed)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use axum::Router;
    use axum::body::Body;
    use axum::http::header::CONTENT_TYPE;
    use axum::routing::get;
    use edge::{IfMatch, IfNoneMatch};
    use tower::ServiceExt;

    use super::*;
    use crate::gate::packed;

    /// Something at version 3, as an API behind the gateway has it.
    fn router() -> Router {
        let read = async |known: IfNoneMatch| {
            let status = if known.has(3, "") { 304 } else { 200 };
            let mut body = String::new();
            for line in 0..100 {
                // Writing to a string can't fail.
                let _ = write!(body, "{line}");
            }
            let headers = [(ETAG, "\"3\""), (CONTENT_TYPE, "application/json")];
            (StatusCode::from_u16(status).unwrap(), headers, body)
        };
        let write = async |only: IfMatch| {
            only.check(3)?;
            Ok::<_, edge::Problem>([(ETAG, "\"4\"")])
        };
        packed(Router::new().route("/", get(read).post(write)))
    }

    async fn said(method: Method, headers: &[(&str, &str)]) -> (u16, Option<String>) {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = router().oneshot(request).await.unwrap();
        let tag = response.headers().get(ETAG);
        let tag = tag.map(|tag| tag.to_str().unwrap().to_owned());
        (response.status().as_u16(), tag)
    }

    const PACKS: (&str, &str) = ("accept-encoding", "gzip");

    #[tokio::test]
    async fn what_is_packed_has_a_tag_of_its_own_and_who_has_either_has_it() {
        let is = |status: u16, tag: &str| (status, Some(tag.to_owned()));
        assert_eq!(said(Method::GET, &[]).await, is(200, "\"3\""));
        assert_eq!(said(Method::GET, &[PACKS]).await, is(200, "\"3-gzip\""));
        for (known, tag) in [
            ("\"3-gzip\"", "\"3-gzip\""),
            ("W/\"3-gzip\"", "\"3-gzip\""),
            ("\"2\", \"3-gzip\"", "\"3-gzip\""),
            ("\"3\"", "\"3\""),
            ("*", "\"3\""),
        ] {
            let known = ("if-none-match", known);
            assert_eq!(said(Method::GET, &[PACKS, known]).await, is(304, tag));
            assert_eq!(said(Method::GET, &[known]).await, is(304, tag));
        }
        for other in ["\"2-gzip\"", "\"13-gzip\""] {
            let known = ("if-none-match", other);
            assert_eq!(said(Method::GET, &[PACKS, known]).await.0, 200, "{other}");
        }
    }

    #[tokio::test]
    async fn a_write_may_name_the_version_by_either_and_no_weak_one() {
        for (only, status) in [
            ("\"3\"", 200),
            ("\"3-gzip\"", 200),
            ("\"2-gzip\"", 412),
            ("W/\"3-gzip\"", 412),
        ] {
            let answer = said(Method::POST, &[PACKS, ("if-match", only)]).await;
            assert_eq!(answer.0, status, "{only}");
            assert!(answer.1.is_none_or(|tag| tag == "\"4\""), "{only}");
        }
    }
}
