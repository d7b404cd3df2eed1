//! `millrace up`: the whole shop on this machine, behind one entry.

mod args;

use std::future::Future;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use axum::Router;
use devstack::launch::Launcher;
use devstack::{Options, Ports, Reserved, Stack, Sync};
use edge::auth::{KeySet, Verifier};
use futures::FutureExt;
use futures::future::{BoxFuture, LocalBoxFuture};
use projections::Access;
use serde::{Deserialize, Serialize};
use streams::Connection;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use args::{UpArgs, Worker};

use crate::roles;
use crate::settings::{Source, nats_password_variable};
use crate::{entry, provision, withdrawing};

/// Where the payment simulator sends its webhooks, below the entry.
const WEBHOOK: &str = "/v1/payments/webhook";

/// Where the keys of access tokens are, below the data folder.
pub const JWT_KEYS: &str = "keys/jwt";

/// No limit on anybody.
const UNLIMITED: gateway::Rates = gateway::Rates {
    user_rate: 0,
    address_rate: 0,
    key_rate: 0,
};

/// Where a running stack can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The one entry, `http://…`.
    pub entry: String,
    /// The write side alone.
    pub command_api: String,
    /// The read side alone.
    pub query_api: String,
    /// `nats://…`
    pub nats: String,
    /// `host:port`
    pub postgres: String,
    /// The mail sink's page and `/messages`.
    pub mail: String,
    /// Where the mail sink takes mails, `host:port`.
    pub smtp: String,
    /// The payment simulator's page and `/ledger`.
    pub payments: String,
}

/// A running stack.
pub struct Running {
    stack: Stack,
    endpoints: Endpoints,
    roles: JoinSet<anyhow::Result<()>>,
    shutdown: CancellationToken,
}

impl Running {
    /// Where it can be reached.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Resolves when a server or a role ends that nobody asked to.
    pub fn failed(&mut self) -> BoxFuture<'_, anyhow::Error> {
        Box::pin(async move {
            tokio::select! {
                failure = self.stack.failed() => anyhow!("{failure}"),
                ended = self.roles.join_next() => match ended {
                    Some(Ok(Ok(()))) => anyhow!("a role ended by itself"),
                    Some(Ok(Err(error))) => error,
                    Some(Err(panicked)) => anyhow!(panicked).context("a role's task ended abnormally"),
                    None => anyhow!("no role runs"),
                },
            }
        })
    }

    /// Stops the roles, then the servers.
    ///
    /// # Errors
    /// A role or a server did not end in order.
    pub fn stop(mut self) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(async move {
            self.shutdown.cancel();
            let mut outcome = Ok(());
            while let Some(ended) = self.roles.join_next().await {
                outcome = outcome.and(ended.map_err(anyhow::Error::from).and_then(|ended| ended));
            }
            self.stack.stop().await?;
            outcome
        })
    }
}

/// Starts everything and keeps it running until Ctrl-C or SIGTERM.
///
/// # Errors
/// Something can't be started, or ends by itself.
pub fn run(args: UpArgs) -> LocalBoxFuture<'static, anyhow::Result<ExitCode>> {
    Box::pin(async move {
        let mut running = start(&args).await?;
        if args.json {
            println!("{}", serde_json::to_string(running.endpoints())?);
        } else {
            println!("{}", greeting(&args.data, running.endpoints()));
        }
        let mut terminate = signal(SignalKind::terminate())?;
        let outcome = tokio::select! {
            pressed = tokio::signal::ctrl_c() => pressed.map_err(anyhow::Error::from),
            _ = terminate.recv() => Ok(()),
            failure = running.failed() => Err(failure),
        };
        let stopped = running.stop().await;
        outcome.and(stopped).map(|()| ExitCode::SUCCESS)
    })
}

/// Where the stack on `data` can be reached, if one runs.
///
/// # Errors
/// The data folder can't be read.
pub fn running(data: &Path) -> anyhow::Result<Option<Endpoints>> {
    let Some(holder) = devstack::holder(data)? else {
        return Ok(None);
    };
    let file = data.join(ENDPOINTS);
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("{holder} holds {}, but is not ready yet", data.display()))?;
    Ok(Some(serde_json::from_str(&text)?))
}

/// The file in the data folder that says where the running stack can be reached.
const ENDPOINTS: &str = "endpoints.json";

