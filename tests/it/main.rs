//! End-to-end tests on the real servers, in one binary.
//!
//! Nothing is mocked: nats-server, Postgres, SMTP and the payment simulator are real processes,
//! found or fetched by `devstack`. What can't be found fails the test and says how to get it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod accounts;
mod alerts;
mod apart;
mod app;
mod arrival;
mod audit;
mod bad_input;
mod banks;
mod catalog;
mod chart;
mod cluster;
mod contention;
mod deploy;
mod described;
mod documents;
mod erasure;
mod event_stores;
mod examples;
mod faults;
mod gateway;
mod graphql;
mod hosted;
mod injected;
mod isolation;
mod kill;
mod kubernetes;
mod live;
mod mails;
mod overload;
mod parking;
mod past;
mod permissions;
mod probes;
mod projections;
mod rebuild;
mod reconcile;
mod replicas;
mod reports;
mod restore;
mod returns;
mod revisions;
mod rotation;
mod separate;
mod server;
mod servers;
mod settling;
mod stale;
mod store;
mod stories;
mod storm;
mod stuck;
mod timers;
mod tls;
mod told;
mod topology;
mod verify;
mod webhooks;
mod withheld;
mod workflows;
