//! What can be typed, and where it leads.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use devstack::sinks::{MailSink, PaymentSimulator};
use futures::future::LocalBoxFuture;
use telemetry::{LogArgs, NatsArgs, PostgresArgs};

use crate::production::{self, LOCAL_KEYS, Mode};
use crate::{
    audit, demo, health, import, inbox, keys, parked, provision, rebuild, reconcile, roles, schema,
    simulate, stuck, token, up, verify,
};

/// An event-sourced CQRS commerce backend on NATS JetStream.
///
/// Begin with `millrace demo`: it starts everything that it needs on this machine, places five
/// orders over HTTP and tells what happens. `millrace up` keeps the same stack running.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What is logged.
    #[command(flatten)]
    pub log: LogArgs,
    /// In production, secrets that everybody knows are refused.
    #[arg(
        long,
        env = "MILLRACE_MODE",
        value_enum,
        default_value_t,
        global = true
    )]
    pub mode: Mode,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start everything on this machine behind one entry, and keep it running.
    ///
    /// NATS and Postgres are found, or fetched into ~/.cache/millrace. Environment variables say otherwise:
    /// `MILLRACE_NATS_SERVER` is the nats-server to run, `MILLRACE_POSTGRES_BIN` the folder with postgres and
    /// initdb; `MILLRACE_NATS_RELEASES` is where nats-server is downloaded from, and
    /// `MILLRACE_NATS_CLI_RELEASES` the nats CLI, for the tests; `MILLRACE_PYTHON_INDEX` is a Python package
    /// index for a machine without pip; `MILLRACE_POSTGRES_USER` is whom Postgres runs as when root types this,
    /// else nobody.
    Up(up::UpArgs),
    /// Place five orders and tell what happens, on the running stack or on one of its own.
    Demo(demo::DemoArgs),
    /// Create streams, durables, databases and roles; safe to repeat.
    Provision(provision::ProvisionArgs),
    /// Serve commands: HTTP in, events out; also answers the command bus.
    CommandApi(CommandApiArgs),
    /// Serve read models.
    QueryApi(QueryApiArgs),
    /// Be the one entry for clients, in front of both.
    Gateway(GatewayArgs),
    /// Keep the read models up to date.
    Projector(ProjectorArgs),
    /// Run the checkout saga.
    Saga(SagaArgs),
    /// Talk to the payment provider and the mail server.
    Reactor(ReactorArgs),
    /// List, retry or skip what the sagas and reactors could not handle.
    Parked(parked::ParkedArgs),
    /// List what foreign systems told that nobody could match yet.
    Inbox(inbox::InboxArgs),
    /// List everything that waits for a human or is late, and what may be done about it.
    Stuck(stuck::StuckArgs),
    /// Rotate the master key that wraps the keys of people, or add a key that signs access tokens.
    Keys(keys::KeysArgs),
    /// Hold our payments against the payment provider's list.
    Reconcile(reconcile::ReconcileArgs),
    /// Compute from the log and the world outside what must be so, and find what is not: money, stock,
    /// mails, read models.
    Audit(audit::AuditArgs),
    /// Create or change products from a file, a product a line, and follow how far it is.
    Import(import::ImportArgs),
    /// Build a read model anew beside the live one, compare the two, and switch.
    Rebuild(rebuild::RebuildArgs),
    /// Examine the whole log: gaps, duplicates, what can't be read, readers ahead of it.
    Verify(verify::VerifyArgs),
    /// Compare event schemas with the committed ones, or count those in the log.
    Schema(schema::SchemaArgs),
    /// Play the shop by the thousand, with everything going wrong, and check that it adds up.
    Simulate(simulate::SimulateArgs),
    /// Print the sagas as tables and state machines, as they stand in docs/sagas.md.
    Sagas(simulate::SagasArgs),
    /// Ask a role how it is; exits with 0 if it is ready.
    Health(health::HealthArgs),
    /// Print an access token for the local stack.
    Token(token::TokenArgs),
    /// Run the development mail sink (SMTP in, HTTP out).
    MailSink(MailSink),
    /// Run the development payment simulator (Stripe's `PaymentIntents` calls).
    PaymentSimulator(PaymentSimulator),
}

