//! The one entry of `millrace up`: reads to the query API, everything else to the command API.

use std::convert::Infallible;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use edge::openapi::{self, Document};
use edge::{Limits, problem};
use tower::{Service, ServiceExt, service_fn};

/// Sends each request to the side that it is for. What both say of themselves is said as one.
pub fn router(commands: Router, queries: Router, limits: &Limits) -> Router {
    let spoken = openapi::routes(&document()).merge(problem::pages(PAGES));
    let dispatch = service_fn(move |request: Request| {
        let side = if is_read(&request) {
            queries.clone()
        } else {
            commands.clone()
        };
        answer(side, request)
    });
    edge::guarded(spoken, limits).fallback_service(dispatch)
}

/// Every problem that either side explains.
static PAGES: &[&[problem::Page]] = &[command_api::PAGES, query_api::PAGES];

/// The whole API.
pub fn document() -> Document {
    command_api::document()
}

/// Reads are GET, HEAD and their preflight; the keys of tokens are the command side's.
fn is_read(request: &Request) -> bool {
    let reads = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    let path = request.uri().path();
    reads && !path.starts_with("/.well-known/")
}

async fn answer(side: Router, request: Request) -> Result<Response, Infallible> {
    let mut side = side;
    ServiceExt::<Request>::ready(&mut side)
        .await?
        .call(request)
        .await
}
