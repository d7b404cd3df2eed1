//! The way of a request through the gateway.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, FromRequestParts, Request, State};
use axum::http::header::{ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CACHE_CONTROL, VARY};
use axum::http::request::Parts;
use axum::http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version,
};
use axum::middleware::{Next, from_fn, map_request, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use edge::auth::Verifier;
use edge::prefer::PREFER;
use edge::trace::TRACEPARENT;
use edge::{IfNoneMatch, Network, Prefer, Principal, Problem, TlsError, Trace};
use futures::FutureExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};

use crate::behind::{self, Replicas};
use crate::cache::{Cache, Missing};
use crate::check::{Hosts, check};
use crate::forward::{Forward, Outgoing, is_graphql, outgoing};
use crate::limits::{Client, Left, Limiter};
use crate::paths::Paths;
use crate::pool::Pool;
use crate::{Behind, Config, headers, overview, tags};

/// Calls that need no token, and must not fail over an old one that is still sent.
const OPEN: [&str; 3] = ["/v1/sessions", "/v1/users", "/v1/payments/webhook"];

/// The methods that some path takes.
const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";

/// Everything that a request may need.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) commands: Pool,
    pub(crate) queries: Arc<Pool>,
    pub(crate) limiter: Limiter,
    pub(crate) cache: Arc<Cache>,
    pub(crate) replicas: Replicas,
    pub(crate) behind: Behind,
    forward: Arc<Forward>,
    paths: Paths,
    /// Of those who prefer to wait.
    waits: Semaphore,
    hosts: Hosts,
    trusted: Vec<Network>,
    verifier: Verifier,
    /// What every answer says of TLS, if anything.
    hsts: Option<HeaderValue>,
}

impl std::ops::Deref for Gate {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl FromRef<Gate> for Verifier {
    fn from_ref(gate: &Gate) -> Self {
        gate.verifier.clone()
    }
}

impl Gate {
    /// Live streams end with `closing`.
    ///
    /// # Errors
    /// The certificates of those who vouch for the replicas can't be used.
    pub(crate) fn new(
        config: &Config,
        verifier: Verifier,
        closing: CancellationToken,
    ) -> Result<Self, TlsError> {
        let replicas = behind::client(&config.behind)?;
        Ok(Self(Arc::new(Inner {
            commands: Pool::new("command-api", &config.command_apis),
            queries: Arc::new(Pool::new("query-api", &config.query_apis)),
            limiter: Limiter::new(config.rates),
            cache: Arc::new(Cache::new(config.cache_bytes_max)),
            forward: Arc::new(Forward::new(replicas.clone(), closing)),
            behind: config.behind.clone(),
            paths: Paths::new(),
            waits: Semaphore::new(config.limits.waits_max()),
            hosts: Hosts::new(&config.hosts),
            trusted: config.trusted_proxies.clone(),
            verifier,
            hsts: headers::hsts(config),
            replicas,
        })))
    }
}

/// Every path, behind the guard.
pub(crate) fn router(gate: Gate, config: &Config) -> Router {
    let everything = Router::new()
        .route("/", any(enter))
        .route("/{*path}", any(enter));
    let router = everything.with_state(gate);
    let router = if config.cors_origins.is_empty() {
        router
    } else {
        router.layer(cors(&config.cors_origins))
    };
    packed(edge::guarded(router, &config.limits))
}

/// Compresses what `router` answers. Outside the guard, which may still put a problem in the place of
/// a body.
pub(crate) fn packed(router: Router) -> Router {
    router
        .layer(CompressionLayer::new().compress_when(DefaultPredicate::new().and(has_body)))
        .layer(map_response(varied))
        .layer(map_request(plain_head))
        .layer(from_fn(tags::of_packed))
}

/// Stands in front of what the process says of itself, which passes no [`enter`].
pub(crate) async fn page(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let client = headers::client(&parts, &gate.trusted).map(Client::page);
    let mut left = None;
    let mut response = match gate.limiter.take_all(client, &mut left) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => problem.into_response(),
    };
    if let Some(left) = left {
        left.tell(response.headers_mut());
    }
    response
}

/// Is there a body to compress at all? Behind these there is none, whatever their headers say.
fn has_body(status: StatusCode, _: Version, _: &HeaderMap, _: &Extensions) -> bool {
    ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
}

/// What has not changed depends on the same headers as what it stands for (RFC 9110 §15.4.5).
async fn varied(mut response: Response) -> Response {
    if response.status() == StatusCode::NOT_MODIFIED {
        let coding = HeaderValue::from_static("accept-encoding");
        response.headers_mut().append(VARY, coding);
    }
    response
}

