//! The shop under test: a whole stack of this process, on servers of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use async_nats::jetstream;
use clap::ValueEnum as _;
use devstack::launch::{Child, Launcher, Spawner, Spec};
use indicatif::{ProgressBar, ProgressStyle};
use millrace::client::Shop;
use millrace::up::{self, Running, UpArgs, Worker};
use projections::{Access, Login};
use uuid::Uuid;

use crate::Args;

/// Long enough for the API, and never used outside a benchmark.
const PASSWORD: &str = "correct horse battery staple";

/// What the stack starts as children of this program: always the first two, the others when each role is a
/// process of its own.
const ROLES: [&str; 8] = [
    "mail-sink",
    "payment-simulator",
    "command-api",
    "query-api",
    "gateway",
    "projector",
    "saga",
    "reactor",
];

/// Is this a role that the stack starts as a child of this program? There is a benchmark called `gateway`,
/// too; only the role is told where to listen.
pub(crate) fn is_role(args: &[String]) -> bool {
    let Some(name) = args.first() else {
        return false;
    };
    let is_bench = name == "gateway" && !args.iter().any(|arg| arg == "--listen");
    ROLES.contains(&name.as_str()) && !is_bench
}

/// A bar for a benchmark of so many steps.
pub(crate) fn progress(name: &'static str, steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>10} {bar:30} {pos}/{len} {eta} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps.try_into().unwrap_or(u64::MAX))
        .with_style(style)
        .with_prefix(name)
}

/// Who works on what a command began.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Flow {
    /// Projectors, sagas and reactors, as in a shop.
    Followed,
    /// The same, and every role is a process of its own.
    Apart,
    /// Nobody: what is measured is the answer to a command, which waits for none of them.
    Left,
}

/// A running stack in a temporary folder.
pub(crate) struct Stack {
    running: Running,
    data: tempfile::TempDir,
    operator: Shop,
    products: AtomicU64,
}

impl Stack {
    /// Starts the servers, as many as `given` says and syncing as it says, the APIs and whoever follows the
    /// flow.
    pub(crate) async fn start(given: &Args, flow: Flow) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let mut args = UpArgs::quiet(data.path().to_owned()).on_free_ports();
        args.sync.clone_from(&given.sync);
        args.nats_nodes = given.nats_nodes;
        match flow {
            Flow::Followed => {}
            Flow::Apart => args.separate = true,
            Flow::Left => args.without = Worker::value_variants().to_vec(),
        }
        let running = up::start(&args).await?;
        let token = millrace::token::operator(data.path())?;
        let operator = Shop::new(&running.endpoints().command_api)?.with_token(&token);
        Ok(Self {
            running,
            data,
            operator,
            products: AtomicU64::new(0),
        })
    }

    /// The one entry.
    pub(crate) fn entry(&self) -> &str {
        &self.running.endpoints().entry
    }

    /// Each role's process, if each has one.
    pub(crate) fn processes(&self) -> &BTreeMap<String, u32> {
        self.running.processes()
    }

    /// What one more role of this stack is told.
    pub(crate) fn environment(&self) -> anyhow::Result<Vec<(String, String)>> {
        let endpoints = self.running.endpoints();
        let keys = self.data.path().join(up::JWT_KEYS);
        let mut environment = vec![
            ("MILLRACE_NATS".to_owned(), endpoints.nats.clone()),
            ("MILLRACE_POSTGRES".to_owned(), endpoints.postgres.clone()),
            ("MILLRACE_JWT_KEYS".to_owned(), keys.display().to_string()),
        ];
        let secrets = devstack::Secrets::load_or_create(self.data.path())?;
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        environment.extend(secrets.iter().map(own));
        Ok(environment)
    }

    /// Where commands go, without the entry in front.
    pub(crate) fn command_api(&self) -> &str {
        &self.running.endpoints().command_api
    }

    /// Where reads go, without the entry in front.
    pub(crate) fn query_api(&self) -> &str {
        &self.running.endpoints().query_api
    }

    /// Who may do anything.
    pub(crate) fn operator(&self) -> &Shop {
        &self.operator
    }

    /// The database of `context`.
    pub(crate) fn login(&self, context: &str, access: Access) -> anyhow::Result<Login> {
        let password = self.secret(&access.password_variable(context))?;
        let address = &self.running.endpoints().postgres;
        Ok(Login::context(address, context, access, &password)?)
    }

    /// Postgres, as somebody who may make databases.
    pub(crate) fn administrator(&self, user: &str, variable: &str) -> anyhow::Result<Login> {
        let password = self.secret(variable)?;
        let address = &self.running.endpoints().postgres;
        Ok(Login::admin(address, user, &password)?)
    }

    fn secret(&self, variable: &str) -> anyhow::Result<String> {
        let secrets = devstack::Secrets::load_or_create(self.data.path())?;
        let secret = secrets.get(variable);
        secret
            .map(str::to_owned)
            .context("the stack has no such password")
    }

    /// An operator's access token.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        millrace::token::operator(self.data.path())
    }

    /// A connection that may make the references' stream.
    pub(crate) async fn jetstream(&self) -> anyhow::Result<jetstream::Context> {
        let connection = up::admin_connection(self.data.path(), self.running.endpoints()).await?;
        Ok(connection.jetstream().clone())
    }

    /// A customer's access token.
    pub(crate) async fn customer(&self) -> anyhow::Result<String> {
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        let user = self
            .operator
            .register(&email, "Grace Hopper", PASSWORD)
            .await?;
        millrace::token::customer(self.data.path(), &user)
    }

    /// A product on sale with `quantity` in stock.
    pub(crate) async fn product(&self, quantity: u32) -> anyhow::Result<String> {
        let number = self.products.fetch_add(1, Ordering::Relaxed);
        let sku = format!("BENCH-{number}");
        self.operator
            .stock_product(&sku, "Millstone mug", 1_299, quantity)
            .await?;
        Ok(sku)
    }

    /// Starts a worker as a process of its own, which ends with `spawner`.
    pub(crate) async fn worker(&self, name: &str, spawner: &Spawner) -> anyhow::Result<Child> {
        let secrets = devstack::Secrets::load_or_create(self.data.path())?;
        let mut spec = Spec::new(std::env::current_exe()?)
            .args([name])
            .env("MILLRACE_NATS", &self.running.endpoints().nats);
        for (name, value) in secrets.iter() {
            spec = spec.env(name, value);
        }
        spec.log = Some(self.data.path().join(name).with_extension("log"));
        Ok(spawner.spawn(&Launcher::current()?, &spec).await?)
    }

    /// Stops everything.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.running.stop().await
    }
}
