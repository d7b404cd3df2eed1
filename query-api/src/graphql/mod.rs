//! `POST /graphql`: the read models as one graph. An order leads to its payments, its checkout and its
//! notifications, each asked of its own service and only if it is asked for.
//!
//! ```text
//!   POST ─► limits: depth, complexity, aliases ─► query: where a question begins
//!                                                   │
//!             rows: one statement for all of a kind ◄┴─ things: what leads where
//! ```
//!
//! Who sees what is decided where REST decides it, by [`crate::resource::Resource`]. What isn't there,
//! or not yours, is null. One operation a request: a list of them is refused.

mod limits;
mod query;
mod rows;
mod things;

use std::sync::Arc;

use async_graphql::{EmptyMutation, EmptySubscription, Request, Variables};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use edge::{Body, Problem};
use serde::{Deserialize, Serialize};

use crate::Api;
use crate::asked::{Asked, Caller};

/// The graph.
pub(crate) type Schema = async_graphql::Schema<query::Query, EmptyMutation, EmptySubscription>;

/// Who asks, how new the answer must be, and where it is read.
pub(crate) struct Session {
    api: Api,
    caller: Caller,
    asked: Asked,
}

/// The graph, with its limits.
pub(crate) fn schema() -> Schema {
    Schema::build(query::Query, EmptyMutation, EmptySubscription)
        .extension(limits::Limits)
        .finish()
}

pub(crate) fn routes() -> Router<Api> {
    Router::new().route("/graphql", post(answer))
}

/// One operation, as the GraphQL specification has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Question {
    query: String,
    #[serde(default)]
    operation_name: Option<String>,
    #[serde(default)]
    variables: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(default)]
    extensions: Option<serde_json::Map<String, serde_json::Value>>,
}

async fn answer(
    State(api): State<Api>,
    caller: Caller,
    asked: Asked,
    Body(question): Body<Question>,
) -> Result<Response, Problem> {
    limits::length(&question.query)?;
    let variables = question.variables.unwrap_or_default();
    let mut request = Request::new(question.query);
    request = request.variables(Variables::from_json(variables.into()));
    if let Some(name) = question.operation_name {
        request = request.operation_name(name);
    }
    let schema = api.graph.clone();
    let session = Arc::new(Session { api, caller, asked });
    let request = request.data(rows::Loaders::new(&session)).data(session);
    let mut response = Json(schema.execute(request).await).into_response();
    let private = HeaderValue::from_static("private, no-store");
    response.headers_mut().insert(CACHE_CONTROL, private);
    Ok(response)
}

/// Why a field has no answer, as REST would say it.
fn refused(problem: &Problem) -> async_graphql::Error {
    use async_graphql::ErrorExtensions;
    let words = if problem.detail.is_empty() {
        problem.title.to_string()
    } else {
        problem.detail.clone()
    };
    async_graphql::Error::new(words).extend_with(|_, more| {
        more.set("code", problem.code.as_ref());
        more.set("status", problem.status.as_u16());
        more.set("retryable", problem.retryable);
    })
}
