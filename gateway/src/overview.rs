//! `GET /v1/orders/{id}/overview`: an order with its payments, checkout and notifications. What can't
//! be had right now is named; the rest is there all the same.

use axum::Json;
use axum::body::Body;
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use edge::consistency::{PROJECTION_POSITION, STALE};
use edge::openapi::{Calls, Part, about};
use edge::prefer::PREFERENCE_APPLIED;
use edge::{ConsistencyHeader, Id, Prefer, Principal, Problem};
use futures::future::join_all;
use http_body_util::{BodyExt, Limited};
use kernel::OrderId;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::forward::{Forward, Outgoing};
use crate::pool::Pool;
use crate::problems::lost;

/// Where it is.
const PATH: &str = "/v1/orders/{id}/overview";

/// What holds of the whole when it holds of one part: it is older than was asked for, and that was allowed.
const TOLD: [HeaderName; 2] = [STALE, PREFERENCE_APPLIED];

/// What a refusal tells besides its body.
const REFUSAL: [HeaderName; 3] = [CONTENT_TYPE, WWW_AUTHENTICATE, RETRY_AFTER];

/// Largest part, in bytes.
const PART_BYTES_MAX: usize = 1024 * 1024;

/// The parts, and where each is read; the order itself first.
const PARTS: [(&str, &str); 4] = [
    ("order", "/v1/orders/{id}"),
    ("payments", "/v1/payments?order_id={id}&limit=200"),
    ("checkout", "/v1/checkouts/{id}"),
    ("notifications", "/v1/notifications?order_id={id}&limit=200"),
];

/// A part that isn't there, or of which there is more (`truncated`).
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "MissingPart")]
struct Missing {
    /// Which.
    part: &'static str,
    /// The HTTP status that was answered.
    status: u16,
    /// The problem's code.
    code: String,
    /// Whether it may be had later.
    retryable: bool,
}

/// What it says about itself. The parts are described by those who answer them.
pub(crate) fn calls() -> Calls<()> {
    let about = about("Read all about one order")
        .more("With its payments, checkout and notifications; what can't be had right now is null and stands in `missing`. \
               Of a token with a `scope` that is all but the order that it isn't good for: it needs payments:read, \
               checkouts:read and notifications:read besides. \
               Its Projection-Position names what each of the views was read from.")
        .with(|call| {
            Principal::describe(call);
            ConsistencyHeader::describe(call);
            Prefer::describe(call);
            Id::<OrderId>::describe(call);
            let missing = call.told(SchemaGenerator::subschema_for::<Vec<Missing>>);
            call.answer_of(StatusCode::OK, "What could be had", &body(&missing));
            let positions = "How far what was read had come, each view, as in ORDER:1042,PAYMENT:7.";
            call.tells(StatusCode::OK, "Projection-Position", true, positions);
        });
    Calls::default().get_elsewhere(PATH, about)
}

fn body(missing: &Value) -> Value {
    let of = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let one = |name| json!({ "anyOf": [of(name), { "type": "null" }] });
    let all = |name| json!({ "type": ["array", "null"], "items": of(name) });
    json!({
        "type": "object",
        "required": ["order", "payments", "checkout", "notifications", "complete", "missing"],
        "properties": {
            "order": one("OrderSummary"),
            "payments": all("PaymentSummary"),
            "checkout": one("CheckoutTimeline"),
            "notifications": all("NotificationEntry"),
            "complete": { "type": "boolean", "description": "Nothing is missing." },
            "missing": missing,
        },
    })
}

/// The id in a request to it.
pub(crate) fn order_id(parts: &Parts) -> Option<&str> {
    let (before, behind) = PATH.split_once("{id}")?;
    let id = parts.uri.path().strip_prefix(before)?;
    let id = id.strip_suffix(behind)?;
    (matches!(parts.method, Method::GET | Method::HEAD) && !id.is_empty() && !id.contains('/'))
        .then_some(id)
}

