//! What tests and people use beside Stripe's paths: the ledger, faults, and the customer's authentication.

use super::call::Calls;
use super::command::{Command, Operation};
use super::faults::Fault;
use super::intent::Status;
use super::ledger::{Books, Order, Row};
use super::page;
use super::refusal::{Answer, Refusal};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Intents on the page for people; the list for programs has all.
const PAGE_ROWS: usize = 200;

/// The paths.
pub(super) fn routes() -> Router<Calls> {
    Router::new()
        .route("/", get(show))
        .route("/livez", get(|| async { "ok" }))
        .route("/ledger", get(ledger))
        .route("/faults", post(order).get(orders).delete(take_back))
        .route(
            "/test/payment_intents/{id}/complete_action",
            post(complete_action),
        )
}

/// One line of the ledger: what happened to the money of one intent. Amounts in minor units.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    pub(super) id: String,
    pub(super) amount: u64,
    pub(super) captured: u64,
    pub(super) refunded: u64,
    pub(super) currency: String,
    pub(super) status: Status,
    pub(super) metadata: BTreeMap<String, String>,
    /// How many requests of each kind named the intent, repeated and refused ones too.
    pub(super) calls: BTreeMap<Operation, u64>,
}

impl From<&Row> for Line {
    fn from(row: &Row) -> Self {
        let intent = &row.intent;
        Self {
            id: intent.id.clone(),
            amount: intent.amount,
            captured: intent.received(),
            refunded: intent.refunded(),
            currency: intent.currency.clone(),
            status: intent.status,
            metadata: intent.metadata.clone(),
            calls: row.calls.clone(),
        }
    }
}

/// Every intent, oldest first.
async fn ledger(State(calls): State<Calls>) -> Response {
    match calls.ledger.read(|books| lines(books, 0)).await {
        Ok(lines) => Json(lines).into_response(),
        Err(error) => Refusal::internal(&error.to_string())
            .answer()
            .into_response(),
    }
}

fn lines(books: &Books, skip: usize) -> Vec<Line> {
    let rows = books.created.iter().skip(skip);
    rows.filter_map(|id| Some(Line::from(books.rows.get(id)?)))
        .collect()
}

async fn show(State(calls): State<Calls>) -> Response {
    let newest = |books: &Books| {
        let all = books.created.len();
        let mut lines = lines(books, all.saturating_sub(PAGE_ROWS));
        lines.reverse();
        page::render(all, &lines)
    };
    match calls.ledger.read(newest).await {
        Ok(page) => Html(page).into_response(),
        Err(error) => Refusal::internal(&error.to_string())
            .answer()
            .into_response(),
    }
}

async fn order(State(calls): State<Calls>, Json(fault): Json<Fault>) -> Response {
    match calls.faults.add(fault) {
        Ok(id) => (StatusCode::CREATED, Json(json!({ "id": id }))).into_response(),
        Err(refusal) => {
            let body = Json(json!({ "error": refusal.to_string() }));
            (StatusCode::UNPROCESSABLE_ENTITY, body).into_response()
        }
    }
}

async fn orders(State(calls): State<Calls>) -> Json<Vec<Fault>> {
    Json(calls.faults.open())
}

async fn take_back(State(calls): State<Calls>) -> StatusCode {
    calls.faults.clear();
    StatusCode::NO_CONTENT
}

/// How the authentication ends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    succeed: bool,
}

/// The customer finishes the authentication that `requires_action` asks for, without a browser.
async fn complete_action(
    State(calls): State<Calls>,
    Path(id): Path<String>,
    Json(Action { succeed }): Json<Action>,
) -> Answer {
    complete(&calls, id, succeed).await
}

/// The authentication ends.
pub(super) async fn complete(calls: &Calls, id: String, succeed: bool) -> Answer {
    let order = Order {
        command: Command::CompleteAction { succeed },
        intent: Some(id),
        pages: Arc::clone(&calls.pages),
        now: Utc::now().timestamp(),
    };
    match calls.execute(&order, None).await {
        Ok(answer) => answer,
        Err(error) => Refusal::internal(&error.to_string()).answer(),
    }
}
