//! The start-up barrier: what a role must have read before it may answer.
//!
//! A cache that isn't filled yet answers "there is none" as if it knew. So whoever must have read
//! something says so first, and is counted as not ready until it has; a try that failed is an
//! error that `/readyz` and the log show, and is made again, never taken for an empty answer.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::subscription::pause;

/// First and longest pause between tries to read.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What is missing, by name; with the last error, if there was one.
type Missing = BTreeMap<String, Option<String>>;

/// What a role must have read before it answers. Cheap to clone; clones are one barrier.
#[derive(Debug, Clone, Default)]
pub struct Barrier(Arc<watch::Sender<Missing>>);

/// A role has not read yet what it must have read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct NotReady(Missing);

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (what, error)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "not read yet: " } else { "; " };
            write!(f, "{separator}{what}")?;
            if let Some(error) = error {
                write!(f, " ({error})")?;
            }
        }
        Ok(())
    }
}

impl Barrier {
    /// Before the role answers, `what` must have been read. Raise it before the role listens.
    #[must_use]
    pub fn raise(&self, what: impl Into<String>) -> Reading {
        let what = what.into();
        self.0.send_modify(|missing| {
            missing.insert(what.clone(), None);
        });
        Reading {
            barrier: self.clone(),
            what,
        }
    }

    /// Has everything been read?
    ///
    /// # Errors
    /// What is missing, and what the last try met.
    pub fn check(&self) -> Result<(), NotReady> {
        let missing = self.0.borrow();
        if missing.is_empty() {
            return Ok(());
        }
        Err(NotReady(missing.clone()))
    }

    /// Waits until everything has been read.
    pub async fn passed(&self) {
        let mut missing = self.0.subscribe();
        // The sender is ours, so this only ends by what it waits for.
        let _passed = missing.wait_for(Missing::is_empty).await;
    }
}

/// Something that is being read. Dropped before that was done, it stays missing for good: nothing
/// is answered from half a cache.
#[derive(Debug)]
pub struct Reading {
    barrier: Barrier,
    what: String,
}

impl Reading {
    /// Reads until it succeeds, with growing pauses. False at shutdown.
    pub async fn until_done<E, F>(
        self,
        mut read: impl FnMut() -> F,
        shutdown: &CancellationToken,
    ) -> bool
    where
        E: std::error::Error + 'static,
        F: Future<Output = Result<(), E>>,
    {
        let mut failures = 0;
        loop {
            let read = tokio::select! {
                () = shutdown.cancelled() => return false,
                read = read() => read,
            };
            let Err(error) = read else {
                self.done();
                return true;
            };
            self.failed(&error);
            tokio::time::sleep(pause(PAUSES.0, PAUSES.1, failures)).await;
            failures += 1;
        }
    }

    /// It has been read.
    pub fn done(self) {
        self.barrier.0.send_modify(|missing| {
            missing.remove(&self.what);
        });
    }

    /// A try failed; the role stays not ready, and says why.
    pub fn failed(&self, error: &(dyn std::error::Error + 'static)) {
        tracing::warn!(what = self.what, error, "not ready: it could not be read");
        self.barrier.0.send_modify(|missing| {
            missing.insert(self.what.clone(), Some(error.to_string()));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_passed_when_everything_was_read_and_says_what_is_missing() {
        let barrier = Barrier::default();
        barrier.passed().await;
        let (claims, prices) = (barrier.raise("claims"), barrier.raise("prices"));
        let text = || barrier.check().unwrap_err().to_string();
        assert_eq!(text(), "not read yet: claims; prices");
        claims.done();
        let answers = Mutex::new(vec![Ok(()), Err(fmt::Error)]);
        let seen = Mutex::new(Vec::new());
        let read = || {
            seen.lock().unwrap().push(text());
            let answer = answers.lock().unwrap().pop().unwrap();
            async move { answer }
        };
        let shutdown = CancellationToken::new();
        let (done, ()) = tokio::join!(prices.until_done(read, &shutdown), barrier.passed());
        assert!(done);
        let failed = format!("not read yet: prices ({})", fmt::Error);
        assert_eq!(
            *seen.lock().unwrap(),
            ["not read yet: prices".to_owned(), failed]
        );
        barrier.check().unwrap();
    }

    #[tokio::test]
    async fn who_gives_up_never_makes_it_ready() {
        let barrier = Barrier::default();
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let reading = barrier.raise("claims");
        let read = || async { Err(fmt::Error) };
        assert!(!reading.until_done(read, &shutdown).await);
        barrier.check().unwrap_err();
    }
}
