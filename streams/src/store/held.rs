//! An aggregate in memory.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kernel::Decider;
use uuid::Uuid;

use super::recent::Recent;
use super::record::Basis;
use crate::envelope::{DecodeCause, DecodeError, RecordedEvent};
use crate::log::Last;

/// What is known of an aggregate: a fold over its first events.
#[derive(Debug, Clone)]
pub(super) struct Known<A> {
    pub(super) state: Arc<A>,
    pub(super) version: u64,
    /// Stream sequence of its last event; 0 = none.
    pub(super) position: u64,
    /// Id of its last event; nil = none.
    pub(super) event_id: Uuid,
    pub(super) recent: Recent,
    /// Bytes of the largest event, or of the snapshot: about what a state takes that doesn't say itself.
    pub(super) largest: usize,
}

impl<A: Decider> Known<A> {
    /// Nothing has happened yet, as far as we know.
    pub(super) fn new() -> Self {
        Self {
            state: Arc::new(A::default()),
            version: 0,
            position: 0,
            event_id: Uuid::nil(),
            recent: Recent::default(),
            largest: 0,
        }
    }

    /// About how many bytes it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.largest.max(self.state.remembered_bytes()) + self.recent.bytes()
    }

    /// The last event that is known.
    pub(super) fn last(&self) -> Last {
        Last {
            sequence: self.position,
            id: self.event_id,
        }
    }

    /// What a decision on this state stands on.
    pub(super) fn basis(&self) -> Basis {
        Basis {
            version: self.version,
            position: self.position,
        }
    }

    /// Takes the next stored event in. A gap in the versions is an error, not a skip.
    pub(super) fn read(
        &mut self,
        event: &RecordedEvent,
        recent_max: usize,
    ) -> Result<(), DecodeError> {
        if event.version != self.version + 1 {
            return Err(event.unreadable(DecodeCause::Version {
                expected: self.version + 1,
                found: event.version,
            }));
        }
        let decoded = event.decode::<A>()?;
        self.take(event, &decoded, recent_max);
        Ok(())
    }

    /// Takes in an event that is already decoded. The state is copied only while others read it.
    pub(super) fn take(&mut self, event: &RecordedEvent, decoded: &A::Event, recent_max: usize) {
        Arc::make_mut(&mut self.state).evolve(decoded);
        self.version = event.version;
        self.position = event.position.sequence;
        self.event_id = event.id;
        self.largest = self.largest.max(event.data.len());
        self.recent
            .note(event.command_id, event.position.sequence, recent_max);
    }
}

/// An aggregate in the cache. Only who has its turn changes it.
#[derive(Debug)]
pub(super) struct Held<A> {
    known: Mutex<Known<A>>,
    /// How many places it takes there by what the cache knows; 0 = it isn't kept yet.
    pub(super) places: AtomicU64,
}

impl<A: Decider> Held<A> {
    pub(super) fn new(known: Known<A>) -> Self {
        Self {
            known: Mutex::new(known),
            places: AtomicU64::new(0),
        }
    }

    /// Held shortly, never across an await.
    pub(super) fn lock(&self) -> MutexGuard<'_, Known<A>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Did something panic while it was changed? Its state may hold half of an event then, which the position
    /// doesn't tell.
    pub(super) fn is_broken(&self) -> bool {
        self.known.is_poisoned()
    }
}