/// HEAD has no body either; it tells the length of the plain one.
async fn plain_head(mut request: Request) -> Request {
    if request.method() == Method::HEAD {
        request.headers_mut().remove(ACCEPT_ENCODING);
    }
    request
}

/// Pages of these origins may call, with a token in a header and never with a cookie: there is none.
fn cors(origins: &[HeaderValue]) -> CorsLayer {
    let origins = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().cloned())
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::DELETE,
        ])
        // `*` would not cover Authorization (Fetch §4.9), so what is asked for is named.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(Any)
}

async fn enter(State(gate): State<Gate>, trace: Trace, request: Request) -> Response {
    let request_id = headers::request_id(request.headers(), &trace);
    let named = request.headers().contains_key(AUTHORIZATION);
    let mut left = None;
    let answer = handle(&gate, &trace, request, &mut left).await;
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    if let Some(left) = left {
        left.tell(response.headers_mut());
    }
    tell_methods(&mut response);
    headers::dress(response.headers_mut(), request_id, gate.hsts.as_ref());
    if named {
        // What somebody was answered is nobody else's, whatever the service says.
        let private = HeaderValue::from_static("private, no-cache");
        response
            .headers_mut()
            .entry(CACHE_CONTROL)
            .or_insert(private);
    }
    response
}

/// Whoever has the path says which methods it takes. Where a method is refused for every path, these
/// are told that some path takes.
fn tell_methods(response: &mut Response) {
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let methods = HeaderValue::from_static(METHODS);
        response.headers_mut().entry(ALLOW).or_insert(methods);
    }
}

async fn handle(
    gate: &Gate,
    trace: &Trace,
    request: Request,
    left: &mut Option<Left>,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    check(&parts, &gate.hosts)?;
    let client = headers::client(&parts, &gate.trusted);
    let user = user(gate, &parts);
    limit(gate, &parts, client, user.as_ref().ok(), left)?;
    // After the limit, so that guessing tokens is limited too.
    let user = user?;
    if let Some(answer) = gate.paths.answer(&parts.method, parts.uri.path()) {
        return Ok(answer);
    }
    headers::inward(&mut parts, client, trace);
    let _waits = may_wait(&gate.waits, &mut parts.headers);
    if let Some(id) = overview::order_id(&parts) {
        return overview::overview(&gate.forward, &gate.queries, &parts, id).await;
    }
    if gate.cache.covers(&parts, user.as_ref()) {
        return cached(gate, parts).await;
    }
    let pool = if is_read(&parts) {
        &*gate.queries
    } else {
        &gate.commands
    };
    let body = outgoing(&parts, body).await?;
    gate.forward.send(pool, &parts, body).await
}

/// A place for whoever prefers to wait; if there is none, the request goes on as one that doesn't.
fn may_wait<'a>(waits: &'a Semaphore, headers: &mut HeaderMap) -> Option<SemaphorePermit<'a>> {
    let prefer = Prefer::parse(headers);
    prefer.wait?;
    let place = waits.try_acquire().ok();
    if place.is_none() {
        headers.remove(PREFER);
        if prefer.lenient {
            headers.insert(PREFER, HeaderValue::from_static("handling=lenient"));
        }
    }
    place
}

/// Reads are GET, HEAD and their preflight, and whatever is asked in GraphQL; what only the command
/// side answers is not.
fn is_read(parts: &Parts) -> bool {
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&parts.method);
    let path = parts.uri.path();
    is_graphql(parts) || (reads && !path.starts_with("/.well-known/"))
}

/// Whose token it is; `None` = none was sent, or none is needed.
/// What the token is good for, whoever answers looks at.
fn user(gate: &Gate, parts: &Parts) -> Result<Option<Principal>, Problem> {
    let open = parts.method == Method::POST && OPEN.contains(&parts.uri.path());
    if open || !parts.headers.contains_key(AUTHORIZATION) {
        return Ok(None);
    }
    Principal::of_request(parts, &gate.verifier).map(Some)
}

/// Counts the request. Without a token, or with a bad one, the address is counted.
fn limit(
    gate: &Gate,
    parts: &Parts,
    address: Option<IpAddr>,
    user: Option<&Option<Principal>>,
    left: &mut Option<Left>,
) -> Result<(), Problem> {
    let user = user.and_then(Option::as_ref).map(|user| user.user_id);
    let who = user
        .map(Client::User)
        .or_else(|| address.map(Client::address));
    let key = parts.headers.get(edge::idempotency::IDEMPOTENCY_KEY);
    let key = key.map(|key| {
        let mut hasher = DefaultHasher::new();
        (user, address.filter(|_| user.is_none()), key.as_bytes()).hash(&mut hasher);
        Client::Key(hasher.finish())
    });
    gate.limiter.take_all(who.into_iter().chain(key), left)
}

