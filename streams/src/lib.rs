//! The event store on NATS JetStream.
//!
//! ```text
//!   execute ──► load ──► decide ──► append ──► the aggregate's subject in its context's stream
//!      │          │                    │           event.<context>[.<kind>].<id>
//!      └─ queue   └─ cache, log        └─ expects the last position that it decided on
//!
//!   envelope      an event as it stands on the wire, both ways
//!   subject       which stream and subject an aggregate has
//!   log           the seam: what a store must do ── jetstream, memory
//!   resolve       appends until the outcome is known
//!   store         Streams: load, execute, execute_together; a cqrs-es EventStore
//!   snapshot      states beside the log; never trusted over it
//!   topology      the one table of streams and durables; provision and check it
//!   connection    one connection a role
//!   clock         what time it is, for every role the same
//!   subscription  events out: ordered from a position, durable with lanes
//!   bus           commands and questions between contexts
//!   parking       what can't be handled is set aside with the later ones of its key
//!   timers, keys  what is due when; a key for each person
//!   inbox         what foreign systems tell, raw until it is worked
//!   barrier       what a role must have read before it may answer
//!   discovery     which role listens where
//!   verify        is the log what it should be?
//!   contract      what every store must pass
//! ```
//!
//! [`Streams::in_memory`] keeps the same contract as the store on JetStream, also about races. cqrs-es's `MemStore` does
//! not: it never compares sequences, so of two commits on one context both get in. It is no stand-in for either.
//!
//! # A bank account
//!
//! ```
//! use kernel::{AggregateId, Decider, Fact};
//! use serde::{Deserialize, Serialize};
//! use streams::{CommandMeta, ExecuteError, Outcome, Streams};
//! # use cqrs_es::DomainEvent;
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Account { balance: u64 }
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! enum Command { Deposit(u64), Withdraw(u64) }
//!
//! #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
//! #[serde(tag = "type", content = "data", rename_all = "snake_case")]
//! enum Event { Deposited { amount: u64 }, Withdrawn { amount: u64 } }
//!
//! #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
//! #[serde(tag = "code", rename_all = "snake_case")] // what `Refusal::code` answers: "overdrawn"
//! enum Refused {
//!     #[error("only {balance} left")]
//!     Overdrawn { balance: u64 },
//!     #[error("no account holds so much")]
//!     TooMuch,
//! }
//!
//! impl Decider for Account {
//!     const CONTEXT: &'static str = "account"; // stream ACCOUNT, subjects event.account.<id>
//!
//!     fn decide(&self, command: &Command) -> Result<Vec<Event>, Refused> {
//!         match *command {
//!             // Refused here, for `evolve` can't: what it is given has happened.
//!             Command::Deposit(amount) if self.balance.checked_add(amount).is_none() => {
//!                 Err(Refused::TooMuch)
//!             }
//!             Command::Deposit(amount) => Ok(vec![Event::Deposited { amount }]),
//!             Command::Withdraw(amount) if amount > self.balance => {
//!                 Err(Refused::Overdrawn { balance: self.balance })
//!             }
//!             Command::Withdraw(amount) => Ok(vec![Event::Withdrawn { amount }]),
//!         }
//!     }
//!
//!     fn evolve(&mut self, event: &Event) {
//!         match event {
//!             Event::Deposited { amount } => self.balance = self.balance.saturating_add(*amount),
//!             Event::Withdrawn { amount } => self.balance = self.balance.saturating_sub(*amount),
//!         }
//!     }
//! }
//! # impl Fact for Event {
//! #     fn name(&self) -> &'static str {
//! #         match self { Self::Deposited { .. } => "deposited", Self::Withdrawn { .. } => "withdrawn" }
//! #     }
//! # }
//! # impl DomainEvent for Event {
//! #     fn event_type(&self) -> String { self.name().to_owned() }
//! #     fn event_version(&self) -> String { self.schema_version().to_string() }
//! # }
//! kernel::aggregate!(Account, "account", Command, Event, Refused);
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let streams = Streams::in_memory(); // or Connection::open(…).await?.streams(…)
//! let id: AggregateId = "alice".parse()?;
//! let command = || CommandMeta::new(uuid::Uuid::new_v4(), chrono::Utc::now(), "user:alice");
//!
//! let first = command();
//! streams.execute::<Account>(&id, Command::Deposit(10), &first).await?;
//! let again = streams.execute::<Account>(&id, Command::Deposit(10), &first).await?;
//! assert_eq!(again.outcome, Outcome::Replayed); // the same command id is done once
//!
//! let refused = streams.execute::<Account>(&id, Command::Withdraw(11), &command()).await;
//! let Err(ExecuteError::Refused(no)) = refused else { panic!("more than there is") };
//! assert_eq!(no, Refused::Overdrawn { balance: 10 });
//! assert_eq!(kernel::Refusal::code(&no), "overdrawn");
//! let too_much = streams.execute::<Account>(&id, Command::Deposit(u64::MAX), &command()).await;
//! assert!(matches!(too_much, Err(ExecuteError::Refused(Refused::TooMuch))));
//! assert_eq!(streams.load::<Account>(&id).await?.version, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - An append takes place only if its aggregate has not moved since the decision; several events
//!   of one command stand side by side, or not at all.
//! - A refusal, and "there is nothing to do", are about a state that the stream's leader confirmed.
//! - The same command id is done once, however often it is sent and wherever an answer got lost:
//!   found among an aggregate's last 1,000 commands, or in the stream's duplicate window.
//! - What can't be read, or is missing, is an error; it is never skipped.
//!
//! It promises no order between streams, and [`Streams::load`] may be late: `load_current` is not, and
//! `load_with` not later than the event that it is given.

pub mod barrier;
pub mod bus;
pub mod clock;
pub mod connection;
#[doc(hidden)]
pub mod contract;
#[doc(hidden)]
pub mod contract_subscriptions;
pub mod discovery;
pub mod envelope;
pub mod feed;
pub mod inbox;
pub mod jetstream;
pub mod jitter;
pub mod keys;
pub mod lanes;
pub mod log;
pub mod memory;
pub mod parking;
mod resolve;
pub mod snapshot;
pub mod store;
pub mod subject;
pub mod subscription;
pub mod timers;
pub mod topology;
pub mod verify;

pub use barrier::{Barrier, NotReady};
pub use connection::{ConnectError, ConnectOptions, Connection};
pub use discovery::{DiscoveryError, Headcount, MISSED_LOOKS_MAX, Replica};
pub use envelope::{CommandMeta, DecodeCause, DecodeError, EncodeError, RecordedEvent};
pub use jetstream::JetStreamLog;
pub use log::{BoxError, chain};
pub use snapshot::{SnapshotCounts, Snapshots};
pub use store::{
    ExecuteAtError, ExecuteError, Executed, ExecutedTogether, Kind, LoadError, Loaded, Moment,
    Outcome, Settings, Step, StepDone, Store, StoreContext, Streams, TogetherRefusal, Walk, step,
};
