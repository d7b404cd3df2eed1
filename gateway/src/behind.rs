//! The client of all replicas, with or without TLS.

use std::time::Duration;

use axum::body::Body;
use edge::TlsError;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::config::Behind;

/// Longest time to connect to a replica.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

/// How long an idle connection to a replica is kept: shorter than the replica keeps it.
const IDLE_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a connection may be silent before the kernel asks whether the other end is still there, how often it
/// asks then, and how many times: a replica whose host is lost says nothing more, and whoever reads a live stream
/// from it would wait for ever.
///
/// There is no bound on how long what was sent may lie there (`TCP_USER_TIMEOUT`, tcp(7)): the kernel counts a window
/// that stays shut as well, and a replica that is busy with the lines of an import reads no more of them meanwhile.
/// Who waits for an answer has a deadline of their own.
const SILENCE_MAX: Duration = Duration::from_secs(15);
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBES_MAX: u32 = 3;

/// Asks any replica. Cheap to clone.
pub(crate) type Replicas = Client<HttpsConnector<HttpConnector>, Body>;

/// With those who vouch for the APIs, none is talked to without TLS; without them, nobody vouches for
/// one that talks TLS, and it isn't talked to either.
///
/// # Errors
/// Their certificates or the one that is shown can't be used, or the name is none.
pub(crate) fn client(config: &Behind) -> Result<Replicas, TlsError> {
    let shown = config.apis_cert.as_deref().zip(config.apis_key.as_deref());
    let tls = edge::trusting(config.apis_ca.as_deref(), shown)?;
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls);
    let mut builder = if config.apis_ca.is_some() {
        builder.https_only()
    } else {
        builder.https_or_http()
    };
    if let Some(name) = &config.apis_name {
        let name = edge::server_name(name)?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    let http = connector();
    Ok(Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE_TIME_MAX)
        .pool_timer(TokioTimer::new())
        .build(builder.enable_http1().wrap_connector(http)))
}

fn connector() -> HttpConnector {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_TIME_MAX));
    http.set_keepalive(Some(SILENCE_MAX));
    http.set_keepalive_interval(Some(PROBE_INTERVAL));
    http.set_keepalive_retries(Some(PROBES_MAX));
    http
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use socket2::SockRef;
    use tokio::net::TcpListener;
    use tower::Service;

    use super::*;

    /// That the kernel ends a connection to a host that is lost by these, and with a user timeout one to a replica
    /// that reads nothing for so long, is its own business.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_looks_after_connections_to_replicas_and_lets_them_be_slow() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connected = connector().call(url.parse().unwrap()).await.unwrap();
        let socket = connected.inner();
        let socket = SockRef::from(socket);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), SILENCE_MAX);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), PROBE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES_MAX);
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }

    #[tokio::test]
    async fn who_asks_for_tls_says_nothing_without() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let vouching = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        std::fs::write(&ca, vouching.cert.pem()).unwrap();
        let behind = Behind {
            apis_ca: Some(ca),
            ..Behind::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plain = format!("http://{}/readyz", listener.local_addr().unwrap());
        let request = Request::get(plain).body(Body::empty()).unwrap();
        let answer = client(&behind).unwrap().request(request);
        tokio::select! {
            answer = answer => assert!(answer.unwrap_err().is_connect()),
            came = listener.accept() => panic!("{came:?}"),
        }
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let nobody = Behind {
            apis_ca: Some(empty),
            ..Behind::default()
        };
        assert!(client(&nobody).is_err(), "nobody could be believed");
    }
}
