//! Arguments that several roles share. Each is a flag and an environment variable, and says its
//! default; passwords come from the environment alone, so that no process list shows them.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

/// Where NATS is when nothing else is said.
pub const NATS_DEFAULT: &str = "nats://127.0.0.1:4222";

/// Where Postgres is when nothing else is said.
pub const POSTGRES_DEFAULT: &str = "127.0.0.1:5432";

/// Where NATS is.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct NatsArgs {
    /// Where NATS is: one or more nats://host:port, separated by commas.
    #[arg(long, env = "MILLRACE_NATS", default_value = NATS_DEFAULT)]
    pub nats: String,
    /// File with the certificates (PEM) of those who vouch for NATS; with it, TLS is required.
    #[arg(long, env = "MILLRACE_NATS_CA")]
    pub nats_ca: Option<PathBuf>,
}

/// A server: where it is, and the file with the certificates of those who vouch for it (`None` = it
/// is talked to without TLS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server<'a> {
    /// Its address.
    pub address: &'a str,
    /// PEM.
    pub ca: Option<&'a Path>,
}

impl<'a> From<&'a str> for Server<'a> {
    fn from(address: &'a str) -> Self {
        Self { address, ca: None }
    }
}

impl<'a> From<&'a String> for Server<'a> {
    fn from(address: &'a String) -> Self {
        address.as_str().into()
    }
}

impl<'a> From<&'a NatsArgs> for Server<'a> {
    fn from(args: &'a NatsArgs) -> Self {
        Self {
            address: &args.nats,
            ca: args.nats_ca.as_deref(),
        }
    }
}

impl<'a> From<&'a PostgresArgs> for Server<'a> {
    fn from(args: &'a PostgresArgs) -> Self {
        Self {
            address: &args.postgres,
            ca: args.postgres_ca.as_deref(),
        }
    }
}

/// Where Postgres is.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct PostgresArgs {
    /// Where Postgres is: host:port.
    #[arg(long, env = "MILLRACE_POSTGRES", default_value = POSTGRES_DEFAULT)]
    pub postgres: String,
    /// File with the certificates (PEM) of those who vouch for Postgres; with it, TLS is required.
    #[arg(long, env = "MILLRACE_POSTGRES_CA")]
    pub postgres_ca: Option<PathBuf>,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for people.
    #[default]
    Text,
    /// An object a line, for programs.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct LogArgs {
    /// What is logged, as in info,streams=debug; without it `RUST_LOG` counts, then info.
    #[arg(long, env = "MILLRACE_LOG", global = true)]
    pub log: Option<String>,
    /// How it is written.
    #[arg(
        long,
        env = "MILLRACE_LOG_FORMAT",
        value_enum,
        default_value_t,
        global = true
    )]
    pub log_format: Format,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Role {
        #[command(flatten)]
        nats: NatsArgs,
        #[command(flatten)]
        postgres: PostgresArgs,
        #[command(flatten)]
        log: LogArgs,
    }

    #[test]
    fn flags_win_over_defaults() {
        let role = Role::try_parse_from([
            "role",
            "--nats",
            "nats://a:1,nats://b:2",
            "--log-format",
            "json",
        ])
        .unwrap();
        assert_eq!(role.nats.nats, "nats://a:1,nats://b:2");
        assert_eq!(role.postgres.postgres, POSTGRES_DEFAULT);
        assert_eq!(role.log.log_format, Format::Json);
        assert!(Role::try_parse_from(["role", "--log-format", "xml"]).is_err());
    }
}
