//! What every store must pass: on one server, on three, and in memory.
//!
//! ```text
//!   account      a small bank account and the claim on its number
//!   shouting     an aggregate whose events have names that no log can give back
//!   rig          how a log is opened once more, and how a stranger writes into it
//!   basics       append, load, history, schema versions
//!   races        of several writers one wins, and the others decide again
//!   repetition   the same command id again
//!   proof        refusals and no-ops are about what the leader knows
//!   together     several aggregates, all or none
//!   conditional  only on the version that a command was made for
//!   snapshots    a snapshot saves reading, and changes nothing
//!   moments      an aggregate as it was
//!   event_store  the same as cqrs-es sees it
//!   lossy        answers and requests get lost; asks for a server
//!   guard        the start-up check; asks for a server
//!   full         a log without room; asks for a server
//! ```
//!
//! [`all`] runs everything that needs no server; every case uses aggregates of its own, so cases run
//! side by side.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a contract is a test: it panics when the store breaks it"
)]

pub mod account;
pub mod basics;
pub mod conditional;
pub mod event_store;
pub mod full;
pub mod guard;
pub mod lossy;
pub mod moments;
pub mod proof;
pub mod races;
pub mod repetition;
mod rig;
mod shouting;
pub mod snapshots;
pub mod together;

pub use rig::{InMemory, OnServer, Rig};

use chrono::Utc;
use kernel::AggregateId;
use uuid::Uuid;

use crate::{CommandMeta, ExecuteError, Executed, Streams};
use account::{Account, AccountCommand, AccountRefusal};

/// The context of the contract's aggregates; its stream is `ACCOUNT`.
pub const CONTEXT: &str = "account";

/// Everything, one after another; says what it is at.
pub async fn all(rig: &dyn Rig) {
    basics::all(rig).await;
    races::all(rig).await;
    repetition::all(rig).await;
    proof::all(rig).await;
    conditional::all(rig).await;
    moments::all(rig).await;
    together::all(rig).await;
    event_store::all(rig).await;
    snapshots::all(rig).await;
}

/// Says what is being tried: on a failure, the last line names the case.
pub(crate) fn case(name: &str) {
    tracing::info!(name, "store contract");
}

/// An aggregate that nobody else uses.
pub(crate) fn fresh_id() -> AggregateId {
    Uuid::new_v4().to_string().parse().unwrap()
}

/// A command on an account, by somebody.
pub(crate) async fn run(
    streams: &Streams,
    id: &AggregateId,
    command: AccountCommand,
) -> Result<Executed<Account>, ExecuteError<AccountRefusal>> {
    streams.execute(id, command, &fresh_meta()).await
}

/// A command that nobody made before.
pub(crate) fn fresh_meta() -> CommandMeta {
    CommandMeta::new(Uuid::new_v4(), Utc::now(), "system")
}
