//! The bounded set of aggregates in memory.

use std::any::Any;
use std::sync::Arc;

use kernel::Decider;

use super::held::{Held, Known};

type Anything = Arc<dyn Any + Send + Sync>;

/// Aggregates by subject, of all types.
pub(super) struct Cache(quick_cache::sync::Cache<Arc<str>, Anything>);

impl Cache {
    /// Room for `capacity` aggregates; 0 = none is kept.
    pub(super) fn new(capacity: u64) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        Self(quick_cache::sync::Cache::new(capacity))
    }

    /// The aggregate at `subject`, if it is there and an `A`.
    pub(super) fn get<A: Decider>(&self, subject: &str) -> Option<Arc<Held<A>>> {
        self.0.get(subject)?.downcast().ok()
    }

    pub(super) fn insert<A: Decider>(&self, subject: Arc<str>, known: Known<A>) -> Arc<Held<A>> {
        let held = Arc::new(Held::new(known));
        self.0.insert(subject, Arc::clone(&held) as Anything);
        held
    }

    /// Keeps `held` at `subject`.
    pub(super) fn keep<A: Decider>(&self, subject: &Arc<str>, held: &Arc<Held<A>>) {
        self.0
            .insert(Arc::clone(subject), Arc::clone(held) as Anything);
    }

    /// Forgets what may not be true any more.
    pub(super) fn evict(&self, subject: &str) {
        self.0.remove(subject);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::account::Account;

    fn kept(cache: &Cache, count: u32) -> u32 {
        let subject = |number| format!("event.account.{number}").into();
        for number in 0..count {
            cache.insert::<Account>(subject(number), Known::new());
        }
        let found = (0..count).filter(|n| cache.get::<Account>(&subject(*n)).is_some());
        found.map(|_| 1).sum()
    }

    #[test]
    fn it_holds_as_many_as_it_may_and_no_more() {
        assert_eq!(kept(&Cache::new(0), 100), 0);
        assert_eq!(kept(&Cache::new(1_000), 100), 100);
        let bounded = kept(&Cache::new(1_000), 10_000);
        assert!((500..=1_000).contains(&bounded), "{bounded}");
    }
}
