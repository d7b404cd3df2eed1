//! The single entry: every request of a client passes here, and nothing else is open to clients.
//!
//! ```text
//!   client ─► guard ─► check ─► token ─► limits ─┬─► overview: four reads at once
//!             edge     path,                     ├─► cache: the public catalogue ─┐
//!                      host,                     └────────────────────────────────┴─► forward ─► pool
//!                      lengths                                  retries, clean headers   least busy replica
//!
//!   watch   which replicas there are and are ready; how many gateways share the limits;
//!           what changes in the catalogue
//! ```
//!
//! - `check`: what is refused before anybody else sees it
//! - `paths`: which there are, and what is done at each
//! - `limits`: how much one user, address or idempotency key may ask for
//! - `pool`: the replicas of one role, and which of them is asked
//! - `behind`: the client of all replicas, with or without TLS
//! - `forward`: one request to one of them, again where that is safe
//! - `cache`: answers that everybody may see, as long as the catalogue has not changed
//! - `tags`: what is compressed is called otherwise
//! - `overview`: one order from four views, also when some are down
//!
//! It holds no state that matters: any number of gateways may stand side by side. It trusts nobody
//! behind it less for that: each API checks token, body and ownership again.

mod behind;
mod cache;
mod check;
mod config;
mod forward;
mod gate;
mod headers;
mod limits;
mod overview;
mod paths;
mod pool;
mod problems;
mod run;
mod tags;
mod watch;

pub use config::{Address, Behind, Config, Member, Rates};
pub use problems::{PAGES, document, refusals};
pub use run::{Error, ROLE, Service};
