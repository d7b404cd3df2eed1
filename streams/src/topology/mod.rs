//! The one table of streams and durables: what is there, how it is configured, and why.
//!
//! ```text
//!   stream         subjects                       holds
//!   <CONTEXT>      event.<context>.>              events, for ever
//!   TIMERS         timer.sched.>  timer.due.>     what is due when
//!   KEYS           key.>                          a key for each person; may delete
//!   PARKED         parked.>                       what can't be handled, and its history
//!   SNAPSHOTS      snapshot.>                     states of aggregates; all may be lost
//!   INBOX          inbox.>                        what foreign systems tell, raw; 30 days
//! ```

mod check;
mod configure;
mod error;
mod later;
mod retire;
mod spec;
mod watch;

pub use check::{check, kept_once};
pub use configure::provision;
pub use error::{Difference, TopologyError};
pub use spec::{
    ACK_WAIT, Acks, DurableSpec, EVENTS_DUPLICATE_WINDOW, INBOX_DUPLICATE_WINDOW, INBOX_MAX_AGE,
    INBOX_STREAM, KEYS_STREAM, Later, MAX_ACK_PENDING, MAX_ACK_PENDING_IN_BULK, OnFailure,
    PARKED_STREAM, PIN_TIMEOUT, PRIORITY_GROUP, Retired, SNAPSHOTS_STREAM, StreamKind, StreamSpec,
    TIMERS_STREAM, Topology,
};
pub use watch::Withheld;
pub(crate) use watch::follow;
