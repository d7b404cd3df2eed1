//! What can go wrong, and whether waiting helps.

use thiserror::Error;

use crate::login::OpenError;

/// Why a view has stopped. Also stands in its position row, for everybody to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stop {
    /// Where: the event that it can't take in, or its own position when the log has changed.
    pub position: u64,
    /// Why, and what to do.
    pub cause: String,
}

/// Why a projector could not go on.
#[derive(Debug, Error)]
pub enum ProjectorError {
    /// A name that is no context.
    #[error("{context:?} has no read models; {known} have")]
    UnknownContext {
        /// What was asked for.
        context: String,
        /// What there is.
        known: String,
    },
    /// A context without a database to write to.
    #[error("there is no login for the database of {context}")]
    NoLogin {
        /// Whose.
        context: &'static str,
    },
    /// Postgres is away, or refuses.
    #[error("can't work in {login}")]
    Database {
        /// Which database, as whom.
        login: String,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The database has no position for a view.
    #[error(
        "view {view} has no position in its database: `millrace provision` makes it (`projections::provision`)"
    )]
    NotProvisioned {
        /// Which view.
        view: &'static str,
    },
    /// A newer fold has written to the table.
    #[error(
        "rows of {view} are written by a projector of revision {theirs}, this one has {ours}: end it if a \
         newer version is at work; to go back to this one, `millrace rebuild {view} --switch` \
         (`projections::rebuild`) with it"
    )]
    Outdated {
        /// Which view.
        view: &'static str,
        /// The newest revision that has written.
        theirs: u32,
        /// This program's.
        ours: u32,
    },
    /// The log is away.
    #[error("stream {stream} can't be reached")]
    Log {
        /// Which stream.
        stream: String,
        /// What async-nats says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Every view of the context has stopped; this is the first of them.
    #[error("read model {view} has stopped at position {}: {}", stop.position, stop.cause)]
    Stopped {
        /// Which view.
        view: &'static str,
        /// Where and why.
        stop: Stop,
    },
}

impl ProjectorError {
    /// Does another step never help?
    pub fn is_final(&self) -> bool {
        match self {
            Self::UnknownContext { .. } | Self::NoLogin { .. } | Self::Stopped { .. } => true,
            Self::Database { .. }
            | Self::NotProvisioned { .. }
            | Self::Outdated { .. }
            | Self::Log { .. } => false,
        }
    }
}
