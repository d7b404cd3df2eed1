//! The servers that a role talks to: in production over TLS, but for those on this machine. Each check's
//! error says which server is to be talked to in the clear, and what to set.

use anyhow::{Context, ensure};
use edge::is_here;
use gateway::Member;
use reactors::SmtpConfig;
use reqwest::Url;
use telemetry::{NatsArgs, PostgresArgs};

use crate::reach::ReachArgs;

/// Passwords and the log go there.
pub(crate) fn nats(args: &NatsArgs) -> anyhow::Result<()> {
    if args.nats_ca.is_some() {
        return Ok(());
    }
    for address in args.nats.split(',').map(str::trim) {
        let whole = if address.contains("://") {
            address.to_owned()
        } else {
            format!("nats://{address}")
        };
        let wanted = "MILLRACE_NATS must be nats://host:port or tls://host:port";
        let url = Url::parse(&whole).context(wanted)?;
        let set = "MILLRACE_NATS to tls://… addresses, or MILLRACE_NATS_CA";
        encrypted(url.scheme() == "tls", host(&url), set)?;
    }
    Ok(())
}

/// Passwords and everything that is read go there.
pub(crate) fn postgres(args: &PostgresArgs) -> anyhow::Result<()> {
    let address = &args.postgres;
    let host = address.rsplit_once(':').map_or(&**address, |(it, _)| it);
    encrypted(args.postgres_ca.is_some(), host, "MILLRACE_POSTGRES_CA")
}

/// What somebody who looks after the shop sends to NATS and Postgres, passwords first.
pub(crate) fn tool(reach: &ReachArgs) -> anyhow::Result<()> {
    log_tool(reach)?;
    if reach.data.is_some() {
        return Ok(());
    }
    postgres(&reach.postgres)
}

/// The same of one that needs no Postgres.
pub(crate) fn log_tool(reach: &ReachArgs) -> anyhow::Result<()> {
    if reach.data.is_some() {
        return Ok(());
    }
    nats(&reach.nats)
}

/// An operator's token goes there.
pub(crate) fn entry(address: &str) -> anyhow::Result<()> {
    let url = Url::parse(address).context("--entry must be an address as https://shop.example")?;
    encrypted(
        url.scheme() == "https",
        host(&url),
        "--entry to an https://… address",
    )
}

/// Whatever clients ask goes there, tokens and all, in the clear only if somebody has said so. (Those
/// that announce themselves the gateway finds later.)
pub(crate) fn apis(config: &gateway::Config) -> anyhow::Result<()> {
    for (variable, members) in [
        ("MILLRACE_COMMAND_APIS", &config.command_apis),
        ("MILLRACE_QUERY_APIS", &config.query_apis),
    ] {
        for Member { address, .. } in members {
            let taken = address.is_encrypted() || config.behind.apis_http == Some(true);
            let set = format!(
                "{variable} to https://… addresses, or MILLRACE_APIS_HTTP to true where the network is trusted"
            );
            encrypted(taken, address.host(), &set)?;
        }
    }
    Ok(())
}

/// The key that moves money goes there.
pub(crate) fn payments(address: &str) -> anyhow::Result<()> {
    let wanted = "MILLRACE_PAYMENTS must be an address as https://api.example";
    let url = Url::parse(address).context(wanted)?;
    let set = "MILLRACE_PAYMENTS to an https://… address";
    encrypted(url.scheme() == "https", host(&url), set)
}

/// Names, addresses and what people buy go there, in the clear only if somebody has said so.
pub(crate) fn mails(config: &SmtpConfig) -> anyhow::Result<()> {
    let set = "MILLRACE_SMTP_TLS to starttls or implicit, or to none where the network is trusted";
    encrypted(config.smtp_tls.is_some(), config.server(), set)
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

fn encrypted(is_encrypted: bool, host: &str, set: &str) -> anyhow::Result<()> {
    ensure!(
        is_encrypted || is_here(host),
        "production refuses to talk to {host} without TLS: set {set}"
    );
    Ok(())
}
