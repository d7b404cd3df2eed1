//! What can be set.

use clap::Args;

/// Connections to each database. Requests are pipelined, so a few are enough: more only let the
/// server work on more at once.
pub const CONNECTIONS: usize = 3;

/// Most reads of one database that wait at once for their view to come as far as they ask. Of all seven they
/// still leave room among the requests that an API takes at once, for when no projector is there.
pub(super) const READS_WAITING_MAX: usize = 128;

/// How the read models are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct Settings {
    /// Connections to each database; requests share them.
    #[arg(long, env = "MILLRACE_READ_CONNECTIONS", default_value_t = CONNECTIONS)]
    pub read_connections: usize,
    /// Most reads of each database that wait at once for the view to come as far as their Consistency-Token
    /// says; beyond it they are answered as if their time were up, so that plain reads have room.
    #[arg(long, env = "MILLRACE_READS_WAITING_MAX", default_value_t = READS_WAITING_MAX)]
    pub reads_waiting_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            read_connections: CONNECTIONS,
            reads_waiting_max: READS_WAITING_MAX,
        }
    }
}
