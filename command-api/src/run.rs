//! The role as a whole: routes, bus and followers over one connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use edge::auth::{KeySet, Verifier};
use edge::health::Health;
use futures::future::BoxFuture;
use streams::barrier::Reading;
use streams::bus::{Bus, HostError, Hosts};
use streams::inbox::Inbox;
use streams::keys::{DigestKey, Erasures, Keys, KeysError};
use streams::{Connection, Streams};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::{Api, Deps, router};
use crate::config::Config;
use crate::elsewhere::Here;
use crate::host::hosts;
use crate::owned::WEBHOOK_ENDPOINTS;
use crate::questions::OverBus;
use crate::signature::WebhookSecrets;
use crate::webhook::Webhook;

/// Left of the drain time for the answers to who waited: none of them takes longer.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What the role needs from the composition root.
pub struct Connections {
    /// As NATS user `command-api`.
    pub nats: Connection,
    /// The event store over it.
    pub streams: Streams,
    /// The keys of people.
    pub keys: Keys,
    /// The keys of tokens.
    pub token_keys: KeySet,
    /// What digests are keyed with (`MILLRACE_DIGEST_KEY`).
    pub digest_key: DigestKey,
    /// What the payment provider signs its webhooks with (`MILLRACE_PAYMENT_WEBHOOK_SECRET`).
    pub webhook_secrets: WebhookSecrets,
}

