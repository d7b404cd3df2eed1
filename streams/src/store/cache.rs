//! The bounded set of aggregates in memory.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kernel::Decider;
use quick_cache::Weighter;

use super::held::{Held, Known};

/// What one place holds, in bytes.
const PLACE_BYTES: usize = 2_048;

/// An aggregate of any type.
#[derive(Clone)]
struct Kept {
    held: Arc<dyn Any + Send + Sync>,
    places: u64,
}

#[derive(Clone)]
struct Places;

impl Weighter<Arc<str>, Kept> for Places {
    fn weight(&self, _subject: &Arc<str>, kept: &Kept) -> u64 {
        kept.places
    }
}

/// One may take this part of the room that it can have: a shard of the cache keeps nothing that is larger than itself,
/// and what nearly fills it drives out all else there.
const SHARE_OF_SHARD: u64 = 2;

/// Aggregates by subject, of all types.
pub(super) struct Cache {
    kept: quick_cache::sync::Cache<Arc<str>, Kept, Places>,
    /// What is larger counts as so many places.
    places_max: u64,
}

impl Cache {
    /// So many places, [`PLACE_BYTES`] each; 0 = none is kept.
    pub(super) fn new(places: u64) -> Self {
        let aggregates = usize::try_from(places).unwrap_or(usize::MAX);
        let kept = quick_cache::sync::Cache::with_weighter(aggregates, places, Places);
        let places_max = (kept.shard_capacity() / SHARE_OF_SHARD).max(1);
        Self { kept, places_max }
    }

    /// The aggregate at `subject`, if it is there, an `A`, and whole.
    pub(super) fn get<A: Decider>(&self, subject: &str) -> Option<Arc<Held<A>>> {
        let held: Arc<Held<A>> = self.kept.get(subject)?.held.downcast().ok()?;
        (!held.is_broken()).then_some(held)
    }

    pub(super) fn insert<A: Decider>(&self, subject: &Arc<str>, known: Known<A>) -> Arc<Held<A>> {
        let held = Arc::new(Held::new(known));
        self.keep(subject, &held);
        held
    }

    /// Keeps `held` at `subject`.
    pub(super) fn keep<A: Decider>(&self, subject: &Arc<str>, held: &Arc<Held<A>>) {
        let places = self.places(&held.lock());
        held.places.store(places, Ordering::Relaxed);
        let kept = Kept {
            held: Arc::clone(held) as _,
            places,
        };
        self.kept.insert(Arc::clone(subject), kept);
    }

    /// Keeps `held` at `subject` if it isn't kept yet, or takes more or less room since.
    pub(super) fn keep_changed<A: Decider>(&self, subject: &Arc<str>, held: &Arc<Held<A>>) {
        if held.places.load(Ordering::Relaxed) != self.places(&held.lock()) {
            self.keep(subject, held);
        }
    }

    /// Forgets what may not be true any more.
    pub(super) fn evict(&self, subject: &str) {
        self.kept.remove(subject);
    }

    /// How many places are taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> u64 {
        self.kept.weight()
    }

    fn places<A: Decider>(&self, known: &Known<A>) -> u64 {
        let more = known.bytes() / PLACE_BYTES;
        let places = 1 + u64::try_from(more).unwrap_or(u64::MAX - 1);
        places.min(self.places_max)
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use kernel::AggregateId;
    use uuid::Uuid;

    use super::*;
    use crate::contract::account::{Account, AccountCommand, NumberClaim};
    use crate::envelope::CommandMeta;
    use crate::store::{Settings, Streams};

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

    /// As many commands as are remembered: of 16 bytes each, they are eight places.
    async fn a_thousand(streams: &Streams, id: &AggregateId) {
        for amount in 0..1_000 {
            let command = match amount {
                0 => AccountCommand::Open,
                _ => AccountCommand::Deposit(vec![amount]),
            };
            let meta = CommandMeta::new(Uuid::new_v4(), Utc::now(), "system");
            let done = streams.execute::<Account>(id, command, &meta).await;
            done.unwrap();
        }
    }

    #[tokio::test]
    async fn one_that_grows_takes_more_room() {
        let (streams, id) = (Streams::in_memory(), "a-1".parse().unwrap());
        a_thousand(&streams, &id).await;
        assert_eq!(streams.inner.cache.taken(), 9);
    }

    #[tokio::test]
    async fn one_that_others_let_grow_takes_more_room_once_that_is_read() {
        let (there, id) = (Streams::in_memory(), "a-1".parse().unwrap());
        let here = there.with_settings(Settings::default());
        here.load::<Account>(&id).await.unwrap();
        assert_eq!(here.inner.cache.taken(), 1);
        a_thousand(&there, &id).await;
        here.load_current::<Account>(&id).await.unwrap();
        let taken = here.inner.cache.taken();
        assert!((9..=2 * 9).contains(&taken), "{taken}");
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
        assert!(
            (50..=100).contains(&cache.kept.len()),
            "{}",
            cache.kept.len()
        );
        assert!(cache.taken() <= 1_000, "{}", cache.taken());
    }

    #[test]
    fn one_that_is_larger_than_a_shard_stays_and_leaves_room_for_others() {
        let cache = Cache::new(1_000);
        let subject = Arc::from("event.account.large");
        let held = cache.insert::<Account>(&subject, Known::new());
        held.lock().largest = 100_000 * PLACE_BYTES;
        cache.keep_changed(&subject, &held);
        assert!(cache.get::<Account>(&subject).is_some());
        let beside = kept(&cache, 100);
        assert!(beside >= 80, "{beside}");
        assert!(cache.get::<Account>(&subject).is_some());
    }

    #[test]
    fn one_that_remembers_more_than_its_events_tell_takes_the_room_that_it_says() {
        let mut long = Known::<NumberClaim>::new();
        long.state = Arc::new(NumberClaim::of("x".repeat(8 * PLACE_BYTES)));
        let cache = Cache::new(1_000);
        cache.insert(&"event.account.number.1".into(), long);
        assert_eq!(cache.taken(), 9);
    }
}
