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

/// What `nats-cluster.conf` reads besides: of the node of this name, which listens for the others at `listen`.
/// `nodes` are the addresses of all.
pub fn cluster_environment(
    name: &str,
    listen: SocketAddr,
    nodes: &[SocketAddr],
    password: &str,
) -> [(&'static str, String); 4] {
    let route = |address| format!("\"nats-route://node:{password}@{address}\"");
    let routes: Vec<String> = nodes.iter().map(route).collect();
    [
        ("MILLRACE_NATS_NAME", name.to_owned()),
        ("MILLRACE_NATS_CLUSTER", format!("\"{listen}\"")),
        ("MILLRACE_NATS_CLUSTER_PASSWORD", password.to_owned()),
        ("MILLRACE_NATS_ROUTES", format!("[{}]", routes.join(", "))),
    ]
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
    let plan = |ports: &NatsPorts, file: &str, store: PathBuf, log: &str| {
        let settings = Settings {
            port: ports.client.address().port(),
            http_port: ports.monitor.address().port(),
            store: store.clone(),
            sync: sync.clone(),
        };
        let mut spec = Spec::new(program).args([Path::new("-c"), &folder.join(file)]);
        for (name, value) in settings.environment(secrets) {
            spec = spec.env(name, value);
        }
        spec.folder = store;
        spec.log = Some(data.log(log));
        Plan {
            service: Service::Nats,
            spec,
            probe: Probe::Nats(ports.client.address()),
            stop: Signal::TERM,
            ready_limit: READY_LIMIT,
            stop_limit: STOP_LIMIT,
        }
    };
    if let [only] = nodes {
        return Ok(vec![plan(only, "nats.conf", folder.clone(), "nats")]);
    }
    // Made anew each time: nodes need to know it of each other, and nobody else does.
    let password = format!("n{}", Uuid::new_v4().simple());
    let routes: Vec<SocketAddr> = nodes.iter().map(|node| node.route.address()).collect();
    let plans = nodes.iter().zip(1..).map(|(ports, number)| {
        let name = node_name(number);
        let store = folder.join(&name);
        fs::create_dir_all(&store).map_err(|source| Error::File {
            path: store.clone(),
            source,
        })?;
        let mut plan = plan(ports, "nats-cluster.conf", store, &format!("nats-{name}"));
        let more = cluster_environment(&name, ports.route.address(), &routes, &password);
        for (name, value) in more {
            plan.spec = plan.spec.env(name, value);
        }
        Ok(plan)
    });
    plans.collect()
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
