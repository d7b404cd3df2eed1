//! `GET /v1/orders/{id}/overview`: an order with its payments, checkout and notifications. What can't
//! be had right now is named; the rest is there all the same.

use axum::Json;
use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use edge::Problem;
use futures::future::join_all;
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::forward::{Forward, Outgoing};
use crate::pool::Pool;
use crate::problems::lost;

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
#[derive(Debug, Serialize)]
struct Missing {
    part: &'static str,
    status: u16,
    code: String,
    retryable: bool,
}

/// The id in `/v1/orders/{id}/overview`.
pub(crate) fn order_id(parts: &Parts) -> Option<&str> {
    let id = parts.uri.path().strip_prefix("/v1/orders/")?;
    let id = id.strip_suffix("/overview")?;
    (parts.method == Method::GET && !id.is_empty() && !id.contains('/')).then_some(id)
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