/// A read of the public catalogue: kept, or fetched together with others who want the same. Whoever it
/// is, they are answered as nobody in particular is.
async fn cached(gate: &Gate, mut parts: Parts) -> Result<Response, Problem> {
    // The service would refuse it too, and is asked without it.
    IfNoneMatch::from_request_parts(&mut parts, gate).await?;
    let target = parts.uri.path_and_query().cloned();
    // HTTP/2 names the host there too, which is the same for everybody.
    parts.uri = target.map_or_else(Uri::default, Uri::from);
    let token = parts.headers.remove(AUTHORIZATION);
    let key = parts.uri.to_string();
    if let Some(kept) = gate.cache.kept(&key, &parts) {
        return Ok(kept);
    }
    let fetch = {
        let (forward, queries) = (Arc::clone(&gate.forward), Arc::clone(&gate.queries));
        let asked = for_everybody(&parts);
        async move {
            let nothing = Outgoing::Whole(bytes::Bytes::new());
            forward.send(&queries, &asked, nothing).await
        }
    };
    let fetched = gate.cache.fetched(key, fetch.boxed()).await;
    match (fetched, token) {
        (Ok((answer, _)), Some(token)) if answer.status() == StatusCode::UNAUTHORIZED => {
            // Not for everybody, after all.
            parts.headers.insert(AUTHORIZATION, token);
        }
        (Ok((answer, first)), _) => return Ok(answer.shared(&parts, first)),
        (Err(Missing::Failed(problem)), _) => return Err(problem),
        (Err(Missing::TooLarge | Missing::TooMany), _) => {}
    }
    let nothing = Outgoing::Whole(bytes::Bytes::new());
    gate.forward.send(&gate.queries, &parts, nothing).await
}

/// What is asked where many get the answer: nothing that the first of them has said beside which page it is.
fn for_everybody(parts: &Parts) -> Parts {
    let (mut asked, ()) = Request::new(()).into_parts();
    asked.method = parts.method.clone();
    asked.uri = parts.uri.clone();
    let trace = parts.headers.get(TRACEPARENT);
    asked
        .headers
        .extend(trace.map(|trace| (HeaderName::from_static(TRACEPARENT), trace.clone())));
    asked
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::header::CONTENT_TYPE;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn what_has_not_changed_varies_as_what_it_stands_for() {
        let said = |status: StatusCode| async move {
            let headers = [(VARY, "prefer"), (CONTENT_TYPE, "application/json")];
            let answer = (status, headers, "x".repeat(100));
            let router = Router::new().route("/", get(|| async { answer }));
            let request = Request::get("/").body(Body::empty()).unwrap();
            let response = packed(router).oneshot(request).await.unwrap();
            let all = response.headers().get_all(VARY).iter();
            all.map(|value| value.to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        let whole = said(StatusCode::OK).await;
        assert_eq!(whole, ["prefer", "accept-encoding"]);
        assert_eq!(said(StatusCode::NOT_MODIFIED).await, whole);
    }

    #[test]
    fn a_method_is_refused_with_those_that_are_taken() {
        let mut refused = Problem::of_status(StatusCode::METHOD_NOT_ALLOWED).into_response();
        tell_methods(&mut refused);
        assert_eq!(refused.headers()[ALLOW], METHODS);
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET"));
        tell_methods(&mut refused);
        assert_eq!(refused.headers()[ALLOW], "GET");
        let mut taken = Response::new(Body::empty());
        tell_methods(&mut taken);
        assert!(!taken.headers().contains_key(ALLOW));
    }

    #[test]
    fn who_finds_no_place_to_wait_does_not_wait() {
        let waits = Semaphore::new(1);
        let prefers = |value| {
            let mut headers = HeaderMap::new();
            headers.insert(PREFER, HeaderValue::from_static(value));
            headers
        };
        let mut first = prefers("wait=5");
        let place = may_wait(&waits, &mut first);
        assert!(place.is_some());
        assert_eq!(first, prefers("wait=5"));
        let mut second = prefers("wait=5, handling=lenient");
        assert!(may_wait(&waits, &mut second).is_none());
        assert_eq!(second, prefers("handling=lenient"));
        let mut third = prefers("handling=lenient");
        assert!(may_wait(&waits, &mut third).is_none());
        assert_eq!(third, prefers("handling=lenient"));
        drop(place);
        assert!(may_wait(&waits, &mut first).is_some());
    }
}
