//! `millrace`: the command line and the composition root.
//!
//! ```text
//!   cli        what can be typed
//!   roles      one role alone, against given servers
//!   provision  streams, durables, databases and roles, with admin rights
//!   up         every role in one process, on servers of its own, behind one entry
//!   production  what a shop refuses;  outgoing  the servers that it talks to
//!   parked     what could not be handled, and what is to become of it
//!   import     a file of products, sent and followed
//!   inbox      what foreign systems told that nobody could match yet
//!   stuck      everything that waits for a human or is late
//!   keys       rotation of the master key
//!   reconcile  our payments held against the provider's list
//!   audit      does everything add up?
//!   rebuild    a read model built anew beside the live one
//!   verify     is the log what it should be?
//!   schema     event schemas: in the code, committed, and alive in the log
//!   health     how a role is
//!   withdrawing  whose tokens count no longer
//!   reach      where a tool that looks at the log finds it
//!   http       how a tool reaches an HTTP server, over TLS
//!   simulate   the shop by the thousand, with everything going wrong
//!   demo       the main job, told as it happens
//!   client     the shop with verbs, for demo, benchmarks and tests
//! ```

pub mod audit;
pub mod cli;
pub mod client;
pub mod demo;
pub mod entry;
pub mod health;
pub mod http;
pub mod import;
pub mod inbox;
pub mod keys;
mod outgoing;
pub mod parked;
pub mod production;
pub mod provision;
pub mod reach;
pub mod rebuild;
pub mod reconcile;
pub mod roles;
pub mod schema;
pub mod settings;
pub mod simulate;
pub mod stuck;
pub mod token;
pub mod up;
pub mod verify;
pub mod withdrawing;
