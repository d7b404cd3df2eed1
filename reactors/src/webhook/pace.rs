//! How much one endpoint is asked at once, and when what comes on top has its turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kernel::WebhookEndpointId;
use tokio::time::Instant;

/// The shortest pause between two turns: an endpoint that answers at once is asked often enough.
const SPACING_MIN: Duration = Duration::from_millis(10);

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

/// The shares of all endpoints that are asked now, or were lately.
#[derive(Debug)]
pub(super) struct Pace {
    at_once: usize,
    shares: Arc<Mutex<HashMap<WebhookEndpointId, Share>>>,
}

/// May ask, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    endpoint: WebhookEndpointId,
    begun: Instant,
    shares: Arc<Mutex<HashMap<WebhookEndpointId, Share>>>,
}

impl Pace {
    /// At most `at_once` attempts at one endpoint at the same time.
    pub(super) fn new(at_once: usize) -> Self {
        Self {
            at_once: at_once.max(1),
            shares: Arc::default(),
        }
    }

    /// A turn, or in how long there will be one: each who asks is given another time, as far apart
    /// as the endpoint's answers.
    pub(super) fn turn(&self, endpoint: WebhookEndpointId) -> Result<Turn, Duration> {
        let now = Instant::now();
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let share = shares.entry(endpoint).or_default();
        if share.running < self.at_once {
            share.running += 1;
            return Ok(Turn {
                endpoint,
                begun: now,
                shares: Arc::clone(&self.shares),
            });
        }
        let at_once = u32::try_from(self.at_once).unwrap_or(u32::MAX);
        let spacing = (share.took / at_once).max(SPACING_MIN);
        let turn = share.next.map_or(now, |next| next.max(now)) + spacing;
        share.next = Some(turn);
        Err(turn - now)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(share) = shares.get_mut(&self.endpoint) else {
            return;
        };
        share.running = share.running.saturating_sub(1);
        share.took = self.begun.elapsed();
        let waited_for = share.next.is_some_and(|next| next > Instant::now());
        if share.running == 0 && !waited_for {
            shares.remove(&self.endpoint);
        }
    }
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
        let pace = Pace::new(2);
        let turns = [1, 1, 2, 2].map(|number| pace.turn(endpoint(number)).unwrap());
        assert!(pace.turn(endpoint(1)).is_err());
        assert!(pace.turn(endpoint(3)).is_ok());
        drop(turns);
        assert!(pace.turn(endpoint(1)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_given_a_time_of_their_own_as_far_apart_as_the_answers() {
        let pace = Pace::new(2);
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
        let pace = Pace::new(1);
        drop(pace.turn(endpoint(1)).unwrap());
        assert!(pace.shares.lock().unwrap().is_empty());
    }
}
