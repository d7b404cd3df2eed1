//! `GET /v1/orders/{id}/overview`: an order with its payments, checkout and notifications. What can't
//! be had right now is named; the rest is there all the same.

use axum::Json;
use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use edge::openapi::{Calls, Part, about};
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

/// Largest part, in bytes.
const PART_BYTES_MAX: usize = 1024 * 1024;

/// The parts, and where each is read; the order itself first.
const PARTS: [(&str, &str); 4] = [
    ("order", "/v1/orders/{id}"),
    ("payments", "/v1/payments?order_id={id}"),
    ("checkout", "/v1/checkouts/{id}"),
    ("notifications", "/v1/notifications?order_id={id}"),
];

/// A part that isn't there.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "MissingPart")]
struct Missing {
    /// Which.
    part: &'static str,
    /// The HTTP status that was answered instead.
    status: u16,
    /// The problem's code.
    code: String,
    /// Whether it may be had later.
    retryable: bool,
}

/// What it says about itself. The parts are described by those who answer them.
pub(crate) fn calls() -> Calls<()> {
    let about = about("Read all about one order")
        .more("With its payments, checkout and notifications; what can't be had right now is null and stands in `missing`.")
        .with(|call| {
            Principal::describe(call);
            ConsistencyHeader::describe(call);
            Prefer::describe(call);
            Id::<OrderId>::describe(call);
            let missing = call.told(SchemaGenerator::subschema_for::<Vec<Missing>>);
            call.answer_of(StatusCode::OK, "What could be had", &body(&missing));
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
/// No part can be had.
pub(crate) async fn overview(
    forward: &Forward,
    queries: &Pool,
    parts: &Parts,
    id: &str,
) -> Result<Response, Problem> {
    let reads = PARTS.map(|(part, path)| {
        let asked = asked(parts, &path.replace("{id}", id));
        async move { (part, read(forward, queries, &asked).await) }
    });
    let answers = join_all(reads).await;
    let mut found = Map::new();
    let mut missing = Vec::new();
    for (part, answer) in answers {
        match answer {
            Ok((status, body)) if status.is_success() => {
                found.insert(part.to_owned(), content(&body));
            }
            Ok((status, body)) if part == "order" && status.is_client_error() => {
                return Ok(refused(status, body));
            }
            Ok((status, body)) => missing.push(of_answer(part, status, &body)),
            Err(problem) => missing.push(of_problem(part, &problem)),
        }
    }
    if found.is_empty() {
        return Err(crate::problems::down(queries.role));
    }
    for lack in &missing {
        found.insert(lack.part.to_owned(), Value::Null);
    }
    found.insert("complete".to_owned(), missing.is_empty().into());
    let missing = serde_json::to_value(missing).map_err(|_never| Problem::internal())?;
    found.insert("missing".to_owned(), missing);
    Ok(Json(found).into_response())
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

async fn read(
    forward: &Forward,
    queries: &Pool,
    asked: &Parts,
) -> Result<(StatusCode, Bytes), Problem> {
    let answer = forward
        .send(queries, asked, Outgoing::Whole(Bytes::new()))
        .await?;
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, PART_BYTES_MAX).collect().await;
    let body = body.map_err(|_cut| lost(queries.role))?;
    Ok((parts.status, body.to_bytes()))
}

/// Of a list its items.
fn content(body: &[u8]) -> Value {
    let mut value: Value = serde_json::from_slice(body).unwrap_or_default();
    value.get_mut("items").map(Value::take).unwrap_or(value)
}

fn refused(status: StatusCode, body: Bytes) -> Response {
    let media = edge::problem::MEDIA_TYPE;
    edge::as_it_is((status, [("content-type", media)], Body::from(body)).into_response())
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