/// Starts the servers, provisions them, and starts every role.
///
/// # Errors
/// Something can't be started.
pub fn start(args: &UpArgs) -> LocalBoxFuture<'_, anyhow::Result<Running>> {
    Box::pin(async move {
        let mut options = Options::new(&args.data, Launcher::current()?);
        options.fresh = args.fresh;
        options.sync = match args.sync.as_str() {
            "always" => Sync::Always,
            interval => Sync::Interval(interval.to_owned()),
        };
        if args.free_ports {
            options.ports = Ports::free();
        }
        let entry = listen(args.port)?;
        options.webhook = Some(format!("{}{WEBHOOK}", http(&entry)));
        let mut stack = Stack::start(options).await?;
        for notice in stack.notices() {
            eprintln!("{notice}");
        }
        let keys = KeySet::create_if_missing(&args.data.join(JWT_KEYS))?;
        let secrets = stack.secrets().clone();
        let servers = stack.endpoints().clone();
        let postgres = servers.postgres.to_string();
        let source = Source::Stack(&secrets);
        provision::provision(&source, &servers.nats, &postgres, 1).await?;

        let (commands, queries) = (listen(0)?, listen(0)?);
        let endpoints = Endpoints {
            entry: http(&entry),
            command_api: http(&commands),
            query_api: http(&queries),
            nats: servers.nats.clone(),
            postgres,
            mail: servers.mail.clone(),
            smtp: servers.smtp.to_string(),
            payments: servers.payments.clone(),
        };
        let start = Start {
            source,
            args,
            endpoints: &endpoints,
            keys,
            shutdown: CancellationToken::new(),
        };
        let mut roles = JoinSet::new();
        start.apis(&mut roles, [entry, commands, queries]).await?;
        for worker in args.workers() {
            start.worker(&mut roles, worker).await?;
        }
        let shutdown = start.shutdown;
        stack.announce(&endpoints.entry)?;
        std::fs::write(
            args.data.join(ENDPOINTS),
            serde_json::to_string(&endpoints)?,
        )?;
        Ok(Running {
            stack,
            endpoints,
            roles,
            shutdown,
        })
    })
}

/// What every role of the one process is started with; each has a NATS user of its own, so that
/// the permissions of production are exercised on a laptop too.
struct Start<'a> {
    source: Source<'a>,
    args: &'a UpArgs,
    endpoints: &'a Endpoints,
    keys: KeySet,
    shutdown: CancellationToken,
}

type Roles = JoinSet<anyhow::Result<()>>;

