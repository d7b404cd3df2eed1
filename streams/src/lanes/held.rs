//! What is held unacknowledged: a queue per key, and which keys may run.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

/// Something with a place in the stream and a key.
pub(super) trait Item {
    fn sequence(&self) -> u64;
    fn key(&self) -> &str;
    /// Is it the same message, come again?
    fn is_same(&self, other: &Self) -> bool;
}

/// Queues of deliveries by key. The head of a queue is what runs, or waits for its next try.
#[derive(Debug)]
pub(super) struct Held<T> {
    queues: HashMap<Arc<str>, VecDeque<Arc<T>>>,
    /// Keys whose head may run now, longest waiting first.
    ready: VecDeque<Arc<str>>,
    /// Keys whose head is tried again at that time.
    paused: BinaryHeap<Reverse<(Instant, Arc<str>)>>,
    sequences: HashSet<u64>,
}

impl<T: Item> Held<T> {
    pub(super) fn new() -> Self {
        Self {
            queues: HashMap::new(),
            ready: VecDeque::new(),
            paused: BinaryHeap::new(),
            sequences: HashSet::new(),
        }
    }

    /// Takes one in. One that is held already is dropped: acknowledging the first counts for both. It is given
    /// back where another is held in its place.
    pub(super) fn push(&mut self, item: T) -> Option<T> {
        if !self.sequences.insert(item.sequence()) {
            let mut held = self.iter();
            let same = held.any(|held| held.sequence() == item.sequence() && held.is_same(&item));
            return (!same).then_some(item);
        }
        let key: Arc<str> = Arc::from(item.key());
        let queue = self.queues.entry(Arc::clone(&key)).or_default();
        queue.push_back(Arc::new(item));
        if queue.len() == 1 {
            self.ready.push_back(key);
        }
        None
    }

    /// The next that may run. It stays held until [`Self::done`] or [`Self::pause`].
    pub(super) fn take(&mut self, now: Instant) -> Option<Arc<T>> {
        while let Some(Reverse((due, _))) = self.paused.peek()
            && *due <= now
        {
            let Some(Reverse((_, key))) = self.paused.pop() else {
                break;
            };
            self.ready.push_back(key);
        }
        let key = self.ready.pop_front()?;
        self.queues.get(&key)?.front().cloned()
    }

    /// When the first paused key is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.paused.peek().map(|Reverse((due, _))| *due)
    }

    /// The head of `key` is finished: the next one of the key may run.
    pub(super) fn done(&mut self, key: &str) {
        let Some((key, queue)) = self.queues.get_key_value(key) else {
            return;
        };
        let (key, last) = (Arc::clone(key), queue.len() == 1);
        if last {
            let gone = self.queues.remove(&key).and_then(|mut q| q.pop_front());
            gone.map(|item| self.sequences.remove(&item.sequence()));
            return;
        }
        let gone = self.queues.get_mut(&key).and_then(VecDeque::pop_front);
        gone.map(|item| self.sequences.remove(&item.sequence()));
        self.ready.push_back(key);
    }

    /// The head of `key` is tried again at `due`.
    pub(super) fn pause(&mut self, key: &str, due: Instant) {
        if let Some((key, _)) = self.queues.get_key_value(key) {
            self.paused.push(Reverse((due, Arc::clone(key))));
        }
    }

    /// Is anything of `key` held?
    pub(super) fn has(&self, key: &str) -> bool {
        self.queues.contains_key(key)
    }

    /// How much of `key` is held.
    pub(super) fn count(&self, key: &str) -> usize {
        self.queues.get(key).map_or(0, VecDeque::len)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.queues.values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug)]
    struct One(u64, &'static str);

    impl Item for One {
        fn sequence(&self) -> u64 {
            self.0
        }

        fn key(&self) -> &str {
            self.1
        }

        fn is_same(&self, other: &Self) -> bool {
            self.1 == other.1
        }
    }

    fn held(items: &[(u64, &'static str)]) -> Held<One> {
        let mut held = Held::new();
        for (sequence, key) in items {
            assert!(held.push(One(*sequence, key)).is_none());
        }
        held
    }

    fn take(held: &mut Held<One>) -> Option<u64> {
        held.take(Instant::now()).map(|one| one.0)
    }

    #[tokio::test]
    async fn one_key_runs_in_order_while_others_run_beside_it() {
        let mut held = held(&[(1, "a"), (2, "a"), (3, "b")]);
        assert_eq!(take(&mut held), Some(1));
        assert_eq!(take(&mut held), Some(3));
        assert_eq!(take(&mut held), None, "2 waits behind 1");
        held.done("a");
        assert_eq!(take(&mut held), Some(2));
        held.done("a");
        held.done("b");
        assert!(held.sequences.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_key_blocks_nobody_but_itself() {
        let mut held = held(&[(1, "a"), (2, "a"), (3, "b")]);
        assert_eq!(take(&mut held), Some(1));
        held.pause("a", Instant::now() + Duration::from_secs(1));
        assert_eq!(take(&mut held), Some(3));
        assert_eq!(take(&mut held), None);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(take(&mut held), Some(1), "again, and before 2");
    }

    #[tokio::test]
    async fn a_delivery_that_is_held_already_is_dropped() {
        let mut held = held(&[(1, "a"), (1, "a")]);
        assert_eq!(held.sequences.len(), 1);
        assert_eq!(take(&mut held), Some(1));
        held.done("a");
        assert_eq!(take(&mut held), None);
        assert!(held.push(One(1, "a")).is_none());
        assert_eq!(
            take(&mut held),
            Some(1),
            "but a later redelivery runs again"
        );
    }
    #[tokio::test]
    async fn another_in_the_place_of_one_that_is_held_is_given_back() {
        let mut held = held(&[(1, "a")]);
        assert_eq!(held.push(One(1, "b")).map(|one| one.1), Some("b"));
    }
}