/// Reads all parts at once, as whoever asks: each view checks by itself what is theirs.
///
/// The order decides: where it is refused (401, 403, 404, …), that is the answer. Where it can't be
/// had, the rest is answered still.
///
/// # Errors
/// There is something in the query, or no part can be had.
pub(crate) async fn overview(
    forward: &Forward,
    queries: &Pool,
    parts: &Parts,
    id: &str,
) -> Result<Response, Problem> {
    if parts.uri.query().is_some_and(|query| !query.is_empty()) {
        // As everywhere: a misspelled parameter does not answer as if it were none.
        return Err(Problem::malformed("an overview takes no parameters"));
    }
    let reads = PARTS.map(|(part, path)| {
        let asked = asked(parts, &path.replace("{id}", id));
        async move { (part, read(forward, queries, &asked).await) }
    });
    let answers = join_all(reads).await;
    let mut found = Map::new();
    let mut missing = Vec::new();
    let mut told = HeaderMap::new();
    let mut positions = Vec::new();
    for (part, answer) in answers {
        match answer {
            Ok(answer) if answer.status.is_success() => {
                let (content, is_whole) = content(&answer.body);
                if !is_whole {
                    missing.push(truncated(part));
                }
                found.insert(part.to_owned(), content);
                positions.extend(position(&answer.headers));
                told.extend(only(answer.headers, &TOLD));
            }
            Ok(answer) if part == "order" && answer.status.is_client_error() => {
                return Ok(refused(answer));
            }
            Ok(answer) => missing.push(of_answer(part, answer.status, &answer.body)),
            Err(problem) => missing.push(of_problem(part, &problem)),
        }
    }
    if found.is_empty() {
        return Err(crate::problems::down(queries.role));
    }
    for lack in &missing {
        found.entry(lack.part).or_insert(Value::Null);
    }
    found.insert("complete".to_owned(), missing.is_empty().into());
    let missing = serde_json::to_value(missing).map_err(|_never| Problem::internal())?;
    found.insert("missing".to_owned(), missing);
    // Streams and digits: always a header value.
    if let Ok(positions) = HeaderValue::try_from(positions.join(",")) {
        told.insert(PROJECTION_POSITION, positions);
    }
    Ok((told, Json(found)).into_response())
}

/// What a part was answered with.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Those headers that are named.
fn only(mut headers: HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let wanted = names.iter().cloned();
    wanted
        .filter_map(|name| headers.remove(&name).map(|value| (name, value)))
        .collect()
}

/// The same request for another path; no condition, for its tags are of another thing.
fn asked(parts: &Parts, path: &str) -> Parts {
    let mut asked = parts.clone();
    // Of a HEAD the head alone is sent, of what a GET is answered.
    asked.method = Method::GET;
    // Made of a path that was one.
    asked.uri = path.parse().unwrap_or(Uri::from_static("/"));
    for name in [IF_MATCH, IF_NONE_MATCH, ACCEPT_ENCODING] {
        asked.headers.remove(name);
    }
    asked
}

async fn read(forward: &Forward, queries: &Pool, asked: &Parts) -> Result<Answer, Problem> {
    let answer = forward
        .send(queries, asked, Outgoing::Whole(Bytes::new()))
        .await?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, PART_BYTES_MAX).collect().await;
    let body = body.map_err(|_cut| lost(queries.role))?;
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.to_bytes(),
    })
}

/// How far the view of a part had come.
fn position(headers: &HeaderMap) -> Option<String> {
    let position = headers.get(PROJECTION_POSITION)?.to_str().ok()?;
    Some(position.to_owned())
}

/// Of a list its items, and whether these are all.
fn content(body: &[u8]) -> (Value, bool) {
    let mut value: Value = serde_json::from_slice(body).unwrap_or_default();
    let is_whole = value.get("next").is_none_or(Value::is_null);
    let items = value.get_mut("items").map(Value::take);
    (items.unwrap_or(value), is_whole)
}

fn refused(answer: Answer) -> Response {
    let headers = only(answer.headers, &REFUSAL);
    edge::as_it_is((answer.status, headers, Body::from(answer.body)).into_response())
}

/// There is more of it than is shown: its own list has the rest.
fn truncated(part: &'static str) -> Missing {
    Missing {
        part,
        status: StatusCode::OK.as_u16(),
        code: "truncated".to_owned(),
        retryable: false,
    }
}

fn of_answer(part: &'static str, status: StatusCode, body: &[u8]) -> Missing {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = problem.get("code").and_then(Value::as_str);
    let retryable = problem.get("retryable").and_then(Value::as_bool);
    Missing {
        part,
        status: status.as_u16(),
        code: code.unwrap_or("internal_error").to_owned(),
        retryable: retryable.unwrap_or_default(),
    }
}

fn of_problem(part: &'static str, problem: &Problem) -> Missing {
    Missing {
        part,
        status: problem.status.as_u16(),
        code: problem.code.clone().into_owned(),
        retryable: problem.retryable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_list_that_goes_on_it_is_said() {
        let (items, is_whole) = content(br#"{"items": [1, 2], "next": "x"}"#);
        assert_eq!((items, is_whole), (json!([1, 2]), false));
        let (items, is_whole) = content(br#"{"items": [1], "next": null}"#);
        assert_eq!((items, is_whole), (json!([1]), true));
        assert_eq!(content(br#"{"id": "a"}"#), (json!({ "id": "a" }), true));
    }

    #[test]
    fn a_refusal_says_how_to_ask_and_nothing_of_the_way() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("www-authenticate", "Bearer"),
            ("content-type", "application/problem+json"),
            ("content-length", "2"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let status = StatusCode::UNAUTHORIZED;
        let body = Bytes::from_static(b"{}");
        let refused = refused(Answer {
            status,
            headers,
            body,
        });
        assert_eq!(refused.headers()["www-authenticate"], "Bearer");
        assert!(!refused.headers().contains_key("content-length"));
    }
}
