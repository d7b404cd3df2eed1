//! One HTTP server, 1.1 and 2, with or without TLS: bounded heads, bounded connections, and a shutdown that
//! finishes what was accepted.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::Peer;
use crate::limits::{HEAD_BYTES_MAX, Limits};
use crate::places::{Places, Share, Taken};
use crate::tls::H2;

/// Pause after a failed accept (out of file descriptors, most likely): trying at once would spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How an HTTP/2 connection with prior knowledge begins (RFC 9113 §3.4); no HTTP/1 request does.
const PREFACE: &[u8] = b"PRI ";

/// Pause before a beginning that is still shorter than that is looked at again.
const PREFACE_PAUSE: Duration = Duration::from_millis(5);

/// Most requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;

/// Serves `router` until `shutdown`, then lets open requests finish for as long as
/// [`Limits::drain_time_max_s`] allows. Open connections beyond that are cut.
///
/// A head that is too large or malformed is answered by hyper itself (431, 400) without a body,
/// for there is no request yet that a problem could be about.
///
/// # Errors
/// None today: a failed accept is tried again.
pub fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) -> BoxFuture<'static, io::Result<()>> {
    serve_tls(listener, router, (limits, None), (None, shutdown))
}

/// As [`serve`], over TLS if there is an acceptor, and to each client its share of the connections if there is
/// such a bound.
///
/// # Errors
/// As [`serve`].
pub fn serve_tls(
    listener: TcpListener,
    router: Router,
    (limits, share): (Limits, Option<Share>),
    (tls, shutdown): (Option<TlsAcceptor>, CancellationToken),
) -> BoxFuture<'static, io::Result<()>> {
    Box::pin(async move {
        let graceful = GracefulShutdown::new();
        let places = Places::new(limits.connections_max, share);

        while let Some((stream, peer, place)) = accept(&listener, &places, &shutdown).await {
            bound_stalls(&stream, limits.stall_time());
            let router = router.clone();
            let watcher = graceful.watcher();
            let (tls, shutdown) = (tls.clone(), shutdown.clone());
            tokio::spawn(async move {
                let begun = tokio::select! {
                    begun = tokio::time::timeout(limits.head_time(), begin(stream, tls)) => begun,
                    // Nothing was asked yet, so nothing is cut.
                    () = shutdown.cancelled() => return,
                };
                // A client that says nothing, or goes away, is its own business: nothing to report.
                if let Ok(Ok((stream, is_http2))) = begun {
                    talk((stream, peer), router, limits, watcher, is_http2).await;
                }
                drop(place);
            });
        }
        drop(listener);
        if tokio::time::timeout(limits.drain_time(), graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("requests were still open at the end of the drain time and were cut");
        }
        Ok(())
    })
}

/// A connection, encrypted or not.
type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// Shakes hands, if there is TLS, and tells whether it is HTTP/2.
async fn begin(stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<(Stream, bool)> {
    let Some(tls) = tls else {
        let is_http2 = is_http2(&stream).await?;
        return Ok((Either::Left(stream), is_http2));
    };
    let stream = tls.accept(stream).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
    Ok((Either::Right(stream), is_http2))
}

/// Has the kernel cut the connection when what was sent is not taken in for so long: it answers no
/// acknowledgement, or its window stays shut (`TCP_USER_TIMEOUT`, tcp(7); RFC 5482). Where there is no such
/// option, clients that don't read keep their connection.
fn bound_stalls(stream: &TcpStream, longest: Duration) {
    #[cfg(target_os = "linux")]
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(longest)) {
        tracing::debug!(%error, "a connection without a bound on stalls");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (stream, longest);
}

/// Does the client begin with HTTP/2? Waits for its first bytes, and leaves them where they are.
async fn is_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut first).await?;
        let seen = first.get(..seen).unwrap_or_default();
        if seen == PREFACE {
            return Ok(true);
        }
        if seen.is_empty() || !PREFACE.starts_with(seen) {
            return Ok(false);
        }
        tokio::time::sleep(PREFACE_PAUSE).await;
    }
}

/// Serves one connection to its end.
async fn talk(
    (stream, peer): (Stream, SocketAddr),
    router: Router,
    limits: Limits,
    watcher: Watcher,
    is_http2: bool,
) {
    let introduced = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        request
    });
    let service = TowerToHyperService::new(introduced);
    // How it ends is the client's business too.
    let _gone = if is_http2 {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(limits.head_time())
            .keep_alive_timeout(limits.head_time());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        watcher.watch(connection).await
    } else {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.head_time())
            .max_header_size(HEAD_BYTES_MAX);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        watcher.watch(connection).await
    };
}

