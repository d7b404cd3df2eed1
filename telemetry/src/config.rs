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
    /// File with the certificate (PEM) that this role shows to NATS, for a server that demands one.
    #[arg(long, env = "MILLRACE_NATS_CERT", requires_all = ["nats_key", "nats_ca"])]
    pub nats_cert: Option<PathBuf>,
    /// File with that certificate's private key (PEM).
    #[arg(long, env = "MILLRACE_NATS_KEY", requires = "nats_cert")]
    pub nats_key: Option<PathBuf>,
}

/// A server: where it is, and the file with the certificates of those who vouch for it (`None` = it
/// is talked to without TLS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server<'a> {
    /// Its address.
    pub address: &'a str,
    /// PEM.
    pub ca: Option<&'a Path>,
    /// What is shown to it, over TLS; `None` = nothing.
    pub shown: Option<Shown<'a>>,
}

/// Who a client is, for a server that demands a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown<'a> {
    /// The file with the certificate (PEM, its own first).
    pub certificate: &'a Path,
    /// The file with its private key (PEM).
    pub key: &'a Path,
}

impl<'a> Shown<'a> {
    fn of(certificate: Option<&'a PathBuf>, key: Option<&'a PathBuf>) -> Option<Self> {
        let (certificate, key) = certificate.zip(key)?;
        Some(Self { certificate, key })
    }
}

impl<'a> From<&'a str> for Server<'a> {
    fn from(address: &'a str) -> Self {
        Self {
            address,
            ca: None,
            shown: None,
        }
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
            shown: Shown::of(args.nats_cert.as_ref(), args.nats_key.as_ref()),
        }
    }
}

impl<'a> From<&'a PostgresArgs> for Server<'a> {
    fn from(args: &'a PostgresArgs) -> Self {
        Self {
            address: &args.postgres,
            ca: args.postgres_ca.as_deref(),
            shown: Shown::of(args.postgres_cert.as_ref(), args.postgres_key.as_ref()),
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
    /// File with the certificate (PEM) that this role shows to Postgres, for a server that demands one.
    #[arg(long, env = "MILLRACE_POSTGRES_CERT", requires_all = ["postgres_key", "postgres_ca"])]
    pub postgres_cert: Option<PathBuf>,
    /// File with that certificate's private key (PEM).
    #[arg(long, env = "MILLRACE_POSTGRES_KEY", requires = "postgres_cert")]
    pub postgres_key: Option<PathBuf>,
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
    /// What is logged, as in info,streams=debug; without it `RUST_LOG` counts, then info, or less: of `up`
    /// warn, of commands that talk to a person themselves error.
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

    #[test]
    fn a_certificate_is_shown_with_its_key_and_over_tls_alone() {
        for half in [
            &["role", "--nats-cert", "a", "--nats-ca", "c"][..],
            &["role", "--nats-cert", "a", "--nats-key", "b"],
            &["role", "--postgres-key", "b", "--postgres-ca", "c"],
        ] {
            assert!(Role::try_parse_from(half).is_err(), "{half:?}");
        }
        let whole = ["--nats-cert", "a", "--nats-key", "b", "--nats-ca", "c"];
        let role = Role::try_parse_from([&["role"][..], &whole].concat()).unwrap();
        let shown = Shown {
            certificate: Path::new("a"),
            key: Path::new("b"),
        };
        assert_eq!(Server::from(&role.nats).shown, Some(shown));
        assert_eq!(Server::from(&role.postgres).shown, None);
    }
}
