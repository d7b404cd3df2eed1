//! Calls on contexts that another process hosts: they are carried there over the bus as they came,
//! and their answers come back as they are.
//!
//! ```text
//!   client ──► this process: order, payment            another process: user
//!                └─ POST /v1/users/…/suspend ─► question.user.http ─► its own router, guard and all
//!                                         ◄──── status, headers, body ◄────┘
//! ```
//!
//! So a call is answered by the same code wherever it arrives, and who asks is checked where it is
//! done. It is carried once: an answer may take long, and not everything may be done twice.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edge::limits::REQUEST_TIME_MAX_S;
use edge::trace::TRACEPARENT;
use edge::{Client, Peer, Prefer, Problem, Trace};
use serde::{Deserialize, Serialize};
use streams::bus::{Bus, BusError, QuestionError};
use tower::ServiceExt;

use crate::api::Api;
use crate::error::{outcome_unknown, part_down};

/// What a context is asked over the bus to have an HTTP call done.
pub(crate) const QUESTION: &str = "http";

/// Largest body that is carried, in bytes: in base64, beside its head, it fits a NATS message.
const BODY_BYTES_MAX: usize = 700 * 1024;

/// Largest answer that is carried, in bytes.
const ANSWER_BYTES_MAX: usize = 700 * 1024;

/// Headers that are about the connection, not about the call.
const OF_THE_CONNECTION: [HeaderName; 5] =
    [CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING];

/// Whoever does calls of contexts that are not hosted here.
#[async_trait]
pub trait Elsewhere: Send + Sync + 'static {
    /// Asks `context` and waits for the answer, at most `within`.
    ///
    /// # Errors
    /// No answer.
    async fn carry(
        &self,
        context: &str,
        call: serde_json::Value,
        within: Duration,
    ) -> Result<serde_json::Value, BusError>;
}

#[async_trait]
impl Elsewhere for Bus {
    async fn carry(
        &self,
        context: &str,
        call: serde_json::Value,
        within: Duration,
    ) -> Result<serde_json::Value, BusError> {
        self.question_once(context, QUESTION, &call, within).await
    }
}

/// The HTTP side of this process, for those who carry a call here. It is there once the router is.
#[derive(Clone, Default)]
pub struct Here(Arc<OnceLock<Router>>);

impl Here {
    /// The calls of others are answered by this router from now on: the one that answers on the
    /// socket, with its guard. Only the first counts.
    pub fn answer_with(&self, router: Router) {
        let _first = self.0.set(router);
    }

    /// Does a call that was carried here.
    ///
    /// # Errors
    /// It is no call, or this process is not ready.
    pub(crate) async fn answer(
        &self,
        call: serde_json::Value,
    ) -> Result<serde_json::Value, QuestionError> {
        let call: Carried = serde_json::from_value(call).map_err(QuestionError::bad_request)?;
        let request = call.into_request().map_err(QuestionError::bad_request)?;
        let router = self.0.get().cloned();
        let router = router.ok_or_else(|| QuestionError::unavailable("not ready"))?;
        // A router's error type has no values.
        let Ok(response) = router.oneshot(request).await;
        let answer = Returned::of(response).await;
        let answer = answer.map_err(QuestionError::unavailable)?;
        serde_json::to_value(answer).map_err(QuestionError::bad_request)
    }
}

/// A call on its way.
#[derive(Debug, Serialize, Deserialize)]
struct Carried {
    method: String,
    /// With the query.
    path: String,
    /// From where it came.
    client: Option<IpAddr>,
    headers: Headers,
    /// Base64.
    body: String,
}

/// An answer on its way back.
#[derive(Debug, Serialize, Deserialize)]
struct Returned {
    status: u16,
    headers: Headers,
    /// Base64.
    body: String,
}

/// Names and values; each byte of a value is the character of that number (Latin-1), so that
/// whatever a client sent arrives.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Headers(Vec<(String, String)>);

impl Headers {
    fn of(headers: &HeaderMap) -> Self {
        let kept = headers
            .iter()
            .filter(|(name, _)| !OF_THE_CONNECTION.contains(name));
        let texts = kept.map(|(name, value)| {
            let value = value.as_bytes().iter().copied().map(char::from);
            (name.to_string(), value.collect())
        });
        Self(texts.collect())
    }

