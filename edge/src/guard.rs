//! What stands around every handler: trace, load shedding, time limit, panics, and the rule that
//! every error leaves as problem+json.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::Instrument;

use crate::timing::Timing;
use crate::whole::BodyBounds;
use crate::{Deadline, Limits, Prefer, Problem, Trace, linger};

/// Puts the guard around every route of `router`, and around what no route takes.
pub fn guarded(router: Router, limits: &Limits) -> Router {
    let guard = Guard {
        slots: Arc::new(Semaphore::new(limits.requests_in_flight_max)),
        line: Arc::new(Semaphore::new(limits.requests_waiting_max)),
        line_time: limits.line_time(),
        time_max: limits.request_time(),
        body: BodyBounds::from(limits),
        timing: Timing::default(),
    };
    router
        .fallback(|| async { Problem::of_status(StatusCode::NOT_FOUND) })
        .layer(DefaultBodyLimit::max(limits.body_bytes_max))
        .layer(middleware::from_fn_with_state(guard, stand))
}

/// The answer to a method that a path doesn't take, for what stands outside the guard; axum adds Allow.
pub async fn method_refused() -> Problem {
    Problem::of_status(StatusCode::METHOD_NOT_ALLOWED)
}

#[derive(Clone)]
struct Guard {
    /// One for each request that may be worked on.
    slots: Arc<Semaphore>,
    /// One for each that may wait for that.
    line: Arc<Semaphore>,
    line_time: Duration,
    time_max: Duration,
    body: BodyBounds,
    timing: Timing,
}

async fn stand(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let trace = Trace::accept(request.headers());
    let instance = request.uri().path().to_owned();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = tracing::info_span!("request", trace_id = trace.id(), %method, path = %instance);
    request.extensions_mut().insert(trace.clone());
    request.extensions_mut().insert(guard.body);

    let (request, rest) = linger::watch(request);
    let response = run(&guard, request, next).instrument(span).await;
    let response = as_problem(response, &instance, &trace);

    let (route, status) = (
        route.as_ref().map_or("none", MatchedPath::as_str),
        response.status(),
    );
    guard
        .timing
        .record(&method, route, status, started.elapsed());
    rest.discard(status).await;
    response
}

impl Guard {
    /// The right to be worked on, after a while in line; `None` = the line is full, or too slow.
    async fn in_line(&self) -> Option<SemaphorePermit<'_>> {
        let _place = self.line.try_acquire().ok()?;
        let slot = tokio::time::timeout(self.line_time, self.slots.acquire());
        slot.await.ok()?.ok()
    }
}

