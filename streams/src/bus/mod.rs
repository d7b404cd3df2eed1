//! Commands and questions between contexts, over NATS micro services.
//!
//! ```text
//!   saga, reactor, another context               command-api that hosts the context
//!   Bus::ask      ──► command.<context>        ──► Host ──► Streams::execute
//!   Bus::question ──► question.<context>.<name> ──► Host ──► a function
//! ```
//!
//! `nats micro ls` shows one service `millrace-<context>` per host; a queue group shares the
//! requests between them. The bus retries nothing: whoever asks knows when to ask again.

mod client;
mod host;
mod message;
mod serve;

pub use client::{Bus, BusError};
pub use host::{Host, QuestionError};
pub use message::{Answer, Ask};
pub use serve::{HostError, Serving};
