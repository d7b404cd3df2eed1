//! Read models out: every GET of the API.
//!
//! ```text
//!   GET ──► edge: token, limits ──► a resource ──► asked: wait for the token's position
//!                                       │             │
//!                                       │             └─ projections::Reader: rows and position
//!                                       └─ answer: the row as it is stored, headers about it
//!
//!   resources  every resource on one page           resource  what all of them are made of
//!   order, product, erasure, webhook                what some of them have besides
//!   reports    what was sold, taken and moved, for operators
//!   caller     who is asking
//!   asked      what every read may say: Consistency-Token, Prefer, If-None-Match, its parameters
//!   answer     what every read is answered with
//!   listing    what a list takes;  list   pages;  cursor   where a page begins
//!   describe   what a resource's calls are called, for the document
//!   history    the events of one aggregate, from its stream
//!   past       rows as they were;  diff   what changed between two moments
//!   graphql    all of it as one graph
//!   live       what happens now, as server-sent events
//!   action     whose buyer must act before an order goes on
//!   unseal     personal data, opened on the way out
//!   owner      whose a row is
//!   failure    what went wrong, as a problem
//!   health     /livez, /readyz with the lag of every view
//!   stuck      everything that waits for a human or is late
//!   system     what is parked, and how the streams compare with what is declared
//! ```
//!
//! A row's payload passes through as text: nothing is parsed but what has to be unsealed, and the
//! owner's id.

mod action;
mod answer;
mod asked;
mod caller;
mod config;
mod cursor;
mod describe;
mod diff;
mod erasure;
mod failure;
mod graphql;
mod health;
mod history;
mod list;
mod listing;
mod live;
mod order;
mod owner;
mod past;
mod product;
mod reports;
mod resource;
mod resources;
mod run;
mod state;
mod stuck;
mod system;
mod unseal;
mod webhook;

pub use config::Config;
pub use failure::PAGES;
pub use graphql::language;
pub use list::{LIMIT_DEFAULT, LIMIT_MAX};
pub use run::{Error, document, router, run};
pub use state::{Api, Parts};
pub use system::ParkedItem;
