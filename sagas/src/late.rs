//! When that is asked again which may be late: soon at first, then less and less often.

use std::hash::Hash;
use std::time::Duration;

use chrono::TimeDelta;
use moka::sync::Cache;
use streams::jitter::jittered;

/// The first pause; it doubles.
const FIRST: Duration = Duration::from_secs(1);

/// How long those pause that were not answered. A role that begins anew begins with short pauses.
pub(crate) struct Late<K> {
    pauses: Cache<K, Duration>,
    longest: Duration,
}

impl<K: Hash + Eq + Send + Sync + 'static> Late<K> {
    /// Of so many at most. None pauses longer than `longest`.
    pub(crate) fn new(memory: u64, longest: Duration) -> Self {
        Self {
            pauses: Cache::new(memory),
            longest,
        }
    }

    /// It was not answered: how long until it is asked again?
    pub(crate) fn again(&self, id: K) -> TimeDelta {
        let doubled = self.pauses.get(&id).map(|last| last.saturating_mul(2));
        let pause = doubled.unwrap_or(FIRST).min(self.longest);
        self.pauses.insert(id, pause);
        TimeDelta::from_std(jittered(pause)).unwrap_or(TimeDelta::MAX)
    }

    /// It was answered.
    pub(crate) fn answered(&self, id: &K) {
        self.pauses.invalidate(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_is_asked_again_soon_and_then_less_and_less_often() {
        let late = Late::new(10, Duration::from_mins(1));
        let pauses = |longest: [i64; 8]| {
            for longest in longest.map(TimeDelta::seconds) {
                let pause = late.again("order");
                assert!(pause <= longest && pause >= longest / 2, "{pause}");
            }
        };
        pauses([1, 2, 4, 8, 16, 32, 60, 60]);
        late.answered(&"order");
        pauses([1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
