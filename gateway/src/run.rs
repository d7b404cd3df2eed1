//! The role as a whole.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use edge::auth::{KeySet, Verifier};
use edge::health::Health;
use futures::future::BoxFuture;
use streams::{Connection, DiscoveryError, clock};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::gate::{Gate, packed, page, router};
use crate::pool::Pool;
use crate::watch;

/// The role's name, under which gateways find each other.
pub const ROLE: &str = "gateway";

/// Longest that live streams go on when the gateway ends: an API that ends with it says so in each of them. They
/// take half of the drain time at most, and so end before they would be cut.
const LAST_WORD: Duration = Duration::from_secs(3);

/// Why the role ended, or did not begin.
#[derive(Debug, Error)]
pub enum Error {
    /// It can't be announced.
    #[error("the gateway can't be found by the others")]
    Announce(#[from] DiscoveryError),
    /// It has no certificate to show.
    #[error("no TLS for clients")]
    Tls(#[from] edge::TlsError),
    /// It knows nobody who vouches for the APIs.
    #[error("no TLS to the APIs")]
    Behind(#[source] edge::TlsError),
    /// The HTTP server ended.
    #[error("the HTTP server failed")]
    Http(#[source] io::Error),
}

/// The gateway, put together.
pub struct Service {
    config: Config,
    gate: Gate,
    nats: Option<Connection>,
    router: Router,
    /// Ends what would go on for ever.
    closing: CancellationToken,
}

impl Service {
    /// Puts it together. Without `nats` it knows the replicas of its configuration alone, keeps
    /// nothing, and takes itself for the only gateway.
    ///
    /// # Errors
    /// The certificates of those who vouch for the APIs, or the one that is shown to them, can't be used.
    pub fn new(config: Config, nats: Option<Connection>, keys: &KeySet) -> Result<Self, Error> {
        let verifier = Verifier::new(keys, clock::now);
        let closing = CancellationToken::new();
        let gate = Gate::new(&config, verifier, closing.clone()).map_err(Error::Behind)?;
        // The probes stand outside the guard: they are never shed, and open under any host name.
        let router = router(gate.clone(), &config);
        let router = Router::new()
            .merge(health(&gate).router())
            .fallback_service(router);
        Ok(Self {
            config,
            gate,
            nats,
            router,
            closing,
        })
    }

    /// With more routes of the process, outside the gateway's guard; they have a limit per address of their
    /// own.
    #[must_use]
    pub fn with(self, routes: Router) -> Self {
        let routes = routes.layer(from_fn_with_state(self.gate.clone(), page));
        Self {
            router: packed(routes).fallback_service(self.router),
            ..self
        }
    }

    /// Serves HTTP on `listener` until `shutdown`, announced to other gateways as `address`.
    ///
    /// # Errors
    /// The certificate can't be used, the socket failed, or NATS does not take the announcement.
    pub fn run(
        self,
        listener: TcpListener,
        address: String,
        shutdown: CancellationToken,
    ) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move {
            let Self {
                config,
                gate,
                nats,
                router,
                closing,
            } = self;
            // One part that ends with an error ends the others.
            let stop = shutdown.child_token();
            let serving = (config.tls.acceptor()?, stop.clone());
            let bounds = (config.limits, Some(config.share()));
            let last_word = LAST_WORD.min(config.limits.drain_time() / 2);
            let http = edge::serve_tls(listener, router, bounds, serving);
            let http = async {
                let ended = http.await.map_err(Error::Http);
                // Nothing is open any more, so nobody is left to have a last word.
                closing.cancel();
                ended.inspect_err(|_| stop.cancel())
            };
            let replicas = watch::replicas(gate.clone(), nats.clone(), stop.clone());
            let others = async {
                let Some(nats) = nats else { return Ok(()) };
                let catalogue = watch::catalogue(gate, nats.clone(), stop.clone());
                let announced = nats.announce(ROLE, Some(&address), &[], stop.clone());
                let announced = async { announced.await.inspect_err(|_| stop.cancel()) };
                let (announced, ()) = tokio::join!(announced, catalogue);
                announced.map_err(Error::Announce)
            };
            let ending = async {
                stop.cancelled().await;
                let _over = tokio::time::timeout(last_word, closing.cancelled()).await;
                closing.cancel();
            };
            let (http, (), others, ()) = tokio::join!(http, replicas, others, ending);
            http.and(others)
        })
    }
}

/// Ready = each side has answered since the start or had time to, and somebody can be asked at all. A side that is not
/// ready is told and doesn't count: the other goes on, and with it whatever needs no more.
fn health(gate: &Gate) -> Health {
    let (commands, queries, either) = (gate.clone(), gate.clone(), gate.clone());
    Health::new()
        .note("command-api", move || {
            std::future::ready(commands.commands.check())
        })
        .note("query-api", move || {
            std::future::ready(queries.queries.check())
        })
        .check("replicas", move || std::future::ready(replicas(&either)))
}

fn replicas(gate: &Gate) -> Result<(), String> {
    let sides: [&Pool; 2] = [&gate.commands, &gate.queries];
    if let Some(unknown) = sides.iter().find(|side| !side.is_met()) {
        return Err(format!("no {} has answered yet", unknown.role));
    }
    let reached = sides.iter().any(|side| side.is_reached());
    reached.then_some(()).ok_or("none answers".to_owned())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::{Body, Bytes};
    use axum::extract::Request;
    use axum::http::header::CONTENT_TYPE;
    use axum::http::{HeaderMap, Method, StatusCode};
    use axum::response::IntoResponse;
    use axum::routing::get;
    use clap::Parser;
    use edge::idempotency::IDEMPOTENCY_KEY;
    use futures::{StreamExt, stream};
    use http_body_util::BodyExt;
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::forward::{KEPT_BYTES_MAX, TRIES_MAX};

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        config: Config,
    }

    /// A gateway, its address, what ends it, and how it ended.
    struct Running {
        address: String,
        shutdown: CancellationToken,
        ended: JoinHandle<Result<(), Error>>,
    }

    /// A gateway in front of `replica`, set as `args` say.
    async fn before(replica: Router, args: &[&str]) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let behind = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, replica).await });
        before_it(behind, args).await
    }

    /// The same, of a replica that is there.
    async fn before_it(behind: SocketAddr, args: &[&str]) -> Running {
        let behind = format!("http://{behind}");
        let apis = [
            "gateway",
            "--command-apis",
            &behind,
            "--query-apis",
            &behind,
        ];
        let config = Command::parse_from([&apis, args].concat()).config;
        let folder = tempfile::tempdir().unwrap();
        let keys = KeySet::create_if_missing(&folder.path().join("jwt")).unwrap();
        let service = Service::new(config, None, &keys).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(service.run(listener, address.clone(), shutdown.clone()));
        Running {
            address,
            shutdown,
            ended,
        }
    }

    /// Says that it is ready; whatever else it is asked it counts, and goes away without an answer.
    async fn hangs_up() -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let mut head = [0; 4096];
                    while let Ok(read @ 1..) = stream.read(&mut head).await {
                        if !head[..read].starts_with(b"GET /readyz ") {
                            counted.fetch_add(1, Ordering::Relaxed);
                            return;
                        }
                        let ready = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        stream.write_all(ready).await.unwrap();
                    }
                });
            }
        });
        (address, asked)
    }

    async fn ask(url: &str, junk: Option<&str>) -> axum::http::Response<hyper::body::Incoming> {
        let mut request = Request::get(url);
        if let Some(junk) = junk {
            request = request.header("x-junk", junk);
        }
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = request.body(Body::empty()).unwrap();
        client.request(request).await.unwrap()
    }

    /// Whether a replica that goes away has done what it was asked for nobody knows, and without a key it can't
    /// tell that it is asked once more.
    #[tokio::test]
    async fn what_may_have_been_done_is_asked_for_once_more_only_where_that_does_no_harm() {
        let (replica, asked) = hangs_up().await;
        let gateway = before_it(replica, &[]).await;
        let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
        let large = "x".repeat(KEPT_BYTES_MAX + 1);
        for (method, path, key, body, tries) in [
            (Method::POST, "/v1/inventory/tea/receive", None, "{}", 1),
            (
                Method::POST,
                "/v1/inventory/tea/receive",
                Some("k-1"),
                "{}",
                TRIES_MAX,
            ),
            (Method::POST, "/graphql", None, "{}", TRIES_MAX),
            (Method::GET, "/v1/orders", None, "", TRIES_MAX),
            // It has flowed through, and isn't here any more.
            (Method::POST, "/v1/products", Some("k-2"), &large, 1),
        ] {
            let before = asked.load(Ordering::Relaxed);
            let mut request = Request::builder()
                .method(method.clone())
                .uri(format!("{}{path}", gateway.address));
            if let Some(key) = key {
                request = request.header(IDEMPOTENCY_KEY, key);
            }
            let request = request.body(Body::from(body.to_owned())).unwrap();
            let answer = client.request(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::BAD_GATEWAY, "{method} {path}");
            let problem = answer.into_body().collect().await.unwrap().to_bytes();
            let problem: serde_json::Value = serde_json::from_slice(&problem).unwrap();
            assert_eq!(problem["code"], "answer_lost", "{method} {path}");
            let times = asked.load(Ordering::Relaxed) - before;
            assert_eq!(times, tries, "{method} {path}, key {key:?}");
        }
    }

    /// A replica that is ready, and answers whatever else it is asked with `status`.
    async fn answers(status: StatusCode) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/readyz", get(|| async {}));
        let router = router.fallback(move || async move { status });
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    #[tokio::test]
    async fn what_one_replica_can_not_do_now_another_is_asked_for_where_that_does_no_harm() {
        let busy = answers(StatusCode::SERVICE_UNAVAILABLE).await;
        let other = format!("http://{}", answers(StatusCode::OK).await);
        let beside = ["--command-apis", &other, "--query-apis", &other];
        let gateway = before_it(busy, &beside).await;
        let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
        let (read, write) = (Method::GET, Method::POST);
        let ask = async |method: &Method, key: Option<&str>| {
            let mut request = Request::builder()
                .method(method)
                .uri(format!("{}/v1/orders", gateway.address));
            if let Some(key) = key {
                request = request.header(IDEMPOTENCY_KEY, key);
            }
            let request = request.body(Body::empty()).unwrap();
            client.request(request).await.unwrap().status().as_u16()
        };
        let all = async |method: &Method, key| {
            let mut answers = [0; 4];
            for answer in &mut answers {
                *answer = ask(method, key).await;
            }
            answers.sort_unstable();
            answers
        };
        // Until both have said that they are ready, either they are asked in turn or one of them alone.
        let in_turn = [200, 200, 503, 503];
        let known = async {
            while all(&read, None).await != [200; 4] || all(&write, None).await != in_turn {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let known = tokio::time::timeout(Duration::from_secs(20), known).await;
        known.expect(
            "a read that one can't answer is answered by the other, a write without a key is not",
        );
        assert_eq!(all(&write, Some("k-1")).await, [200; 4]);
    }

    /// One event, and nothing more.
    fn live() -> Router {
        let live = get(|| async {
            let first = stream::iter([Ok::<_, Infallible>(Bytes::from("data: 1\n\n"))]);
            let body = Body::from_stream(first.chain(stream::pending()));
            ([(CONTENT_TYPE, "text/event-stream")], body)
        });
        Router::new().route("/v1/events", live)
    }

    #[tokio::test]
    async fn a_live_stream_ends_with_the_gateway_before_it_would_be_cut() {
        let soon = Duration::from_millis(1_800);
        for (args, longest) in [
            (&[][..], 2 * LAST_WORD),
            (&["--drain-time-max-s", "2"], soon),
        ] {
            let gateway = before(live(), args).await;
            let answer = ask(&format!("{}/v1/events", gateway.address), None).await;
            assert_eq!(answer.status(), 200);
            let mut body = answer.into_body();
            assert!(body.frame().await.unwrap().is_ok());
            gateway.shutdown.cancel();
            let end = tokio::time::timeout(longest, body.frame()).await;
            assert!(end.expect("soon").is_none(), "in order: {args:?}");
        }
    }

    #[tokio::test]
    async fn a_gateway_with_nothing_open_ends_at_once() {
        let gateway = before(live(), &[]).await;
        let answer = ask(&format!("{}/v1/nothing", gateway.address), None).await;
        assert_eq!(answer.status(), 404);
        gateway.shutdown.cancel();
        let ended = tokio::time::timeout(LAST_WORD / 2, gateway.ended).await;
        ended.expect("at once").unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_one_client_sends_along_is_not_asked_for_everybody() {
        let product = get(|headers: HeaderMap| async move {
            // Both are on their way by then.
            tokio::time::sleep(Duration::from_millis(500)).await;
            match headers.get("x-junk") {
                Some(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response(),
                None => "{}".into_response(),
            }
        });
        let gateway = before(Router::new().route("/v1/products/tea", product), &[]).await;
        let url = format!("{}/v1/products/tea", gateway.address);
        let (first, second) = tokio::join!(ask(&url, Some("x")), ask(&url, None));
        assert_eq!([first.status(), second.status()], [200, 200]);
    }
}
