//! The whole API as one router, and the server around it.

use std::io;

use axum::Router;
use edge::problem;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Api, Config, PAGES};
use crate::{
    aftermath, checkout, erasure, health, import, inventory, notification, order, payment, product,
};
use crate::{suppression, user};

/// The query API could not be served.
#[derive(Debug, Error)]
pub enum Error {
    /// The socket failed.
    #[error("the query API can't be served")]
    Serve(#[source] io::Error),
}

/// Every route. The probes stand outside the guard: they are never shed, and their 503 is an
/// answer, not a problem.
pub fn router(api: Api, config: &Config) -> Router {
    let routes = Router::new()
        .merge(product::routes())
        .merge(import::routes())
        .merge(inventory::routes())
        .merge(user::routes())
        .merge(erasure::routes())
        .merge(order::routes())
        .merge(payment::routes())
        .merge(notification::routes())
        .merge(suppression::routes())
        .merge(checkout::routes())
        .merge(aftermath::routes())
        .merge(problem::pages(&[PAGES]))
        .with_state(api.clone());
    edge::guarded(routes, &config.limits).merge(health::routes(api))
}

/// Serves until `shutdown`, then lets open requests finish.
///
/// # Errors
/// The socket failed.
pub async fn run(
    config: Config,
    listener: TcpListener,
    api: Api,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let router = router(api, &config);
    edge::serve(listener, router, config.limits, shutdown)
        .await
        .map_err(Error::Serve)
}
