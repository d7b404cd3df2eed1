//! Where a tool that looks at the log finds it, and how it shows how far it has come.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use projections::{Access, Login, Reader};
use reactors::ProviderConfig;
use serde::Serialize;
use streams::Connection;
use streams::keys::MasterKeys;
use streams::verify::{self, Ends, ScanError, Scanned};
use telemetry::{NatsArgs, PostgresArgs, Server};

use crate::settings::{POSTGRES_ADMIN, POSTGRES_ADMIN_PASSWORD, Source, believing};
use crate::{production, up};

/// The role of people: it reads, and changes nothing.
const OPERATOR: &str = "operator";

/// Said before what the environment lacks.
const NO_STACK: &str = "no --data names a stack of this machine (--data .millrace), so the environment \
                        says where and who";

/// Messages between two steps of the progress bar.
const PROGRESS_STEP: u64 = 1_000;

/// Which log a tool looks at.
#[derive(Debug, Args)]
pub struct ReachArgs {
    /// The data folder of a stack that runs on this machine; without it the settings of NATS and
    /// Postgres count, and secrets come from the environment.
    #[arg(long, env = "MILLRACE_DATA")]
    pub data: Option<PathBuf>,
    /// NATS.
    #[command(flatten)]
    pub nats: NatsArgs,
    /// Postgres.
    #[command(flatten)]
    pub postgres: PostgresArgs,
}

impl ReachArgs {
    /// A connection as the operator.
    ///
    /// # Errors
    /// No stack runs on the data folder, a secret is missing, or NATS can't be reached.
    pub async fn log(&self) -> anyhow::Result<Connection> {
        self.as_role(OPERATOR).await
    }

    /// A connection as the user of `role`.
    ///
    /// # Errors
    /// As [`Self::log`].
    pub async fn as_role(&self, role: &str) -> anyhow::Result<Connection> {
        match self.stack()? {
            None => {
                let connected = Source::Environment.connect(&self.nats, role).await;
                connected.context(NO_STACK)
            }
            Some((secrets, endpoints)) => {
                let source = Source::Stack(&secrets);
                source.connect(&endpoints.nats, role).await
            }
        }
    }

    /// What wraps the keys of people.
    ///
    /// # Errors
    /// No stack runs on the data folder, or the master key is missing.
    pub fn master_keys(&self) -> anyhow::Result<MasterKeys> {
        match self.stack()? {
            None => Source::Environment.master_keys().context(NO_STACK),
            Some((secrets, _)) => Source::Stack(&secrets).master_keys(),
        }
    }

    /// The read models, with rights to read alone.
    ///
    /// # Errors
    /// No stack runs on the data folder, or a secret is missing.
    pub fn views(&self) -> anyhow::Result<Reader> {
        let logins = match self.stack()? {
            None => {
                let logins = Source::Environment.logins(&self.postgres, Access::Reader);
                logins.context(NO_STACK)?
            }
            Some((secrets, endpoints)) => {
                Source::Stack(&secrets).logins(&endpoints.postgres, Access::Reader)?
            }
        };
        let one_connection = projections::read::Settings {
            read_connections: 1,
            ..projections::read::Settings::default()
        };
        Ok(Reader::open(&logins, one_connection))
    }

    /// Postgres's administrator, who may make and move tables, under the name that a server elsewhere gives
    /// them.
    ///
    /// # Errors
    /// No stack runs on the data folder, or the password is missing.
    pub fn admin(&self, elsewhere: &str) -> anyhow::Result<Login> {
        let admin = |server: Server<'_>, name, source: Source<'_>| {
            let password = source.get(POSTGRES_ADMIN_PASSWORD)?;
            let login = Login::admin(server.address, name, &password)?;
            believing(login, server)
        };
        match self.stack()? {
            None => {
                let admin = admin((&self.postgres).into(), elsewhere, Source::Environment);
                admin.context(NO_STACK)
            }
            Some((secrets, endpoints)) => {
                let source = Source::Stack(&secrets);
                admin((&endpoints.postgres).into(), POSTGRES_ADMIN, source)
            }
        }
    }

    /// The payment provider as `given`, with its secret key; with a data folder that of the local stack.
    ///
    /// # Errors
    /// No stack runs on the data folder, or a secret is missing.
    pub fn provider(&self, mut given: ProviderConfig) -> anyhow::Result<ProviderConfig> {
        match self.stack()? {
            None => given.secret_key = production::provider_key(&given.secret_key)?,
            Some((secrets, endpoints)) => {
                given.url = endpoints.payments;
                given.secret_key =
                    Source::Stack(&secrets).get(devstack::secrets::PAYMENT_SECRET_KEY)?;
            }
        }
        Ok(given)
    }

    /// The local stack's mail sink; `None` without a data folder.
    ///
    /// # Errors
    /// No stack runs on the data folder.
    pub fn mail_sink(&self) -> anyhow::Result<Option<String>> {
        Ok(self.stack()?.map(|(_, endpoints)| endpoints.mail))
    }

    fn stack(&self) -> anyhow::Result<Option<(devstack::Secrets, up::Endpoints)>> {
        let Some(data) = &self.data else {
            return Ok(None);
        };
        let endpoints = up::running(data)?.with_context(|| {
            let data = data.display();
            format!("nothing runs on {data}: `millrace up --data {data}` starts it")
        })?;
        Ok(Some((devstack::Secrets::load_or_create(data)?, endpoints)))
    }
}

/// Hands every message of `stream` up to its end `ends` to `each`, in order, and shows how far it is.
///
/// # Errors
/// The stream can't be read to there.
pub(crate) async fn read_through(
    connection: &Connection,
    stream: &str,
    ends: Ends,
    mut each: impl FnMut(Scanned),
) -> Result<(), ScanError> {
    let bar = bar(stream, ends.messages);
    let mut read = 0_u64;
    verify::scan(connection, stream, ends.last, |message| {
        each(message);
        read += 1;
        if read.is_multiple_of(PROGRESS_STEP) {
            bar.set_position(read);
        }
    })
    .await?;
    bar.finish_and_clear();
    Ok(())
}

/// Prints what a tool has found, as JSON or in `words`. The exit code is 0 only if all `is_well`.
///
/// # Errors
/// It can't be written as JSON.
pub(crate) fn tell<R: Serialize>(
    report: &R,
    is_well: bool,
    json: bool,
    words: impl FnOnce(&R) -> String,
) -> anyhow::Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{}", words(report));
    }
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A bar on stderr, if that is a terminal.
pub(crate) fn bar(what: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    // The template is ours and right; without it the bar has another look.
    if let Ok(style) = ProgressStyle::with_template(
        "{msg:14} {bar:40} {human_pos:>11} of {human_len} · {per_sec} · {eta} left",
    ) {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar
}
