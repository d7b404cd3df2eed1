//! What can be set.

use std::time::Duration;

use clap::Args;
use edge::Limits;

/// How long a read waits for its `Consistency-Token`, in milliseconds, unless it says otherwise.
pub(crate) const READ_WAIT_MS: u64 = 2_000;

/// How the query API serves.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// How long a read waits for its Consistency-Token, in milliseconds, unless `Prefer: wait=n`
    /// says otherwise.
    #[arg(long, env = "MILLRACE_READ_WAIT_MS", default_value_t = READ_WAIT_MS)]
    pub read_wait_ms: u64,
    /// How the read models are read.
    #[command(flatten)]
    pub read: projections::read::Settings,
    /// The bounds of the server.
    #[command(flatten)]
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            read_wait_ms: READ_WAIT_MS,
            read: projections::read::Settings::default(),
            limits: Limits::default(),
        }
    }
}

impl Config {
    pub(crate) fn read_wait(&self) -> Duration {
        Duration::from_millis(self.read_wait_ms)
    }
}
