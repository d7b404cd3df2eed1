//! When a request is given up, and how a long one stays.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::time::Instant;

/// The moment at which a request is given up. A handler that takes in a body of any length moves it
/// with each piece: what goes on stays, what stalls is cut.
#[derive(Debug, Clone)]
pub struct Deadline {
    at: Arc<Mutex<Instant>>,
    time: Duration,
}

impl Deadline {
    /// `time` from now.
    pub(crate) fn after(time: Duration) -> Self {
        Self {
            at: Arc::new(Mutex::new(Instant::now() + time)),
            time,
        }
    }

    /// The request goes on: it has the whole time again.
    pub fn extend(&self) {
        self.extend_to(self.time);
    }

    /// The request goes on elsewhere, where others see to it that it ends: it has `time` from now.
    pub fn extend_to(&self, time: Duration) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + time;
    }

    /// How long nothing may happen.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// The outcome of `work`; `None` = the deadline came first.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let at = self.at();
            match tokio::time::timeout_at(at, &mut work).await {
                Ok(outcome) => return Some(outcome),
                Err(_elapsed) if self.at() > at => {}
                Err(_elapsed) => return None,
            }
        }
    }

    fn at(&self) -> Instant {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Deadline {
    type Rejection = Infallible;

    /// Without a guard around the router nothing is given up, so a deadline of the default length
    /// means nothing to anybody.
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let deadline = parts.extensions.get::<Self>().cloned();
        Ok(deadline.unwrap_or_else(|| Self::after(crate::Limits::default().request_time())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_stays_and_what_stalls_is_cut() {
        let deadline = Deadline::after(Duration::from_secs(30));
        let goes_on = async {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(20)).await;
                deadline.extend();
            }
        };
        assert_eq!(deadline.within(goes_on).await, Some(()));
        let started = Instant::now();
        assert_eq!(deadline.within(std::future::pending::<()>()).await, None);
        assert_eq!(started.elapsed(), Duration::from_secs(30));
    }
}