/// The next connection and its place; `None` = shut down. One too many of an address is closed.
async fn accept(
    listener: &TcpListener,
    places: &Places,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, Taken)> {
    let next = async {
        let mut free = places.free().await?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let place = match places.take(free, peer) {
                        Ok(place) => place,
                        Err(still_free) => {
                            free = still_free;
                            metrics::counter!("http_connections_refused_total").increment(1);
                            continue;
                        }
                    };
                    // Small answers must not wait for more bytes; a socket without it still works.
                    let _nagle = stream.set_nodelay(true);
                    return Some((stream, peer, place));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        accepted = next => accepted,
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn start(
        limits: Limits,
    ) -> (
        std::net::SocketAddr,
        CancellationToken,
        tokio::task::JoinHandle<io::Result<()>>,
    ) {
        start_shared(limits, None).await
    }

    async fn start_shared(
        limits: Limits,
        share: Option<Share>,
    ) -> (
        std::net::SocketAddr,
        CancellationToken,
        tokio::task::JoinHandle<io::Result<()>>,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let slow = || async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "done"
        };
        let large = || async { "x".repeat(LARGE) };
        let router = Router::new()
            .route("/slow", get(slow))
            .route("/large", get(large));
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve_tls(
            listener,
            router,
            (limits, share),
            (None, shutdown.clone()),
        ));
        (address, shutdown, server)
    }

    async fn talk(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _reset = stream.read_to_string(&mut answer).await;
        answer
    }

    /// More than the buffers of two sockets hold.
    const LARGE: usize = 64 * 1024 * 1024;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_asks_and_does_not_read_is_cut() {
        let limits = Limits {
            connections_max: 1,
            stall_time_max_s: 1,
            ..Limits::default()
        };
        let (address, shutdown, server) = start(limits).await;
        let mut stalls = TcpStream::connect(address).await.unwrap();
        let ask = b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n";
        stalls.write_all(ask).await.unwrap();
        let next = "GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let next = tokio::time::timeout(Duration::from_secs(30), talk(address, next));
        let answer = next.await.expect("its connection is free");
        assert!(answer.ends_with("done"), "{answer}");
        drop(stalls);
        shutdown.cancel();
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_has_his_share_of_the_connections_gets_no_more() {
        let share = Share {
            of_one_max: 1,
            proxies: Vec::new(),
        };
        let (address, shutdown, server) = start_shared(Limits::default(), Some(share)).await;
        let request = "GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(talk(address, request).await, "");
        let mut answer = String::new();
        first.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("done"), "{answer}");
        drop(first);
        let again = async {
            while talk(address, request).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let again = tokio::time::timeout(Duration::from_secs(30), again);
        again.await.expect("its place is free again");
        shutdown.cancel();
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_was_accepted_is_finished() {
        let (address, shutdown, server) = start(Limits::default()).await;
        let request = "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";
        let asked = tokio::spawn(async move { talk(address, request).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        shutdown.cancel();
        let answer = asked.await.unwrap();
        assert!(answer.ends_with("done"), "{answer}");
        server.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn large_heads_and_slow_heads_are_refused() {
        let limits = Limits {
            head_time_max_s: 1,
            ..Limits::default()
        };
        let (address, shutdown, server) = start(limits).await;
        let large = format!("GET /slow HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(40_000));
        let answer = talk(address, &large).await;
        assert!(
            answer.starts_with("HTTP/1.1 431") || answer.is_empty(),
            "{answer}"
        );
        let slow = tokio::time::timeout(Duration::from_secs(5), talk(address, "GET /slow HTT"));
        assert!(
            !slow.await.unwrap().contains("200"),
            "a head that never ends is cut"
        );
        let idle = tokio::time::timeout(Duration::from_secs(5), talk(address, ""));
        assert_eq!(idle.await.unwrap(), "", "who says nothing is cut as well");
        let kept = "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";
        let kept = tokio::time::timeout(Duration::from_secs(5), talk(address, kept));
        assert!(
            kept.await.unwrap().ends_with("done"),
            "and who is done and stays"
        );
        shutdown.cancel();
        server.await.unwrap().unwrap();
    }
}
