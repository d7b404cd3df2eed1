//! Why nothing could be read.

use std::sync::Arc;

use thiserror::Error;

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
    #[error("view {view} has no position in its database: run `millrace provision`")]
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
            Self::NoDatabase { .. } | Self::Refused { .. } | Self::UnknownFilter { .. } => false,
        }
    }
}
