//! What the extractors of this crate stand for.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use schemars::JsonSchema;
use serde_json::{Value, json};

use super::{Answer, Call, Part};
use crate::etag::TAGS_MAX;
use crate::idempotency::KEY_LENGTH_MAX;
use crate::limits::{BODY_BYTES_MAX, BODY_TIME_MAX_S};
use crate::prefer::WAIT_MAX_S;
use crate::whole::too_large;
use crate::{
    Body, Client, ConsistencyHeader, Deadline, Held, Id, IdempotencyKey, Ids, IfMatch, IfNoneMatch,
    Prefer, Principal, Problem, Trace,
};

/// These say nothing of what the request must hold.
macro_rules! silent {
    ($($part:ty),*) => {$(
        impl Part for $part {
            fn describe(_: &mut Call<'_>) {}
        }
    )*};
}

silent!(HeaderMap, Uri, Deadline, Client);

/// Two that are taken as one.
impl<A: Part, B: Part> Part for (A, B) {
    fn describe(call: &mut Call<'_>) {
        A::describe(call);
        B::describe(call);
    }
}

impl<S> Part for State<S> {
    fn describe(_: &mut Call<'_>) {}
}

/// What is in it is said at its route ([`super::About::with`]).
impl Answer for Response {
    fn describe(_: &mut Call<'_>) {}
}

impl<T: JsonSchema> Answer for Json<T> {
    fn describe(call: &mut Call<'_>) {
        call.answer::<T>(StatusCode::OK, "What was asked for");
    }
}

impl<T: JsonSchema> Part for Body<T> {
    fn describe(call: &mut Call<'_>) {
        call.body::<T>();
        call.problem(Problem::malformed(""));
        call.problem(Problem::invalid(Vec::new()));
        call.problem(too_large(BODY_BYTES_MAX));
        call.problem(Problem::body_timeout(Duration::from_secs(BODY_TIME_MAX_S)));
        call.problem(Problem::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        call.problem(Problem::coded());
    }
}

impl<T: JsonSchema> Part for Id<T> {
    fn describe(call: &mut Call<'_>) {
        call.in_path::<T>(0);
        call.problem(Problem::not_found(""));
    }
}

impl<T: JsonSchema, U: JsonSchema> Part for Ids<T, U> {
    fn describe(call: &mut Call<'_>) {
        call.in_path::<T>(0);
        call.in_path::<U>(1);
        call.problem(Problem::not_found(""));
    }
}

fn key(call: &mut Call<'_>, required: bool) {
    let schema = json!({ "type": "string", "pattern": format!("^[!-~]{{1,{KEY_LENGTH_MAX}}}$") });
    let description = "What you call this request: sent again under the same key, it is done once.";
    call.header("Idempotency-Key", required, description, &schema);
    call.problem(Problem::malformed(""));
}

impl Part for Option<IdempotencyKey> {
    fn describe(call: &mut Call<'_>) {
        key(call, false);
    }
}

impl Part for IdempotencyKey {
    fn describe(call: &mut Call<'_>) {
        key(call, true);
        call.problem(Self::required());
    }
}

/// Versions in quotes (RFC 9110 §8.8.3), or any.
fn tags() -> Value {
    let tag = r#"(W/)?"[!#-+.-~-]{0,20}""#;
    let more = TAGS_MAX - 1;
    json!({ "type": "string", "pattern": format!(r"^(\*|{tag}(, ?{tag}){{0,{more}}})$") })
}

impl Part for IfMatch {
    fn describe(call: &mut Call<'_>) {
        let description = "Do it only to this version: its ETag, as in \"3\".";
        call.header("If-Match", false, description, &tags());
        call.problem(Problem::malformed(""));
        call.problem(Problem::stale(0));
    }
}

impl Part for IfNoneMatch {
    fn describe(call: &mut Call<'_>) {
        let description = "The version that you have: 304 if it is still that one.";
        call.header("If-None-Match", false, description, &tags());
        call.problem(Problem::malformed(""));
    }
}

impl Part for ConsistencyHeader {
    fn describe(call: &mut Call<'_>) {
        let description =
            "What you have seen: the Consistency-Token of an earlier answer, as in ORDER:1042.";
        let position = "[A-Z]{1,32}:[0-9]{1,18}";
        let pattern = format!("^{position}(,{position}){{0,15}}$");
        let schema = json!({ "type": "string", "pattern": pattern });
        call.header("Consistency-Token", false, description, &schema);
        call.problem(Problem::malformed(""));
    }
}

impl Part for Prefer {
    fn describe(call: &mut Call<'_>) {
        let description = format!(
            "wait=n: wait up to n seconds, at most {WAIT_MAX_S}. What isn't understood is ignored."
        );
        let schema = json!({ "type": "string" });
        call.header("Prefer", false, &description, &schema);
    }
}

impl Part for Trace {
    fn describe(call: &mut Call<'_>) {
        let description = "The trace that the request belongs to (W3C Trace Context).";
        call.header(
            "traceparent",
            false,
            description,
            &json!({ "type": "string" }),
        );
    }
}

impl Part for Held {
    fn describe(call: &mut Call<'_>) {
        Principal::describe(call);
    }
}

impl Part for Principal {
    fn describe(call: &mut Call<'_>) {
        call.needs_token();
        call.problem(Self::token_required());
        call.problem(Self::token_invalid(""));
    }
}
