//! How long to wait after the n-th failure in a row.

use std::time::Duration;

use tokio::time::Instant;

use crate::jitter::jittered;

/// Failures in a row, and when the next try is due.
///
/// It outlives a canceled future: whoever drops a `next()` in the middle of a pause finds the
/// rest of the pause again.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
    due: Option<Instant>,
}

impl Backoff {
    /// The first pause is `first`, then twice as long each time, up to `max`.
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max,
            failures: 0,
            due: None,
        }
    }

    /// Another failure: the next try is due after a pause with jitter (half of it is random).
    pub(crate) fn failed(&mut self) -> Duration {
        let pause = pause(self.first, self.max, self.failures);
        self.failures = self.failures.saturating_add(1);
        self.due = Some(Instant::now() + pause);
        pause
    }

    /// It works again.
    pub(crate) fn worked(&mut self) {
        self.failures = 0;
        self.due = None;
    }

    /// Waits until the next try is due. Cancel-safe.
    pub(crate) async fn wait(&mut self) {
        if let Some(due) = self.due {
            tokio::time::sleep_until(due).await;
            self.due = None;
        }
    }
}

/// The pause before try `failures + 1`: `first` doubled per failure, at most `max`, the second
/// half of it random so that many waiters don't come back at once.
pub(crate) fn pause(first: Duration, max: Duration, failures: u32) -> Duration {
    let whole = first
        .saturating_mul(2_u32.saturating_pow(failures.min(20)))
        .min(max);
    jittered(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_stay_bounded() {
        let (first, max) = (Duration::from_millis(100), Duration::from_mins(1));
        for failures in 0..64 {
            let got = pause(first, max, failures);
            let whole = first.saturating_mul(1 << failures.min(20)).min(max);
            assert!(got >= whole / 2 && got <= whole, "{failures}: {got:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_canceled_wait_goes_on_where_it_was() {
        let mut backoff = Backoff::new(Duration::from_secs(8), Duration::from_secs(8));
        let pause = backoff.failed();
        let start = Instant::now();
        let cut = tokio::time::timeout(Duration::from_secs(1), backoff.wait()).await;
        assert!(cut.is_err());
        backoff.wait().await;
        assert!(start.elapsed() >= pause);
        assert!(start.elapsed() < pause + Duration::from_secs(1));
    }
}
