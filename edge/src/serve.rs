//! One HTTP server, 1.1 and 2, with or without TLS: bounded heads, bounded connections, and a shutdown that
//! finishes what was accepted.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request};
use axum::response::Response;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
#[cfg(unix)]
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::Peer;
use crate::limits::{HEAD_FIELDS_MAX, Limits};
use crate::places::{Crowd, Places, Share, Taken};
use crate::tls::H2;

/// Pause after a failed accept (out of file descriptors, most likely): trying at once would spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Most connections that wait to be accepted, where the kernel allows as many (`net.core.somaxconn` of Linux
/// does). Of one more the kernel drops the first packet, and its client asks again after a second, then after
/// three, seven, fifteen.
const BACKLOG: i32 = 4096;

/// How many connections are taken in before whoever else has something to do may do it.
const IN_A_ROW_MAX: usize = 1024;

/// How an HTTP/2 connection with prior knowledge begins (RFC 9113 §3.4); no HTTP/1 request does.
const PREFACE: &[u8] = b"PRI ";

/// Pause before a beginning that is still shorter than that is looked at again.
const PREFACE_PAUSE: Duration = Duration::from_millis(5);

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
    let serving = async move {
        let graceful = GracefulShutdown::new();
        lengthen_backlog(&listener);
        let mut door = Door {
            listener,
            places: Places::new(limits.connections_max, share),
            shutdown: shutdown.clone(),
            in_a_row: 0,
        };
        let crowd = door.places.crowd();

        while let Some((stream, peer, place)) = door.next().await {
            bound_stalls(&stream, limits.stall_time());
            let router = router.clone();
            let watcher = graceful.watcher();
            let (tls, shutdown) = (tls.clone(), shutdown.clone());
            let crowd = crowd.clone();
            tokio::spawn(async move {
                let begun = tokio::select! {
                    begun = tokio::time::timeout(limits.head_time(), begin(stream, tls)) => begun,
                    // Nothing was asked yet, so nothing is cut.
                    () = shutdown.cancelled() => return,
                };
                // A client that says nothing, or goes away, is its own business: nothing to report.
                if let Ok(Ok((stream, is_http2))) = begun {
                    talk((stream, peer), router, (limits, crowd), watcher, is_http2).await;
                }
                drop(place);
            });
        }
        drop(door);
        if tokio::time::timeout(limits.drain_time(), graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("requests were still open at the end of the drain time and were cut");
        }
        Ok(())
    };
    // Tokio would have it make way after 128 connections, and come back when all else that is to be done was.
    Box::pin(tokio::task::unconstrained(serving))
}

/// Whoever bound the listener may have left it with a short one: Rust's own has 128 places.
fn lengthen_backlog(listener: &TcpListener) {
    #[cfg(unix)]
    if let Err(error) = SockRef::from(listener).listen(BACKLOG) {
        tracing::warn!(%error, "a listener keeps its backlog");
    }
    #[cfg(not(unix))]
    let _ = listener;
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
    (limits, crowd): (Limits, Crowd),
    watcher: Watcher,
    is_http2: bool,
) {
    let introduced = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        request
    });
    let service = introduced.map_response(move |mut response: Response| {
        // Whoever asks nothing more keeps a place that others wait for.
        if !is_http2 && crowd.is_dense() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    });
    let service = TowerToHyperService::new(service);
    // How it ends is the client's business too.
    let _gone = if is_http2 {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
            .max_concurrent_streams(limits.http2_streams_max)
            .keep_alive_interval(limits.head_time())
            .keep_alive_timeout(limits.head_time());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        watcher.watch(connection).await
    } else {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.head_time())
            .max_headers(HEAD_FIELDS_MAX)
            .max_header_size(limits.head_bytes_max);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        watcher.watch(connection).await
    };
}

/// Where connections come in.
struct Door {
    listener: TcpListener,
    places: Places,
    shutdown: CancellationToken,
    in_a_row: usize,
}

