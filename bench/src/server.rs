//! A nats-server alone, for what needs no shop: its one user may do everything.

use std::time::Duration;

use anyhow::ensure;
use devstack::fetch::{self, Sources};
use devstack::launch::{Child, Launcher, Signal, Spawner, Spec};
use streams::{ConnectOptions, Connection};

/// Its one user, and that user's password.
const USER: &str = "bench";

/// How long it may take to end in order.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// A running server on data of its own.
pub(crate) struct Server {
    port: u16,
    child: Child,
    // Ends the child when this program ends.
    _spawner: Spawner,
    _data: tempfile::TempDir,
}

impl Server {
    /// Starts one that syncs as `sync` says: `always`, or an interval.
    pub(crate) async fn start(sync: &str) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let port = devstack::Reserved::choose(0)?.address().port();
        let config = format!(
            "host: 127.0.0.1\nport: {port}\nserver_name: bench\n\
             jetstream {{ store_dir: \"{}\", sync_interval: {sync:?} }}\n\
             accounts {{ A {{ jetstream: enabled, users: [ {{ user: {USER}, password: {USER} }} ] }} }}\n",
            data.path().join("store").display()
        );
        let file = data.path().join("nats.conf");
        std::fs::write(&file, config)?;
        let program = fetch::nats_server(&Sources::from_environment()).await?;
        let spawner = Spawner::start()?;
        let mut spec = Spec::new(program).args(["-c"]).args([file]);
        spec.log = Some(data.path().join("nats.log"));
        let child = spawner.spawn(&Launcher::current()?, &spec).await?;
        Ok(Self {
            port,
            child,
            _spawner: spawner,
            _data: data,
        })
    }

    /// One more connection.
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        let options = ConnectOptions {
            url: format!("nats://127.0.0.1:{}", self.port),
            user: USER.to_owned(),
            password: USER.to_owned(),
            name: "bench".to_owned(),
            ca: None,
            shown: None,
        };
        Ok(Connection::open(&options).await?)
    }

    /// Stops it; its data goes with it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let ended = self.child.stop(Signal::TERM, STOP_PATIENCE).await?;
        ensure!(ended, "nats-server did not end in order");
        Ok(())
    }
}
