//! From where a request comes.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// The header in which a proxy says for whom it asks.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Who holds the other end of the connection: [`crate::serve`] puts it into each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

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
    pub fn address(&self, proxies: &[IpAddr]) -> Option<IpAddr> {
        let peer = self.peer?;
        if proxies.contains(&peer) {
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
    }
}
