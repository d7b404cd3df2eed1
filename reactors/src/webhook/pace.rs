//! How much one endpoint is asked at once, and all slow ones together, and when what comes on top has its
//! turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kernel::WebhookEndpointId;
use tokio::time::Instant;

/// The shortest pause between two turns: an endpoint that answers at once is asked often enough.
const SPACING_MIN: Duration = Duration::from_millis(10);

/// The longest wait for a turn.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// An endpoint whose last attempt took longer is slow.
const SLOW: Duration = Duration::from_secs(1);

/// One endpoint's share.
#[derive(Debug, Default)]
struct Share {
    /// What is under way.
    running: usize,
    /// How long the last attempt took.
    took: Duration,
    /// When the next free turn is.
    next: Option<Instant>,
}

impl Share {
    fn is_slow(&self) -> bool {
        self.took > SLOW
    }
}

/// The shares of all endpoints that are asked now, were lately, or are slow.
#[derive(Debug, Default)]
struct Shares {
    of: HashMap<WebhookEndpointId, Share>,
    /// What is under way to slow ones.
    slow: usize,
}

/// Gives turns.
#[derive(Debug)]
pub(super) struct Pace {
    at_once: usize,
    slow_max: usize,
    shares: Arc<Mutex<Shares>>,
}

/// May ask, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    endpoint: WebhookEndpointId,
    slow: bool,
    begun: Instant,
    shares: Arc<Mutex<Shares>>,
}

impl Pace {
    /// At most `at_once` attempts at one endpoint at the same time, and `slow_max` at all that are slow:
    /// however many these are, and whoever they belong to, the other places are left to the others.
    pub(super) fn new(at_once: usize, slow_max: usize) -> Self {
        Self {
            at_once: at_once.max(1),
            slow_max: slow_max.max(1),
            shares: Arc::default(),
        }
    }

    /// A turn, or in how long there will be one: each who asks is given another time, as far apart
    /// as the endpoint's answers.
    pub(super) fn turn(&self, endpoint: WebhookEndpointId) -> Result<Turn, Duration> {
        let now = Instant::now();
        let mut shares = locked(&self.shares);
        let Shares { of, slow: all_slow } = &mut *shares;
        let share = of.entry(endpoint).or_default();
        let slow = share.is_slow();
        if share.running < self.at_once && (!slow || *all_slow < self.slow_max) {
            share.running += 1;
            *all_slow += usize::from(slow);
            return Ok(Turn {
                endpoint,
                slow,
                begun: now,
                shares: Arc::clone(&self.shares),
            });
        }
        let at_once = u32::try_from(self.at_once).unwrap_or(u32::MAX);
        let spacing = (share.took / at_once).max(SPACING_MIN);
        let turn = share.next.map_or(now, |next| next.max(now)) + spacing;
        // It may be faster by then: whoever is woken asks again.
        let turn = turn.min(now + WAIT_MAX);
        share.next = Some(turn);
        Err(turn - now)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut shares = locked(&self.shares);
        let Shares { of, slow: all_slow } = &mut *shares;
        *all_slow -= usize::from(self.slow);
        let Some(share) = of.get_mut(&self.endpoint) else {
            return;
        };
        share.running = share.running.saturating_sub(1);
        let took = self.begun.elapsed();
        if took < share.took / 2 {
            // It is much faster: turns as far apart as before would leave it idle.
            share.next = None;
        }
        share.took = took;
        let waited_for = share.next.is_some_and(|next| next > Instant::now());
        if share.running == 0 && !waited_for && !share.is_slow() {
            of.remove(&self.endpoint);
        }
    }
}

fn locked(shares: &Mutex<Shares>) -> MutexGuard<'_, Shares> {
    shares.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn endpoint(number: u128) -> WebhookEndpointId {
        WebhookEndpointId(Uuid::from_u128(number))
    }

    #[tokio::test(start_paused = true)]
    async fn one_endpoint_has_its_share_and_takes_no_other_s() {
        let pace = Pace::new(2, 8);
        let turns = [1, 1, 2, 2].map(|number| pace.turn(endpoint(number)).unwrap());
        assert!(pace.turn(endpoint(1)).is_err());
        assert!(pace.turn(endpoint(3)).is_ok());
        drop(turns);
        assert!(pace.turn(endpoint(1)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_given_a_time_of_their_own_as_far_apart_as_the_answers() {
        let pace = Pace::new(2, 8);
        let first = pace.turn(endpoint(1)).unwrap();
        let _second = pace.turn(endpoint(1)).unwrap();
        tokio::time::advance(Duration::from_secs(4)).await;
        drop(first);
        let _third = pace.turn(endpoint(1)).unwrap();
        let waits = [(); 3].map(|()| pace.turn(endpoint(1)).unwrap_err());
        assert_eq!(waits, [2, 4, 6].map(Duration::from_secs));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_an_endpoint_that_nobody_waits_for() {
        let pace = Pace::new(1, 8);
        drop(pace.turn(endpoint(1)).unwrap());
        assert!(locked(&pace.shares).of.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn slow_endpoints_leave_places_to_the_others_however_many_they_are() {
        let pace = Pace::new(4, 2);
        let all = 1..=3;
        // Who has not answered yet may be fast.
        let first: Vec<_> = all
            .clone()
            .map(|n| pace.turn(endpoint(n)).unwrap())
            .collect();
        tokio::time::advance(SLOW + Duration::from_millis(1)).await;
        drop(first);
        let turns: Vec<_> = all.map(|number| pace.turn(endpoint(number))).collect();
        assert_eq!(turns.iter().filter(|turn| turn.is_ok()).count(), 2);
        let fast = [(); 4].map(|()| pace.turn(endpoint(9)).unwrap());
        drop((fast, turns));
        // Who has answered at once is not slow any more; the third has not been asked again.
        let (again, still) = ([1; 3], [3; 3]);
        let turns = again.map(|number| pace.turn(endpoint(number)));
        assert!(turns.iter().all(Result::is_ok));
        let turns = still.map(|number| pace.turn(endpoint(number)));
        assert_eq!(turns.map(|turn| turn.is_ok()), [true, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_recovers_is_not_left_waiting() {
        let pace = Pace::new(4, 8);
        let four = || [(); 4].map(|()| pace.turn(endpoint(1)).unwrap());
        let slow = four();
        tokio::time::advance(Duration::from_secs(15)).await;
        drop(slow);
        let turns = four();
        let waits = (0..1_000).map(|_| pace.turn(endpoint(1)).unwrap_err());
        assert!(waits.max().unwrap() <= WAIT_MAX);
        drop(turns);
        let _turns = four();
        assert!(pace.turn(endpoint(1)).unwrap_err() <= SPACING_MIN * 2);
    }
}
