//! Guessing passwords is slowed down, per account and per address.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use edge::{Problem, counted_as};
use kernel::EmailClaimId;
use moka::sync::Cache;
use streams::{Connection, Headcount};
use tokio_util::sync::CancellationToken;

/// Wrong passwords for one account within [`WINDOW`] before it answers 429.
const ACCOUNT_FAILURES_MAX: u32 = 10;

/// Wrong passwords from one address within [`WINDOW`] before it is answered 429: many people may be
/// behind one, and as many of them sign in at once as passwords may wait to be checked.
const ADDRESS_FAILURES_MAX: u32 = 300;

/// How long a first failure is remembered.
const WINDOW: Duration = Duration::from_mins(5);

/// Most accounts, and most addresses, that are remembered; beyond it the least used are forgotten.
const REMEMBERED_MAX: u64 = 50_000;

/// Under which name replicas find each other.
const ROLE: &str = "command-api";

/// How often replicas are looked for.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Counts failures in this process. It counts for accounts that nobody has as well, so that it doesn't
/// tell which exist.
///
/// Replicas share a limit by each taking its part, as gateways do: of n that accounts are hosted by, each
/// counts a failure n times. So there are never more tries than the limit, and fewer for who happens
/// to be sent to the same replica again and again; one each there always is.
pub(crate) struct Throttle {
    replicas: AtomicU32,
    accounts: Failures<EmailClaimId>,
    addresses: Failures<IpAddr>,
}

/// Who tries to show that they know a password.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    /// For which account.
    pub(crate) account: EmailClaimId,
    /// From where; `None` = over no socket.
    pub(crate) address: Option<IpAddr>,
}

impl Throttle {
    pub(crate) fn new() -> Self {
        Self {
            replicas: AtomicU32::new(1),
            accounts: Failures::at_most(ACCOUNT_FAILURES_MAX),
            addresses: Failures::at_most(ADDRESS_FAILURES_MAX),
        }
    }

