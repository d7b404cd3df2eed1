//! The one entry of `millrace up`: reads to the query API, everything else to the command API.

use std::convert::Infallible;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use tower::{Service, ServiceExt, service_fn};

/// Sends each request to the side that it is for.
pub fn router(commands: Router, queries: Router) -> Router {
    let dispatch = service_fn(move |request: Request| {
        let side = if is_read(&request) {
            queries.clone()
        } else {
            commands.clone()
        };
        answer(side, request)
    });
    Router::new().fallback_service(dispatch)
}

/// Reads are GET, HEAD and their preflight; what only the command side answers is not.
fn is_read(request: &Request) -> bool {
    let reads = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    let path = request.uri().path();
    reads && !path.starts_with("/.well-known/") && !path.starts_with("/problems/")
}

async fn answer(side: Router, request: Request) -> Result<Response, Infallible> {
    let mut side = side;
    ServiceExt::<Request>::ready(&mut side)
        .await?
        .call(request)
        .await
}
