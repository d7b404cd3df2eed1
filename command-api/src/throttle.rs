//! Guessing a password is slowed down per account.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use edge::Problem;
use kernel::EmailClaimId;
use moka::sync::Cache;

/// Wrong passwords for one account within [`WINDOW`] before it answers 429.
const FAILURES_MAX: u32 = 10;

/// How long a first failure is remembered.
const WINDOW: Duration = Duration::from_mins(5);

/// Most accounts that are remembered; beyond it the least used are forgotten.
const ACCOUNTS_MAX: u64 = 50_000;

/// Counts failures per account, in this process: behind n processes an account has n times as many
/// tries, which argon2 still makes few. It counts for addresses that nobody has as well, so that it
/// doesn't tell which exist.
pub(crate) struct Throttle(Cache<EmailClaimId, Arc<Failures>>);

struct Failures {
    since: Instant,
    count: AtomicU32,
}

impl Throttle {
    pub(crate) fn new() -> Self {
        Self(
            Cache::builder()
                .max_capacity(ACCOUNTS_MAX)
                .time_to_live(WINDOW)
                .build(),
        )
    }

    /// Counts an attempt before it is made, so that a thousand at once are not a thousand free ones.
    ///
    /// # Errors
    /// 429 when there were too many.
    pub(crate) fn attempt(&self, account: EmailClaimId) -> Result<(), Problem> {
        let failures = self.0.get_with(account, || {
            Arc::new(Failures {
                since: Instant::now(),
                count: AtomicU32::new(0),
            })
        });
        if failures.count.fetch_add(1, Ordering::Relaxed) < FAILURES_MAX {
            return Ok(());
        }
        let left = WINDOW.saturating_sub(failures.since.elapsed());
        Err(too_many_attempts().retry(left))
    }

    /// The password was right: nothing is held against the account.
    pub(crate) fn succeeded(&self, account: EmailClaimId) {
        self.0.invalidate(&account);
    }
}

/// 429: guessing is over for now.
pub(crate) fn too_many_attempts() -> Problem {
    let detail = "too many wrong passwords for this account";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", detail).retry(WINDOW)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn ten_failures_are_enough_unless_one_succeeds() {
        let throttle = Throttle::new();
        let (ann, ben) = (
            EmailClaimId(Uuid::from_u128(1)),
            EmailClaimId(Uuid::from_u128(2)),
        );
        for _ in 0..FAILURES_MAX {
            assert!(throttle.attempt(ann).is_ok());
        }
        let refused = throttle.attempt(ann).unwrap_err();
        assert_eq!(refused.status.as_u16(), 429);
        assert!(refused.retry_after.is_some_and(|after| after <= WINDOW));
        assert!(throttle.attempt(ben).is_ok());
        throttle.succeeded(ann);
        assert!(throttle.attempt(ann).is_ok());
    }
}
