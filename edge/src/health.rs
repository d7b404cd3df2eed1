//! `/livez` and `/readyz`: alive is not the same as ready.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use futures::future::{BoxFuture, join_all};
use schemars::JsonSchema;
use serde::Serialize;

use crate::method_refused;
use crate::openapi::{self, Call, Calls, about};

/// Longest that one check may take; then it has failed.
const CHECK_TIME_MAX: Duration = Duration::from_secs(2);

type Look = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// One thing that is looked at.
#[derive(Clone)]
struct Check {
    look: Look,
    /// It must be well, or the role is not ready.
    counts: bool,
}

/// What must work before a role may be sent requests, by name.
///
/// Liveness has no checks: a role whose dependency is down must not be killed for it.
#[derive(Clone, Default)]
pub struct Health {
    checks: BTreeMap<&'static str, Check>,
}

impl Health {
    /// No checks: ready as soon as it listens.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check; its error says in words what is wrong.
    #[must_use]
    pub fn check<F, R>(self, name: &'static str, look: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.with(name, look, true)
    }

    /// Adds something that is told, and without which requests may be sent all the same.
    #[must_use]
    pub fn note<F, R>(self, name: &'static str, look: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.with(name, look, false)
    }

    fn with<F, R>(mut self, name: &'static str, look: F, counts: bool) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), String>> + Send + 'static,
    {
        let look: Look = Arc::new(move || Box::pin(look()));
        self.checks.insert(name, Check { look, counts });
        self
    }

    /// The two routes.
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let routes = calls().into_router();
        routes
            .method_not_allowed_fallback(method_refused)
            .with_state(self)
    }
}

/// The two calls, which stand outside every guard.
pub fn calls() -> Calls<Health> {
    Calls::default()
        .get(
            "/livez",
            about("Ask whether it is alive").unguarded(),
            alive,
        )
        .get(
            "/readyz",
            about("Ask whether it is ready")
                .more("It names what must work before requests are sent here.")
                .unguarded(),
            ready,
        )
}

/// How a role is.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Health")]
struct Answer {
    /// `alive`, `ready` or `not_ready`.
    status: &'static str,
    /// Each dependency: `ok`, or what is wrong.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    checks: BTreeMap<&'static str, String>,
}

/// Alive, as long as it answers at all.
struct Alive;

async fn alive() -> Alive {
    Alive
}

impl IntoResponse for Alive {
    fn into_response(self) -> Response {
        let status = "alive";
        let checks = BTreeMap::new();
        Json(Answer { status, checks }).into_response()
    }
}

impl openapi::Answer for Alive {
    fn describe(call: &mut Call<'_>) {
        call.answer::<Answer>(StatusCode::OK, "It is");
    }
}

async fn ready(State(health): State<Health>) -> Readiness {
    let results = join_all(health.checks.iter().map(|(name, check)| async {
        let outcome = tokio::time::timeout(CHECK_TIME_MAX, (check.look)()).await;
        let outcome = outcome.unwrap_or_else(|_elapsed| Err("no answer in time".to_owned()));
        (*name, check.counts, outcome)
    }))
    .await;
    let ready = results
        .iter()
        .all(|(_, counts, outcome)| outcome.is_ok() || !counts);
    let checks = results
        .into_iter()
        .map(|(name, _, outcome)| (name, outcome.err().unwrap_or_else(|| "ok".to_owned())))
        .collect();
    Readiness { ready, checks }
}

/// Ready, or 503, but not a problem: a probe wants to see every check.
struct Readiness {
    ready: bool,
    checks: BTreeMap<&'static str, String>,
}

impl IntoResponse for Readiness {
    fn into_response(self) -> Response {
        let Self { ready, checks } = self;
        let answer = |status| Json(Answer { status, checks });
        if ready {
            return answer("ready").into_response();
        }
        let not_ready = (StatusCode::SERVICE_UNAVAILABLE, answer("not_ready"));
        crate::as_it_is(not_ready.into_response())
    }
}

impl openapi::Answer for Readiness {
    fn describe(call: &mut Call<'_>) {
        call.answer::<Answer>(StatusCode::OK, "It is");
        call.answer::<Answer>(StatusCode::SERVICE_UNAVAILABLE, "It is not");
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use axum::http::header::{ALLOW, CONTENT_TYPE};
    use tower::ServiceExt;

    use super::*;
    use crate::problem::MEDIA_TYPE;
    use crate::{Limits, guarded};

    #[tokio::test]
    async fn a_wrong_method_is_refused_with_the_right_ones_also_outside_the_guard() {
        let bare: Router = Health::new().router();
        for path in ["/livez", "/readyz"] {
            let request = Request::post(path).body(Body::empty()).unwrap();
            let response = bare.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(response.headers()[CONTENT_TYPE], MEDIA_TYPE);
            assert_eq!(response.headers()[ALLOW], "GET,HEAD");
        }
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing() {
        let health = Health::new()
            .check("nats", || async { Ok(()) })
            .check("postgres", || async { Err("refused".to_owned()) });
        let router = guarded(health.router(), &Limits::default());
        let ask = |path: &'static str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            router.clone().oneshot(request)
        };
        assert_eq!(ask("/livez").await.unwrap().status(), StatusCode::OK);
        let response = ask("/readyz").await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let bytes = axum::body::to_bytes(response.into_body(), 4096)
            .await
            .unwrap();
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"status": "not_ready", "checks": {"nats": "ok", "postgres": "refused"}})
        );
        let noted = Health::new().note("postgres", || async { Err("refused".to_owned()) });
        let request = Request::get("/readyz").body(Body::empty()).unwrap();
        let response = noted.router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let bytes = axum::body::to_bytes(response.into_body(), 4096).await;
        let json: serde_json::Value = serde_json::from_slice(&bytes.unwrap()).unwrap();
        assert_eq!(json["checks"]["postgres"], "refused");
    }
}
