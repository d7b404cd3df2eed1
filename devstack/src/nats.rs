//! nats-server with the repository's `nats.conf`, which is part of this program.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::launch::{Signal, Spec};
use crate::server::{Plan, Probe};
use crate::{Data, Error, Secrets, Service};

/// The configuration, as it stands at the root of the repository.
pub const CONFIG: &str = include_str!("../../nats.conf");

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

/// Writes the configuration into the data folder and says how to run the server with it.
pub(crate) fn plan(
    program: PathBuf,
    data: &Data,
    secrets: &Secrets,
    settings: &Settings,
) -> Result<Plan, Error> {
    let config = data.join("nats").join("nats.conf");
    fs::write(&config, CONFIG).map_err(|source| Error::File {
        path: config.clone(),
        source,
    })?;
    let mut spec = Spec::new(program).args([Path::new("-c"), config.as_path()]);
    for (name, value) in settings.environment(secrets) {
        spec = spec.env(name, value);
    }
    spec.folder = data.join("nats");
    spec.log = Some(data.log("nats"));
    let address = SocketAddr::from(([127, 0, 0, 1], settings.port));
    Ok(Plan {
        service: Service::Nats,
        spec,
        probe: Probe::Nats(address),
        stop: Signal::TERM,
        ready_limit: READY_LIMIT,
        stop_limit: STOP_LIMIT,
    })
}

/// A path as a quoted string of the configuration language, so that spaces and commas in it do
/// not end it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
