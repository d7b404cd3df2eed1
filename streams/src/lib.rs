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
//!   topology      the one table of streams and durables; provision and check it
//!   connection    one connection a role
//!   subscription  events out: ordered from a position, durable with lanes
//!   bus           commands and questions between contexts
//!   timers, keys  what is due when; a key for each person
//!   contract      what every store must pass
//! ```

pub mod bus;
pub mod connection;
#[doc(hidden)]
pub mod contract;
pub mod envelope;
pub mod jetstream;
pub mod keys;
pub mod lanes;
pub mod log;
pub mod memory;
mod resolve;
pub mod store;
pub mod subject;
pub mod subscription;
pub mod timers;
pub mod topology;

pub use connection::{ConnectError, ConnectOptions, Connection};
pub use envelope::{CommandMeta, DecodeCause, DecodeError, EncodeError, RecordedEvent};
pub use jetstream::JetStreamLog;
pub use store::{
    ExecuteError, Executed, ExecutedTogether, LoadError, Loaded, Outcome, Settings, Step, StepDone,
    Store, StoreContext, Streams, TogetherRefusal, step,
};
