//! From where a request comes.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use ipnet::IpNet;

/// The header in which a proxy says for whom it asks.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Who holds the other end of the connection: [`crate::serve`] puts it into each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Addresses that belong together: one (`10.0.0.1`), or all that begin alike (`10.0.0.0/8`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Is this one of them?
    pub fn contains(&self, address: &IpAddr) -> bool {
        self.0.contains(address)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let one = text.parse().map(|address: IpAddr| IpNet::from(address));
        let net = one.or_else(|_| text.parse()).map_err(|_| {
            format!("{text:?} is neither an address nor a network such as 10.0.0.0/8")
        })?;
        Ok(Self(net))
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self(address.into())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Bits of an IPv6 address that one customer of a provider has in common (RFC 6177: a /64 at least).
const IPV6_PREFIX_BITS: u32 = 64;

/// The address as its holder is counted: of IPv6 the first of the /64, for whoever has one has them all.
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let prefix = u128::MAX << (u128::BITS - IPV6_PREFIX_BITS);
            Ipv6Addr::from_bits(address.to_bits() & prefix).into()
        }
    }
}

/// From where a request comes: the connection's other end, and what it says for whom it asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    peer: Option<IpAddr>,
    /// The last address of the header: those before it anybody can write.
    forwarded_for: Option<IpAddr>,
}

impl Client {
    /// The client's address. What a peer says of others counts only if it is one of `proxies`.
    /// `None` = the request came over no socket.
    pub fn address(&self, proxies: &[Network]) -> Option<IpAddr> {
        let peer = self.peer?;
        if proxies.iter().any(|proxy| proxy.contains(&peer)) {
            return self.forwarded_for.or(Some(peer));
        }
        Some(peer)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let last = parts.headers.get_all(FORWARDED_FOR).iter().next_back();
        let last = last.and_then(|value| value.to_str().ok()?.rsplit(',').next());
        Ok(Self {
            peer: parts
                .extensions
                .get::<Peer>()
                .map(|peer| peer.0.to_canonical()),
            forwarded_for: last.and_then(|address| address.trim().parse().ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn client(peer: Option<&str>, said: &[&str]) -> Client {
        let mut request = Request::new(());
        for value in said {
            let value = value.parse().unwrap();
            request.headers_mut().append(FORWARDED_FOR, value);
        }
        let peer = peer.map(|address| Peer(address.parse().unwrap()));
        request.extensions_mut().extend(
            peer.map(|peer| {
                let mut known = axum::http::Extensions::new();
                known.insert(peer);
                known
            })
            .unwrap_or_default(),
        );
        let (mut parts, ()) = request.into_parts();
        Client::from_request_parts(&mut parts, &()).await.unwrap()
    }

    #[tokio::test]
    async fn only_a_proxy_is_believed() {
        let proxies = ["10.0.0.1".parse().unwrap()];
        let address = async |peer, said: &[&str]| {
            let client = client(peer, said).await;
            client.address(&proxies).map(|address| address.to_string())
        };
        let said = ["1.1.1.1, 2.2.2.2", "3.3.3.3, 4.4.4.4"];
        assert_eq!(
            address(Some("9.9.9.9"), &said).await.as_deref(),
            Some("9.9.9.9")
        );
        assert_eq!(
            address(Some("10.0.0.1"), &said).await.as_deref(),
            Some("4.4.4.4")
        );
        assert_eq!(
            address(Some("::ffff:10.0.0.1"), &said).await.as_deref(),
            Some("4.4.4.4")
        );
        assert_eq!(
            address(Some("10.0.0.1"), &["x"]).await.as_deref(),
            Some("10.0.0.1")
        );
        assert_eq!(address(None, &said).await, None);
        let networks = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let within = client(Some("10.9.8.7"), &said).await;
        assert_eq!(within.address(&networks), "4.4.4.4".parse().ok());
        let beside = client(Some("11.0.0.1"), &said).await;
        assert_eq!(beside.address(&networks), "11.0.0.1".parse().ok());
        for bad in ["10.0.0.0/33", "gateway", ""] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
