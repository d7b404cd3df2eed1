//! What can be set.

use clap::Args;

/// Connections to each database. Requests are pipelined, so a few are enough: more only let the
/// server work on more at once.
pub const CONNECTIONS: usize = 3;

/// How the read models are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct Settings {
    /// Connections to each database; requests share them.
    #[arg(long, env = "MILLRACE_READ_CONNECTIONS", default_value_t = CONNECTIONS)]
    pub read_connections: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            read_connections: CONNECTIONS,
        }
    }
}
