//! A nats-server of a test's own, that lets its one user do everything.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use devstack::fetch::{self, Sources};
use devstack::launch::{Child, Launcher, Signal, Spawner, Spec};
use streams::{ConnectOptions, Connection};

use crate::app::{folder, program};

/// The user who may do everything.
const USER: &str = "contract";

/// One who may not reset a durable.
const NO_RESET: &str = "no-reset";

/// One who is not told about durables.
const NO_INFO: &str = "no-info";

/// Its users' password.
const PASSWORD: &str = "contract";

/// A plain server with JetStream, every write synced.
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
    program: PathBuf,
    spawner: Spawner,
    child: tokio::sync::Mutex<Child>,
}

impl Server {
    pub(crate) async fn start(name: &str) -> Self {
        let folder = folder(name);
        std::fs::create_dir_all(&folder).unwrap();
        let port = devstack::Reserved::choose(0).unwrap().address().port();
        let config = format!(
            "host: 127.0.0.1\nport: {port}\nserver_name: {name}\n\
             jetstream {{ store_dir: \"{}\", sync_interval: always }}\n\
             accounts {{ A {{ jetstream: enabled, users: [ {{ user: {USER}, password: {PASSWORD} }}, \
             {{ user: {NO_RESET}, password: {PASSWORD}, permissions: {{ publish: {{ allow: \">\", deny: \"$JS.API.CONSUMER.RESET.>\" }} }} }}, \
             {{ user: {NO_INFO}, password: {PASSWORD}, permissions: {{ publish: {{ allow: \">\", deny: \"$JS.API.CONSUMER.INFO.>\" }}, subscribe: {{ allow: \">\", deny: \"$JS.EVENT.>\" }} }} }} ] }} }}\n",
            folder.join("store").display()
        );
        std::fs::write(folder.join("nats.conf"), config).unwrap();
        let program = fetch::nats_server(&Sources::from_environment())
            .await
            .unwrap();
        let spawner = Spawner::start().unwrap();
        let child = spawn(&spawner, &program, &folder).await;
        Self {
            folder,
            port,
            program,
            spawner,
            child: tokio::sync::Mutex::new(child),
        }
    }

    pub(crate) fn options(&self) -> ConnectOptions {
        ConnectOptions {
            url: format!("nats://127.0.0.1:{}", self.port),
            user: USER.to_owned(),
            password: PASSWORD.to_owned(),
            name: "contract".to_owned(),
            ca: None,
            shown: None,
        }
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(&self.options()).await.unwrap()
    }

    /// As one who may not reset a durable.
    pub(crate) async fn connect_without_reset(&self) -> Connection {
        self.connect_as(NO_RESET).await
    }

    /// As one who gets no answer about any durable, and hears of no change.
    pub(crate) async fn connect_without_info(&self) -> Connection {
        self.connect_as(NO_INFO).await
    }

    async fn connect_as(&self, user: &str) -> Connection {
        let options = ConnectOptions {
            user: user.to_owned(),
            ..self.options()
        };
        Connection::open(&options).await.unwrap()
    }

    /// Does a file of its streams hold `text`?
    pub(crate) fn is_on_disk(&self, text: &str) -> bool {
        holds(&self.folder.join("store"), text)
    }

    /// Ends it the hard way and starts it again on the same data, not before `time`; tells when it was dead.
    pub(crate) async fn down_until(&self, time: DateTime<Utc>) -> DateTime<Utc> {
        let mut child = self.child.lock().await;
        child.signaller().send(Signal::KILL).unwrap();
        child.wait().await;
        let dead = Utc::now();
        until(time).await;
        *child = spawn(&self.spawner, &self.program, &self.folder).await;
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port))
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        dead
    }
}

/// Waits until `time` is over.
pub(crate) async fn until(time: DateTime<Utc>) {
    let left = (time - Utc::now()).to_std().unwrap_or_default();
    tokio::time::sleep(left + Duration::from_millis(10)).await;
}

/// Does a file of the streams in `store` hold `text`?
pub(crate) fn holds(store: &Path, text: &str) -> bool {
    let mut folders = vec![store.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else if block_holds(&entry.path(), text) {
                return true;
            }
        }
    }
    false
}

/// A message block, not the server's index of subjects; one that is gone holds nothing.
fn block_holds(file: &Path, text: &str) -> bool {
    let is_block = file.extension().is_some_and(|extension| extension == "blk");
    let bytes = std::fs::read(file).unwrap_or_default();
    is_block
        && bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
}

async fn spawn(spawner: &Spawner, nats: &Path, folder: &Path) -> Child {
    let mut spec = Spec::new(nats)
        .args(["-c"])
        .args([folder.join("nats.conf")]);
    spec.log = Some(folder.join("nats.log"));
    spawner
        .spawn(&Launcher::new(program()), &spec)
        .await
        .unwrap()
}
