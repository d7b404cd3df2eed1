//! `POST /graphql`: the read models as one graph. An order leads to its payments, its checkout and its
//! notifications, each asked of its own service and only if it is asked for.
//!
//! ```text
//!   POST ─► limits: depth, complexity, aliases ─► query: where a question begins
//!                                                   │
//!             rows: one statement for all of a kind ◄┴─ things: what leads where, in what words
//!                 turns: when a statement begins
//! ```
//!
//! Who sees what is decided where REST decides it, by [`crate::resource::Resource`]. What isn't there,
//! or not yours, is null. One operation a request: a list of them is refused.

mod limits;
mod query;
mod rows;
mod things;
mod turns;
mod words;

use std::sync::Arc;

use async_graphql::{EmptyMutation, EmptySubscription, Request, Variables};
use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use edge::openapi::{Calls, about};
use edge::{Body, Problem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Api;
use crate::asked::Asked;
use crate::caller::Caller;
use crate::failure::parameter;

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

/// The graph in the schema language, for tools.
pub fn language() -> String {
    schema().sdl()
}

pub(crate) fn calls() -> Calls<Api> {
    let example = json!({
        "query": "query ($first: Int!) { products(first: $first) { items { sku title price { amount } } next } }",
        "variables": { "first": 5 },
    });
    Calls::default().post(
        "/graphql",
        about("Ask in GraphQL")
            .more("The read models as one graph, with the same rights. What isn't yours is null. The schema answers introspection.")
            .example(example)
            .refuses([parameter("")])
            .with(|call| call.answer::<Told>(StatusCode::OK, "What was asked for, as far as it can be had")),
        answer,
    )
}

/// One operation, as the GraphQL specification has it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "GraphQuestion")]
struct Question {
    /// The operation, or several of which `operationName` names one.
    #[schemars(length(max = limits::QUERY_BYTES_MAX))]
    query: String,
    /// Which.
    #[serde(default)]
    operation_name: Option<String>,
    /// What stands for its variables.
    #[serde(default)]
    variables: Option<Map<String, Value>>,
    /// Nothing is made of them.
    #[serde(default)]
    extensions: Option<Map<String, Value>>,
}

/// An answer, as the GraphQL specification has it.
#[derive(JsonSchema)]
#[schemars(rename = "GraphAnswer")]
#[expect(dead_code, reason = "the library writes it; this says what is in it")]
struct Told {
    /// What was asked for; null where nothing can be had.
    data: Option<Map<String, Value>>,
    /// Why fields have no answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Lack>,
}

/// Why a field has no answer.
#[derive(JsonSchema)]
#[schemars(rename = "GraphError")]
#[expect(dead_code, reason = "the library writes it; this says what is in it")]
struct Lack {
    /// For people.
    message: String,
    /// For programs: `code`, `status` and `retryable`, as REST would say them.
    #[serde(skip_serializing_if = "Option::is_none")]
    extensions: Option<Map<String, Value>>,
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
    let (begin, reads) = turns::reads();
    let loaders = rows::Loaders::new(&session, &begin);
    let request = request.data(loaders).data(session);
    let told = turns::take(schema.execute(request), reads).await;
    let mut response = Json(told).into_response();
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
