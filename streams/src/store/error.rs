//! Refusals, and everything that is none.

use thiserror::Error;

use crate::envelope::{DecodeError, EncodeError};
use crate::log::{AppendError, BoxError, ReadError};

/// A command was not done, or it is not known whether it was.
#[derive(Debug, Error)]
pub enum ExecuteError<R: std::error::Error + 'static> {
    /// The business says no, about the state that the stream's leader confirmed. Nothing was
    /// appended.
    #[error("refused")]
    Refused(#[source] R),
    /// This command id was used before, by a request with another digest or for another
    /// aggregate. Nothing was appended now.
    #[error("the command id was used for another request")]
    KeyReused,
    /// Others changed the aggregate each time, or were at it for too long. Nothing was appended.
    #[error("others were at the aggregate at every attempt, or for too long")]
    Conflict,
    /// The log can't be reached. Nothing was appended.
    #[error("the log can't be reached, nothing was appended")]
    Unavailable {
        /// Why.
        #[source]
        source: BoxError,
    },
    /// Nobody can say whether the command was done. The same command again (same id) is safe.
    #[error("it is not known whether the command was done")]
    Unknown {
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The log holds something that can't be read. Nothing was appended.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    /// The events can't be put on the wire. Nothing was appended.
    #[error(transparent)]
    Unwritable(#[from] EncodeError),
    /// The events are larger than the log takes. Nothing was appended.
    #[error("the events are too large for the log")]
    TooLarge,
}

impl<R: std::error::Error + 'static> From<ReadError> for ExecuteError<R> {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(source) => Self::Unavailable { source },
            ReadError::Unreadable(error) => Self::Unreadable(error),
        }
    }
}

/// Counts what an operator should see: races between processes, and outcomes that stay unknown.
pub(super) fn count(error: &AppendError, stream: &str) {
    let stream = || stream.to_owned();
    match error {
        AppendError::Conflict => {
            metrics::counter!("streams_conflicts_total", "stream" => stream()).increment(1);
        }
        AppendError::Unknown(_) => {
            metrics::counter!("streams_unknown_outcomes_total", "stream" => stream()).increment(1);
        }
        AppendError::Unavailable(_) => {
            metrics::counter!("streams_unavailable_total", "stream" => stream()).increment(1);
        }
        AppendError::Duplicate | AppendError::TooLarge | AppendError::Unwritable(_) => {}
    }
}

/// An append that ends a command; conflicts and duplicates don't, they lead to another look.
pub(super) enum AppendEnd<R: std::error::Error + 'static> {
    Conflict,
    Duplicate,
    Failed(ExecuteError<R>),
}

impl<R: std::error::Error + 'static> From<AppendError> for AppendEnd<R> {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict => Self::Conflict,
            AppendError::Duplicate => Self::Duplicate,
            AppendError::Unavailable(source) => Self::Failed(ExecuteError::Unavailable { source }),
            AppendError::Unknown(source) => Self::Failed(ExecuteError::Unknown { source }),
            AppendError::TooLarge => Self::Failed(ExecuteError::TooLarge),
            AppendError::Unwritable(error) => Self::Failed(ExecuteError::Unwritable(error)),
        }
    }
}
