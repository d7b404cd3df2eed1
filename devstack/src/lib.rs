//! Finds or fetches, starts and stops the servers that Millrace needs.
//!
//! ```text
//!            ┌ fetch     nats-server and Postgres: found, or fetched into a per-user cache
//!            │ launch    children that end with their parent, even when it is killed
//! Stack ─────┤ data      the folder: layout, locks, secrets, ports
//!            │ server    one child: start, ready, stop, kill, restart
//!            └ nats · postgres · mail · payments
//! ```
//!
//! [`Stack::start`] brings everything up; [`launch::take_over`] must be the first call of `main`
//! in the program that is the [`launch::Launcher`].

mod data;
mod endpoints;
mod error;
pub mod fetch;
pub mod launch;
mod lock;
pub mod mail;
pub mod nats;
pub mod payments;
mod ports;
pub mod postgres;
pub mod secrets;
mod server;
mod service;
pub mod sinks;
mod stack;

pub use data::{Data, Error as DataError};
pub use endpoints::{Endpoints, Notice};
pub use error::{Error, Failure};
pub use lock::{Holder, holder};
pub use nats::Sync;
pub use ports::{Ports, Reserved};
pub use secrets::Secrets;
pub use server::Server;
pub use service::{Service, Services};
pub use stack::{Options, Stack, temporary_data};
