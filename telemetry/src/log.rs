//! Tracing to stderr: stdout belongs to what a command answers.

use std::io::{IsTerminal, stderr};

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Format, LogArgs};

/// What is logged when nobody says. async-nats reports each reconnect itself, so do we.
const FILTER_DEFAULT: &str = "info,async_nats=warn";

/// Why nothing is logged.
#[derive(Debug, Error)]
pub enum InitError {
    /// The filter can't be read.
    #[error("{filter:?} is no log filter: info,streams=debug would be one")]
    Filter {
        /// What was given.
        filter: String,
        /// Why.
        #[source]
        source: ParseError,
    },
    /// A second call.
    #[error("the log was already set up")]
    Twice(#[source] TryInitError),
}

/// Sets the process's log up, once: from `--log`, else `RUST_LOG`, else `info`.
///
/// # Errors
/// The filter can't be read, or this is the second call.
pub fn init(args: &LogArgs) -> Result<(), InitError> {
    let filter = filter(args.log.clone().or_else(|| std::env::var("RUST_LOG").ok()))?;
    let log = tracing_subscriber::registry().with(filter);
    match args.log_format {
        Format::Text => {
            // Colors are for people: a file or a pipe gets none.
            let layer = fmt::layer().with_ansi(stderr().is_terminal());
            log.with(layer.with_writer(stderr)).try_init()
        }
        Format::Json => log.with(fmt::layer().json().with_writer(stderr)).try_init(),
    }
    .map_err(InitError::Twice)
}

fn filter(wanted: Option<String>) -> Result<EnvFilter, InitError> {
    let filter = wanted
        .filter(|text| !text.trim().is_empty())
        .unwrap_or_else(|| FILTER_DEFAULT.to_owned());
    EnvFilter::builder()
        .parse(&filter)
        .map_err(|source| InitError::Filter { filter, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read() {
        assert!(filter(None).is_ok());
        assert!(filter(Some("debug,streams=trace".to_owned())).is_ok());
        assert!(filter(Some("streams=loud".to_owned())).is_err());
    }
}
