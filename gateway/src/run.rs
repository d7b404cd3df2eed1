//! The role as a whole.

use std::io;

use axum::Router;
use axum::middleware::from_fn_with_state;
use edge::auth::{KeySet, Verifier};
use edge::health::Health;
use futures::future::BoxFuture;
use streams::{Connection, DiscoveryError, clock};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::gate::{Gate, packed, page, router};
use crate::pool::Pool;
use crate::watch;

/// The role's name, under which gateways find each other.
pub const ROLE: &str = "gateway";

/// Why the role ended, or did not begin.
#[derive(Debug, Error)]
pub enum Error {
    /// It can't be announced.
    #[error("the gateway can't be found by the others")]
    Announce(#[from] DiscoveryError),
    /// It has no certificate to show.
    #[error("no TLS for clients")]
    Tls(#[from] edge::TlsError),
    /// It knows nobody who vouches for the APIs.
    #[error("no TLS to the APIs")]
    Behind(#[source] edge::TlsError),
    /// The HTTP server ended.
    #[error("the HTTP server failed")]
    Http(#[source] io::Error),
}

/// The gateway, put together.
pub struct Service {
    config: Config,
    gate: Gate,
    nats: Option<Connection>,
    router: Router,
}

impl Service {
    /// Puts it together. Without `nats` it knows the replicas of its configuration alone, keeps
    /// nothing, and takes itself for the only gateway.
    ///
    /// # Errors
    /// The certificates of those who vouch for the APIs, or the one that is shown to them, can't be used.
    pub fn new(config: Config, nats: Option<Connection>, keys: &KeySet) -> Result<Self, Error> {
        let gate = Gate::new(&config, Verifier::new(keys, clock::now)).map_err(Error::Behind)?;
        // The probes stand outside the guard: they are never shed, and open under any host name.
        let router = router(gate.clone(), &config);
        let router = Router::new()
            .merge(health(&gate).router())
            .fallback_service(router);
        Ok(Self {
            config,
            gate,
            nats,
            router,
        })
    }

    /// With more routes of the process, outside the gateway's guard; they have a limit per address of their
    /// own.
    #[must_use]
    pub fn with(self, routes: Router) -> Self {
        let routes = routes.layer(from_fn_with_state(self.gate.clone(), page));
        Self {
            router: packed(routes).fallback_service(self.router),
            ..self
        }
    }

    /// Serves HTTP on `listener` until `shutdown`, announced to other gateways as `address`.
    ///
    /// # Errors
    /// The certificate can't be used, the socket failed, or NATS does not take the announcement.
    pub fn run(
        self,
        listener: TcpListener,
        address: String,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move {
            let Self {
                config,
                gate,
                nats,
                router,
            } = self;
            // One part that ends with an error ends the others.
            let stop = shutdown.child_token();
            let serving = (config.tls.acceptor()?, stop.clone());
            let bounds = (config.limits, Some(config.share()));
            let http = edge::serve_tls(listener, router, bounds, serving);
            let http = async {
                http.await
                    .map_err(Error::Http)
                    .inspect_err(|_| stop.cancel())
            };
            let replicas = watch::replicas(gate.clone(), nats.clone(), stop.clone());
            let others = async {
                let Some(nats) = nats else { return Ok(()) };
                let catalogue = watch::catalogue(gate, nats.clone(), stop.clone());
                let announced = nats.announce(ROLE, Some(&address), &[], stop.clone());
                let announced = async { announced.await.inspect_err(|_| stop.cancel()) };
                let (announced, ()) = tokio::join!(announced, catalogue);
                announced.map_err(Error::Announce)
            };
            let (http, (), others) = tokio::join!(http, replicas, others);
            http.and(others)
        })
    }
}

/// Ready = each side has answered since the start or had time to, and somebody can be asked at all. A side that is not
/// ready is told and doesn't count: the other goes on, and with it whatever needs no more.
fn health(gate: &Gate) -> Health {
    let (commands, queries, either) = (gate.clone(), gate.clone(), gate.clone());
    Health::new()
        .note("command-api", move || {
            std::future::ready(commands.commands.check())
        })
        .note("query-api", move || {
            std::future::ready(queries.queries.check())
        })
        .check("replicas", move || std::future::ready(replicas(&either)))
}

fn replicas(gate: &Gate) -> Result<(), String> {
    let sides: [&Pool; 2] = [&gate.commands, &gate.queries];
    if let Some(unknown) = sides.iter().find(|side| !side.is_met()) {
        return Err(format!("no {} has answered yet", unknown.role));
    }
    let reached = sides.iter().any(|side| side.is_reached());
    reached.then_some(()).ok_or("none answers".to_owned())
}
