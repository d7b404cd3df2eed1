//! Deliveries side by side, in order for each key.
//!
//! ```text
//!   durable ──► key A: 1 2 3 ┐            at most `lanes` handlers at once; a key that waits
//!               key B: 1     ├─► handler  for its next try takes no lane, so a poisoned key
//!               key C: 1 2   ┘            stops nobody but itself
//! ```

mod held;
mod run;

use std::error::Error;

use async_trait::async_trait;
use thiserror::Error;

use crate::envelope::RecordedEvent;
use crate::subscription::Delivery;

pub use run::run_lanes;

/// What a worker does with each delivery.
#[async_trait]
pub trait Handler<T = RecordedEvent>: Send + Sync + 'static {
    /// Handles one delivery. It is acknowledged when this returns `Ok`; the same delivery may come
    /// again even so, and then must do no harm.
    ///
    /// # Errors
    /// It could not be done: it is tried again in place, later ones of its key wait behind it.
    async fn handle(&self, delivery: &Delivery<T>) -> Result<(), HandleError>;
}

/// A delivery could not be handled.
#[derive(Debug, Error)]
#[error("{}", if *permanent { "it can't be handled as it is" } else { "it could not be handled now" })]
pub struct HandleError {
    /// No retry will help unless somebody mends something. It is still tried again, only at the
    /// longest pause, and never skipped.
    pub permanent: bool,
    /// Why.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

impl HandleError {
    /// Worth another try.
    pub fn retryable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            permanent: false,
            source: source.into(),
        }
    }

    /// Somebody must mend something first.
    pub fn permanent(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            permanent: true,
            source: source.into(),
        }
    }
}
