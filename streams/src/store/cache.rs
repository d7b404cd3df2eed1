//! The bounded set of aggregates in memory.

use std::any::Any;
use std::sync::Arc;

use kernel::Decider;
use quick_cache::Weighter;

use super::held::{Held, Known};

/// What one place holds, in bytes.
const PLACE_BYTES: usize = 2_048;

/// An aggregate of any type.
#[derive(Clone)]
struct Kept {
    held: Arc<dyn Any + Send + Sync>,
    /// As large as it was when it came: what it grows by later is little.
    places: u64,
}

#[derive(Clone)]
struct Places;

impl Weighter<Arc<str>, Kept> for Places {
    fn weight(&self, _subject: &Arc<str>, kept: &Kept) -> u64 {
        kept.places
    }
}

/// Aggregates by subject, of all types.
pub(super) struct Cache(quick_cache::sync::Cache<Arc<str>, Kept, Places>);

impl Cache {
    /// So many places, [`PLACE_BYTES`] each; 0 = none is kept.
    pub(super) fn new(places: u64) -> Self {
        let aggregates = usize::try_from(places).unwrap_or(usize::MAX);
        let cache = quick_cache::sync::Cache::with_weighter(aggregates, places, Places);
        Self(cache)
    }

    /// The aggregate at `subject`, if it is there, an `A`, and whole.
    pub(super) fn get<A: Decider>(&self, subject: &str) -> Option<Arc<Held<A>>> {
        let held: Arc<Held<A>> = self.0.get(subject)?.held.downcast().ok()?;
        (!held.is_broken()).then_some(held)
    }

    pub(super) fn insert<A: Decider>(&self, subject: &Arc<str>, known: Known<A>) -> Arc<Held<A>> {
        let held = Arc::new(Held::new(known));
        self.keep(subject, &held);
        held
    }

    /// Keeps `held` at `subject`.
    pub(super) fn keep<A: Decider>(&self, subject: &Arc<str>, held: &Arc<Held<A>>) {
        let more = held.lock().bytes() / PLACE_BYTES;
        let kept = Kept {
            held: Arc::clone(held) as _,
            places: 1 + u64::try_from(more).unwrap_or(u64::MAX - 1),
        };
        self.0.insert(Arc::clone(subject), kept);
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
        let subject = |number| Arc::from(format!("event.account.{number}"));
        for number in 0..count {
            cache.insert::<Account>(&subject(number), Known::new());
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

    #[test]
    fn a_large_one_takes_the_room_of_many() {
        let cache = Cache::new(1_000);
        for number in 0..1_000 {
            let subject = format!("event.account.{number}").into();
            let mut large = Known::<Account>::new();
            large.largest = 9 * PLACE_BYTES;
            cache.insert(&subject, large);
        }
        assert!((50..=100).contains(&cache.0.len()), "{}", cache.0.len());
        assert!(cache.0.weight() <= 1_000, "{}", cache.0.weight());
    }
}
