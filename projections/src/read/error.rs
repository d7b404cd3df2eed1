//! Why nothing could be read.

use std::sync::Arc;

use thiserror::Error;
use tokio_postgres::error::SqlState;

/// Why nothing could be read. Never that a row isn't there: that is an answer.
#[derive(Debug, Clone, Error)]
pub enum ReadError {
    /// The context's database is not among ours.
    #[error("the read models of {context} are not served here")]
    NoDatabase {
        /// Which context.
        context: String,
    },
    /// No connection, or no answer in time.
    #[error("the database of {context} is away")]
    Away {
        /// Which context.
        context: &'static str,
    },
    /// Postgres refuses.
    #[error("the database of {context} refuses")]
    Refused {
        /// Which context.
        context: &'static str,
        /// What tokio-postgres says.
        #[source]
        source: Arc<tokio_postgres::Error>,
    },
    /// The database has no position for the view.
    #[error(
        "view {view} has no position in its database: `millrace provision` makes it (`projections::provision`)"
    )]
    NotProvisioned {
        /// Which view.
        view: &'static str,
    },
    /// A column that the view can't be filtered by.
    #[error("view {view} has no filter {column}")]
    UnknownFilter {
        /// Which view.
        view: &'static str,
        /// Which column.
        column: &'static str,
    },
}

impl ReadError {
    /// May the same call succeed later?
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Away { .. } | Self::NotProvisioned { .. } => true,
            Self::Refused { source, .. } => source.code().is_some_and(passes),
            Self::NoDatabase { .. } | Self::UnknownFilter { .. } => false,
        }
    }
}

/// Does it pass by itself: was it too much for now (class 53), did it take too long, or was something in
/// its way?
fn passes(code: &SqlState) -> bool {
    let passing = [
        SqlState::QUERY_CANCELED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ];
    passing.contains(code) || code.code().starts_with("53")
}
