//! One request to one replica, and to another where that is safe.

use std::error::Error;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use edge::{Deadline, Problem};
use futures::StreamExt;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use tokio_util::sync::CancellationToken;
use tower::retry::budget::{Budget, TpsBudget};

use crate::behind::Replicas;
use crate::headers;
use crate::pool::{Picked, Pool};
use crate::problems::{down, lost};

/// Largest body that is kept to be sent again, in bytes; a larger one flows through and is sent once.
pub(crate) const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Most replicas that one request is sent to.
pub(crate) const TRIES_MAX: usize = 3;

/// Pause before a second try, and so much more before a third: a replica that restarts is back by
/// then, or has withdrawn.
const TRY_PAUSE: Duration = Duration::from_millis(50);

/// Over how long the budget of repetitions is counted.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// Repetitions per second that are always allowed.
const BUDGET_FLOOR: u32 = 10;

/// Repetitions per request: above it a struggling service would be buried in them.
const BUDGET_SHARE: f32 = 0.2;

/// Which context a resource belongs to.
const RESOURCES: [(&str, &str); 9] = [
    ("users", "user"),
    ("sessions", "user"),
    ("products", "product"),
    ("inventory", "inventory"),
    ("orders", "order"),
    ("payments", "payment"),
    ("notifications", "notification"),
    ("suppressions", "notification"),
    ("webhook-endpoints", "notification"),
];

/// A request's body.
pub(crate) enum Outgoing {
    /// All of it is here.
    Whole(Bytes),
    /// It flows through.
    Flowing(Body),
}

/// How long the answer to a body that flowed through may take from its last piece on: what sockets and buffers
/// hold of it is still to be worked on then. A replica gives up by itself where nothing goes on; of one whose host is
/// lost nothing else tells as long as there is something to be sent to it.
const FLOWING_ANSWER_MAX: Duration = Duration::from_mins(10);

/// The client of all replicas.
pub(crate) struct Forward {
    client: Replicas,
    budget: TpsBudget,
    /// The gateway ends.
    closing: CancellationToken,
}

impl Forward {
    pub(crate) fn new(client: Replicas, closing: CancellationToken) -> Self {
        Self {
            client,
            closing,
            budget: TpsBudget::new(BUDGET_WINDOW, BUDGET_FLOOR, BUDGET_SHARE),
        }
    }

    /// Sends the request to a replica of `pool` and answers as soon as the answer's head is there; its
    /// body flows through.
    ///
    /// It is sent again only if nothing was sent the first time, or it does no harm twice: reads, and
    /// writes that carry an Idempotency-Key. So is what a replica says that it can't do now (503), as long as
    /// another one is ready: it may have begun just then, or end.
    ///
    /// # Errors
    /// No replica could be reached, or one was and went away.
    pub(crate) fn send<'a>(
        &'a self,
        pool: &'a Pool,
        parts: &'a Parts,
        mut body: Outgoing,
    ) -> BoxFuture<'a, Result<Response<Body>, Problem>> {
        Box::pin(async move {
            self.budget.deposit();
            let context = context_of(parts.uri.path());
            let mut tried = Vec::new();
            loop {
                let replica = pool.pick(context, &tried).ok_or_else(|| down(pool.role))?;
                let (now, again) = match body {
                    Outgoing::Whole(bytes) => (Body::from(bytes.clone()), Some(bytes)),
                    Outgoing::Flowing(body) => (body, None),
                };
                let sent = self.client.request(request(parts, &replica, now)).await;
                let unsent = matches!(&sent, Err(error) if error.is_connect());
                let may = (unsent || is_repeatable(parts)) && tried.len() + 1 < TRIES_MAX;
                let again = again.filter(|_| may);
                let kept = match sent {
                    Ok(answer) => {
                        let elsewhere = || {
                            answer.status() == StatusCode::SERVICE_UNAVAILABLE
                                && pool.has_another(context, &replica, &tried)
                                && self.budget.withdraw()
                        };
                        let Some(kept) = again.filter(|_| elsewhere()) else {
                            return Ok(received(answer, replica, &self.closing));
                        };
                        kept
                    }
                    Err(error) => {
                        if let Some(problem) = of_client(&error) {
                            return Err(problem);
                        }
                        replica.failed();
                        note(&replica, &error, unsent);
                        let again = again.filter(|_| self.budget.withdraw());
                        again.ok_or_else(|| failure(pool.role, unsent))?
                    }
                };
                body = Outgoing::Whole(kept);
                metrics::counter!("gateway_repetitions_total", "role" => pool.role).increment(1);
                tried.push(replica.address.clone());
                let factor = u32::try_from(tried.len()).unwrap_or(1);
                tokio::time::sleep(TRY_PAUSE * factor).await;
            }
        })
    }
}

