//! The one configuration of the saga role.

use clap::Args;

/// Settings of `millrace saga`; each is a flag and an environment variable.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// How many orders of one stream are worked on at the same time.
    #[arg(long = "saga-lanes", env = "MILLRACE_SAGA_LANES", default_value_t = 64)]
    pub lanes: usize,
    /// How many orders' latest answers are remembered, so that a question that was just answered
    /// is not asked again. More costs memory, about 200 bytes an order.
    #[arg(
        long = "saga-memory",
        env = "MILLRACE_SAGA_MEMORY",
        default_value_t = 20_000
    )]
    pub memory: u64,
}