/// Settings of `millrace command-api`.
#[derive(Debug, Args)]
pub struct CommandApiArgs {
    /// NATS.
    #[command(flatten)]
    pub nats: NatsArgs,
    /// Where it listens: host:port.
    #[arg(long, env = "MILLRACE_LISTEN", default_value = "127.0.0.1:8081")]
    pub listen: String,
    /// Where gateways reach it, http(s)://host:port; where it listens, unless that is every address:
    /// then it is not announced.
    #[arg(long, env = "MILLRACE_ADVERTISE")]
    pub advertise: Option<String>,
    /// Folder with the keys that access tokens are signed and verified with.
    #[arg(long, env = "MILLRACE_JWT_KEYS", default_value = LOCAL_KEYS)]
    pub jwt_keys: PathBuf,
    /// The role.
    #[command(flatten)]
    pub config: command_api::Config,
}

/// Settings of `millrace query-api`.
#[derive(Debug, Args)]
pub struct QueryApiArgs {
    /// NATS.
    #[command(flatten)]
    pub nats: NatsArgs,
    /// Postgres.
    #[command(flatten)]
    pub postgres: PostgresArgs,
    /// Where it listens: host:port.
    #[arg(long, env = "MILLRACE_LISTEN", default_value = "127.0.0.1:8082")]
    pub listen: String,
    /// Where gateways reach it, http(s)://host:port; where it listens, unless that is every address:
    /// then it is not announced.
    #[arg(long, env = "MILLRACE_ADVERTISE")]
    pub advertise: Option<String>,
    /// Folder with the keys that access tokens are signed and verified with.
    #[arg(long, env = "MILLRACE_JWT_KEYS", default_value = LOCAL_KEYS)]
    pub jwt_keys: PathBuf,
    /// The role.
    #[command(flatten)]
    pub config: query_api::Config,
}

/// Settings of `millrace gateway`.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// NATS.
    #[command(flatten)]
    pub nats: NatsArgs,
    /// Where it listens: host:port.
    #[arg(long, env = "MILLRACE_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Where it tells its metrics (/metrics), out of its clients' reach: host:port. Unset = where it listens.
    #[arg(long, env = "MILLRACE_METRICS_LISTEN")]
    pub metrics_listen: Option<String>,
    /// Where this gateway itself is reached, http(s)://host:port: the gateways count each other by it.
    /// Where it listens, unless that is every address: then the machine's name stands for it.
    #[arg(long, env = "MILLRACE_ADVERTISE")]
    pub advertise: Option<String>,
    /// Folder with the keys that access tokens are verified with.
    #[arg(long, env = "MILLRACE_JWT_KEYS", default_value = LOCAL_KEYS)]
    pub jwt_keys: PathBuf,
    /// The role.
    #[command(flatten)]
    pub config: gateway::Config,
}

/// Settings of `millrace projector`.
#[derive(Debug, Args)]
pub struct ProjectorArgs {
    /// NATS.
    #[command(flatten)]
    pub nats: NatsArgs,
    /// Postgres.
    #[command(flatten)]
    pub postgres: PostgresArgs,
    /// Where it says how it is (/livez, /readyz, /metrics): host:port.
    #[arg(long, env = "MILLRACE_HEALTH_LISTEN", default_value = "127.0.0.1:8083")]
    pub health_listen: String,
    /// The role.
    #[command(flatten)]
    pub config: projections::projector::Config,
}

/// Settings of `millrace saga`.
#[derive(Debug, Args)]
pub struct SagaArgs {
    /// NATS.
    #[command(flatten)]
    pub nats: NatsArgs,
    /// Where it says how it is (/livez, /readyz, /metrics): host:port.
    #[arg(long, env = "MILLRACE_HEALTH_LISTEN", default_value = "127.0.0.1:8084")]
    pub health_listen: String,
    /// The role.
    #[command(flatten)]
    pub config: sagas::Config,
}

/// Settings of `millrace reactor`.
#[derive(Debug, Args)]
pub struct ReactorArgs {
    /// NATS.
    #[command(flatten)]
    pub nats: NatsArgs,
    /// Where it says how it is (/livez, /readyz, /metrics): host:port.
    #[arg(long, env = "MILLRACE_HEALTH_LISTEN", default_value = "127.0.0.1:8085")]
    pub health_listen: String,
    /// The role.
    #[command(flatten)]
    pub config: reactors::Config,
}

