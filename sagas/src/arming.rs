//! Those that are under way, and whether each has its timer: looked at one after another, beside everything
//! else, for there may be very many of them.

use std::collections::HashSet;
use std::fmt;
use std::future::{Future, pending};
use std::hash::Hash;
use std::panic::resume_unwind;

use streams::lanes::HandleError;
use tokio::task::JoinSet;

/// Most that are remembered, 32 bytes each and a little; the rest relies on timers that are never lost.
const OPEN_MAX: usize = 200_000;

/// Which of them are under way.
pub(crate) struct Arming<K> {
    open: HashSet<K>,
    /// The look at those that were open when it began; one at a time.
    look: JoinSet<HashSet<K>>,
}

impl<K> Default for Arming<K> {
    fn default() -> Self {
        Self {
            open: HashSet::new(),
            look: JoinSet::new(),
        }
    }
}

impl<K: Clone + fmt::Debug + Eq + Hash + Send + Sync + 'static> Arming<K> {
    /// It is under way.
    pub(crate) fn add(&mut self, saga: K) {
        if self.open.len() < OPEN_MAX {
            self.open.insert(saga);
        }
    }

    /// It waits for facts only. One that is being looked at is found to be so the next time.
    pub(crate) fn remove(&mut self, saga: &K) {
        self.open.remove(saga);
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Begins to look at all of them, unless it is at it. `arm` sets the timer of one that should have one and
    /// hasn't; false = it has no deadline, and is looked at again once something happens to it.
    pub(crate) fn start<A>(&mut self, arm: impl Fn(K) -> A + Send + 'static)
    where
        A: Future<Output = Result<bool, HandleError>> + Send + 'static,
    {
        if !self.look.is_empty() {
            return;
        }
        let mut open = std::mem::take(&mut self.open);
        self.look.spawn(async move {
            let mut idle = Vec::new();
            for saga in &open {
                let armed = arm(saga.clone()).await;
                idle.extend(is_idle(saga, armed).then(|| saga.clone()));
            }
            for saga in idle {
                open.remove(&saga);
            }
            open
        });
    }

    /// Until all have been looked at. Whatever was heard of meanwhile is under way as well.
    pub(crate) async fn next(&mut self) {
        match self.look.join_next().await {
            Some(Ok(open)) => self.open.extend(open),
            Some(Err(error)) => {
                if let Ok(panic) = error.try_into_panic() {
                    resume_unwind(panic);
                }
            }
            None => pending().await,
        }
    }
}

/// Was there no deadline to set a timer to?
fn is_idle(saga: impl fmt::Debug, armed: Result<bool, HandleError>) -> bool {
    match armed {
        Ok(armed) => !armed,
        Err(error) => {
            let error: &dyn std::error::Error = error.source.as_ref();
            tracing::warn!(?saga, error, "its timer is looked at again later");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn of(sagas: [usize; 3]) -> Arming<usize> {
        let mut arming = Arming::default();
        for saga in sagas {
            arming.add(saga);
        }
        arming
    }

    #[tokio::test]
    async fn one_that_can_not_be_looked_at_keeps_nobody_waiting() {
        let mut arming = of([1, 2, 3]);
        arming.start(|_| pending());
        tokio::task::yield_now().await;
        assert!(arming.next().now_or_never().is_none());
        arming.add(4);
        arming.start(|_| pending());
        assert_eq!(
            arming.len(),
            1,
            "heard of meanwhile, and its turn comes when that is over"
        );
    }

    #[tokio::test]
    async fn one_that_waits_for_facts_only_is_not_looked_at_again() {
        let mut arming = of([1, 2, 3]);
        let no = || HandleError::retryable(std::io::Error::other("nobody answers"));
        arming.start(move |saga| async move { if saga == 3 { Err(no()) } else { Ok(saga == 1) } });
        arming.add(2);
        arming.next().await;
        let heard_again = [1, 2, 3];
        assert_eq!(arming.open, HashSet::from(heard_again));
        arming.start(|saga| async move { Ok(saga == 1) });
        arming.next().await;
        assert_eq!(arming.open, HashSet::from([1]));
    }
}
