//! How much a durable subscription holds, and how long it waits.

use std::time::Duration;

/// The bounds of a durable subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurableLimits {
    /// Messages asked for at once. The durable's own limit of unacknowledged messages also holds.
    pub prefetch: usize,
    /// Longest pause between two tries of one delivery.
    pub pause_max: Duration,
    /// A process that tries a parked key again, and says nothing for this long, is taken for dead.
    pub silence_max: Duration,
    /// How often a durable is moved past what came while its handler rests.
    pub pass_over_every: Duration,
}

impl Default for DurableLimits {
    /// 64 messages: enough to hide the round trip, few enough to be handled in time. A minute: what
    /// was away for hours is noticed soon after it is back. Two minutes: several times as long as a process is
    /// silent that lives. Five seconds: of what comes in that time all is sifted at once when the handler wakes.
    fn default() -> Self {
        Self {
            prefetch: 64,
            pause_max: Duration::from_mins(1),
            silence_max: Duration::from_mins(2),
            pass_over_every: Duration::from_secs(5),
        }
    }
}
