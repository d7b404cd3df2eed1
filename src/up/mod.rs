//! `millrace up`: the whole shop on this machine, behind one entry.

mod args;
mod configs;
mod separate;
mod together;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use devstack::launch::Launcher;
use devstack::{Options, Ports, Reserved, Service, Stack, Sync};
use edge::auth::KeySet;
use futures::future::{BoxFuture, LocalBoxFuture, join_all};
use serde::{Deserialize, Serialize};
use streams::Connection;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

pub use args::{UpArgs, Worker};

use self::configs::Configs;
use self::separate::{Processes, Separate};
use self::together::Together;
use crate::provision::{self, Size};
use crate::settings::{POSTGRES_ADMIN, Source, nats_password_variable};

/// Where the payment simulator sends its webhooks, below the entry.
const WEBHOOK: &str = "/v1/payments/webhook";

/// Where the keys of access tokens are, below the data folder.
pub const JWT_KEYS: &str = "keys/jwt";

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

/// Before a node of several of NATS is started again, so that it is seen to be gone.
const NODE_PAUSE: Duration = Duration::from_secs(3);

/// The tasks of the roles, or those that watch over their processes.
type Roles = JoinSet<anyhow::Result<()>>;

/// A running stack.
pub struct Running {
    stack: Stack,
    endpoints: Endpoints,
    processes: Processes,
    roles: Roles,
    /// Those of the roles in this process.
    connections: Vec<Connection>,
    shutdown: CancellationToken,
}

/// What `up --json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    endpoints: &'a Endpoints,
    /// Which process each role (with `--separate`) and each of several NATS nodes was when all got ready.
    #[serde(skip_serializing_if = "Processes::is_empty")]
    processes: &'a Processes,
}

impl Running {
    /// Where it can be reached.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Which process each role (with `--separate`) and each of several NATS nodes was when all got ready.
    pub fn processes(&self) -> &BTreeMap<String, u32> {
        &self.processes
    }

    /// Resolves when a server or a role ends that nobody asked to. A node of several of NATS is started again.
    pub fn failed(&mut self) -> BoxFuture<'_, anyhow::Error> {
        Box::pin(async move {
            let mut a_node_is_gone = false;
            loop {
                tokio::select! {
                    failure = self.stack.failed() => {
                        if failure.service != Service::Nats || self.stack.nats_nodes().count() == 1 {
                            return anyhow!("{failure}");
                        }
                        eprintln!("{failure}");
                        a_node_is_gone = true;
                    }
                    ended = self.roles.join_next() => return of_role(ended),
                    () = tokio::time::sleep(NODE_PAUSE), if a_node_is_gone => {
                        match self.stack.revive_nats().await {
                            Ok(true) => {
                                eprintln!("it is started again: the others went on");
                                a_node_is_gone = false;
                            }
                            Ok(false) => return anyhow!("no nats-server is left"),
                            Err(error) => eprintln!("{error}; it is tried again"),
                        }
                    }
                }
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
            join_all(self.connections.iter().map(Connection::close)).await;
            self.stack.stop().await?;
            outcome
        })
    }
}

fn of_role(ended: Option<Result<anyhow::Result<()>, JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok(Ok(()))) => anyhow!("a role ended by itself"),
        Some(Ok(Err(error))) => error,
        Some(Err(panicked)) => anyhow!(panicked).context("a role's task ended abnormally"),
        None => anyhow!("no role runs"),
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
            let (endpoints, processes) = (&running.endpoints, &running.processes);
            // Each a URL.
            let endpoints = Endpoints {
                postgres: format!("postgres://{}", endpoints.postgres),
                ..endpoints.clone()
            };
            let printed = Printed {
                endpoints: &endpoints,
                processes,
            };
            println!("{}", serde_json::to_string(&printed)?);
        } else {
            println!("{}", greeting(&args.data, running.endpoints()));
            for (role, process) in &running.processes {
                println!("  {role:<12} is process {process}");
            }
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
/// The data folder can't be read, or the stack on it is not ready yet.
pub fn running(data: &Path) -> anyhow::Result<Option<Endpoints>> {
    let Some(holder) = devstack::holder(data)? else {
        return Ok(None);
    };
    let not_yet = || format!("{holder} holds {}, but is not ready yet", data.display());
    // Until it serves, the file is that of an earlier run.
    holder.entry.as_ref().with_context(not_yet)?;
    let text = std::fs::read_to_string(data.join(ENDPOINTS)).with_context(not_yet)?;
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
        let configs = Configs::new(args)?;
        let entry = listen(args.port)?;
        let webhook = format!("{}{WEBHOOK}", http(&entry));
        let mut stack = Stack::start(options(args, webhook)?).await?;
        for notice in stack.notices() {
            eprintln!("{notice}");
        }
        let keys = KeySet::create_if_missing(&args.data.join(JWT_KEYS))?;
        let secrets = stack.secrets().clone();
        let servers = stack.endpoints().clone();
        let postgres = servers.postgres.to_string();
        let source = Source::Stack(&secrets);
        let postgres_as_admin = (&postgres, POSTGRES_ADMIN);
        let size = Size::of(args.nats_nodes);
        provision::provision(&source, &servers.nats, postgres_as_admin, size).await?;

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
        let shutdown = CancellationToken::new();
        let (mut roles, mut processes) = (JoinSet::new(), Processes::new());
        let mut connections = Vec::new();
        if args.separate {
            // They held the ports until now; the roles take them.
            drop((entry, commands, queries));
            let separate = Separate {
                args,
                configs: &configs,
                endpoints: &endpoints,
                source,
                data: stack.data(),
                shutdown: shutdown.clone(),
            };
            processes = separate.start(&mut roles).await?;
        } else {
            let mut together = Together {
                args,
                configs,
                endpoints: &endpoints,
                source,
                keys,
                shutdown: shutdown.clone(),
                connections: Vec::new(),
            };
            let listeners = [entry, commands, queries];
            together.start(&mut roles, listeners).await?;
            connections = together.connections;
        }
        processes.extend(nodes(&stack).await);
        std::fs::write(
            args.data.join(ENDPOINTS),
            serde_json::to_string(&endpoints)?,
        )?;
        stack.announce(&endpoints.entry)?;
        Ok(Running {
            stack,
            endpoints,
            processes,
            roles,
            connections,
            shutdown,
        })
    })
}

/// Which servers, and how.
fn options(args: &UpArgs, webhook: String) -> anyhow::Result<Options> {
    let mut options = Options::new(&args.data, Launcher::current()?);
    options.fresh = args.fresh;
    options.sync = match args.sync.as_str() {
        "always" => Sync::Always,
        interval => Sync::Interval(interval.to_owned()),
    };
    options.nats_nodes = args.nats_nodes;
    if args.free_ports {
        options.ports = Ports::free();
    }
    options.webhook = Some(webhook);
    Ok(options)
}

/// The processes of NATS, if there are several.
async fn nodes(stack: &Stack) -> Processes {
    let mut processes = Processes::new();
    for (node, number) in stack.nats_nodes().zip(1..) {
        let pid = node.pid().await.unwrap_or_default();
        processes.insert(format!("nats-n{number}"), pid);
    }
    if processes.len() == 1 {
        processes.clear();
    }
    processes
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
