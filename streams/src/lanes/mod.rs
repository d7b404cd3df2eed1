//! Deliveries side by side, in order for each key.
//!
//! ```text
//!   durable ──► key A: 1 2 3 ┐            at most `lanes` handlers at once; a key that waits
//!               key B: 1     ├─► handler  for its next try takes no lane, so a poisoned key
//!               key C: 1 2   ┘            stops nobody but itself
//!                                   ✗──► what its durable's policy says: tried again in place, set
//!                                        aside in stream PARKED with the later ones of its key,
//!                                        or the end of the worker
//! ```
//!
//! What fails in a way that may pass is tried again for as long as it takes, but not in others' way: the server
//! gives out so many at once ([`crate::topology::Acks`]), and where half of them wait for one, a durable that parks
//! sets that one aside. One that doesn't park stops there.
//!
//! Where a durable is acknowledged in bulk, what comes is sifted first, many at once: only what concerns
//! the handler lies on a lane.
//!
//! ```text
//!   durable ──► 1 2 3 4 5 6 ──► sift ──► 4 ──► as above
//!      ▲                          └─────► 1 2 3 5 6 are done
//!      └── once a second: everything up to the last before which all is done is acknowledged
//! ```
//!
//! While nothing can concern the handler ([`Handler::rests`]) nothing is delivered to it at all: the durable is moved
//! past what has come, now and then.

mod bulk;
mod floor;
mod held;
mod retry;
mod run;
mod work;

use std::error::Error;

use async_trait::async_trait;
use thiserror::Error;

use kernel::Position;

use crate::envelope::RecordedEvent;
use crate::store::{ExecuteError, LoadError};
use crate::subscription::{Delivery, Payload};

pub use run::run_lanes;

/// What a worker does with each delivery.
#[async_trait]
pub trait Handler<T: Payload = RecordedEvent>: Send + Sync + 'static {
    /// Which of these deliveries concern it, in their order: the others are done, without being handled.
    /// Asked only where a durable is acknowledged in bulk ([`crate::topology::Acks`]), for all that have
    /// come since it was asked last. Unless somebody says otherwise, all concern it.
    ///
    /// # Errors
    /// It is not known now: it is asked again, and nothing goes on before that.
    async fn sift(&self, batch: &[Delivery<T>]) -> Result<Vec<bool>, HandleError> {
        Ok(vec![true; batch.len()])
    }

    /// Does nothing concern it that was recorded before it is asked, and nothing that comes, until it
    /// [wakes](Self::wakes)? Asked only where a durable is acknowledged in bulk, about once a second while something
    /// comes. Unless somebody says otherwise, something may.
    ///
    /// # Errors
    /// It is not known now: everything is delivered.
    async fn rests(&self) -> Result<bool, HandleError> {
        Ok(false)
    }

    /// Returns once something may concern it that rests; at once where it doesn't rest. May be dropped, and called
    /// anew. Unless somebody says otherwise, it never does.
    async fn wakes(&self) {
        std::future::pending::<()>().await;
    }

    /// Handles one delivery. It is acknowledged when this returns `Ok`; the same delivery may come
    /// again even so, and then must do no harm.
    ///
    /// # Errors
    /// It could not be done: the durable's policy ([`crate::topology::OnFailure`]) says whether it
    /// is tried again in place or set aside; later ones of its key wait behind it. A panic counts as an error
    /// that may pass.
    async fn handle(&self, delivery: &Delivery<T>) -> Result<(), HandleError>;
}

/// A delivery could not be handled.
#[derive(Debug, Error)]
#[error("{}", if *permanent { "it can't be handled as it is" } else { "it could not be handled now" })]
pub struct HandleError {
    /// No retry will help unless somebody mends something. It is never skipped for that.
    pub permanent: bool,
    /// Why.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// The worker ended, because its durable's policy says so.
#[derive(Debug, Error)]
#[error("{durable} stops at {position}, which can't be handled")]
pub struct Stopped {
    /// The durable.
    pub durable: String,
    /// Where. It is not acknowledged.
    pub position: Position,
    /// Why.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

impl From<LoadError> for HandleError {
    /// What can't be reached may be there later; what can't be read won't change by itself.
    fn from(error: LoadError) -> Self {
        Self {
            permanent: matches!(error, LoadError::Unreadable(_)),
            source: Box::new(error),
        }
    }
}

impl<R> From<ExecuteError<R>> for HandleError
where
    R: Error + Send + Sync + 'static,
{
    /// As for loading. A refusal may pass: facts of different streams come in any order. What another request
    /// has done under the same id stays done.
    fn from(error: ExecuteError<R>) -> Self {
        let permanent = match error {
            ExecuteError::Unreadable(_)
            | ExecuteError::Unwritable(_)
            | ExecuteError::TooLarge
            | ExecuteError::KeyReused => true,
            ExecuteError::Refused(_)
            | ExecuteError::Conflict
            | ExecuteError::Unavailable { .. }
            | ExecuteError::Unknown { .. } => false,
        };
        Self {
            permanent,
            source: Box::new(error),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::account::AccountRefusal;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let permanent = |error: ExecuteError<AccountRefusal>| HandleError::from(error).permanent;
        let source = || "away".into();
        assert!(permanent(ExecuteError::KeyReused));
        assert!(permanent(ExecuteError::TooLarge));
        assert!(!permanent(ExecuteError::Conflict));
        assert!(!permanent(ExecuteError::Unknown { source: source() }));
        assert!(!permanent(ExecuteError::Unavailable { source: source() }));
        assert!(!permanent(ExecuteError::Refused(
            AccountRefusal::AccountNotOpen
        )));
    }
}
