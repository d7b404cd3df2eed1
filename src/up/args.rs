//! What can be set about the local stack.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use crate::roles;

/// Where the entry listens when nobody says otherwise.
const ENTRY_PORT: u16 = 8080;

/// Settings of `millrace up`.
#[derive(Debug, Clone, Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own on the command line"
)]
pub struct UpArgs {
    /// Where everything is kept; made when missing.
    #[arg(long, env = "MILLRACE_DATA", default_value = ".millrace")]
    pub data: PathBuf,
    /// The entry's port; another one is chosen, and printed, when it is taken. 0 = any.
    #[arg(long, env = "MILLRACE_PORT", default_value_t = ENTRY_PORT)]
    pub port: u16,
    /// Remove what earlier runs left first.
    #[arg(long)]
    pub fresh: bool,
    /// Print one line of JSON when ready, instead of words.
    #[arg(long)]
    pub json: bool,
    /// When NATS syncs to disk: `always`, or an interval like `2m` (then a power cut loses
    /// acknowledged events).
    #[arg(long, env = "MILLRACE_NATS_SYNC", default_value = "always")]
    pub sync: String,
    /// How many NATS servers: 1, or a cluster of 3 or 5 that goes on while most of them are there. Which it
    /// was stays with the data folder.
    #[arg(
        long,
        env = "MILLRACE_NATS_NODES",
        default_value = "1",
        value_parser = PossibleValuesParser::new(["1", "3", "5"]).map(|count| count.parse::<usize>().unwrap_or(1))
    )]
    pub nats_nodes: usize,
    /// Choose any free port for every server, instead of the usual ones; for the entry `--port 0` does.
    #[arg(long)]
    pub free_ports: bool,
    /// Run every role as a process of its own. One that dies is started again; one that is told to
    /// end (SIGTERM) stays down.
    #[arg(long)]
    pub separate: bool,
    /// Workers not to start, separated by commas: run them on their own beside this, in a
    /// debugger or several at a time (`millrace saga`).
    #[arg(long, value_delimiter = ',', value_name = "WORKER")]
    pub without: Vec<Worker>,
    /// The contexts that the command API hosts; run the others on their own beside this
    /// (`millrace command-api --contexts user`).
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(domains::NAMES),
        default_values = domains::NAMES
    )]
    pub contexts: Vec<String>,
    /// Longest wait for one answer of the payment provider, in milliseconds.
    #[arg(long, env = "MILLRACE_PAYMENT_TIMEOUT_MS", default_value_t = reactors::PAYMENT_TIMEOUT_MS)]
    pub payment_timeout_ms: u64,
    /// Longest wait for the mail server until it has taken one mail or not, in milliseconds.
    #[arg(long, env = "MILLRACE_MAIL_TIMEOUT_MS", default_value_t = reactors::MAIL_TIMEOUT_MS)]
    pub mail_timeout_ms: u64,
    /// Longest pause between two tries of one mail, in milliseconds; while the mail server hears nobody, a
    /// minute at most.
    #[arg(long, env = "MILLRACE_MAIL_PAUSE_MAX_MS", default_value_t = reactors::MAIL_PAUSE_MAX_MS)]
    pub mail_pause_max_ms: u64,
    /// How long after somebody asked to be erased an order of theirs may still arrive, in
    /// milliseconds.
    #[arg(long, env = "MILLRACE_ERASURE_GRACE_MS", default_value_t = reactors::ERASURE_GRACE_MS)]
    pub erasure_grace_ms: u64,
    /// Outgoing webhooks.
    #[command(flatten)]
    pub webhooks: reactors::WebhookConfig,
    /// Do the roles heed the environment, as on their own?
    #[arg(skip = true)]
    pub environment: bool,
}

/// A role that no client talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Worker {
    /// Keeps the read models up to date.
    Projector,
    /// Runs the checkout.
    Saga,
    /// Talks to the payment provider and the mail server.
    Reactor,
}

impl Worker {
    /// The role's name, which is also that of its NATS user.
    pub fn role(self) -> &'static str {
        match self {
            Self::Projector => "projector",
            Self::Saga => "saga",
            Self::Reactor => "reactor",
        }
    }
}

impl UpArgs {
    /// On `data` and the usual ports, for a program that does the talking itself.
    pub fn quiet(data: PathBuf) -> Self {
        Self {
            data,
            port: ENTRY_PORT,
            fresh: false,
            json: true,
            sync: "always".to_owned(),
            nats_nodes: 1,
            free_ports: false,
            separate: false,
            without: Vec::new(),
            contexts: domains::NAMES.map(str::to_owned).to_vec(),
            payment_timeout_ms: reactors::PAYMENT_TIMEOUT_MS,
            mail_timeout_ms: reactors::MAIL_TIMEOUT_MS,
            mail_pause_max_ms: reactors::MAIL_PAUSE_MAX_MS,
            erasure_grace_ms: reactors::ERASURE_GRACE_MS,
            webhooks: roles::defaults(),
            environment: false,
        }
    }

    /// The same on any free ports, to run beside others.
    #[must_use]
    pub fn on_free_ports(self) -> Self {
        Self {
            port: 0,
            free_ports: true,
            ..self
        }
    }

    /// The workers to start, in the order in which events reach them.
    pub(super) fn workers(&self) -> impl Iterator<Item = Worker> {
        let all = Worker::value_variants().iter().copied();
        all.filter(|worker| !self.without.contains(worker))
    }
}
