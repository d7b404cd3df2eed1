//! `up`: every role in this one process.

use std::future::Future;

use anyhow::Context;
use axum::Router;
use edge::auth::{KeySet, Verifier};
use futures::FutureExt;
use projections::Access;
use projections::projector::Standing;
use streams::Connection;
use streams::bus::Hosts;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::configs::Configs;
use super::{Endpoints, Roles, UpArgs, Worker};
use crate::settings::Source;
use crate::{entry, roles, withdrawing};

/// What every role of the one process is started with; each has a NATS user of its own, so that
/// the permissions of production are exercised on a laptop too. Only what sagas and reactors ask of
/// contexts that this process hosts doesn't go over NATS: that is two messages an ask.
pub(super) struct Together<'a> {
    pub(super) source: Source<'a>,
    pub(super) args: &'a UpArgs,
    pub(super) configs: Configs,
    pub(super) endpoints: &'a Endpoints,
    pub(super) keys: KeySet,
    pub(super) shutdown: CancellationToken,
    /// Those that were made.
    pub(super) connections: Vec<Connection>,
}

impl Together<'_> {
    /// Every role in this process.
    pub(super) async fn start(
        &mut self,
        roles: &mut Roles,
        listeners: [TcpListener; 3],
    ) -> anyhow::Result<()> {
        let hosts = self.apis(roles, listeners).await?;
        let args = self.args;
        for worker in args.workers() {
            self.worker(roles, worker, &hosts).await?;
        }
        Ok(())
    }

    async fn connect(&mut self, role: &str) -> anyhow::Result<Connection> {
        let connection = self.source.connect_to_work(&self.endpoints.nats, role);
        let connection = connection.await?;
        self.connections.push(connection.clone());
        Ok(connection)
    }

    /// The write side, the read side, and the entry in front of both. Answers with what is hosted.
    async fn apis(
        &mut self,
        roles: &mut Roles,
        [entry, commands, queries]: [TcpListener; 3],
    ) -> anyhow::Result<Hosts> {
        let nats = self.connect("command-api").await?;
        let config = self.configs.command_api.clone();
        let followed = self.keys.clone().follow(self.shutdown.clone());
        roles.spawn(followed.map(Ok));
        let keys = self.keys.clone();
        let service = roles::command_service(config, &self.source, nats.clone(), keys).await?;
        let hosts = service.hosts().clone();
        let withdrawn = withdrawing::follow(&nats, service.verifier(), self.shutdown.clone());
        roles.spawn(withdrawn.map(Ok));
        let connection = self.connect("query-api").await?;
        let config = self.configs.query_api.clone();
        let verifier = Verifier::new(&self.keys, streams::clock::now);
        let withdrawn = withdrawing::follow(&connection, verifier.clone(), self.shutdown.clone());
        roles.spawn(withdrawn.map(Ok));
        let reach = ((&self.endpoints.postgres).into(), self.shutdown.clone());
        let (router, erasures) =
            roles::query_router(&config, &self.source, &connection, verifier, reach).await?;
        // A program that starts two stacks has one recorder: the second shows no metrics.
        let metrics = roles::metrics().unwrap_or_default();
        let service = service.with(metrics.clone());
        let router = router.merge(metrics.clone());
        self.gateway(roles, entry, metrics).await?;

        let stop = || self.shutdown.clone();
        self.announce(
            roles,
            [(nats.clone(), "command-api"), (connection, "query-api")],
        );
        let following = stop();
        spawn(roles, "command-api", service.run(commands, stop()));
        spawn(
            roles,
            "query-api",
            edge::serve(queries, router, config.limits, stop()),
        );
        roles.spawn(async move {
            erasures.follow(following).await;
            Ok(())
        });
        Ok(hosts)
    }

    /// Has gateways beside this one find the two APIs.
    fn announce(&self, roles: &mut Roles, apis: [(Connection, &'static str); 2]) {
        for (connection, role) in apis {
            let (address, contexts) = match role {
                "command-api" => (&self.endpoints.command_api, self.args.contexts.clone()),
                _ => (&self.endpoints.query_api, Vec::new()),
            };
            let (address, stop) = (address.clone(), self.shutdown.clone());
            roles.spawn(async move {
                let of = (role, contexts.as_slice());
                roles::announce(&connection, of, Some(address), stop).await
            });
        }
    }

    /// The entry. It is told where the two APIs are, and finds those that are started beside this.
    async fn gateway(
        &mut self,
        roles: &mut Roles,
        listener: TcpListener,
        metrics: Router,
    ) -> anyhow::Result<()> {
        let connection = self.source.connect(&self.endpoints.nats, gateway::ROLE);
        let connection = connection.await?;
        self.connections.push(connection.clone());
        let mut config = self.configs.gateway.clone();
        let member = |api: &str, contexts: &[String]| {
            let address = api.parse().map_err(anyhow::Error::msg)?;
            let contexts = contexts.to_vec();
            anyhow::Ok(gateway::Member { address, contexts })
        };
        let commands = member(&self.endpoints.command_api, &self.args.contexts)?;
        config.command_apis.push(commands);
        config
            .query_apis
            .push(member(&self.endpoints.query_api, &[])?);
        let spoken = entry::routes(&config.limits).merge(metrics);
        let service = gateway::Service::new(config, Some(connection), &self.keys)?.with(spoken);
        let address = self.endpoints.entry.clone();
        let stop = self.shutdown.clone();
        spawn(roles, gateway::ROLE, service.run(listener, address, stop));
        Ok(())
    }

    async fn worker(
        &mut self,
        roles: &mut Roles,
        worker: Worker,
        hosts: &Hosts,
    ) -> anyhow::Result<()> {
        let name = worker.role();
        let connection = self.connect(name).await?.beside(hosts);
        let stop = self.shutdown.clone();
        match worker {
            Worker::Projector => {
                let postgres = &self.endpoints.postgres;
                let logins = self.source.logins(postgres, Access::Writer)?;
                let config = self.configs.projector.clone();
                let run = projections::projector::run(
                    config,
                    connection,
                    logins,
                    (Standing::default(), stop),
                );
                spawn(roles, name, run);
            }
            Worker::Saga => {
                let config = self.configs.saga.clone();
                spawn(roles, name, sagas::run(config, connection, stop));
            }
            Worker::Reactor => {
                let mut config = self.configs.reactor.clone();
                config.provider.url.clone_from(&self.endpoints.payments);
                config.provider.secret_key =
                    self.source.get(devstack::secrets::PAYMENT_SECRET_KEY)?;
                config.provider.return_url = self.configs.return_url(self.endpoints);
                config.smtp.smtp.clone_from(&self.endpoints.smtp);
                let keys = streams::keys::Keys::new(&connection, self.source.master_keys()?);
                spawn(roles, name, reactors::run(config, connection, keys, stop));
            }
        }
        Ok(())
    }
}

fn spawn<E>(
    roles: &mut Roles,
    name: &'static str,
    role: impl Future<Output = Result<(), E>> + Send + 'static,
) where
    E: Into<anyhow::Error> + Send + 'static,
{
    roles.spawn(async move { role.await.map_err(Into::into).context(name) });
}
