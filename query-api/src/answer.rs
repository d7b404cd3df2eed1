//! What every read is answered with.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, VARY};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use edge::consistency::{CONSISTENCY_TOKEN_IGNORED, PROJECTION_POSITION, STALE};
use edge::openapi::{Call, Part};
use edge::prefer::PREFERENCE_APPLIED;
use edge::{IfNoneMatch, etag};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use crate::asked::{Asked, Freshness};
use crate::unseal::Opened;

/// Answers belong to whoever asked, and are checked before they are used again.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// What anybody is answered alike may be kept by caches that are shared, shortly: the gateway's hears
/// of changes, others don't. A browser asks again each time.
const SHARED: HeaderValue = HeaderValue::from_static("public, max-age=0, s-maxage=10");

/// What an answer depends on besides its address: whose it is, and how fresh it had to be.
const ASKED_BY: HeaderValue = HeaderValue::from_static("authorization, consistency-token, prefer");

/// Marks an answer that is the same for everybody who sends no token.
pub(crate) fn shared(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, SHARED);
    response
}

/// JSON that is text already.
pub(crate) fn json(body: String, freshness: &Freshness) -> Response {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    dress(&mut response, freshness);
    response
}

/// One thing at one version, as it is shown. Where somebody was erased it has no tag: its version stayed
/// the same, and who has kept it from before must not hear that they have it already.
pub(crate) fn one(shown: Opened, version: u64, asked: &Asked, freshness: &Freshness) -> Response {
    if shown.erased {
        return json(shown.body, freshness);
    }
    versioned(shown.body, version, asked, freshness)
}

/// One thing at one version; 304 when the client has it already.
pub(crate) fn versioned(
    body: String,
    version: u64,
    asked: &Asked,
    freshness: &Freshness,
) -> Response {
    versioned_in(body, (version, ""), asked, freshness)
}

/// The same in one form ([`etag::header_in`]).
pub(crate) fn versioned_in(
    body: String,
    (version, form): (u64, &'static str),
    asked: &Asked,
    freshness: &Freshness,
) -> Response {
    let mut response = if asked.known.has(version, form) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        dress(&mut response, freshness);
        response
    } else {
        json(body, freshness)
    };
    let (name, tag) = etag::header_in(version, form);
    debug_assert_eq!(name, ETAG);
    response.headers_mut().insert(name, tag);
    response
}

/// An answer with such a body, made by [`json`].
pub(crate) fn describe(call: &mut Call<'_>, body: &Value) {
    call.answer_of(StatusCode::OK, "What was asked for", body);
    describe_dress(call, StatusCode::OK);
}

/// The same of a type.
pub(crate) fn is<T: JsonSchema>(call: &mut Call<'_>) {
    let body = call.told(SchemaGenerator::subschema_for::<T>);
    describe(call, &body);
}

/// An answer with such a body, made by [`versioned`].
pub(crate) fn describe_versioned(call: &mut Call<'_>, body: &Value) {
    describe(call, body);
    IfNoneMatch::describe(call);
    call.answer_as(StatusCode::NOT_MODIFIED, "You have it already", None);
    describe_dress(call, StatusCode::NOT_MODIFIED);
    let told = "Its version; not of what somebody was erased from, nor while a customer must act.";
    call.tells(StatusCode::OK, "ETag", false, told);
    call.tells(StatusCode::NOT_MODIFIED, "ETag", true, "Its version.");
}

/// The same of a type.
pub(crate) fn is_versioned<T: JsonSchema>(call: &mut Call<'_>) {
    let body = call.told(SchemaGenerator::subschema_for::<T>);
    describe_versioned(call, &body);
}

fn describe_dress(call: &mut Call<'_>, status: StatusCode) {
    let position = "How far what was read had come, as in ORDER:1042.";
    call.tells(status, "Projection-Position", true, position);
    let stale =
        "true = older than the Consistency-Token asked for; Prefer: handling=lenient takes that.";
    call.tells(status, "Stale", false, stale);
    let ignored = "The positions of the Consistency-Token that say nothing about what was read.";
    call.tells(status, "Consistency-Token-Ignored", false, ignored);
    let applied = "The preferences that were honored.";
    call.tells(status, "Preference-Applied", false, applied);
}

/// The headers that every read has.
fn dress(response: &mut Response, freshness: &Freshness) {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, PRIVATE);
    headers.insert(VARY, ASKED_BY);
    let mut put = |name: HeaderName, text: &str| {
        // Stream names and digits: always a header value.
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    put(PROJECTION_POSITION, &freshness.position);
    if freshness.stale {
        put(STALE, "true");
    }
    if let Some(ignored) = &freshness.ignored {
        put(CONSISTENCY_TOKEN_IGNORED, ignored);
    }
    if let Some(applied) = &freshness.applied {
        put(PREFERENCE_APPLIED, applied);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Freshness {
        Freshness {
            position: "ORDER:12".into(),
            stale: true,
            ignored: Some("USER:3".into()),
            applied: None,
        }
    }

    #[tokio::test]
    async fn a_row_is_answered_as_it_is_stored() {
        let stored = r#"{"id":"o-1","version":3}"#;
        let response = versioned(stored.into(), 3, &Asked::default(), &fresh());
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[ETAG], "\"3\"");
        assert_eq!(response.headers()[PROJECTION_POSITION], "ORDER:12");
        assert_eq!(response.headers()[STALE], "true");
        assert_eq!(response.headers()[CONSISTENCY_TOKEN_IGNORED], "USER:3");
        let body = axum::body::to_bytes(response.into_body(), 1024).await;
        assert_eq!(body.unwrap(), stored);
    }
}
