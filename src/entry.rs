//! What the entry says of the whole system, which no service behind it could say alone.

use axum::Router;
use edge::openapi::{self, Document};
use edge::{Limits, problem};

/// Every problem that anybody explains.
static PAGES: &[&[problem::Page]] = &[command_api::PAGES, query_api::PAGES, gateway::PAGES];

/// The description of the API and the pages of its problems.
pub fn routes(limits: &Limits) -> Router {
    let spoken = openapi::routes(&document()).merge(problem::pages(PAGES));
    edge::guarded(spoken, limits)
}

/// The whole API.
pub fn document() -> Document {
    let before = gateway::refusals();
    command_api::document(&before)
        .with(&query_api::document(&before))
        .with(&gateway::document())
}
