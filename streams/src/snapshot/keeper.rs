//! Reads snapshots, and writes them in the background.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::Snapshot;
use crate::log::Log;

/// Snapshots that are written at once, over one store.
const WRITES_MAX: u32 = 32;

/// Snapshots in the making, those that wait for their turn included; one more is dropped, the next
/// will do. Each holds a state.
const MAKING_MAX: usize = 1_024;

/// Largest snapshot that is written, in bytes: below the server's `max_payload` of 1 MiB. A larger
/// state is read from its events.
const SNAPSHOT_BYTES_MAX: usize = 896 * 1024;

/// How long no snapshot is asked for after one could not be had: every load would wait.
const REST: Duration = Duration::from_secs(10);

/// What became of snapshots, since the store was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnapshotCounts {
    /// Loads that started from one.
    pub used: u64,
    /// Those that were there and not used: of another schema, another history, or damaged.
    pub ignored: u64,
    /// Those that were written.
    pub written: u64,
    /// Those that were not: too many at once, too large, or the stream did not take them.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Counters {
    used: AtomicU64,
    ignored: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
}

/// What became of one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Used,
    OtherSchema,
    OtherHistory,
    Damaged,
    Written,
    Dropped,
}

impl Counters {
    fn count(&self, fate: Fate) {
        let (counter, outcome) = match fate {
            Fate::Used => (&self.used, "used"),
            Fate::OtherSchema => (&self.ignored, "other_schema"),
            Fate::OtherHistory => (&self.ignored, "other_history"),
            Fate::Damaged => (&self.ignored, "damaged"),
            Fate::Written => (&self.written, "written"),
            Fate::Dropped => (&self.dropped, "dropped"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("streams_snapshots_total", "outcome" => outcome).increment(1);
    }
}

/// The snapshots of one store.
pub(crate) struct Keeper {
    log: Arc<dyn Log>,
    permits: Arc<Semaphore>,
    /// Subjects that one is being written for: two at once could arrive in the wrong order.
    busy: Arc<Mutex<HashSet<String>>>,
    counters: Arc<Counters>,
    resting_until: Mutex<Option<Instant>>,
}

impl Keeper {
    pub(crate) fn new(log: Arc<dyn Log>) -> Self {
        Self {
            log,
            permits: Arc::new(Semaphore::new(WRITES_MAX as usize)),
            busy: Arc::default(),
            counters: Arc::default(),
            resting_until: Mutex::new(None),
        }
    }

    /// The snapshot at `subject`. One that can't be had now is none.
    pub(crate) async fn read(&self, subject: &str) -> Option<Bytes> {
        let resting = *lock(&self.resting_until);
        if resting.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        match self.log.snapshot(subject).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(subject, %error, "no snapshots for a while; reading whole histories");
                *lock(&self.resting_until) = Some(Instant::now() + REST);
                None
            }
        }
    }

    /// Writes a snapshot when there is time. `make` runs in the background.
    pub(crate) fn write_later(
        &self,
        subject: String,
        make: impl FnOnce() -> Option<Snapshot> + Send + 'static,
    ) {
        if !self.begin(&subject) {
            self.counters.count(Fate::Dropped);
            return;
        }
        let permits = Arc::clone(&self.permits);
        let (log, counters) = (Arc::clone(&self.log), Arc::clone(&self.counters));
        let busy = Busy(Arc::clone(&self.busy), subject);
        tokio::spawn(async move {
            // The semaphore is never closed; if it were, nothing would hold this back.
            let _permit = permits.acquire_owned().await;
            let fate = write(log.as_ref(), &busy.1, make).await;
            drop(busy);
            counters.count(fate);
        });
    }

    /// False when one is being made of the subject, or too many of others.
    fn begin(&self, subject: &str) -> bool {
        let mut busy = lock(&self.busy);
        busy.len() < MAKING_MAX && busy.insert(subject.to_owned())
    }

    /// Waits until everything that was to be written is, or has failed.
    pub(crate) async fn settled(&self) {
        while !lock(&self.busy).is_empty() {
            // Whoever waits for a permit comes first; who has not asked for one yet gets the chance.
            let _all = self.permits.acquire_many(WRITES_MAX).await;
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn count(&self, fate: Fate) {
        self.counters.count(fate);
    }

    pub(crate) fn counts(&self) -> SnapshotCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SnapshotCounts {
            used: read(&self.counters.used),
            ignored: read(&self.counters.ignored),
            written: read(&self.counters.written),
            dropped: read(&self.counters.dropped),
        }
    }
}

/// Removes its subject from the set, also when the task ends early.
struct Busy(Arc<Mutex<HashSet<String>>>, String);

impl Drop for Busy {
    fn drop(&mut self) {
        lock(&self.0).remove(&self.1);
    }
}

async fn write(
    log: &dyn Log,
    subject: &str,
    make: impl FnOnce() -> Option<Snapshot> + Send,
) -> Fate {
    let encoded = make().and_then(|snapshot| snapshot.encode());
    let Some(bytes) = encoded.filter(|bytes| bytes.len() <= SNAPSHOT_BYTES_MAX) else {
        tracing::debug!(
            subject,
            "no snapshot: too large, or not to be written as JSON"
        );
        return Fate::Dropped;
    };
    match log.keep_snapshot(subject, bytes).await {
        Ok(()) => Fate::Written,
        Err(error) => {
            tracing::debug!(subject, %error, "a snapshot was not kept");
            Fate::Dropped
        }
    }
}

/// What is behind it is whole at every point where the lock could be poisoned.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
