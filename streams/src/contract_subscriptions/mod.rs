//! What subscriptions, lanes, timers, keys, inbox and the bus must do on a real server.
//!
//! Async functions that panic when something is not as it should be. A test binary that has a
//! server calls them with a [`Connection`](crate::Connection) whose user may make streams and durables; those that
//! need the server to go away take a closure that kills and restarts it. Each works on streams of
//! its own, or under ids of its own, so they may run at the same time (not those that restart).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "this is test code: it panics when the contract is broken"
)]

pub mod bulk;
pub mod bus;
pub mod clock;
pub mod durable;
pub mod inbox;
pub mod keys;
pub mod lanes;
pub mod ordered;
pub mod parking;
pub mod resting;
pub mod roles;
pub mod slow;
pub mod timers;

pub(crate) mod bench;

pub use bench::prepare;
