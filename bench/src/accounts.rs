//! A context with one read model, on servers of its own: the stream USER, its database, and no role at
//! work.

use std::collections::BTreeMap;

use anyhow::Context as _;
use chrono::Utc;
use devstack::launch::Launcher;
use devstack::{Options, Ports, Service, Services};
use kernel::{AggregateId, EmailClaimId, Sealed, UserId};
use millrace::settings::{POSTGRES_ADMIN, POSTGRES_ADMIN_PASSWORD};
use projections::provision::READER_CONNECTIONS_MAX;
use projections::{Access, Login, Passwords, USER_ACCOUNT};
use streams::topology::{Topology, provision};
use streams::{CommandMeta, Connection, Executed, Settings, Streams};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};
use user::{User, UserCommand};
use uuid::Uuid;

use crate::server::Server;
use crate::shop::progress;

/// Whose events they are, and whose database.
pub(crate) const CONTEXT: &str = "user";

/// Its stream.
pub(crate) const STREAM: &str = "USER";

/// Events of each account: it is opened, and its profile is set some times.
pub(crate) const EVENTS_EACH: u64 = 5;

/// Commands under way at the same time while events are written; so many accounts take turns in the
/// stream.
const WRITERS: u64 = 256;

/// As long as a sealed name is.
const CIPHERTEXT: &str = "Zk9yIGEgYmVuY2htYXJrLCBhbnkgdGV4dCB3aWxsIGRvLCBpZiBpdCBpcyBhcyBsb25n";

/// nats-server and Postgres.
pub(crate) struct Accounts {
    nats: Server,
    postgres: devstack::Stack,
    data: tempfile::TempDir,
}

impl Accounts {
    /// Starts both; NATS syncs as `sync` says.
    pub(crate) async fn start(sync: &str) -> anyhow::Result<Self> {
        let nats = Server::start(sync).await?;
        let connection = nats.connect().await?;
        provision(&connection, &Topology::new(&[CONTEXT], &[]), 1).await?;
        let data = tempfile::tempdir()?;
        let mut options = Options::new(data.path().join("data"), Launcher::current()?);
        options.ports = Ports::free();
        options.services = Services::only([Service::Postgres]);
        let postgres = devstack::Stack::start(options).await?;
        let accounts = Self {
            nats,
            postgres,
            data,
        };
        let mut passwords = Passwords::default();
        for context in projections::contexts() {
            for access in Access::ALL {
                passwords.set(context, access, accounts.password(context, access)?);
            }
        }
        let admin = accounts.administrator()?;
        projections::provision(&admin, &passwords, READER_CONNECTIONS_MAX).await?;
        Ok(accounts)
    }

    /// One more connection to NATS.
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        self.nats.connect().await
    }

    /// Postgres, as somebody who may make tables.
    pub(crate) fn administrator(&self) -> anyhow::Result<Login> {
        let password = self.secret(POSTGRES_ADMIN_PASSWORD)?;
        Ok(Login::admin(&self.address(), POSTGRES_ADMIN, &password)?)
    }

    /// The context's database.
    pub(crate) fn login(&self, access: Access) -> anyhow::Result<Login> {
        let password = self.password(CONTEXT, access)?;
        Ok(Login::context(&self.address(), CONTEXT, access, &password)?)
    }

    /// The login of the context's reader, by context.
    pub(crate) fn readers(&self) -> anyhow::Result<BTreeMap<String, Login>> {
        Ok(BTreeMap::from([(
            CONTEXT.to_owned(),
            self.login(Access::Reader)?,
        )]))
    }

    /// The context's database, as somebody who may do anything there.
    pub(crate) async fn sql(&self) -> anyhow::Result<Client> {
        let own = self.administrator()?.to_database("millrace_user");
        let (client, connection) = own.config("bench").connect(NoTls).await?;
        // Whoever uses the client next is told the same error.
        tokio::spawn(connection);
        Ok(client)
    }

    /// Empties the read model, and sets it back to before the first event.
    pub(crate) async fn set_back(&self) -> anyhow::Result<()> {
        let view = USER_ACCOUNT.name;
        let statement = format!(
            "truncate {view}; update view_position set position = 0, event_id = null, \
             stream_created_at = null where view = '{view}'"
        );
        Ok(self.sql().await?.batch_execute(&statement).await?)
    }

    /// Writes `events`, some for each account, the accounts one after another; answers how many.
    pub(crate) async fn write(&self, events: u64) -> anyhow::Result<u64> {
        let streams = self.connect().await?.streams(Settings::default());
        let people = (events / EVENTS_EACH).max(1);
        let bar = progress("accounts", 0);
        bar.set_length(people * EVENTS_EACH);
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS.min(people) {
            let (streams, bar) = (streams.clone(), bar.clone());
            writers.spawn(async move {
                for _ in (writer..people).step_by(usize::try_from(WRITERS)?) {
                    let person = UserId(Uuid::now_v7());
                    register(&streams, person).await?;
                    for time in 1..EVENTS_EACH {
                        execute(&streams, person, rename(person, time)).await?;
                    }
                    bar.inc(EVENTS_EACH);
                }
                anyhow::Ok(())
            });
        }
        while let Some(written) = writers.join_next().await {
            written??;
        }
        bar.finish_and_clear();
        Ok(streams.stream_state(STREAM).await?.last)
    }

    /// Stops both; the data goes with them.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.postgres.stop().await?;
        self.nats.stop().await?;
        drop(self.data);
        Ok(())
    }

    fn address(&self) -> String {
        self.postgres.endpoints().postgres.to_string()
    }

    fn password(&self, context: &str, access: Access) -> anyhow::Result<String> {
        self.secret(&access.password_variable(context))
    }

    fn secret(&self, name: &str) -> anyhow::Result<String> {
        let secret = self.postgres.secrets().get(name);
        secret.map(str::to_owned).context("no such password")
    }
}

/// Opens an account.
pub(crate) async fn register(streams: &Streams, person: UserId) -> anyhow::Result<Executed<User>> {
    let command = UserCommand::RegisterUser {
        email: sealed(person),
        email_claim: EmailClaimId(Uuid::now_v7()),
        name: sealed(person),
        password_hash: sealed(person),
    };
    execute(streams, person, command).await
}

/// Another name each time: one that is there already is no event.
fn rename(person: UserId, time: u64) -> UserCommand {
    UserCommand::UpdateProfile {
        name: Sealed::new(person, &format!("{CIPHERTEXT}{time}")),
        phone: Some(sealed(person)),
    }
}

fn sealed(person: UserId) -> Sealed {
    Sealed::new(person, CIPHERTEXT)
}

async fn execute(
    streams: &Streams,
    person: UserId,
    command: UserCommand,
) -> anyhow::Result<Executed<User>> {
    let id = AggregateId::from(person);
    let meta = CommandMeta::new(Uuid::now_v7(), Utc::now(), "user:bench");
    Ok(streams.execute::<User>(&id, command, &meta).await?)
}
