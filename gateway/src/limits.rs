//! How much one client may ask for: a token bucket each (GCRA), per user, address and idempotency key.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use edge::Problem;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use kernel::UserId;
use moka::sync::Cache;

use crate::config::{BURST_S, Rates};
use crate::problems::too_many;

/// Most clients that are remembered; beyond it the least active are forgotten.
const CLIENTS_MAX: u64 = 100_000;

/// As long as a burst takes to come back.
const BURST: Duration = Duration::from_secs(BURST_S as u64);

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit");

/// Who is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// Somebody with a token.
    User(UserId),
    /// Somebody without.
    Address(IpAddr),
    /// Anybody at an address who reads what the process says of itself.
    Page(IpAddr),
    /// A write that is repeated, by the hash of whose and which it is.
    Key(u64),
}

impl Client {
    /// An address, with all that its holder has.
    pub(crate) fn address(address: IpAddr) -> Self {
        Self::Address(edge::counted_as(address))
    }

    /// The same, for pages: who asked the API too much can still read why.
    pub(crate) fn page(address: IpAddr) -> Self {
        Self::Page(edge::counted_as(address))
    }

    fn class(&self) -> usize {
        match self {
            Self::User(_) => 0,
            Self::Address(_) => 1,
            Self::Key(_) => 2,
            Self::Page(_) => 3,
        }
    }
}

/// What each class is called in the headers.
const CLASSES: [&str; 4] = ["user", "address", "key", "page"];

type Bucket = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

/// What a client may still ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    class: &'static str,
    burst: u32,
    remaining: u32,
    /// Until the bucket is full again, in seconds.
    full_in_s: u64,
}

impl Left {
    /// Says it in the headers of draft-ietf-httpapi-ratelimit-headers.
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        let Self {
            class,
            burst,
            remaining,
            full_in_s,
        } = self;
        let policy = format!("\"{class}\";q={burst};w={BURST_S}");
        let left = format!("\"{class}\";r={remaining};t={full_in_s}");
        for (name, text) in [(POLICY, policy), (REMAINING, left)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        }
    }
}

/// The buckets of all clients.
///
/// Gateways share a limit by each taking its part: with n of them, found by discovery, each request
/// takes n out of a bucket that is as large as for one gateway alone. That holds as far as whoever is
/// in front of them spreads requests evenly, costs no round trip and needs no shared store; and when
/// their number changes, what was taken stays taken.
pub(crate) struct Limiter {
    gateways: AtomicU32,
    buckets: [Option<Buckets>; 4],
    clock: DefaultClock,
}

struct Buckets {
    quota: Quota,
    of: Cache<Client, Arc<Bucket>>,
}

impl Limiter {
    pub(crate) fn new(rates: Rates) -> Self {
        Self {
            gateways: AtomicU32::new(1),
            buckets: [
                rates.user_rate,
                rates.address_rate,
                rates.key_rate,
                rates.address_rate,
            ]
            .map(buckets),
            clock: DefaultClock::default(),
        }
    }

    /// So many gateways share the limits from now on.
    pub(crate) fn share(&self, gateways: usize) {
        let gateways = u32::try_from(gateways).unwrap_or(u32::MAX).max(1);
        if self.gateways.swap(gateways, Ordering::Relaxed) != gateways {
            tracing::info!(gateways, "the limits are shared anew");
        }
    }

    /// Takes one request out of the bucket of each of `clients`. What is told is the narrowest of their limits, on a
    /// refusal as well.
    ///
    /// # Errors
    /// 429: one of them is empty.
    pub(crate) fn take_all(
        &self,
        clients: impl IntoIterator<Item = Client>,
        left: &mut Option<Left>,
    ) -> Result<(), Problem> {
        for client in clients {
            let state = match self.take(&client) {
                Ok(state) => state,
                Err(refused) => {
                    let (problem, state) = *refused;
                    *left = Some(state);
                    return Err(problem);
                }
            };
            let all = left.take().into_iter().chain(state);
            *left = all.min_by_key(|left| left.remaining);
        }
        Ok(())
    }