impl Door {
    /// The next connection and its place; `None` = shut down. One too many of an address is closed.
    async fn next(&mut self) -> Option<(TcpStream, SocketAddr, Taken)> {
        let shutdown = self.shutdown.clone();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            accepted = self.accept() => accepted,
        }
    }

    async fn accept(&mut self) -> Option<(TcpStream, SocketAddr, Taken)> {
        let mut free = self.places.free().await?;
        loop {
            self.in_a_row += 1;
            if self.in_a_row.is_multiple_of(IN_A_ROW_MAX) {
                tokio::task::yield_now().await;
            }
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let place = match self.places.take(free, peer) {
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
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::Body;
    use axum::routing::get;
    use futures::future::join_all;
    use hyper::client::conn::http2::{SendRequest, handshake};
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

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

    /// More than Rust's own listeners have places for.
    const BURST: usize = 300;

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
    async fn in_a_crowd_no_connection_is_kept() {
        let limits = Limits {
            // One, another, and the one that is kept for whoever comes next.
            connections_max: 3,
            ..Limits::default()
        };
        let (address, shutdown, server) = start(limits).await;
        let request = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";
        // Alone it is kept: a second question is answered on it.
        let mut kept = BufReader::new(TcpStream::connect(address).await.unwrap());
        for _ in 0..2 {
            kept.write_all(request).await.unwrap();
            let head = head(&mut kept).await;
            assert!(!head.contains("connection: close"), "{head}");
        }
        let mut other = TcpStream::connect(address).await.unwrap();
        other.write_all(request).await.unwrap();
        let mut answer = String::new();
        other.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("connection: close"), "{answer}");
        shutdown.cancel();
        server.await.unwrap().unwrap();
    }

    /// Reads a head, and the four bytes of the body behind it.
    async fn head(stream: &mut BufReader<TcpStream>) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            stream.read_line(&mut head).await.unwrap();
        }
        stream.read_exact(&mut [0; "done".len()]).await.unwrap();
        head
    }

    #[tokio::test]
    async fn a_burst_of_connections_is_not_turned_away() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let shutdown = CancellationToken::new();
        let limits = Limits::default();
        let server = tokio::spawn(serve(listener, Router::new(), limits, shutdown.clone()));
        talk(address, "GET / HTTP/1.0\r\n\r\n").await;
        // Nobody accepts meanwhile: there is one thread, and this blocks it.
        let burst = (0..BURST)
            .map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5)));
        let burst: Vec<_> = burst.collect::<io::Result<_>>().unwrap();
        drop(burst);
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
    async fn who_is_slow_with_a_head_is_cut() {
        let limits = Limits {
            head_time_max_s: 1,
            ..Limits::default()
        };
        let (address, shutdown, server) = start(limits).await;
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

    /// Bounds as they are by default, and as somebody has set them.
    fn bounds() -> [Limits; 2] {
        let set = Limits {
            head_bytes_max: 4 * 1024,
            http2_streams_max: 4,
            ..Limits::default()
        };
        [Limits::default(), set]
    }

    /// How near to the bound, in bytes: the rest of the head is shorter.
    const NEAR: usize = 1024;

    #[tokio::test]
    async fn a_large_head_is_taken_up_to_its_bounds_and_refused_beyond() {
        for limits in bounds() {
            let (address, shutdown, server) = start(limits).await;
            let with = async |fields: String| {
                let head = "GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
                talk(address, &format!("{head}{fields}\r\n")).await
            };
            let of_bytes = |bytes: usize| format!("x: {}\r\n", "a".repeat(bytes));
            let most = limits.head_bytes_max;
            let taken = with(of_bytes(most - NEAR)).await;
            assert!(taken.starts_with("HTTP/1.1 200"), "{most}: {taken}");
            let refused = with(of_bytes(most + NEAR)).await;
            assert!(refused.starts_with("HTTP/1.1 431"), "{most}: {refused}");
            let many = |count: usize| {
                let fields: Vec<String> = (0..count).map(|n| format!("x-{n}: 1\r\n")).collect();
                fields.concat()
            };
            // `host` and `connection` count as well.
            let taken = with(many(HEAD_FIELDS_MAX - 2)).await;
            assert!(taken.starts_with("HTTP/1.1 200"), "{taken}");
            let refused = with(many(HEAD_FIELDS_MAX - 1)).await;
            assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");
            shutdown.cancel();
            server.await.unwrap().unwrap();
        }
    }

    /// An HTTP/2 connection that knows the server's settings, for it was answered already.
    async fn http2(address: SocketAddr) -> SendRequest<Body> {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let shaken = handshake(TokioExecutor::new(), stream).await;
        let (mut send, connection) = shaken.unwrap();
        tokio::spawn(connection);
        assert_eq!(asks(&mut send, "/slow", 0).await, 200);
        send
    }

    /// Asks with so many bytes in a field, and tells the answer's status.
    async fn asks(send: &mut SendRequest<Body>, path: &str, bytes: usize) -> u16 {
        let request = Request::get(format!("http://x{path}")).header("x", "a".repeat(bytes));
        let request = request.body(Body::empty()).unwrap();
        send.send_request(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn over_http_2_a_large_head_is_refused_as_well() {
        for limits in bounds() {
            let (address, shutdown, server) = start(limits).await;
            let mut send = http2(address).await;
            let most = limits.head_bytes_max;
            assert_eq!(asks(&mut send, "/slow", most - NEAR).await, 200);
            assert_eq!(asks(&mut send, "/slow", most + NEAR).await, 431);
            drop(send);
            shutdown.cancel();
            server.await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn one_http_2_connection_has_only_so_many_requests_at_once() {
        for limits in bounds() {
            let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let counted = {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                async move || {
                    let at_once = now.fetch_add(1, Ordering::Relaxed) + 1;
                    most.fetch_max(at_once, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    now.fetch_sub(1, Ordering::Relaxed);
                }
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let shutdown = CancellationToken::new();
            let router = Router::new().route("/slow", get(counted));
            let server = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
            let send = http2(address).await;
            let bound = limits.http2_streams_max as usize;
            let all = (0..bound + 20).map(|_| {
                let mut send = send.clone();
                async move { asks(&mut send, "/slow", 0).await }
            });
            assert!(join_all(all).await.iter().all(|status| *status == 200));
            assert_eq!(most.load(Ordering::Relaxed), bound);
            drop(send);
            shutdown.cancel();
            server.await.unwrap().unwrap();
        }
    }
}
