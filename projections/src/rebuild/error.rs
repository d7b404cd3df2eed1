//! Why a view could not be built anew.

use thiserror::Error;

use crate::login::OpenError;
use crate::projector::ProjectorError;

/// Why a view could not be built anew. Whatever was built stays, and the live view is as it was.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// Somebody else does it.
    #[error("somebody else is rebuilding {view}")]
    Busy {
        /// Which view.
        view: &'static str,
    },
    /// The database has no position for the view.
    #[error(
        "view {view} has no position in its database: `millrace provision` makes it (`projections::provision`)"
    )]
    NotProvisioned {
        /// Which view.
        view: &'static str,
    },
    /// There is nothing to go back to.
    #[error("{view} was never switched, or what was before is gone")]
    NoPrevious {
        /// Which view.
        view: &'static str,
    },
    /// What there is to go back to is another table by now.
    #[error(
        "{view} has other columns than before the last switch: a migration came in between, so build it anew"
    )]
    OtherColumns {
        /// Which view.
        view: &'static str,
    },
    /// The live view was set back behind what was built.
    #[error(
        "the rebuilt {view} is at {rebuilt}, the live one at {live}: begin anew with --anew (`projections::Rebuild::anew`)"
    )]
    Ahead {
        /// Which view.
        view: &'static str,
        /// Where the live one is.
        live: u64,
        /// Where the rebuilt one is.
        rebuilt: u64,
    },
    /// The projector could not go on.
    #[error("the view could not be built on")]
    Projector(#[from] ProjectorError),
    /// Postgres can't be reached.
    #[error("no connection to Postgres")]
    Unreachable(#[from] OpenError),
    /// Postgres is away, or refuses.
    #[error("Postgres refuses")]
    Database(#[from] tokio_postgres::Error),
}
