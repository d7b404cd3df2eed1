//! What can be set.

use std::time::Duration;

use clap::Args;

use super::live::Wait;

/// Most events in one transaction.
pub const BATCH_MAX: usize = 500;

/// How long a projector that has lost the fence leaves the field to the one that won, in
/// milliseconds. Long enough that two don't take turns, short enough that a takeover isn't noticed.
pub const STANDBY_MS: u64 = 1_000;

/// How long a batch waits for events that the server has announced.
const LINGER: Duration = Duration::from_millis(20);

/// How long the position of a view may wait to be written while none of its rows changes: what a reader waits more
/// who asks the view for an event that doesn't concern it.
const POSITION_WAIT_MAX: Duration = Duration::from_millis(250);

/// Which projectors to run, and how.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// The contexts whose read models to keep, separated by commas; all when none is named.
    #[arg(long, env = "MILLRACE_CONTEXTS", value_delimiter = ',')]
    pub contexts: Vec<String>,
    /// Most events in one transaction; at least 1.
    #[arg(long, env = "MILLRACE_PROJECTOR_BATCH_MAX", default_value_t = BATCH_MAX)]
    pub projector_batch_max: usize,
    /// Let each commit wait for the disk. Not needed for safety: rows and position are lost
    /// together at worst, and the log has the events.
    #[arg(long, env = "MILLRACE_PROJECTOR_SYNC_COMMIT")]
    pub projector_sync_commit: bool,
    /// How long to stand by after another projector took the place, in milliseconds.
    #[arg(long, env = "MILLRACE_PROJECTOR_STANDBY_MS", default_value_t = STANDBY_MS)]
    pub projector_standby_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            contexts: Vec::new(),
            projector_batch_max: BATCH_MAX,
            projector_sync_commit: false,
            projector_standby_ms: STANDBY_MS,
        }
    }
}

/// How one projector works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Most events in one transaction. At least 1: 0 counts as 1.
    pub batch_max: usize,
    /// How long a batch waits for events that are on their way.
    pub linger: Duration,
    /// Let each commit wait for the disk.
    pub sync_commit: bool,
    /// How long to stand by after another projector took the place.
    pub standby: Duration,
}

/// Which tables a projector moves, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope {
    /// The schema that they are in.
    pub(crate) schema: &'static str,
    /// The last event to take in.
    pub(crate) until: u64,
}

impl Scope {
    /// The live tables, without end.
    pub(crate) const LIVE: Self = Self {
        schema: "public",
        until: u64::MAX,
    };
}

impl Settings {
    /// Who takes in a part alone has come to its end only once that is written.
    pub(super) fn position_wait(self, scope: Scope) -> Wait {
        let time = if scope == Scope::LIVE {
            POSITION_WAIT_MAX
        } else {
            Duration::ZERO
        };
        let events = u64::try_from(self.batch_max).unwrap_or(u64::MAX);
        Wait { time, events }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::from(&Config::default())
    }
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            batch_max: config.projector_batch_max,
            linger: LINGER,
            sync_commit: config.projector_sync_commit,
            standby: Duration::from_millis(config.projector_standby_ms),
        }
    }
}