    /// Keeps the number of those who share the limits up to date, until `shutdown`.
    pub(crate) async fn follow(&self, nats: &Connection, shutdown: CancellationToken) {
        let mut count = Headcount::default();
        while !shutdown.is_cancelled() {
            if nats.is_connected() {
                match nats.replicas(ROLE).await {
                    Ok(found) => {
                        let hosts = found.values().filter(|it| host_users(&it.contexts));
                        self.share(count.found(hosts.count()));
                    }
                    Err(error) => tracing::warn!(%error, "replicas can't be looked for"),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_PAUSE) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    /// So many replicas share the limits from now on.
    fn share(&self, replicas: usize) {
        let replicas = u32::try_from(replicas).unwrap_or(u32::MAX).max(1);
        if self.replicas.swap(replicas, Ordering::Relaxed) != replicas {
            tracing::info!(replicas, "the limits on passwords are shared anew");
        }
    }

    fn replicas(&self) -> u32 {
        self.replicas.load(Ordering::Relaxed)
    }

    /// Counts an attempt before it is made, so that a thousand at once are not a thousand free ones.
    ///
    /// # Errors
    /// 429 when there were too many. From an address with too many nothing is held against an
    /// account.
    pub(crate) fn attempt(&self, attempt: Attempt) -> Result<(), Problem> {
        let too_many = |left| too_many_attempts().retry(left);
        if let Some(address) = attempt.address {
            self.addresses
                .count(counted_as(address), self.replicas())
                .map_err(too_many)?;
        }
        let counted = self.accounts.count(attempt.account, self.replicas());
        counted.map_err(too_many)
    }

    /// Whether the password is right could not be said, for a reason of ours: it was no attempt.
    pub(crate) fn unjudged(&self, attempt: Attempt) {
        self.accounts.take_back(&attempt.account, self.replicas());
        if let Some(address) = attempt.address {
            self.addresses
                .take_back(&counted_as(address), self.replicas());
        }
    }

    /// The password was right: nothing is held against the account, and one attempt less against
    /// the address.
    pub(crate) fn succeeded(&self, attempt: Attempt) {
        self.accounts.0.invalidate(&attempt.account);
        if let Some(address) = attempt.address {
            self.addresses
                .take_back(&counted_as(address), self.replicas());
        }
    }
}

/// Does a replica with these contexts host accounts? None named = all.
fn host_users(contexts: &[String]) -> bool {
    contexts.is_empty() || contexts.iter().any(|context| context == "user")
}

/// 429: guessing is over for now.
pub(crate) fn too_many_attempts() -> Problem {
    let detail = "too many wrong passwords for this account, or from this address";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", detail).retry(WINDOW)
}

/// How often it went wrong for each, lately; and how often it may.
struct Failures<K>(Cache<K, Arc<Failed>>, u32);

struct Failed {
    since: Instant,
    count: AtomicU32,
}

impl<K: Hash + Eq + Send + Sync + 'static> Failures<K> {
    fn at_most(max: u32) -> Self {
        let remembered = Cache::builder()
            .max_capacity(REMEMBERED_MAX)
            .time_to_live(WINDOW);
        Self(remembered.build(), max)
    }

    /// One more, which counts `share` times; the error says how long it is one too many.
    fn count(&self, of: K, share: u32) -> Result<(), Duration> {
        let failed = self.0.get_with(of, || {
            Arc::new(Failed {
                since: Instant::now(),
                count: AtomicU32::new(0),
            })
        });
        // A share below one attempt would be none.
        let share = share.min(self.1);
        let counted = failed.count.fetch_add(share, Ordering::Relaxed);
        if counted.saturating_add(share) <= self.1 {
            return Ok(());
        }
        Err(WINDOW.saturating_sub(failed.since.elapsed()))
    }

    /// One less; none of those that began to be counted after it.
    fn take_back(&self, of: &K, share: u32) {
        if let Some(failed) = self.0.get(of) {
            let less = |count: u32| Some(count.saturating_sub(share.min(self.1)));
            let _always_some =
                failed
                    .count
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn attempt(account: u128, address: Option<&str>) -> Attempt {
        Attempt {
            account: EmailClaimId(Uuid::from_u128(account)),
            address: address.map(|address| address.parse().unwrap()),
        }
    }

    #[test]
    fn ten_failures_are_enough_for_an_account_unless_one_succeeds() {
        let throttle = Throttle::new();
        let (ann, ben) = (attempt(1, None), attempt(2, None));
        for _ in 0..ACCOUNT_FAILURES_MAX {
            assert!(throttle.attempt(ann).is_ok());
        }
        let refused = throttle.attempt(ann).unwrap_err();
        assert_eq!(refused.status.as_u16(), 429);
        assert!(refused.retry_after.is_some_and(|after| after <= WINDOW));
        assert!(throttle.attempt(ben).is_ok());
        throttle.succeeded(ann);
        assert!(throttle.attempt(ann).is_ok());
    }

    #[test]
    fn replicas_share_the_limits() {
        for (replicas, each) in [(1, 10), (2, 5), (3, 3), (64, 1)] {
            let throttle = Throttle::new();
            throttle.share(replicas);
            let ann = attempt(1, None);
            let taken = (0..100).take_while(|_| throttle.attempt(ann).is_ok());
            assert_eq!(taken.count(), each, "{replicas}");
        }
    }

    #[test]
    fn what_could_not_be_judged_was_no_attempt() {
        let throttle = Throttle::new();
        let ann = attempt(1, Some("192.0.2.1"));
        for _ in 0..2 * ADDRESS_FAILURES_MAX {
            assert!(throttle.attempt(ann).is_ok());
            throttle.unjudged(ann);
        }
        // Of a window that is over nothing is taken back.
        throttle.unjudged(ann);
        throttle.succeeded(ann);
        assert!(throttle.attempt(ann).is_ok());
    }

    #[test]
    fn who_tries_many_accounts_from_one_place_is_stopped_and_nobody_else() {
        let throttle = Throttle::new();
        for account in 0..u128::from(ADDRESS_FAILURES_MAX) {
            let from = format!("2001:db8:1:2::{account:x}");
            assert!(throttle.attempt(attempt(account, Some(&from))).is_ok());
        }
        let more = attempt(1_000_000, Some("2001:db8:1:2:ffff::1"));
        assert_eq!(throttle.attempt(more).unwrap_err().status.as_u16(), 429);
        let elsewhere = attempt(1_000_000, Some("2001:db8:1:3::1"));
        for _ in 0..ACCOUNT_FAILURES_MAX {
            // The attempts that were stopped did not count for the account.
            assert!(throttle.attempt(elsewhere).is_ok());
        }
        throttle.succeeded(attempt(0, Some("2001:db8:1:2::")));
        assert!(
            throttle
                .attempt(attempt(1_000_001, more.address.map(|_| "2001:db8:1:2::9")))
                .is_err()
        );
    }
}
