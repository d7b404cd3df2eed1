//! The HTTP side of the mail sink: mails to read, faults to order.

use super::faults::{Fault, Faults};
use super::page;
use super::store::{Found, Store, Summary};
use crate::payments::journal;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;

/// Mails on the page for people; the list for programs has all.
const PAGE_MAILS: usize = 100;

/// What the handlers share.
#[derive(Debug, Clone)]
struct Sink {
    store: Store,
    faults: Faults,
}

/// The routes.
pub(super) fn routes(store: Store, faults: Faults) -> Router {
    Router::new()
        .route("/", get(show))
        .route("/livez", get(|| async { "ok" }))
        .route("/messages", get(list).delete(clear))
        .route("/messages/{n}/raw", get(raw))
        .route("/faults", post(order).get(orders).delete(take_back))
        .with_state(Sink { store, faults })
}

/// Which mails to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    /// Mails to this address.
    to: Option<String>,
    /// Mails with this Message-ID, with or without angle brackets.
    message_id: Option<String>,
}

impl Filter {
    fn wants(&self, mail: &Summary) -> bool {
        let same = |address: &String, wanted: &str| address.eq_ignore_ascii_case(wanted);
        let to = self.to.as_ref();
        let id = self.message_id.as_ref();
        to.is_none_or(|to| mail.to.iter().any(|address| same(address, to)))
            && id.is_none_or(|id| mail.message_id.as_deref() == Some(bare(id)))
    }
}

fn bare(message_id: &str) -> &str {
    message_id.trim_start_matches('<').trim_end_matches('>')
}

/// The list is written as it is read from the disk: its length costs no memory.
async fn list(State(sink): State<Sink>, Query(filter): Query<Filter>) -> Result<Response, Failure> {
    let found = sink.store.find(|mail| filter.wants(mail));
    if let Some(last) = found.last() {
        last.settled().await?;
    }
    let mails = futures::stream::iter(found)
        .enumerate()
        .then(|(position, found)| written(position, found));
    let begin = futures::stream::iter([Ok(Bytes::from_static(b"["))]);
    let end = futures::stream::iter([Ok(Bytes::from_static(b"]\n"))]);
    let body = Body::from_stream(begin.chain(mails).chain(end));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn written(position: usize, found: Found) -> Result<Bytes, std::io::Error> {
    let mail = tokio::task::spawn_blocking(move || found.open()).await?;
    let mail = mail.map_err(std::io::Error::other)?;
    let mut json = if position == 0 { vec![] } else { vec![b','] };
    serde_json::to_writer(&mut json, &mail)?;
    Ok(Bytes::from(json))
}

async fn raw(State(sink): State<Sink>, Path(n): Path<u64>) -> Result<Response, Failure> {
    let Some(found) = sink.store.find(|mail| mail.n == n).pop() else {
        return Ok((StatusCode::NOT_FOUND, "no such mail\n").into_response());
    };
    found.settled().await?;
    let raw = tokio::task::spawn_blocking(move || found.raw()).await??;
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((kind, raw).into_response())
}

async fn clear(State(sink): State<Sink>) -> Result<StatusCode, Failure> {
    let clearing = tokio::task::spawn_blocking(move || sink.store.clear());
    let (begun, position) = clearing.await??;
    begun.settled(position).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn show(State(sink): State<Sink>) -> Result<Response, Failure> {
    let mut found = sink.store.find(|_| true);
    let all = found.len();
    if let Some(last) = found.last() {
        last.settled().await?;
    }
    let newest = found.split_off(all.saturating_sub(PAGE_MAILS));
    let open = move || newest.iter().rev().map(Found::open).collect();
    let mails: Result<Vec<_>, _> = tokio::task::spawn_blocking(open).await?;
    let page = Html(page::render(all, &mails?));
    Ok(([(header::CONTENT_SECURITY_POLICY, page::POLICY)], page).into_response())
}

async fn order(State(sink): State<Sink>, Json(fault): Json<Fault>) -> Response {
    match sink.faults.add(fault) {
        Ok(()) => StatusCode::CREATED.into_response(),
        Err(refusal) => {
            let body = Json(json!({ "error": refusal.to_string() }));
            (StatusCode::UNPROCESSABLE_ENTITY, body).into_response()
        }
    }
}

async fn orders(State(sink): State<Sink>) -> Json<Vec<Fault>> {
    Json(sink.faults.open())
}

async fn take_back(State(sink): State<Sink>) -> StatusCode {
    sink.faults.clear();
    StatusCode::NO_CONTENT
}

/// Something that the sink could not do.
struct Failure(String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        tracing::error!(error = %self.0, "a request to the mail sink failed");
        let body = Json(json!({ "error": self.0 }));
        (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
    }
}

impl From<journal::Error> for Failure {
    fn from(error: journal::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<super::Error> for Failure {
    fn from(error: super::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<tokio::task::JoinError> for Failure {
    fn from(error: tokio::task::JoinError) -> Self {
        Self(error.to_string())
    }
}
