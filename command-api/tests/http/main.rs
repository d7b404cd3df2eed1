//! The write API as a client sees it: every route over the event store in memory, no server.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

/// All contexts in one process. `tests/apart` runs the same tests with one process a context.
const APART: bool = false;

mod accounts;
mod app;
mod catalog;
mod conditions;
mod documents;
mod endpoints;
mod imports;
mod notifications;
mod orders;
mod placing;
mod returns;
mod users;
mod webhooks;
