//! States kept beside the log, so that a long history need not be read from its beginning.
//!
//! ```text
//!   append ──► every n events ──► keeper ──► SNAPSHOTS, snapshot.<context>[.<kind>].<id>
//!                                  │ in the background, bounded: an append never waits for it
//!   load ◄── fold on ◄── the event there has the recorded id? ◄── fingerprint fits? ◄─┘
//! ```
//!
//! A snapshot is never trusted over the log: it counts only if the log holds, at its position, the
//! event with the id that it recorded. One that was made from another history (a log restored from
//! a backup), by code with another idea of the state, or damaged, is ignored, counted, and replaced
//! after the load. Losing all of them costs time, nothing else.

mod content;
mod keeper;

pub use keeper::SnapshotCounts;

pub(crate) use content::{Reading, Snapshot, subject_of_snapshot};
pub(crate) use keeper::{Fate, Keeper};

/// What a store does with snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Snapshots {
    /// Neither reads nor writes them.
    Off,
    /// Loads start from them: for a role that may not write them.
    Read,
    /// Loads start from them, and one is written whenever an aggregate has this many events more.
    /// 0 is the same as [`Snapshots::Read`].
    Every(u64),
}

impl Snapshots {
    /// How many events apart; `None` = none are written.
    pub(crate) fn every(self) -> Option<u64> {
        match self {
            Self::Every(events) if events > 0 => Some(events),
            Self::Every(_) | Self::Off | Self::Read => None,
        }
    }
}