/// What went wrong with the body that the client has sent, if it was that: no replica is to blame.
fn of_client(error: &(dyn Error + 'static)) -> Option<Problem> {
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    let broken = causes.any(|cause| {
        cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_user)
    });
    broken.then(|| Problem::malformed("the body broke off, or is not what its headers say"))
}

/// Why there is no answer.
fn failure(role: &'static str, unsent: bool) -> Problem {
    if unsent { down(role) } else { lost(role) }
}

/// With all that the error comes from: itself it says no more than that there is no connection.
fn note(replica: &Picked, why: &(dyn Error + 'static), unsent: bool) {
    tracing::info!(replica = %replica.address, why, unsent, "no answer");
}

/// The context whose commands a path is about; `None` = whoever is there answers it.
fn context_of(path: &str) -> Option<&'static str> {
    let resource = path.strip_prefix("/v1/")?.split('/').next()?;
    let found = RESOURCES.iter().find(|(name, _)| *name == resource);
    found.map(|(_, context)| *context)
}

/// Does it do no harm to ask for this twice?
fn is_repeatable(parts: &Parts) -> bool {
    matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS)
        || is_graphql(parts)
        || parts
            .headers
            .contains_key(edge::idempotency::IDEMPOTENCY_KEY)
}

/// A question in GraphQL: a POST that changes nothing.
pub(crate) fn is_graphql(parts: &Parts) -> bool {
    parts.uri.path() == "/graphql"
}

fn request(parts: &Parts, replica: &Picked, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    let path = parts.uri.path_and_query().cloned();
    let mut target = axum::http::uri::Parts::default();
    target.scheme = Some(replica.address.scheme.clone());
    target.authority = Some(replica.address.authority.clone());
    target.path_and_query = Some(path.unwrap_or(PathAndQuery::from_static("/")));
    // With all three there is always an address; the default would be answered 404.
    *request.uri_mut() = Uri::from_parts(target).unwrap_or_default();
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = Version::HTTP_11;
    request.headers_mut().clone_from(&parts.headers);
    // The length is that of the body which goes along, not of what the client has sent: else a replica
    // waits for bytes that don't come, or takes those of the next request for them.
    request.headers_mut().remove(CONTENT_LENGTH);
    request
}

fn received(
    answer: Response<hyper::body::Incoming>,
    replica: Picked,
    closing: &CancellationToken,
) -> Response<Body> {
    if answer.status().as_u16() == 500 {
        replica.failed();
    } else {
        replica.answered();
    }
    let (mut parts, body) = answer.into_parts();
    headers::outward(&mut parts.headers);
    parts.version = Version::HTTP_11;
    // It is as the service made it, also when it is an error.
    parts.extensions = axum::http::Extensions::new();
    // The replica is busy with it until its last byte, or until the client has gone.
    let body = Body::new(body.map_frame(move |frame| {
        let _busy = &replica;
        frame
    }));
    let is_live = parts.headers.get(CONTENT_TYPE).is_some_and(is_live);
    let body = if is_live {
        // It would go on for longer than the gateway may. Who reads it goes on elsewhere, from what it heard last.
        let closing = closing.clone().cancelled_owned();
        Body::from_stream(body.into_data_stream().take_until(closing))
    } else {
        body
    };
    edge::as_it_is(Response::from_parts(parts, body))
}

/// Is it the type of a stream of events (SSE)?
fn is_live(content_type: &HeaderValue) -> bool {
    content_type.as_bytes().starts_with(b"text/event-stream")
}

/// The body, kept when it is small enough for a second try, else flowing through; what still comes in
/// gives the request more time.
///
/// # Errors
/// The client did not send what it had announced.
pub(crate) async fn outgoing(parts: &Parts, body: Body) -> Result<Outgoing, Problem> {
    use hyper::body::Body as _;

    let size = body.size_hint().exact();
    let kept = size.is_some_and(|size| size <= KEPT_BYTES_MAX as u64);
    if kept {
        let bytes = edge::whole(&parts.extensions, body, KEPT_BYTES_MAX).await;
        return bytes.map(Outgoing::Whole);
    }
    let deadline = parts.extensions.get::<Deadline>().cloned();
    let body = body.map_frame(move |frame| {
        if let Some(deadline) = &deadline {
            deadline.extend_to(FLOWING_ANSWER_MAX);
        }
        frame
    });
    Ok(Outgoing::Flowing(Body::new(body)))
}
