//! Configuration loading, tracing and metrics: what every role needs before it does anything.
//!
//! ```text
//!   config    arguments that several roles share, each a flag and an environment variable
//!   log       tracing to stderr, as text or as JSON
//!   metrics   one recorder, rendered for Prometheus
//! ```

pub mod config;
mod log;
mod metrics;

pub use config::{Format, LogArgs, NatsArgs, PostgresArgs, Server, Shown};
pub use log::{InitError, init};
pub use metrics::{Metrics, MetricsError};
