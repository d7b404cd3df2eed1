//! What a problem's `type` URL answers: the error in words, and the cure.

use axum::Router;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::Problem;
use crate::openapi::render;

const TEMPLATE: &str = include_str!("../../pages/problem.html");

/// One kind of problem, explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The code, as in `/problems/<code>`.
    pub code: &'static str,
    /// The problem's title.
    pub title: &'static str,
    /// What to do about it.
    pub cure: &'static str,
}

const fn page(code: &'static str, title: &'static str, cure: &'static str) -> Page {
    Page { code, title, cure }
}

/// What any role can answer.
pub const COMMON: &[Page] = &[
    page(
        "malformed_request",
        "The request can't be read",
        "Send well-formed JSON in UTF-8 and header values as their RFCs say; the detail names the place.",
    ),
    page(
        "parameter_invalid",
        "A parameter of the query can't be used",
        "The detail names the parameter. Unknown ones are refused, so that a misspelled filter does not answer with everything.",
    ),
    page(
        "invalid_request",
        "Fields of the request don't keep to their rules",
        "Correct the fields that `errors` points at and send the request again.",
    ),
    page(
        "body_too_large",
        "The body is too large",
        "Send less than the limit that the detail names, or split the request.",
    ),
    page(
        "unsupported_media_type",
        "The body is not JSON",
        "Send the header Content-Type: application/json.",
    ),
    page(
        "content_encoding_refused",
        "The body is compressed",
        "Send it as it is, without the header Content-Encoding.",
    ),
    page(
        "token_required",
        "A token is required",
        "Get one from POST /v1/sessions and send it as Authorization: Bearer <token>.",
    ),
    page(
        "token_invalid",
        "The token is not accepted",
        "It has expired, or was not made for this API: get a new one from POST /v1/sessions.",
    ),
    page(
        "forbidden",
        "Not allowed",
        "The call needs a role that your token doesn't have.",
    ),
    page(
        "insufficient_scope",
        "The token is not good for this",
        "The token's `scope` lacks what the header WWW-Authenticate names: get one that has it, or one without a scope.",
    ),
    page(
        "not_found",
        "Not found",
        "Check the path and the id. What belongs to somebody else is not found either.",
    ),
    page(
        "method_not_allowed",
        "The path doesn't take this method",
        "Use one of the methods in the header Allow.",
    ),
    page(
        "version_is_stale",
        "It has changed since you read it",
        "Read it again, decide again, and send its new ETag as If-Match.",
    ),
    page(
        "idempotency_key_required",
        "An Idempotency-Key is required",
        "Make a random key (a UUID) for each thing that you want to happen once, send it as Idempotency-Key, and send the same key when you try again.",
    ),
    page(
        "idempotency_key_reused",
        "The Idempotency-Key was used for another request",
        "The key belongs to a request with another body. Take a new key for a new request.",
    ),
    page(
        "conflict",
        "Others changed it at the same time",
        "Send the request again: nothing was done.",
    ),
    page(
        "outcome_unknown",
        "It is not known whether it was done",
        "Send the same request again with the same Idempotency-Key: the answer then says what happened. Nothing happens twice.",
    ),
    page(
        "unavailable",
        "A part of the system is down",
        "Nothing was done. Try again after the time in Retry-After.",
    ),
    page(
        "view_is_behind",
        "The view has not caught up yet",
        "Try again after Retry-After, wait longer with Prefer: wait=n, or take the stale answer with Prefer: handling=lenient.",
    ),
    page(
        "overloaded",
        "Too many requests at once",
        "Nothing was done. Try again after the time in Retry-After.",
    ),
    page(
        "too_many_attempts",
        "Too many attempts",
        "Wait for the time in Retry-After.",
    ),
    page(
        "body_timeout",
        "The body did not come in in time",
        "Nothing was done. Send the request again, over a new connection.",
    ),
    page(
        "request_timeout",
        "The request took too long",
        "A write may have been done: send it again with the same Idempotency-Key.",
    ),
    page(
        "internal_error",
        "A fault of ours",
        "Try again later. If it stays, report the trace_id.",
    ),
];

pub(super) fn title(code: &str) -> Option<&'static str> {
    find(&[COMMON], code).map(|page| page.title)
}

fn find(tables: &[&'static [Page]], code: &str) -> Option<Page> {
    tables
        .iter()
        .flat_map(|table| table.iter())
        .find(|page| page.code == code)
        .copied()
}

/// Serves `/problems/{code}` for [`COMMON`] and the pages of some roles.
pub fn pages<S: Clone + Send + Sync + 'static>(own: &'static [&'static [Page]]) -> Router<S> {
    Router::new().route(
        "/problems/{code}",
        get(
            move |Path(code): Path<String>, headers: HeaderMap| async move {
                answer(own, &code, &headers)
            },
        ),
    )
}

/// As a page for who takes HTML, in plain words for everybody else.
fn answer(own: &[&'static [Page]], code: &str, headers: &HeaderMap) -> Response {
    let known = find(&[COMMON], code).or_else(|| find(own, code));
    let Some(Page { code, title, cure }) = known else {
        return Problem::not_found("no problem has this code").into_response();
    };
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    if !accepted.is_some_and(|types| types.contains("text/html")) {
        return format!("{code}\n{title}\n\n{cure}\n").into_response();
    }
    match render(
        TEMPLATE,
        &json!({ "code": code, "title": title, "cure": cure }),
    ) {
        Ok(page) => Html(page).into_response(),
        Err(error) => {
            tracing::error!(%error, "a problem's page can't be rendered");
            Problem::internal().into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_named_once() {
        let codes: BTreeSet<_> = COMMON.iter().map(|page| page.code).collect();
        assert_eq!(codes.len(), COMMON.len());
    }
}
