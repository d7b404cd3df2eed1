//! What went wrong, as a problem. Not finding something is none of these: it is an answer.

use std::error::Error;

use axum::http::StatusCode;
use edge::Problem;
use edge::problem::{Page, RETRY_AFTER_DEFAULT};
use projections::read::ReadError;
use streams::feed::FeedEnd;
use streams::keys::KeysError;
use streams::{LoadError, chain};

/// The problems that only this API has, explained.
pub const PAGES: &[Page] = &[
    Page {
        code: "cursor_invalid",
        title: "The cursor does not belong to this list",
        cure: "Send a cursor only as `next` gave it, with the filters of the page that gave it; leave it out to begin anew.",
    },
    Page {
        code: "history_too_long",
        title: "Too much has happened to it",
        cure: "Its state at that moment is the fold of more events than one request may read. Its events can be read page by page.",
    },
];

/// A parameter of the query that can't be used.
pub(crate) fn parameter(detail: impl Into<String>) -> Problem {
    Problem::parameter(detail)
}

/// There is nothing there, or nothing of yours.
pub(crate) fn nothing(what: &str) -> Problem {
    Problem::not_found(format!("there is no such {what}"))
}

/// More has happened to it than is folded for one answer.
pub(crate) fn too_long(events_max: usize) -> Problem {
    let detail =
        format!("more than {events_max} events lead to that moment; read them at …/events");
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "history_too_long", detail)
}

/// The rows could not be read.
pub(crate) fn of_read(error: &ReadError) -> Problem {
    if error.is_retryable() {
        tracing::warn!(cause = chain(error), "rows can't be read");
        return Problem::unavailable("unavailable", "the read model's database is away");
    }
    internal(error)
}

/// The keys could not be used.
pub(crate) fn of_keys(error: &KeysError) -> Problem {
    match error {
        KeysError::Unavailable { .. } => {
            tracing::warn!(cause = chain(error), "keys can't be read");
            Problem::unavailable("unavailable", "the keys of personal data can't be reached")
        }
        KeysError::Erased { .. }
        | KeysError::Missing { .. }
        | KeysError::OtherMasterKey { .. }
        | KeysError::Broken { .. }
        | KeysError::Malformed
        | KeysError::Random => internal(error),
    }
}

/// The log could not be read.
pub(crate) fn of_load(error: &LoadError) -> Problem {
    match error {
        LoadError::Unavailable { .. } => {
            tracing::warn!(cause = chain(error), "the log can't be read");
            Problem::unavailable("unavailable", "the log can't be reached")
        }
        LoadError::Unreadable(_) => internal(error),
    }
}

/// A live stream can't begin.
pub(crate) fn of_feed(error: &FeedEnd) -> Problem {
    tracing::warn!(cause = chain(error), "a live stream can't begin");
    Problem::unavailable("unavailable", "the log can't be reached")
}

/// The view has not come as far as the token says.
pub(crate) fn behind(position: &str, wanted: u64) -> Problem {
    let detail = format!("the view is at {position}, event {wanted} was asked for");
    Problem::unavailable("view_is_behind", detail).retry(RETRY_AFTER_DEFAULT)
}

/// A fault of ours: the log has the particulars.
pub(crate) fn internal(error: &(dyn Error + 'static)) -> Problem {
    tracing::error!(cause = chain(error), "a read failed");
    Problem::internal()
}