async fn run(guard: &Guard, mut request: Request, next: Next) -> Response {
    let probe = matches!(request.uri().path(), "/livez" | "/readyz");
    let _slot = match guard.slots.try_acquire() {
        Ok(slot) => Some(slot),
        Err(_) if probe => None,
        // Boxed: the wait makes no request larger.
        Err(_) => match Box::pin(guard.in_line()).await {
            Some(slot) => Some(slot),
            None => return Problem::overloaded().into_response(),
        },
    };
    let wait = Prefer::parse(request.headers()).wait.unwrap_or_default();
    let deadline = Deadline::after(guard.time_max + wait);
    request.extensions_mut().insert(deadline.clone());
    let work = AssertUnwindSafe(next.run(request)).catch_unwind();
    match deadline.within(work).await {
        Some(Ok(response)) => response,
        Some(Err(panic)) => panicked(panic.as_ref()),
        None => Problem::timeout().into_response(),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Response {
    let what = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(panic = what, "a request's handler panicked");
    metrics::counter!("http_panics_total").increment(1);
    Problem::internal().into_response()
}

/// Marks an error answer that is to leave as it is (`/readyz`, or one that was made elsewhere).
#[derive(Debug, Clone, Copy)]
pub(crate) struct AsItIs;

/// An answer that is whole already: the guard adds nothing to it, also when it is an error.
pub fn as_it_is(mut response: Response) -> Response {
    response.extensions_mut().insert(AsItIs);
    response
}

/// Fills in what only the request knows; turns errors that axum made (405, 404, …) into problems.
fn as_problem(mut response: Response, instance: &str, trace: &Trace) -> Response {
    let status = response.status();
    let problem = response.extensions_mut().remove::<Problem>();
    let failed = status.is_client_error() || status.is_server_error();
    let on_purpose = response.extensions_mut().remove::<AsItIs>().is_some();
    if on_purpose || (problem.is_none() && !failed) {
        return response;
    }
    let problem = problem.unwrap_or_else(|| Problem::of_status(status));
    let fresh = problem.render(Some(instance), Some(trace.id()));
    let (parts, body) = fresh.into_parts();
    // Headers of the first answer stay (Allow, Retry-After, …); those about the body are replaced.
    for name in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING] {
        response.headers_mut().remove(name);
    }
    for (name, value) in parts.headers {
        if let Some(name) = name {
            response.headers_mut().insert(name, value);
        }
    }
    *response.body_mut() = Body::new(body);
    response
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    fn router(limits: &Limits) -> Router {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        let routes = Router::new()
            .route("/v1/ok", get(|| async { "ok" }))
            .route(
                "/v1/take",
                post(|_: crate::Body<Nothing>| async { "taken" }),
            )
            .route(
                "/v1/slow",
                get(|| async { tokio::time::sleep(Duration::from_mins(1)).await }),
            )
            .route(
                "/v1/panic",
                get(|| async { "nonsense".parse::<u8>().unwrap().to_string() }),
            );
        guarded(routes, limits)
    }

    async fn ask(
        limits: &Limits,
        request: axum::http::request::Builder,
        body: &str,
    ) -> (u16, Value) {
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = router(limits).oneshot(request).await.unwrap();
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        }
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        (
            status.as_u16(),
            serde_json::from_slice(&bytes).unwrap_or_default(),
        )
    }

    fn code(answer: &(u16, Value)) -> (u16, &str) {
        (answer.0, answer.1["code"].as_str().unwrap_or_default())
    }

    #[tokio::test]
    async fn whatever_fails_is_a_problem_with_its_trace() {
        let limits = Limits::default();
        let lost = ask(&limits, Request::get("/nowhere"), "").await;
        assert_eq!(code(&lost), (404, "not_found"));
        assert_eq!(lost.1["instance"], "/nowhere");
        assert_eq!(lost.1["trace_id"].as_str().unwrap().len(), 32);
        let method = ask(&limits, Request::delete("/v1/ok"), "").await;
        assert_eq!(code(&method), (405, "method_not_allowed"));
        let panic = ask(&limits, Request::get("/v1/panic"), "").await;
        assert_eq!(code(&panic), (500, "internal_error"));
    }

    /// What is said of a body that is replaced does not hold of the new one.
    #[tokio::test]
    async fn a_replaced_body_is_not_called_encoded() {
        let encoded = || async {
            (
                StatusCode::CONFLICT,
                [("content-encoding", "gzip"), ("allow", "GET")],
                "packed",
            )
        };
        let routes = Router::new().route("/v1/packed", get(encoded));
        let request = Request::get("/v1/packed").body(Body::empty()).unwrap();
        let response = guarded(routes, &Limits::default())
            .oneshot(request)
            .await
            .unwrap();
        assert_eq!(response.status(), 409);
        assert!(!response.headers().contains_key(CONTENT_ENCODING));
        assert_eq!(response.headers()["allow"], "GET");
    }

    #[tokio::test]
    async fn bodies_are_bounded_and_json() {
        let limits = Limits {
            body_bytes_max: 64,
            ..Limits::default()
        };
        let json =
            || Request::post("/v1/take").header(CONTENT_TYPE, "application/json; charset=utf-8");
        assert_eq!(ask(&limits, json(), "{}").await.0, 200);
        assert_eq!(ask(&limits, Request::post("/v1/take"), "").await.0, 200);
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(100));
        assert_eq!(
            code(&ask(&limits, json(), &large).await),
            (413, "body_too_large")
        );
        let announced = json().header(CONTENT_LENGTH, "10485760");
        assert_eq!(ask(&limits, announced, "{}").await.0, 413);
        let text = Request::post("/v1/take").header(CONTENT_TYPE, "text/plain");
        assert_eq!(
            code(&ask(&limits, text, "{}").await),
            (415, "unsupported_media_type")
        );
        assert_eq!(ask(&limits, Request::post("/v1/take"), "{}").await.0, 415);
        for coding in ["gzip", "identity, br", ""] {
            let coded = ask(&limits, json().header(CONTENT_ENCODING, coding), "{}").await;
            assert_eq!(code(&coded), (415, "content_encoding_refused"), "{coding}");
        }
        let plain = json().header(CONTENT_ENCODING, "identity");
        assert_eq!(ask(&limits, plain, "{}").await.0, 200);
        assert_eq!(ask(&limits, json(), "{\"a\":1}").await.0, 422);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_requests_are_given_up_and_too_many_are_shed() {
        let slow = ask(&Limits::default(), Request::get("/v1/slow"), "").await;
        assert_eq!(code(&slow), (503, "request_timeout"));
        assert_eq!(slow.1["retryable"], true);
        let none = Limits {
            requests_in_flight_max: 0,
            ..Limits::default()
        };
        let shed = ask(&none, Request::get("/v1/ok"), "").await;
        assert_eq!(code(&shed), (503, "overloaded"));
    }

    /// Its place is given to others, whatever it would like to wait for.
    #[tokio::test(start_paused = true)]
    async fn who_announces_a_body_and_sends_none_is_not_waited_for_long() {
        let limits = Limits::default();
        let began = tokio::time::Instant::now();
        let nothing = futures::stream::pending::<Result<axum::body::Bytes, std::io::Error>>();
        let request = Request::post("/v1/take")
            .header(CONTENT_TYPE, "application/json")
            .header("prefer", "wait=30")
            .body(Body::from_stream(nothing))
            .unwrap();
        let response = router(&limits).oneshot(request).await.unwrap();
        assert_eq!(response.status(), 408);
        assert_eq!(response.headers()["connection"], "close");
        let longest = Duration::from_secs(limits.body_time_max_s) + linger::LINGER_TIME_MAX;
        assert!(began.elapsed() <= longest, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_waits_in_line_and_what_is_more_is_shed_at_once() {
        let limits = Limits {
            requests_in_flight_max: 1,
            requests_waiting_max: 1,
            ..Limits::default()
        };
        let nap = limits.line_time() / 2;
        let handler = move || tokio::time::sleep(nap);
        let router = guarded(Router::new().route("/v1/nap", get(handler)), &limits);
        let began = tokio::time::Instant::now();
        let asked = (0..3).map(|_| {
            let router = router.clone();
            async move {
                let request = Request::get("/v1/nap").body(Body::empty()).unwrap();
                let status = router.oneshot(request).await.unwrap().status();
                (status.as_u16(), began.elapsed())
            }
        });
        let mut answers = futures::future::join_all(asked).await;
        answers.sort_by_key(|(_, after)| *after);
        let expected = [(503, Duration::ZERO), (200, nap), (200, nap * 2)];
        for ((status, after), (wanted, at)) in answers.into_iter().zip(expected) {
            assert_eq!(status, wanted);
            // The clock of a timer has whole milliseconds.
            assert!(after.abs_diff(at) <= Duration::from_millis(5), "{after:?}");
        }
    }
}