    /// Takes one request out of the bucket of `client`; `None` = it has no limit.
    ///
    /// # Errors
    /// 429: it is empty. What is left, which is nothing, goes on the refusal as well.
    pub(crate) fn take(&self, client: &Client) -> Result<Option<Left>, Box<(Problem, Left)>> {
        let Some(Some(Buckets { quota, of })) = self.buckets.get(client.class()) else {
            return Ok(None);
        };
        let new = || {
            let bucket = RateLimiter::direct_with_clock(*quota, self.clock.clone());
            Arc::new(bucket.with_middleware::<StateInformationMiddleware>())
        };
        let bucket = of.get_with(client.clone(), new);
        let class = CLASSES.get(client.class()).copied().unwrap_or_default();
        let burst = quota.burst_size();
        // A share below one request would be none.
        let gateways = NonZeroU32::new(self.gateways.load(Ordering::Relaxed));
        let share = gateways.unwrap_or(NonZeroU32::MIN).min(burst);
        let left = |remaining: u32| {
            let missing = burst.get().saturating_sub(remaining);
            let full_in_s = (quota.replenish_interval() * missing).as_secs_f32().ceil();
            Left {
                class,
                burst: burst.get() / share,
                remaining: remaining / share,
                full_in_s: Duration::from_secs_f32(full_in_s).as_secs(),
            }
        };
        let taken = bucket.check_n(share);
        let until = match taken {
            Ok(Ok(state)) => return Ok(Some(left(state.remaining_burst_capacity()))),
            Ok(Err(until)) => until.wait_time_from(self.clock.now()),
            // It never is more than the burst.
            Err(_more_than_the_burst) => BURST,
        };
        metrics::counter!("gateway_rate_limited_total", "class" => class).increment(1);
        let whole = Duration::from_secs(until.as_secs() + 1);
        Err(Box::new((too_many(class, whole), left(0))))
    }
}

/// Those of one class, which may ask `rate` times a second; 0 = as often as it likes.
fn buckets(rate: u32) -> Option<Buckets> {
    let burst = NonZeroU32::new(rate.saturating_mul(BURST_S))?;
    let quota = Quota::with_period(BURST / burst.get())?.allow_burst(burst);
    // A bucket that is full again holds nothing to remember.
    let of = Cache::builder()
        .max_capacity(CLIENTS_MAX)
        .time_to_idle(BURST)
        .build();
    Some(Buckets { quota, of })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates {
        user_rate: 1,
        address_rate: 2,
        key_rate: 0,
    };

    fn allowed(limiter: &Limiter, client: &Client) -> usize {
        (0..100)
            .take_while(|_| limiter.take(client).is_ok())
            .count()
    }

    #[test]
    fn each_client_has_its_own_burst_and_then_waits() {
        let limiter = Limiter::new(RATES);
        let ann = Client::address("198.51.100.1".parse().unwrap());
        let ben = Client::address("198.51.100.2".parse().unwrap());
        assert_eq!(allowed(&limiter, &ann), 20);
        let (problem, left) = *limiter.take(&ann).unwrap_err();
        assert_eq!(
            (problem.status.as_u16(), &*problem.code),
            (429, "rate_limited")
        );
        assert_eq!(problem.retry_after, Some(Duration::from_secs(1)));
        let mut headers = HeaderMap::new();
        left.tell(&mut headers);
        assert_eq!(headers[POLICY], "\"address\";q=20;w=10");
        assert_eq!(headers[REMAINING], "\"address\";r=0;t=10");
        assert_eq!(allowed(&limiter, &ben), 20);
        assert_eq!(allowed(&limiter, &Client::User(UserId(uuid(1)))), 10);
        assert_eq!(allowed(&limiter, &Client::Key(1)), 100, "0 = any");
    }

    #[test]
    fn of_two_limits_the_narrower_one_is_told() {
        let limiter = Limiter::new(Rates {
            key_rate: 1,
            ..RATES
        });
        let address = Client::address("198.51.100.1".parse().unwrap());
        let (mut left, both) = (None, [address.clone(), Client::Key(1)]);
        limiter.take_all(both.clone(), &mut left).unwrap();
        assert_eq!(
            left.map(|left| (left.class, left.remaining)),
            Some(("key", 9))
        );
        assert_eq!(
            (0..12).filter(|_| limiter.take(&address).is_ok()).count(),
            12
        );
        let mut left = None;
        limiter.take_all(both, &mut left).unwrap();
        assert_eq!(
            left.map(|left| (left.class, left.remaining)),
            Some(("address", 6))
        );
    }

    #[test]
    fn gateways_share_a_limit() {
        for (gateways, burst) in [(1, 20), (4, 5), (20, 1), (1_000, 1)] {
            let limiter = Limiter::new(RATES);
            limiter.share(gateways);
            let client = Client::address("::1".parse().unwrap());
            let left = limiter.take(&client).unwrap().unwrap();
            assert_eq!((left.burst, left.remaining), (burst, burst - 1));
            assert_eq!(allowed(&limiter, &client) + 1, burst as usize);
        }
    }

    #[test]
    fn what_was_taken_stays_taken_when_gateways_come_and_go() {
        let limiter = Limiter::new(RATES);
        let client = Client::address("::1".parse().unwrap());
        assert_eq!(allowed(&limiter, &client), 20);
        for gateways in [2, 1, 3, 1] {
            limiter.share(gateways);
            assert_eq!(allowed(&limiter, &client), 0, "{gateways}");
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let of = |text: &str| Client::address(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }

    fn uuid(number: u128) -> uuid::Uuid {
        uuid::Uuid::from_u128(number)
    }
}
