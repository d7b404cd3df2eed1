//! Where a tool that looks at the log finds it, and how it shows how far it has come.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use projections::{Access, Login, Reader};
use streams::Connection;
use streams::keys::MasterKeys;
use telemetry::{NatsArgs, PostgresArgs, Server};

use crate::settings::{POSTGRES_ADMIN, POSTGRES_ADMIN_PASSWORD, Source, believing};
use crate::up;

/// The role of people: it reads, and changes nothing.
const OPERATOR: &str = "operator";

/// Said before what the environment lacks.
const NO_STACK: &str = "no --data names a stack of this machine (--data .millrace), so the environment \
                        says where and who";

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

    /// The local stack's payment provider and its secret key; `None` without a data folder.
    ///
    /// # Errors
    /// No stack runs on the data folder, or a secret is missing.
    pub fn payments(&self) -> anyhow::Result<Option<(String, String)>> {
        let Some((secrets, endpoints)) = self.stack()? else {
            return Ok(None);
        };
        let key = Source::Stack(&secrets).get(devstack::secrets::PAYMENT_SECRET_KEY)?;
        Ok(Some((endpoints.payments, key)))
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
