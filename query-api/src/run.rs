//! The whole API as one router, and the server around it.

use std::io;

use axum::Router;
use edge::problem;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Api, Config, PAGES};
use crate::{erasure, graphql, health, live, order, product, reports, resource, resources, stuck};

/// The query API could not be served.
#[derive(Debug, Error)]
pub enum Error {
    /// It has no certificate to show.
    #[error("no TLS for clients")]
    Tls(#[from] edge::TlsError),
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
        .merge(problem::pages(&[PAGES]))
        .with_state(api.clone());
    edge::guarded(routes, &config.limits).merge(health::probes(api))
}

/// Serves until `shutdown`, then lets open requests finish.
///
/// # Errors
/// The certificate can't be used, or the socket failed.
pub async fn run(
    config: Config,
    listener: TcpListener,
    api: Api,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let router = router(api, &config);
    let serving = (config.tls.acceptor()?, shutdown);
    edge::serve_tls(listener, router, config.limits, serving)
        .await
        .map_err(Error::Serve)
}