    fn into_map(self) -> Result<HeaderMap, axum::http::Error> {
        let mut map = HeaderMap::new();
        for (name, value) in self.0 {
            let bytes: Vec<u8> = value.chars().filter_map(|c| u8::try_from(c).ok()).collect();
            map.append(
                HeaderName::try_from(name)?,
                HeaderValue::from_bytes(&bytes)?,
            );
        }
        Ok(map)
    }
}

impl Carried {
    fn into_request(self) -> Result<Request, Box<dyn std::error::Error + Send + Sync>> {
        let body = Body::from(STANDARD.decode(self.body)?);
        let request = Request::builder()
            .method(self.method.as_str())
            .uri(self.path);
        let mut request = request.body(body)?;
        *request.headers_mut() = self.headers.into_map()?;
        if let Some(client) = self.client {
            request.extensions_mut().insert(Peer(client));
        }
        Ok(request)
    }
}

impl Returned {
    async fn of(response: Response) -> Result<Self, axum::Error> {
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await?;
        Ok(Self {
            status: parts.status.as_u16(),
            headers: Headers::of(&parts.headers),
            body: STANDARD.encode(body),
        })
    }

    fn into_response(self) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
        let body = Body::from(STANDARD.decode(self.body)?);
        let mut response = (StatusCode::from_u16(self.status)?, body).into_response();
        *response.headers_mut() = self.headers.into_map()?;
        Ok(edge::as_it_is(response))
    }
}

/// The handler of every call of `context`, which is not hosted here.
pub(crate) async fn carry(
    context: &'static str,
    State(api): State<Api>,
    (trace, client): (Trace, Client),
    request: Request,
) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let within = Duration::from_secs(REQUEST_TIME_MAX_S)
        + Prefer::parse(&parts.headers).wait.unwrap_or_default();
    let body = edge::whole(&parts.extensions, body, BODY_BYTES_MAX).await?;
    if let Ok(traceparent) = HeaderValue::try_from(trace.traceparent()) {
        parts.headers.insert(TRACEPARENT, traceparent);
    }
    let path = parts.uri.path_and_query().map(ToString::to_string);
    let call = Carried {
        method: parts.method.to_string(),
        path: path.unwrap_or_default(),
        client: client.address(&api.proxies),
        headers: Headers::of(&parts.headers),
        body: STANDARD.encode(&body),
    };
    let call = serde_json::to_value(call).map_err(|_never| Problem::internal())?;
    let answer = api.elsewhere.carry(context, call, within).await;
    let answer = answer.map_err(|error| of_bus(&error))?;
    arrived(answer)
}

fn arrived(answer: serde_json::Value) -> Result<Response, Problem> {
    let answer: Result<Returned, _> = serde_json::from_value(answer);
    let response = answer.map_err(Into::into).and_then(Returned::into_response);
    response.map_err(|error| {
        tracing::error!(%error, "an answer that was carried here is none");
        Problem::internal()
    })
}

/// Nobody answered, as the client sees it.
fn of_bus(error: &BusError) -> Problem {
    tracing::warn!(%error, "a call could not be carried to its host");
    match error {
        BusError::Timeout { .. } => outcome_unknown(),
        BusError::Unavailable { .. }
        | BusError::Busy { .. }
        | BusError::Unsent { .. }
        | BusError::Failed {
            retryable: true, ..
        } => part_down(),
        BusError::Failed { .. } | BusError::Unreadable { .. } => Problem::internal(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_arrive_byte_for_byte() {
        let mut headers = HeaderMap::new();
        headers.append(
            "idempotency-key",
            HeaderValue::from_bytes(b"\xc3\xa4").unwrap(),
        );
        headers.append("prefer", "wait=1".parse().unwrap());
        headers.append("prefer", "handling=lenient".parse().unwrap());
        let carried = Headers::of(&headers).into_map().unwrap();
        assert_eq!(carried, headers);
        headers.insert(HOST, "x".parse().unwrap());
        assert_eq!(Headers::of(&headers).into_map().unwrap(), carried);
    }
}
