//! The one configuration of the saga role.

use std::time::Duration;

use chrono::TimeDelta;
use clap::Args;

/// Longest that an order may wait for its authorization, in seconds: 5 minutes before the hold on its
/// stock lapses.
const PATIENCE_MAX_S: i64 = checkout::HOLD.num_seconds() - 300;

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
    /// How long an order waits for its authorization, in seconds: as long a customer may take at
    /// their bank's page (3-D Secure). Then it is rejected.
    #[arg(
        long = "authorization-patience-s",
        env = "MILLRACE_AUTHORIZATION_PATIENCE_S",
        default_value_t = checkout::PATIENCE.num_seconds(),
        value_parser = clap::value_parser!(i64).range(1..=PATIENCE_MAX_S)
    )]
    pub patience_s: i64,
    /// How long facts of a checkout whose definition this build does not know are tried again in
    /// place, from the first one on, in seconds: as long as an upgrade takes to replace every
    /// process. Then they are parked, so that they hold up nobody else.
    #[arg(
        long = "unknown-definition-patience-s",
        env = "MILLRACE_UNKNOWN_DEFINITION_PATIENCE_S",
        default_value_t = 300
    )]
    pub unknown_patience_s: u64,
    /// Most seconds until a mail is asked for again that could not be asked for: a second at first,
    /// twice as long each time. No order waits for it meanwhile.
    #[arg(
        long = "late-pause-s",
        env = "MILLRACE_LATE_PAUSE_S",
        default_value_t = 60
    )]
    pub late_pause_s: u32,
    /// How often the timers of all sagas that are under way are looked at, in seconds; also at the
    /// start. What stream TIMERS has lost is set again.
    #[arg(
        long = "saga-sweep-s",
        env = "MILLRACE_SAGA_SWEEP_S",
        default_value_t = 600,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub sweep_s: u64,
}

impl Config {
    pub(crate) fn unknown_patience(&self) -> Duration {
        Duration::from_secs(self.unknown_patience_s)
    }

    pub(crate) fn late_pause(&self) -> Duration {
        Duration::from_secs(self.late_pause_s.into())
    }

    pub(crate) fn sweep(&self) -> Duration {
        Duration::from_secs(self.sweep_s)
    }

    pub(crate) fn patience(&self) -> TimeDelta {
        TimeDelta::seconds(self.patience_s)
    }
}
