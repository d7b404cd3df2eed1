//! Commands and questions between contexts, over NATS micro services.
//!
//! ```text
//!   saga, reactor, another context               command-api that hosts the context
//!   Bus::ask      ──► command.<context>        ──► Host ──► Streams::execute
//!   Bus::question ──► question.<context>.<name> ──► Host ──► a function
//!              └──────── in one process: no network ──┘
//! ```
//!
//! `nats micro ls` shows one service `millrace-<context>` per host; a queue group shares the
//! requests between them. What a host took along when it died is asked again after a second, as
//! long as the asker waits: a command under the same id, so that the log answers if it was done.
//! Beyond that the bus retries nothing: whoever asks knows when to ask again.

mod client;
mod desk;
mod host;
mod hosts;
mod message;
mod serve;

pub use client::{Bus, BusError};
pub(crate) use desk::CONCURRENCY_MAX;
pub use host::{Host, QuestionError};
pub use hosts::{HostError, Hosts};
pub use message::{Answer, Ask};
pub(crate) use serve::QUEUE_GROUP;
pub use serve::Serving;
