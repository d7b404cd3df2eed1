//! What can be set.

use axum::http::uri::Authority;
use axum::http::{HeaderValue, Uri};
use clap::Args;
use edge::{Limits, Network, TlsArgs};

/// The names under which a gateway answers when nobody says otherwise: those of this machine. A page
/// of a stranger that has its name point here (DNS rebinding) is refused by them.
const HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Most bytes of cached answers.
const CACHE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Requests per second of one user, when kept up.
pub(crate) const USER_RATE: u32 = 50;

/// Requests per second from one address without a token, when kept up. Many people may share one.
pub(crate) const ADDRESS_RATE: u32 = 100;

/// Writes per second under one idempotency key, when kept up: who is faster repeats in a storm.
pub(crate) const KEY_RATE: u32 = 5;

/// How many seconds' worth of requests may come at once.
pub(crate) const BURST_S: u32 = 10;

/// How the gateway works.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Replicas of the command API, `http://host:port`, separated by commas; those that announce
    /// themselves over NATS come on top. `user+order=http://host:port` serves these contexts alone.
    #[arg(long, env = "MILLRACE_COMMAND_APIS", value_delimiter = ',', value_parser = member)]
    pub command_apis: Vec<Member>,
    /// Replicas of the query API; as above.
    #[arg(long, env = "MILLRACE_QUERY_APIS", value_delimiter = ',', value_parser = member)]
    pub query_apis: Vec<Member>,
    /// The names of this entry, as they stand in the header Host, without a port; `*` = any.
    #[arg(long, env = "MILLRACE_HOSTS", value_delimiter = ',', default_values = HOSTS)]
    pub hosts: Vec<String>,
    /// Proxies in front, as addresses or networks (`10.0.0.0/8`), whose X-Forwarded-For is believed; everybody else's is dropped.
    #[arg(long, env = "MILLRACE_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,
    /// Origins of pages that may call this entry from a browser (`https://shop.example`).
    #[arg(long, env = "MILLRACE_CORS_ORIGINS", value_delimiter = ',')]
    pub cors_origins: Vec<HeaderValue>,
    /// Most bytes of cached answers; 0 = no cache.
    #[arg(long, env = "MILLRACE_CACHE_BYTES_MAX", default_value_t = CACHE_BYTES_MAX)]
    pub cache_bytes_max: u64,
    /// How much one client may ask for.
    #[command(flatten)]
    pub rates: Rates,
    /// What it shows of itself.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// The bounds of the server.
    #[command(flatten)]
    pub limits: Limits,
}

/// How much one client may ask for, from all gateways together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct Rates {
    /// Requests per second of one user; ten seconds' worth may come at once. 0 = any.
    #[arg(long, env = "MILLRACE_USER_RATE", default_value_t = USER_RATE)]
    pub user_rate: u32,
    /// Requests per second from one address without a token (of IPv6, one /64). 0 = any.
    #[arg(long, env = "MILLRACE_ADDRESS_RATE", default_value_t = ADDRESS_RATE)]
    pub address_rate: u32,
    /// Writes per second under one Idempotency-Key. 0 = any.
    #[arg(long, env = "MILLRACE_KEY_RATE", default_value_t = KEY_RATE)]
    pub key_rate: u32,
}

/// Where a replica is, and what it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its host and port.
    pub authority: Authority,
    /// The contexts that it serves; none named = all.
    pub contexts: Vec<String>,
}

/// `http://host:port`, or `context+context=http://host:port`.
fn member(text: &str) -> Result<Member, String> {
    let (contexts, address) = text.split_once('=').unwrap_or(("", text));
    let contexts = contexts
        .split('+')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    Ok(Member {
        authority: authority(address)?,
        contexts: contexts.map(str::to_owned).collect(),
    })
}

/// The host and port of `http://host:port`.
///
/// # Errors
/// It is none, or says more than that.
pub fn authority(text: &str) -> Result<Authority, String> {
    let wanted = || format!("{text:?} is not http://host:port");
    let uri: Uri = text.trim().parse().map_err(|_| wanted())?;
    let bare = uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none();
    let authority = uri
        .into_parts()
        .authority
        .filter(|found| bare && found.port_u16().is_some() && !found.as_str().contains('@'));
    authority.ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_may_serve_some_contexts_alone() {
        let some = member("user+order=http://a:8081").unwrap();
        assert_eq!(some.contexts, ["user", "order"]);
        assert!(member("http://a:8081").unwrap().contexts.is_empty());
        assert!(member("user=a").is_err());
    }

    #[test]
    fn a_replica_is_a_host_and_a_port() {
        assert_eq!(authority("http://a:8081").unwrap(), "a:8081");
        assert_eq!(authority(" http://[::1]:8081/ ").unwrap(), "[::1]:8081");
        for bad in [
            "a:8081",
            "https://a:1",
            "http://a",
            "http://a:1/x",
            "http://u@a:1",
            "",
        ] {
            assert!(authority(bad).is_err(), "{bad}");
        }
    }
}
