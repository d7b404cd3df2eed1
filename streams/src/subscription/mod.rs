//! Reading streams: in order from a position, or through a durable with acknowledgements.
//!
//! ```text
//!   ordered   projectors, caches   the reader keeps the position, nothing to acknowledge
//!   opening   how an ordered one begins
//!   durable   sagas, reactors      the server keeps it; one active process, the others stand by;
//!                                  acknowledged one by one, or in bulk
//!   delivery  what a durable hands out, and how to acknowledge it
//!   takeover  a new active process gets what the old one left: first, and in order
//!   unbroken  nothing is missing between two deliveries, where they are acknowledged in bulk
//!   backoff   how long to wait after a failure
//! ```
//!
//! Neither ends because the server is away: both wait, log, and start anew where they were.

mod backoff;
mod delivery;
mod durable;
mod error;
mod limits;
mod opening;
mod ordered;
mod takeover;
mod unbroken;

pub use delivery::{AckError, Delivery, Payload, RawMessage};
pub use durable::DurableSubscription;
pub use error::{SubscribeError, SubscriptionError};
pub use limits::DurableLimits;
pub use ordered::OrderedSubscription;

pub(crate) use backoff::{Backoff, pause};
pub(crate) use delivery::{Receipt, Received, Unreadable, raw};
pub(crate) use durable::Turn;
pub(crate) use unbroken::Confirmed;
