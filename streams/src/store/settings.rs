//! What a store may use.

use crate::snapshot::Snapshots;

/// Bounds of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Places for aggregates in memory; 100,000. One takes a place for each 2 KiB that it may be: what it
    /// remembers, if it says so ([`kernel::Decider::remembered_bytes`]), else its largest event stands for its state; and
    /// each recent command is 16 bytes.
    pub cache_capacity: u64,
    /// Command ids remembered for each aggregate; 1,000: the first and the last of them. A repeated command is found
    /// among them.
    pub recent_commands_max: usize,
    /// Decisions taken for one command before giving up on conflicts; 5. At least 1: 0 counts as 1.
    pub execute_attempts_max: u32,
    /// Events asked for at once while loading; 500. At least 1: 0 counts as 1.
    pub load_page_events: usize,
    /// Snapshots: read, and written every 50 events.
    pub snapshots: Snapshots,
}

impl Settings {
    /// With which a command is decided and a history read to its end.
    pub(super) fn bounded(self) -> Self {
        Self {
            execute_attempts_max: self.execute_attempts_max.max(1),
            load_page_events: self.load_page_events.max(1),
            ..self
        }
    }

    /// For a role that only reads: it starts from snapshots, and leaves writing them to others.
    pub fn reading() -> Self {
        Self {
            snapshots: Snapshots::Read,
            ..Self::default()
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cache_capacity: 100_000,
            recent_commands_max: 1_000,
            execute_attempts_max: 5,
            load_page_events: 500,
            snapshots: Snapshots::Every(50),
        }
    }
}
