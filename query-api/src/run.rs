//! The whole API as one router, and the server around it.

use std::io;

use axum::Router;
use edge::problem;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Api, Config, PAGES};
use crate::{
    erasure, graphql, health, live, order, product, reports, resource, resources, stuck, webhook,
};

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
    let resources = resources::ALL.into_iter().map(resource::routes);
    let routes = resources
        .fold(Router::new(), Router::merge)
        .merge(product::routes())
        .merge(erasure::routes())
        .merge(graphql::routes())
        .merge(order::routes())
        .merge(reports::routes())
        .merge(health::routes())
        .merge(stuck::routes())
        .merge(live::routes())
        .merge(webhook::routes())
        .merge(problem::pages(&[PAGES]))
        .with_state(api.clone());
    edge::guarded(routes, &config.limits).merge(health::probes(api))
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
