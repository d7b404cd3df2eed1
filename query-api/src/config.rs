//! What can be set.

use std::time::Duration;

use clap::Args;
use edge::{Limits, TlsArgs};

/// How long a read waits for its `Consistency-Token`, in milliseconds, unless it says otherwise.
pub(crate) const READ_WAIT_MS: u64 = 2_000;

/// Most live streams at once: half of the connections that the server takes.
pub(crate) const LIVE_CLIENTS_MAX: usize = 4_096;

/// Most live streams of one customer at once: some pages on some devices.
pub(crate) const LIVE_CLIENTS_OF_ONE_MAX: usize = 16;

/// Longest that a live stream lasts, in seconds: as long as a token.
pub(crate) const LIVE_TIME_MAX_S: u64 = 900;

/// How often a live stream says that it is there, in seconds: what stands between may close a
/// connection that is silent for a minute.
pub(crate) const LIVE_HEARTBEAT_S: u64 = 15;

/// How the query API serves.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// How long a read waits for its Consistency-Token, in milliseconds, unless `Prefer: wait=n`
    /// says otherwise.
    #[arg(long, env = "MILLRACE_READ_WAIT_MS", default_value_t = READ_WAIT_MS)]
    pub read_wait_ms: u64,
    /// Most live streams (server-sent events) at once; above it 503.
    #[arg(long, env = "MILLRACE_LIVE_CLIENTS_MAX", default_value_t = LIVE_CLIENTS_MAX)]
    pub live_clients_max: usize,
    /// Most live streams of one customer at once; above it 503. Operators' are not counted.
    #[arg(
        long,
        env = "MILLRACE_LIVE_CLIENTS_OF_ONE_MAX",
        default_value_t = LIVE_CLIENTS_OF_ONE_MAX
    )]
    pub live_clients_of_one_max: usize,
    /// Longest that a live stream lasts, in seconds. Who resumes shows a token again.
    #[arg(long, env = "MILLRACE_LIVE_TIME_MAX_S", default_value_t = LIVE_TIME_MAX_S)]
    pub live_time_max_s: u64,
    /// How often a live stream says that it is there, in seconds.
    #[arg(long, env = "MILLRACE_LIVE_HEARTBEAT_S", default_value_t = LIVE_HEARTBEAT_S)]
    pub live_heartbeat_s: u64,
    /// How the read models are read.
    #[command(flatten)]
    pub read: projections::read::Settings,
    /// What it shows of itself.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// The bounds of the server.
    #[command(flatten)]
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            read_wait_ms: READ_WAIT_MS,
            live_clients_max: LIVE_CLIENTS_MAX,
            live_clients_of_one_max: LIVE_CLIENTS_OF_ONE_MAX,
            live_time_max_s: LIVE_TIME_MAX_S,
            live_heartbeat_s: LIVE_HEARTBEAT_S,
            read: projections::read::Settings::default(),
            tls: TlsArgs::default(),
            limits: Limits::default(),
        }
    }
}

impl Config {
    pub(crate) fn read_wait(&self) -> Duration {
        Duration::from_millis(self.read_wait_ms)
    }
}