/// Does what was typed.
///
/// # Errors
/// Whatever went wrong, with its chain of causes.
pub fn run(mut cli: Cli) -> LocalBoxFuture<'static, anyhow::Result<ExitCode>> {
    Box::pin(async move {
        if cli.log.log.is_none() && std::env::var_os("RUST_LOG").is_none() {
            cli.log.log = quiet(&cli.command).map(str::to_owned);
        }
        telemetry::init(&cli.log)?;
        if cli.mode == Mode::Production {
            production::check(&cli.command)?;
        }
        match cli.command {
            Command::Up(args) => up::run(args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Provision(args) => done(provision::run(args).await),
            Command::CommandApi(args) => done(roles::command_api(args).await),
            Command::QueryApi(args) => done(roles::query_api(args).await),
            Command::Gateway(args) => done(roles::gateway(args, cli.mode).await),
            Command::Projector(args) => done(roles::projector(args).await),
            Command::Saga(args) => done(roles::saga(args).await),
            Command::Reactor(args) => done(roles::reactor(args).await),
            Command::Parked(args) => parked::run(args).await,
            Command::Inbox(args) => inbox::run(args).await,
            Command::Keys(args) => keys::run(args).await,
            Command::Stuck(args) => stuck::run(args).await,
            Command::Reconcile(args) => reconcile::run(args).await,
            Command::Audit(args) => audit::run(args).await,
            Command::Import(args) => import::run(args).await,
            Command::Rebuild(args) => rebuild::run(args).await,
            Command::Verify(args) => verify::run(args).await,
            Command::Schema(args) => schema::run(args).await,
            Command::Simulate(args) => simulate::run(&args),
            Command::Sagas(args) => done(simulate::draw(&args)),
            Command::Health(args) => health::run(args).await,
            Command::Token(args) => done(token::run(&args)),
            Command::MailSink(args) => {
                done(args.run(roles::until_told()).await.map_err(Into::into))
            }
            Command::PaymentSimulator(args) => {
                done(args.run(roles::until_told()).await.map_err(Into::into))
            }
        }
    })
}

/// What is logged by the commands that talk to a person themselves, unless asked for more.
fn quiet(command: &Command) -> Option<&'static str> {
    match command {
        Command::Demo(_)
        | Command::Parked(_)
        | Command::Inbox(_)
        | Command::Stuck(_)
        | Command::Keys(_)
        | Command::Reconcile(_)
        | Command::Audit(_)
        | Command::Import(_)
        | Command::Rebuild(_)
        | Command::Health(_)
        | Command::Verify(_)
        | Command::Schema(_)
        | Command::Simulate(_) => Some("error"),
        Command::Up(_) => Some("warn"),
        Command::Provision(_)
        | Command::CommandApi(_)
        | Command::QueryApi(_)
        | Command::Gateway(_)
        | Command::Projector(_)
        | Command::Saga(_)
        | Command::Reactor(_)
        | Command::Sagas(_)
        | Command::Token(_)
        | Command::MailSink(_)
        | Command::PaymentSimulator(_) => None,
    }
}

fn done(outcome: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    outcome.map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn each(command: &clap::Command, look: &mut impl FnMut(&clap::Command)) {
        look(command);
        for below in command.get_subcommands() {
            each(below, look);
        }
    }

    #[test]
    fn whatever_reaches_a_server_takes_certificates() {
        let mut looked_at = 0;
        each(&Cli::command(), &mut |command| {
            let has = |id: &str| command.get_arguments().any(|arg| arg.get_id() == id);
            for (server, settings) in [
                ("nats", "nats"),
                ("postgres", "postgres"),
                ("entry", "http"),
            ] {
                for end in ["ca", "cert", "key"] {
                    let complete = has(&format!("{settings}_{end}"));
                    assert!(
                        complete || !has(server),
                        "{} --{server}",
                        command.get_name()
                    );
                }
                looked_at += usize::from(has(server));
            }
        });
        assert!(looked_at > 20, "{looked_at}");
    }
}
