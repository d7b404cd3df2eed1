//! The whole API as one router, and the server around it.

use std::io;

use axum::Router;
use edge::openapi::{self, Calls, Document};
use edge::{Problem, problem};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Api, Config, PAGES};
use crate::{
    erasure, graphql, health, live, order, product, reports, resource, resources, stuck, system,
    webhook,
};

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

/// Every call.
fn calls() -> Calls<Api> {
    let resources = resources::ALL.into_iter().map(resource::calls);
    resources
        .fold(Calls::default(), Calls::merge)
        .merge(product::calls())
        .merge(erasure::calls())
        .merge(graphql::calls())
        .merge(order::calls())
        .merge(reports::calls())
        .merge(health::calls())
        .merge(stuck::calls())
        .merge(system::calls())
        .merge(live::calls())
        .merge(webhook::calls())
}

/// What the API says about itself. `before` is what whoever stands before it may answer instead.
pub fn document(before: &[Problem]) -> Document {
    calls().document(before)
}

/// The calls, and the pages about them.
fn routes() -> Router<Api> {
    calls()
        .into_router()
        .merge(problem::pages(&[PAGES]))
        .merge(openapi::routes(&document(&[])))
}

/// Every route. The probes stand outside the guard: they are never shed, and their 503 is an
/// answer, not a problem.
pub fn router(api: Api, config: &Config) -> Router {
    edge::guarded(routes().with_state(api.clone()), &config.limits).merge(health::probes(api))
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
    edge::serve_tls(listener, router, (config.limits, None), serving)
        .await
        .map_err(Error::Serve)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_in_the_document_and_the_other_way_round() {
        let pages = ["/problems/{code}", "/openapi.json", "/reference"];
        let mut described = document(&[]).paths();
        described.extend(pages.map(str::to_owned));
        assert_eq!(openapi::paths_of(&routes()), described);
    }
}
