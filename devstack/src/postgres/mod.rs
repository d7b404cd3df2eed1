//! Postgres: one cluster per data folder, run by an unprivileged user when we are root.
//!
//! ```text
//! user.rs     whom it runs as
//! home.rs     the folder that this user can reach: in the data folder, or beside /var/tmp
//! cluster.rs  initdb, once
//! ```

mod cluster;
mod home;
mod user;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::fetch::{self, Sources};
use crate::launch::{Signal, Spec, User};
use crate::server::{Host, Plan, Probe};
use crate::{Data, Error, Notice, Secrets, Service, secrets};

/// The superuser; databases and roles are made by `millrace provision` with its rights.
pub const ADMIN: &str = "millrace_admin";

/// Crash recovery replays the log before it lets anybody in.
const READY_LIMIT: Duration = Duration::from_mins(2);
/// A fast shutdown writes a checkpoint.
const STOP_LIMIT: Duration = Duration::from_mins(1);
/// How long one attempt to connect may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Everything that the server is told, spelled out: these are reviewed like code.
const SETTINGS: [&str; 10] = [
    "listen_addresses=127.0.0.1",
    // Sockets live in folders that only some users can reach; everybody comes over TCP.
    "unix_socket_directories=",
    "max_connections=200",
    "shared_buffers=128MB",
    "fsync=on",
    "full_page_writes=on",
    "synchronous_commit=on",
    "password_encryption=scram-sha-256",
    "timezone=UTC",
    "log_line_prefix=%m [%p] %q%u@%d ",
];

/// What a start of Postgres works with.
pub(crate) struct Ground<'a> {
    pub(crate) data: &'a Data,
    pub(crate) secrets: &'a Secrets,
    pub(crate) host: &'a Host,
    pub(crate) sources: &'a Sources,
    pub(crate) hold: Arc<std::fs::File>,
}

impl Ground<'_> {
    /// A helper program, run as the server's user, that holds the data folder's lock too.
    fn helper(&self, program: impl Into<PathBuf>, user: Option<User>) -> Spec {
        let mut spec = Spec::new(program);
        spec.user = user;
        spec.hold = Some(self.hold.clone());
        spec.death_signal = Signal::KILL;
        spec
    }

    async fn succeeds(&self, spec: &Spec) -> Result<bool, Error> {
        let Host {
            launcher, spawner, ..
        } = self.host;
        Ok(spawner.run(launcher, spec).await?.success())
    }
}

/// Finds the programs, makes the cluster if there is none, and says how to run the server.
pub(crate) async fn plan(ground: &Ground<'_>, port: u16) -> Result<(Plan, Vec<Notice>), Error> {
    let user = user::to_run_as().await?;
    let home = home::find(ground, user).await?;
    let cluster = home.folder.join("cluster");
    let found = fetch::postgres(ground.sources, cluster::major(&cluster)).await?;
    let bin = home::reachable_programs(ground, user, &home.folder, &found).await?;
    cluster::make_once(ground, user, &cluster, &bin, found.version).await?;

    let mut spec = ground
        .helper(bin.join("postgres"), user)
        .args([Path::new("-D"), &cluster]);
    for setting in SETTINGS {
        spec = spec.args(["-c", setting]);
    }
    spec = spec.args(["-c".to_owned(), format!("port={port}")]);
    spec.death_signal = Signal::INT;
    spec.log = Some(ground.data.log("postgres"));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let plan = Plan {
        service: Service::Postgres,
        spec,
        probe: Probe::Postgres(Box::new(admin(address, ground.secrets)), address),
        stop: Signal::INT,
        ready_limit: READY_LIMIT,
        stop_limit: STOP_LIMIT,
    };
    Ok((plan, home.notices))
}

/// How the superuser connects.
pub fn admin(address: SocketAddr, secrets: &Secrets) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .host(address.ip().to_string())
        .port(address.port())
        .user(ADMIN)
        .password(secrets.get(secrets::POSTGRES_ADMIN).unwrap_or_default())
        .dbname("postgres")
        .application_name("millrace devstack")
        .connect_timeout(CONNECT_LIMIT);
    config
}