/// Why the role ended, or did not begin.
#[derive(Debug, Error)]
pub enum Error {
    /// The password hashing can't be set up.
    #[error("passwords can't be hashed here")]
    Passwords(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A context can't be hosted on the bus.
    #[error("the command bus can't be served")]
    Host(#[from] HostError),
    /// Keys of people who were erased may still be there.
    #[error("the erasures can't be replayed against the keys")]
    Erasures(#[source] KeysError),
    /// It has no certificate to show.
    #[error("no TLS for clients")]
    Tls(#[from] edge::TlsError),
    /// The HTTP server ended.
    #[error("the HTTP server failed")]
    Http(#[source] io::Error),
}

impl Error {
    pub(crate) fn passwords(error: crate::password::PasswordError) -> Self {
        Self::Passwords(Box::new(error))
    }
}

/// The write side, put together: its routes, and what runs behind them.
pub struct Service {
    config: Config,
    nats: Connection,
    hosts: Hosts,
    erasures: Erasures,
    /// Those of the customers, where they are registered.
    endpoints: Option<Reading>,
    api: Api,
    router: Router,
}

impl Service {
    /// Puts the parts together, and destroys every key again whose person was erased: stream KEYS may
    /// have been restored from a backup that still has it. Nothing is answered before.
    ///
    /// # Errors
    /// The password hashing can't be set up; streams USER or KEYS can't be reached.
    pub fn start(
        config: Config,
        connections: Connections,
    ) -> BoxFuture<'static, Result<Self, Error>> {
        Box::pin(async move {
            let Connections {
                nats,
                streams,
                keys,
                token_keys,
                digest_key,
                webhook_secrets,
            } = connections;
            let mut erasures = Erasures::new(&nats, &keys);
            let erased = Box::pin(erasures.replay()).await.map_err(Error::Erasures)?;
            tracing::info!(erased, "who was erased stays erased");
            let here = Here::default();
            let hosts = hosts(&config.contexts, &streams, &digest_key, &here);
            let bus = Bus::new(&nats.clone().beside(&hosts));
            let webhook = Webhook {
                letters: Arc::new(Inbox::new(&nats)),
                secrets: webhook_secrets,
                tolerance: config.webhook_tolerance(),
            };
            let api = Api::new(Deps {
                proxies: config.proxies.clone(),
                targets: config.targets.clone(),
                endpoints_max: config.webhook_endpoints_max,
                waits_max: config.limits.waits_max(),
                questions: Arc::new(OverBus(bus.clone())),
                elsewhere: Arc::new(bus),
                streams,
                personal: Arc::new(keys),
                token_keys,
                digest_key,
                webhook,
            })?;
            let bare = router(api.clone(), &config).merge(health(&nats).router());
            let router = edge::guarded(bare, &config.limits);
            here.answer_with(router.clone());
            let hosted = config.hosts("notification");
            let endpoints = hosted.then(|| nats.barrier().raise(WEBHOOK_ENDPOINTS));
            Ok(Self {
                config,
                nats,
                hosts,
                erasures,
                endpoints,
                api,
                router,
            })
        })
    }

    /// With more routes of the process, outside the API's guard.
    #[must_use]
    pub fn with(self, routes: Router) -> Self {
        Self {
            router: self.router.merge(routes),
            ..self
        }
    }

    /// What it hosts, for roles of the same process.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// What checks its tokens.
    pub fn verifier(&self) -> Verifier {
        self.api.verifier().clone()
    }

    /// The routes, for whoever serves them behind another entry as well. They need [`Self::run`].
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Serves HTTP on `listener` and the contexts' bus until `shutdown`.
    ///
    /// # Errors
    /// The certificate can't be used, the socket failed, or a context can't be hosted on the bus.
    pub fn run(
        self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move {
            // One part that ends with an error ends the others.
            let stop = shutdown.child_token();
            // Requests that are still open need what is heard until they are answered.
            let served = CancellationToken::new();
            let limits = self.config.limits;
            let serving = (self.config.tls.acceptor()?, stop.clone());
            let http = async {
                let http = edge::serve_tls(listener, self.router, (limits, None), serving).await;
                served.cancel();
                http.map_err(Error::Http)
            };
            let bus = async {
                let served = self.hosts.serve(&self.nats, stop.clone()).await;
                served.map_err(Error::Host)
            };
            let heard = async {
                self.api.follow(&self.nats, self.endpoints, &served).await;
                Ok(())
            };
            let waits = self
                .api
                .give_up_waiting(limits.drain_time(), &stop, &served);
            let first = |part: Result<(), Error>| part.inspect_err(|_| stop.cancel());
            let (http, bus, heard, (), ()) = tokio::join!(
                async { first(http.await) },
                async { first(bus.await) },
                async { first(heard.await) },
                self.erasures.follow(stop.clone()),
                waits,
            );
            http.and(bus).and(heard)
        })
    }
}

impl Api {
    /// Hears whatever it must know of others, until `served`.
    async fn follow(
        &self,
        nats: &Connection,
        endpoints: Option<Reading>,
        served: &CancellationToken,
    ) {
        let until = || served.clone();
        let endpoints = async {
            if let Some(reading) = endpoints {
                self.owned.follow(nats, reading, until()).await;
            }
        };
        tokio::join!(
            self.outcomes.follow(nats, until()),
            self.actions.follow(nats, until()),
            self.sagas.follow(nats, until()),
            self.questions.follow(nats, &self.streams, until()),
            endpoints,
            self.throttle.follow(nats, until()),
        );
    }

    /// Answers who still waits shortly before open requests are cut, which is `drain_time` after `stop`.
    async fn give_up_waiting(
        &self,
        drain_time: Duration,
        stop: &CancellationToken,
        served: &CancellationToken,
    ) {
        stop.cancelled().await;
        tokio::select! {
            () = served.cancelled() => {}
            () = tokio::time::sleep(drain_time.saturating_sub(LAST_ANSWERS)) => {
                self.outcomes.give_up();
                self.actions.give_up();
                self.sagas.give_up();
            }
        }
    }
}

/// What every role needs before it is ready: NATS, and what it must have read.
pub fn health(nats: &Connection) -> Health {
    let (connection, barrier) = (nats.clone(), nats.barrier().clone());
    let withheld = nats.withheld().clone();
    Health::new()
        // The other streams are appended to: that is no reason to send nothing here.
        .note("streams", move || std::future::ready(withheld.check()))
        .check("nats", move || {
            let connected = connection.is_connected();
            async move {
                connected
                    .then_some(())
                    .ok_or_else(|| "no connection to NATS".to_owned())
            }
        })
        .check("start-up", move || {
            let passed = barrier.check().map_err(|missing| missing.to_string());
            async move { passed }
        })
}
