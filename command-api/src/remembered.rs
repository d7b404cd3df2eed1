//! Answers of other contexts that are still true: kept until an event says otherwise.
//!
//! ```text
//!   ask ──► kept? ──► answer
//!            │ no
//!            └──► the other context ──► kept, unless it changed while it was asked
//!   its stream ──► an event of the key ──► forgotten
//! ```
//!
//! As long as the other's stream is followed, an answer may be old: what would change it would
//! have been heard. So orders of known people, for known products, go on while nobody answers for
//! the user or product context. Where nothing is followed, only age counts, and little of it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use streams::{Connection, RecordedEvent, Streams};
use tokio_util::sync::CancellationToken;

/// Most answers kept of one question; the least used go first.
const ANSWERS_MAX: usize = 10_000;

/// How old an answer may be while changes are heard. They would be heard for ever; an hour bounds
/// what a mistake of ours could do.
const HEARD_AGE_MAX: Duration = Duration::from_hours(1);

/// How old an answer may be while they are not.
const UNHEARD_AGE_MAX: Duration = Duration::from_secs(2);

/// Counters of changes: two keys that share one cost each other an answer now and then.
const COUNTERS: usize = 256;

/// Pause before the stream is followed again after a failure.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Answers by what they are about.
pub(crate) struct Remembered<K, V> {
    kept: Cache<K, Kept<V>>,
    changes: Box<[AtomicU64]>,
    /// What the subscription says that hears the changes; `None` = there is none.
    heard: RwLock<Option<Arc<AtomicBool>>>,
}

#[derive(Clone)]
struct Kept<V> {
    answer: V,
    since: Instant,
}

/// How often the keys of one counter had changed before an answer was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Before(u64);

impl<K, V> Remembered<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Self {
        Self {
            kept: Cache::new(ANSWERS_MAX),
            changes: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(),
            heard: RwLock::default(),
        }
    }

    /// The answer about `key`, if it is kept and not too old.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let kept = self.kept.get(key)?;
        let age_max = if self.is_heard() {
            HEARD_AGE_MAX
        } else {
            UNHEARD_AGE_MAX
        };
        (kept.since.elapsed() < age_max).then_some(kept.answer)
    }

    /// Would what changes be heard now? Not while the subscription starts anew, nor until it has told
    /// of all that changed meanwhile.
    fn is_heard(&self) -> bool {
        let heard = self.heard.read().unwrap_or_else(PoisonError::into_inner);
        heard
            .as_ref()
            .is_some_and(|current| current.load(Ordering::Acquire))
    }

    fn hears(&self, current: Option<Arc<AtomicBool>>) {
        *self.heard.write().unwrap_or_else(PoisonError::into_inner) = current;
    }

    /// To be taken before the question is asked.
    pub(crate) fn before(&self, key: &K) -> Before {
        let counter = self.counter(key);
        Before(counter.map_or(0, |changes| changes.load(Ordering::Acquire)))
    }

    /// Keeps the answer about `key`, unless it has changed since `before`: then the answer may be
    /// that of yesterday, and the event that says so has been heard already.
    pub(crate) fn keep(&self, key: &K, before: Before, answer: V) {
        let since = Instant::now();
        self.kept.insert(key.clone(), Kept { answer, since });
        // Looked at behind the insertion: a change in between finds the answer and removes it.
        if self.before(key) != before {
            self.kept.remove(key);
        }
    }

    /// What is known about `key` may not be true any more.
    pub(crate) fn forget(&self, key: &K) {
        if let Some(changes) = self.counter(key) {
            changes.fetch_add(1, Ordering::AcqRel);
        }
        self.kept.remove(key);
    }

    fn counter(&self, key: &K) -> Option<&AtomicU64> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        #[expect(clippy::cast_possible_truncation, reason = "taken modulo 256 anyway")]
        self.changes.get(hasher.finish() as usize % COUNTERS)
    }

    /// Nothing that is known, or being asked, is certain.
    fn forget_all(&self) {
        for changes in &self.changes {
            changes.fetch_add(1, Ordering::AcqRel);
        }
        self.kept.clear();
    }

    /// Hears what changes: every event of `stream`, whose key `key_of` knows, until `shutdown`.
    pub(crate) async fn follow(
        &self,
        stream: &Followed<'_>,
        key_of: impl Fn(&RecordedEvent) -> Option<K>,
        shutdown: &CancellationToken,
    ) {
        while !shutdown.is_cancelled() {
            let failed = tokio::select! {
                () = shutdown.cancelled() => return,
                failed = self.hear(stream, &key_of) => failed,
            };
            self.hears(None);
            let name = stream.name;
            tracing::warn!(stream = name, %failed, "changes are not heard: answers are kept shortly");
            tokio::time::sleep(FAILURE_PAUSE).await;
        }
    }

    /// Follows from now on; returns why it could not go on.
    async fn hear(
        &self,
        stream: &Followed<'_>,
        key_of: impl Fn(&RecordedEvent) -> Option<K>,
    ) -> Box<dyn std::error::Error + Send + Sync> {
        let end = match stream.streams.stream_state(stream.name).await {
            Ok(state) => state.last,
            Err(error) => return error.into(),
        };
        let mut events = stream.connection.ordered(stream.name, end);
        // What changed before `end` was not heard.
        self.forget_all();
        self.hears(Some(events.current()));
        loop {
            match events.next().await {
                Ok(event) => {
                    if let Some(key) = key_of(&event) {
                        self.forget(&key);
                    }
                }
                Err(error) => return error.into(),
            }
        }
    }
}

/// A stream whose events change answers.
pub(crate) struct Followed<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) streams: &'a Streams,
    pub(crate) name: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_changed_while_it_was_asked_is_not_kept() {
        let remembered = Remembered::<u32, &str>::new();
        let before = remembered.before(&7);
        remembered.keep(&7, before, "old");
        assert_eq!(remembered.get(&7), Some("old"));
        let before = remembered.before(&7);
        remembered.forget(&7);
        assert_eq!(remembered.get(&7), None);
        remembered.keep(&7, before, "old");
        assert_eq!(remembered.get(&7), None);
        remembered.keep(&7, remembered.before(&7), "new");
        assert_eq!(remembered.get(&7), Some("new"));
        remembered.forget_all();
        assert_eq!(remembered.get(&7), None);
    }

    #[test]
    fn unheard_answers_grow_old_soon_and_heard_ones_do_not() {
        let remembered = Remembered::<u32, &str>::new();
        let since = Instant::now().checked_sub(UNHEARD_AGE_MAX * 2).unwrap();
        let answer = "active";
        remembered.kept.insert(7, Kept { answer, since });
        assert_eq!(remembered.get(&7), None);
        let current = Arc::new(AtomicBool::new(true));
        remembered.hears(Some(Arc::clone(&current)));
        assert_eq!(remembered.get(&7), Some("active"));
        current.store(false, Ordering::Release);
        assert_eq!(remembered.get(&7), None);
        current.store(true, Ordering::Release);
        remembered.hears(None);
        assert_eq!(remembered.get(&7), None);
    }
}
