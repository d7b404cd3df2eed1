//! What can be set.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderValue, Uri};
use clap::Args;
use edge::{Limits, Network, Share, TlsArgs};

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

/// A year, in seconds: the least that the lists which browsers ship with ask for.
const HSTS_S: u64 = 31_536_000;

/// How many seconds' worth of requests may come at once.
pub(crate) const BURST_S: u32 = 10;

/// How the gateway works.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Replicas of the command API, `http://host:port` or `https://host:port`, separated by commas; those
    /// that announce themselves over NATS come on top. `user+order=http://host:port` serves these
    /// contexts alone.
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
    /// Origins of pages that may call this entry from a browser (`https://shop.example`); `*` = any.
    #[arg(long, env = "MILLRACE_CORS_ORIGINS", value_delimiter = ',', value_parser = origin)]
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
    /// How long a browser that came over TLS comes over nothing else, in seconds
    /// (Strict-Transport-Security); said only where this entry itself shows a certificate. 0 = unsaid.
    #[arg(long, env = "MILLRACE_HSTS_S", default_value_t = HSTS_S)]
    pub hsts_s: u64,
    /// How the replicas are reached.
    #[command(flatten)]
    pub behind: Behind,
    /// The bounds of the server.
    #[command(flatten)]
    pub limits: Limits,
    /// Most connections from one address, of IPv6 from one /64; of a trusted proxy any number. Not set: a
    /// quarter of all, so that no one takes everybody's.
    #[arg(long, env = "MILLRACE_CONNECTIONS_OF_ONE_MAX")]
    pub connections_of_one_max: Option<usize>,
}

impl Config {
    pub(crate) fn share(&self) -> Share {
        let quarter = (self.limits.connections_max / 4).max(1);
        Share {
            of_one_max: self.connections_of_one_max.unwrap_or(quarter),
            proxies: self.trusted_proxies.clone(),
        }
    }
}

/// How the replicas are reached.
#[derive(Debug, Clone, Default, Args)]
pub struct Behind {
    /// File with the certificates (PEM) of those who vouch for the APIs; with it, TLS is required.
    #[arg(long, env = "MILLRACE_APIS_CA")]
    pub apis_ca: Option<PathBuf>,
    /// The name that stands in every API's certificate, for replicas that are reached at addresses
    /// which no certificate can name; without it, the host at which each is reached must stand there.
    #[arg(long, env = "MILLRACE_APIS_NAME", requires = "apis_ca")]
    pub apis_name: Option<String>,
    /// File with the certificate (PEM) that is shown to the APIs, for those that demand one.
    #[arg(long, env = "MILLRACE_APIS_CERT", requires_all = ["apis_key", "apis_ca"])]
    pub apis_cert: Option<PathBuf>,
    /// File with that certificate's private key (PEM).
    #[arg(long, env = "MILLRACE_APIS_KEY", requires = "apis_cert")]
    pub apis_key: Option<PathBuf>,
    /// Whether APIs on other machines may be talked to without TLS, for a network that something else
    /// protects; unset, they may, but not in production.
    #[arg(long, env = "MILLRACE_APIS_HTTP", conflicts_with = "apis_ca")]
    pub apis_http: Option<bool>,
}

impl Behind {
    /// May the API at `address` be asked, as far as TLS goes?
    pub(crate) fn may_ask(&self, address: &Address) -> bool {
        let in_the_clear = || edge::is_here(address.host()) || self.apis_http.unwrap_or(true);
        address.is_encrypted() || (self.apis_ca.is_none() && in_the_clear())
    }
}

/// How much one client may ask for, from all gateways together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct Rates {
    /// Requests per second of one user; ten seconds' worth may come at once. 0 = any.
    #[arg(long, env = "MILLRACE_USER_RATE", default_value_t = USER_RATE)]
    pub user_rate: u32,
    /// Requests per second from one address without a token (of IPv6, one /64), and apart from these of what the
    /// gateway says of itself (`/openapi.json`, `/problems`, `/metrics`). 0 = any.
    #[arg(long, env = "MILLRACE_ADDRESS_RATE", default_value_t = ADDRESS_RATE)]
    pub address_rate: u32,
    /// Writes per second under one Idempotency-Key. 0 = any.
    #[arg(long, env = "MILLRACE_KEY_RATE", default_value_t = KEY_RATE)]
    pub key_rate: u32,
}

/// Where a replica is, and what it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Where it is.
    pub address: Address,
    /// The contexts that it serves; none named = all.
    pub contexts: Vec<String>,
}

/// `scheme://host` or `scheme://host:port`, as a browser names a page's origin (RFC 6454); or `*`.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let uri = text.parse::<Uri>().ok();
    let spelled = uri.and_then(|uri| Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?)));
    if text != "*" && spelled.as_deref() != Some(text) {
        return Err("an origin is scheme://host[:port], without a path, or *".to_owned());
    }
    HeaderValue::try_from(text).map_err(|error| error.to_string())
}

/// `http://host:port`, or `context+context=http://host:port`.
fn member(text: &str) -> Result<Member, String> {
    let (contexts, address) = text.split_once('=').unwrap_or(("", text));
    let contexts = contexts
        .split('+')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    Ok(Member {
        address: address.parse()?,
        contexts: contexts.map(str::to_owned).collect(),
    })
}

/// Where a process can be reached: `http://host:port`, or `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
}

impl Address {
    /// Is TLS talked there?
    pub fn is_encrypted(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The host, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        self.authority.host()
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("{text:?} is not http://host:port or https://host:port");
        let uri: Uri = text.trim().parse().map_err(|_| wanted())?;
        let bare = uri.path() == "/" && uri.query().is_none();
        let parts = uri.into_parts();
        let scheme = parts
            .scheme
            .filter(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
        let authority = parts
            .authority
            .filter(|found| bare && found.port_u16().is_some() && !found.as_str().contains('@'));
        let (scheme, authority) = scheme.zip(authority).ok_or_else(wanted)?;
        Ok(Self { scheme, authority })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
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
    fn an_origin_is_spelled_as_browsers_do() {
        for good in ["*", "https://shop.example", "http://localhost:3000"] {
            assert_eq!(origin(good).unwrap(), good);
        }
        for bad in [
            "https://shop.example/",
            "shop.example",
            "null",
            "https://a b",
            "",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn without_tls_only_who_may_be_is_asked() {
        let may_ask = |behind: &Behind, address: &str| behind.may_ask(&address.parse().unwrap());
        let set = |apis_http| Behind {
            apis_http,
            ..Behind::default()
        };
        for (apis_http, elsewhere) in [(None, true), (Some(true), true), (Some(false), false)] {
            let behind = set(apis_http);
            assert_eq!(may_ask(&behind, "http://a:1"), elsewhere, "{apis_http:?}");
            assert!(may_ask(&behind, "http://[::1]:1") && may_ask(&behind, "https://a:1"));
        }
        let vouched = Behind {
            apis_ca: Some("ca.pem".into()),
            ..Behind::default()
        };
        assert!(may_ask(&vouched, "https://a:1") && !may_ask(&vouched, "http://127.0.0.1:1"));
    }

    #[test]
    fn a_replica_is_a_host_and_a_port() {
        let address = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        assert_eq!(address("http://a:8081").unwrap(), "http://a:8081");
        assert_eq!(
            address(" http://[::1]:8081/ ").unwrap(),
            "http://[::1]:8081"
        );
        assert_eq!(address("https://a:1").unwrap(), "https://a:1");
        for bad in [
            "a:8081",
            "ftp://a:1",
            "http://a",
            "http://a:1/x",
            "http://u@a:1",
            "",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
