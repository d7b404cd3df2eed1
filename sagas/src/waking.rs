//! Those that an operator lets go on, until each has asked what is due: so many at a time, and beside
//! everything else, for there may be thousands of old ones.

use std::fmt;
use std::future::{Future, pending};
use std::hash::Hash;
use std::panic::resume_unwind;

use indexmap::IndexMap;
use streams::lanes::HandleError;
use tokio::task::JoinSet;

use crate::runner::Origin;

/// Most that are woken at the same time.
const AT_ONCE: usize = 16;

/// Which of them wait to be woken, and which are being.
pub(crate) struct Waking<K> {
    /// And where their wish comes from. The newest is last, and woken first.
    waiting: IndexMap<K, Origin>,
    /// Those that could not ask. Their turn comes when nobody waits who was not tried yet.
    failed: IndexMap<K, Origin>,
    under_way: JoinSet<(K, Origin, Result<(), HandleError>)>,
}

impl<K> Default for Waking<K> {
    fn default() -> Self {
        Self {
            waiting: IndexMap::new(),
            failed: IndexMap::new(),
            under_way: JoinSet::new(),
        }
    }
}

impl<K: fmt::Debug + Eq + Hash + Send + 'static> Waking<K> {
    /// An operator lets it go on.
    pub(crate) fn add(&mut self, saga: K, origin: Origin) {
        self.remove(&saga);
        self.waiting.insert(saga, origin);
    }

    /// Somebody works on it.
    pub(crate) fn remove(&mut self, saga: &K) {
        // The others stay in their order.
        self.waiting.shift_remove(saga);
        self.failed.shift_remove(saga);
    }

    /// Begins with as many as may be woken now.
    pub(crate) fn start<W>(&mut self, wake: impl Fn(K, Origin) -> W)
    where
        W: Future<Output = (K, Origin, Result<(), HandleError>)> + Send + 'static,
    {
        while self.under_way.len() < AT_ONCE {
            let Some((saga, origin)) = self.waiting.pop() else {
                return;
            };
            self.under_way.spawn(wake(saga, origin));
        }
    }

    /// Until one has been woken.
    pub(crate) async fn next(&mut self) {
        match self.under_way.join_next().await {
            Some(Ok((_, _, Ok(())))) => {}
            Some(Ok((saga, origin, Err(error)))) => {
                let error: &dyn std::error::Error = error.source.as_ref();
                tracing::warn!(?saga, error, "it goes on a little later");
                if !self.waiting.contains_key(&saga) {
                    self.failed.insert(saga, origin);
                }
            }
            Some(Err(error)) => {
                if let Ok(panic) = error.try_into_panic() {
                    resume_unwind(panic);
                }
            }
            None => pending().await,
        }
    }

    /// Is there one to be tried again, and none that was not tried?
    pub(crate) fn may_try_again(&self) -> bool {
        self.waiting.is_empty() && !self.failed.is_empty()
    }

    pub(crate) fn try_again(&mut self) {
        self.waiting.append(&mut self.failed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use kernel::OrderId;
    use streams::clock;
    use tokio::sync::Notify;
    use uuid::Uuid;

    use super::*;

    fn origin() -> Origin {
        Origin {
            source_id: Uuid::nil(),
            order_id: OrderId(Uuid::nil()),
            causation_id: None,
            traceparent: None,
            at: clock::now(),
        }
    }

    /// Notes who is woken, in this order.
    #[derive(Clone, Default)]
    struct Woken {
        sagas: Arc<Mutex<Vec<usize>>>,
        answered: Arc<Notify>,
    }

    impl Woken {
        fn sagas(&self) -> Vec<usize> {
            self.sagas.lock().unwrap().clone()
        }

        /// It is answered when it is notified.
        fn start(&self, waking: &mut Waking<usize>) {
            waking.start(|saga, origin| {
                self.sagas.lock().unwrap().push(saga);
                let answered = Arc::clone(&self.answered);
                async move {
                    answered.notified().await;
                    (saga, origin, Ok(()))
                }
            });
        }

        /// It is answered at once, with an error if it is the first.
        fn fails(&self, waking: &mut Waking<usize>) {
            waking.start(|saga, origin| {
                self.sagas.lock().unwrap().push(saga);
                let failed = saga == 0;
                async move {
                    let no = HandleError::retryable(std::io::Error::other("nobody answers"));
                    (saga, origin, if failed { Err(no) } else { Ok(()) })
                }
            });
        }
    }

    #[tokio::test]
    async fn a_new_wish_does_not_wait_for_thousands_of_old_ones() {
        let (mut waking, woken) = (Waking::default(), Woken::default());
        for old in 0..5_000 {
            waking.add(old, origin());
        }
        woken.start(&mut waking);
        assert_eq!(woken.sagas().len(), AT_ONCE, "so many at a time");
        waking.add(5_000, origin());
        woken.answered.notify_one();
        waking.next().await;
        woken.start(&mut waking);
        assert_eq!(woken.sagas().last(), Some(&5_000));
    }

    #[tokio::test]
    async fn one_that_could_not_ask_is_tried_again_once_each_other_was_tried() {
        let (mut waking, woken) = (Waking::default(), Woken::default());
        for saga in [1, 0] {
            waking.add(saga, origin());
        }
        woken.fails(&mut waking);
        for _ in 0..2 {
            waking.next().await;
        }
        waking.add(2, origin());
        assert!(!waking.may_try_again(), "a new one comes first");
        woken.fails(&mut waking);
        waking.next().await;
        assert!(waking.may_try_again());
        waking.try_again();
        woken.fails(&mut waking);
        assert_eq!(woken.sagas(), [0, 1, 2, 0]);
    }

    #[tokio::test]
    async fn one_that_somebody_works_on_is_not_woken() {
        let (mut waking, woken) = (Waking::default(), Woken::default());
        waking.add(1, origin());
        waking.remove(&1);
        woken.start(&mut waking);
        assert!(woken.sagas().is_empty());
    }

    #[tokio::test]
    async fn the_newest_stays_first_when_an_older_one_is_taken_out() {
        let (mut waking, woken) = (Waking::default(), Woken::default());
        for saga in 0..3 {
            waking.add(saga, origin());
        }
        waking.remove(&0);
        woken.start(&mut waking);
        assert_eq!(woken.sagas(), [2, 1]);
    }
}
