//! nats-server with the repository's `nats.conf`, which is part of this program; or three of them, with
//! `nats-cluster.conf`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use uuid::Uuid;

use crate::endpoints::NatsPorts;
use crate::launch::{Signal, Spec};
use crate::server::{Plan, Probe};
use crate::{Data, Error, Secrets, Service};

/// The configuration, as it stands at the root of the repository.
pub const CONFIG: &str = include_str!("../../nats.conf");

/// That of a node of a cluster, which includes the other.
pub const CLUSTER_CONFIG: &str = include_str!("../../nats-cluster.conf");

/// Below `nats/` in the data folder: where a single server keeps its streams.
const STREAMS: &str = "jetstream";

/// A large store is checked and indexed before the server listens.
const READY_LIMIT: Duration = Duration::from_mins(2);
/// Open files are flushed and closed.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// When the server flushes a write to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sync {
    /// Before it acknowledges: what was acknowledged survives a power cut.
    Always,
    /// Every so often, such as `2m`: what was acknowledged survives a crash of the server, and
    /// not a power cut.
    Interval(String),
}

impl Sync {
    /// As `nats.conf` reads it. Without the quotes, `2m` would be two million.
    fn value(&self) -> String {
        match self {
            Self::Always => "always".to_owned(),
            Self::Interval(interval) => format!("\"{interval}\""),
        }
    }
}

/// Where the server listens and when it flushes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The client port.
    pub port: u16,
    /// The monitoring port.
    pub http_port: u16,
    /// The folder of the streams.
    pub store: PathBuf,
    /// When a write reaches the disk.
    pub sync: Sync,
}

impl Settings {
    /// The environment from which `nats.conf` takes its values.
    pub fn environment(&self, secrets: &Secrets) -> Vec<(String, String)> {
        let mut env = vec![
            ("MILLRACE_NATS_PORT".into(), self.port.to_string()),
            ("MILLRACE_NATS_HTTP_PORT".into(), self.http_port.to_string()),
            ("MILLRACE_NATS_STORE".into(), quoted(&self.store)),
            ("MILLRACE_NATS_SYNC".into(), self.sync.value()),
        ];
        let passwords = secrets
            .iter()
            .filter(|(name, _)| name.starts_with("MILLRACE_NATS_"));
        env.extend(passwords.map(|(name, value)| (name.to_owned(), value.to_owned())));
        env
    }
}

/// Lets nats-server check a configuration file without starting (`nats-server -t`).
///
/// # Errors
/// The server's own words when it rejects the file, or the system's when it cannot be run.
pub fn check_config(
    program: &Path,
    config: &Path,
    environment: &[(String, String)],
) -> Result<(), String> {
    let output = Command::new(program)
        .args(["-t", "-c"])
        .arg(config)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A node of a cluster: what `nats-cluster.conf` reads besides.
struct Node {
    name: String,
    listen: SocketAddr,
    /// Those of all nodes, as the file wants them.
    routes: String,
    password: String,
}

impl Node {
    fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("MILLRACE_NATS_NAME", self.name.clone()),
            ("MILLRACE_NATS_CLUSTER", format!("\"{}\"", self.listen)),
            ("MILLRACE_NATS_CLUSTER_PASSWORD", self.password.clone()),
            ("MILLRACE_NATS_ROUTES", self.routes.clone()),
        ]
    }
}

/// Writes the configuration into the data folder and says how to run the server with it; each of them, when
/// there are several.
pub(crate) fn plans(
    program: &Path,
    data: &Data,
    secrets: &Secrets,
    (nodes, sync): (&[NatsPorts], &Sync),
) -> Result<Vec<Plan>, Error> {
    let folder = data.join("nats");
    same_as_before(data, nodes.len())?;
    for (name, text) in [("nats.conf", CONFIG), ("nats-cluster.conf", CLUSTER_CONFIG)] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|source| Error::File { path, source })?;
    }
    let settings = |node: &NatsPorts, store: PathBuf| Settings {
        port: node.client.address().port(),
        http_port: node.monitor.address().port(),
        store,
        sync: sync.clone(),
    };
    if let [only] = nodes {
        let mut spec = Spec::new(program).args([Path::new("-c"), &folder.join("nats.conf")]);
        for (name, value) in settings(only, folder.clone()).environment(secrets) {
            spec = spec.env(name, value);
        }
        spec.log = Some(data.log("nats"));
        spec.folder = folder;
        return Ok(vec![plan(spec, only)]);
    }
    // Made anew each time: nodes need to know it of each other, and nobody else does.
    let password = format!("n{}", Uuid::new_v4().simple());
    let route = |node: &NatsPorts| {
        let address = node.route.address();
        format!("\"nats-route://node:{password}@{address}\"")
    };
    let routes: Vec<String> = nodes.iter().map(route).collect();
    let plans = nodes.iter().zip(1..).map(|(ports, number)| {
        let node = Node {
            name: node_name(number),
            listen: ports.route.address(),
            routes: format!("[{}]", routes.join(", ")),
            password: password.clone(),
        };
        let store = folder.join(&node.name);
        fs::create_dir_all(&store).map_err(|source| Error::File {
            path: store.clone(),
            source,
        })?;
        let config = folder.join("nats-cluster.conf");
        let mut spec = Spec::new(program).args([Path::new("-c"), &config]);
        for (name, value) in settings(ports, store.clone()).environment(secrets) {
            spec = spec.env(name, value);
        }
        for (name, value) in node.environment() {
            spec = spec.env(name, value);
        }
        spec.log = Some(data.log(&format!("nats-{}", node.name)));
        spec.folder = store;
        Ok(plan(spec, ports))
    });
    plans.collect()
}

fn plan(spec: Spec, ports: &NatsPorts) -> Plan {
    Plan {
        service: Service::Nats,
        spec,
        probe: Probe::Nats(ports.client.address()),
        stop: Signal::TERM,
        ready_limit: READY_LIMIT,
        stop_limit: STOP_LIMIT,
    }
}

/// The streams of one server are none of a cluster, and the other way round; a node that is left out takes
/// its votes along.
fn same_as_before(data: &Data, nodes: usize) -> Result<(), Error> {
    let folder = data.join("nats");
    let several = (1..).take_while(|number| folder.join(node_name(*number)).exists());
    let before = match several.count() {
        0 if folder.join(STREAMS).exists() => 1,
        0 => return Ok(()),
        several => several,
    };
    if before == nodes {
        return Ok(());
    }
    Err(Error::NatsNodes {
        data: data.root().to_owned(),
        before,
        nodes,
    })
}

fn node_name(number: usize) -> String {
    format!("n{number}")
}

/// A path as a quoted string of the configuration language, so that spaces and commas in it do
/// not end it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
