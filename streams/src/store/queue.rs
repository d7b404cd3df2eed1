//! Commands of one aggregate wait for each other in this process, instead of racing.

use std::collections::HashMap;
use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turns, OwnedMutexGuard};
use tokio::time::timeout;

use super::error::ExecuteError;

/// Maps, so that aggregates don't contend for one lock.
const SHARDS: usize = 64;

/// How long a command waits for its turns. Less than a request has (30 s): so whoever asked is told that nothing
/// was done, and not that nobody knows.
const TURN_TIME_MAX: Duration = Duration::from_secs(20);

type Shard = Mutex<HashMap<Arc<str>, Arc<Turns<()>>>>;

/// One queue for each aggregate that somebody is at.
#[derive(Debug)]
pub(super) struct Queues {
    shards: Arc<[Shard]>,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
        }
    }
}

/// The right to change an aggregate, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    // Dropped before the ticket, which then sees whether anybody else waits.
    _guard: OwnedMutexGuard<()>,
    _ticket: Ticket,
}

/// A command's turn, or turns.
///
/// # Errors
/// [`ExecuteError::Conflict`]: others are at it for too long.
pub(super) async fn in_time<T, R: Error + 'static>(
    turns: impl Future<Output = T>,
) -> Result<T, ExecuteError<R>> {
    let turns = timeout(TURN_TIME_MAX, turns).await;
    turns.map_err(|_late| ExecuteError::Conflict)
}

/// A place in a queue: also given back when the wait is given up.
#[derive(Debug)]
struct Ticket {
    shards: Arc<[Shard]>,
    shard: usize,
    subject: Arc<str>,
    turns: Arc<Turns<()>>,
}

impl Queues {
    /// Waits until nobody else is at `subject`. First come, first served.
    pub(super) async fn turn(&self, subject: &Arc<str>) -> Turn {
        let ticket = self.ticket(subject);
        let guard = Arc::clone(&ticket.turns).lock_owned().await;
        Turn {
            _guard: guard,
            _ticket: ticket,
        }
    }

    fn ticket(&self, subject: &Arc<str>) -> Ticket {
        let mut hasher = DefaultHasher::new();
        subject.hash(&mut hasher);
        #[expect(clippy::cast_possible_truncation, reason = "taken modulo 64 anyway")]
        let shard = hasher.finish() as usize % SHARDS;
        let turns = lock(&self.shards, shard).map_or_else(Arc::default, |mut queues| {
            Arc::clone(queues.entry(Arc::clone(subject)).or_default())
        });
        Ticket {
            shards: Arc::clone(&self.shards),
            shard,
            subject: Arc::clone(subject),
            turns,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(mut queues) = lock(&self.shards, self.shard) {
            // The map's and ours: nobody else waits or works.
            if Arc::strong_count(&self.turns) == 2 {
                queues.remove(&self.subject);
            }
        }
    }
}

type Held<'a> = MutexGuard<'a, HashMap<Arc<str>, Arc<Turns<()>>>>;

/// A map is whole at every point where its lock could be poisoned.
fn lock(shards: &[Shard], shard: usize) -> Option<Held<'_>> {
    let shard = shards.get(shard)?;
    Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_left_behind() {
        let queues = Queues::default();
        let subject: Arc<str> = "event.account.a".into();
        let first = queues.turn(&subject).await;
        let given_up =
            tokio::time::timeout(std::time::Duration::from_millis(5), queues.turn(&subject));
        assert!(given_up.await.is_err());
        drop(first);
        drop(queues.turn(&subject).await);
        let left: usize = queues.shards.iter().map(|s| s.lock().unwrap().len()).sum();
        assert_eq!(left, 0);
    }
}
