//! Read models out: every GET of the API.
//!
//! ```text
//!   GET ──► edge: token, limits ──► a resource ──► asked: wait for the token's position
//!                                       │             │
//!                                       │             └─ projections::Reader: rows and position
//!                                       └─ answer: the row as it is stored, headers about it
//!
//!   product, import, inventory, user, erasure, order, payment, notification, suppression,
//!   checkout, aftermath
//!              one resource a file, its routes at the top
//!   asked      what every read may say: Consistency-Token, Prefer, If-None-Match, its parameters
//!   answer     what every read is answered with
//!   list       pages; cursor   where a page begins
//!   history    the events of one aggregate, from its stream
//!   unseal     personal data, opened on the way out
//!   owner      whose a row is
//!   failure    what went wrong, as a problem
//!   health     /livez, /readyz with the lag of every view
//! ```
//!
//! A row's payload passes through as text: nothing is parsed but what has to be unsealed, and the
//! owner's id.

mod aftermath;
mod answer;
mod asked;
mod checkout;
mod config;
mod cursor;
mod erasure;
mod failure;
mod health;
mod history;
mod import;
mod inventory;
mod list;
mod notification;
mod order;
mod owner;
mod payment;
mod product;
mod run;
mod state;
mod suppression;
mod unseal;
mod user;

pub use config::Config;
pub use failure::PAGES;
pub use list::{LIMIT_DEFAULT, LIMIT_MAX};
pub use run::{Error, router, run};
pub use state::Api;