impl Start<'_> {
    async fn connect(&self, role: &str) -> anyhow::Result<Connection> {
        self.source
            .connect_to_work(&self.endpoints.nats, role)
            .await
    }

    /// The write side, the read side, and the entry in front of both.
    async fn apis(
        &self,
        roles: &mut Roles,
        [entry, commands, queries]: [TcpListener; 3],
    ) -> anyhow::Result<()> {
        let nats = self.connect("command-api").await?;
        let config = command_api::Config {
            contexts: self.args.contexts.clone(),
            // The gateway.
            proxies: vec![Ipv4Addr::LOCALHOST.into()],
            ..roles::defaults()
        };
        let keys = self.keys.clone();
        let service = roles::command_service(config, &self.source, nats.clone(), keys).await?;
        let withdrawn = withdrawing::follow(&nats, service.verifier(), self.shutdown.clone());
        roles.spawn(withdrawn.map(Ok));
        let connection = self.connect("query-api").await?;
        let config: query_api::Config = roles::defaults();
        let verifier = Verifier::new(&self.keys);
        let withdrawn = withdrawing::follow(&connection, verifier.clone(), self.shutdown.clone());
        roles.spawn(withdrawn.map(Ok));
        let reach = (self.endpoints.postgres.as_str(), self.shutdown.clone());
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
        Ok(())
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
        &self,
        roles: &mut Roles,
        listener: TcpListener,
        metrics: Router,
    ) -> anyhow::Result<()> {
        let connection = self.source.connect(&self.endpoints.nats, gateway::ROLE);
        let connection = connection.await?;
        let mut config: gateway::Config = roles::defaults();
        let member = |api, contexts: &[String]| {
            let authority = gateway::authority(api).map_err(anyhow::Error::msg)?;
            let contexts = contexts.to_vec();
            anyhow::Ok(gateway::Member {
                authority,
                contexts,
            })
        };
        let commands = member(&self.endpoints.command_api, &self.args.contexts)?;
        config.command_apis.push(commands);
        config
            .query_apis
            .push(member(&self.endpoints.query_api, &[])?);
        // Whoever works on a laptop is one address and often one user.
        config.rates = UNLIMITED;
        let spoken = entry::routes(&config.limits).merge(metrics);
        let service = gateway::Service::new(config, Some(connection), &self.keys).with(spoken);
        let address = self.endpoints.entry.clone();
        let stop = self.shutdown.clone();
        spawn(roles, gateway::ROLE, service.run(listener, address, stop));
        Ok(())
    }

    async fn worker(&self, roles: &mut Roles, worker: Worker) -> anyhow::Result<()> {
        let name = worker.role();
        let connection = self.connect(name).await?;
        let stop = self.shutdown.clone();
        match worker {
            Worker::Projector => {
                let postgres = &self.endpoints.postgres;
                let logins = self.source.logins(postgres, Access::Writer)?;
                let config: projections::projector::Config = roles::defaults();
                let run = projections::projector::run(config, connection, logins, stop);
                spawn(roles, name, run);
            }
            Worker::Saga => {
                let config: sagas::Config = roles::defaults();
                spawn(roles, name, sagas::run(config, connection, stop));
            }
            Worker::Reactor => {
                let mut config: reactors::Config = roles::defaults();
                config.provider.url.clone_from(&self.endpoints.payments);
                config.provider.secret_key =
                    self.source.get(devstack::secrets::PAYMENT_SECRET_KEY)?;
                config.provider.timeout_ms = self.args.payment_timeout_ms;
                config.smtp.smtp.clone_from(&self.endpoints.smtp);
                config.smtp.mail_timeout_ms = self.args.mail_timeout_ms;
                config.smtp.mail_pause_max_ms = self.args.mail_pause_max_ms;
                config.erasure_grace_ms = self.args.erasure_grace_ms;
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

/// A listener on `port`, or on a free one when it is taken.
fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let reserved = Reserved::choose(port)?;
    if let Some(preferred) = reserved.instead_of() {
        eprintln!(
            "the entry is on port {}, because {preferred} is taken",
            reserved.address().port()
        );
    }
    let listener = reserved.into_listener();
    listener.set_nonblocking(true)?;
    Ok(TcpListener::from_std(listener)?)
}

fn http(listener: &TcpListener) -> String {
    listener
        .local_addr()
        .map_or_else(|_| String::new(), |address| format!("http://{address}"))
}

/// A connection that may only read, as the operator.
///
/// # Errors
/// The data folder has no secrets, or NATS can't be reached.
pub async fn operator_connection(data: &Path, endpoints: &Endpoints) -> anyhow::Result<Connection> {
    connection(data, endpoints, "operator").await
}

/// A connection with admin rights, for benchmarks and tests.
///
/// # Errors
/// As [`operator_connection`].
pub async fn admin_connection(data: &Path, endpoints: &Endpoints) -> anyhow::Result<Connection> {
    connection(data, endpoints, "provision").await
}

/// A connection of a local stack, as the user of `role`.
///
/// # Errors
/// As [`operator_connection`].
pub async fn connection(
    data: &Path,
    endpoints: &Endpoints,
    role: &str,
) -> anyhow::Result<Connection> {
    let secrets = devstack::Secrets::load_or_create(data)?;
    Source::Stack(&secrets).connect(&endpoints.nats, role).await
}

/// What to type once so that the nats CLI signs in as the operator of a local stack, who may look
/// at everything but keys and change nothing.
pub fn nats_cli_setup(data: &Path, endpoints: &Endpoints) -> String {
    let variable = nats_password_variable("operator");
    let data = data.display();
    format!(
        "  export NATS_URL={} NATS_USER=operator \\\n         NATS_PASSWORD=$(sed -n 's/^{variable}=//p' {data}/secrets.env)",
        endpoints.nats
    )
}

/// What `up` prints when it is ready.
fn greeting(data: &Path, endpoints: &Endpoints) -> String {
    let Endpoints {
        entry,
        nats,
        postgres,
        mail,
        payments,
        ..
    } = endpoints;
    let shown = data.display();
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "millrace".to_owned());
    format!(
        "Millrace is up. Data in {shown}, kept when it stops; Ctrl-C stops it.

  shop       {entry}
  mails      {mail}
  payments   {payments}
  NATS       {nats}
  Postgres   {postgres}

Try it:

  TOKEN=$({program} token --role operator --data {shown})
  curl -s {entry}/v1/products -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\
    -d '{{\"sku\":\"MUG\",\"title\":\"Millstone mug\",\"description\":\"Holds tea.\",\"category\":\"Kitchen\",\"price\":{{\"amount\":1299,\"currency\":\"EUR\"}}}}'
  curl -s {entry}/v1/products/MUG/publish -X POST -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' -d '{{}}'
  curl -s {entry}/v1/products

Look into the streams with the nats CLI:

{}
  nats sub 'event.order.*' --stream ORDER --all

`{program} demo --data {shown}` places five orders on this stack and tells what happens.",
        nats_cli_setup(data, endpoints)
    )
}
