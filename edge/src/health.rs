//! `/livez` and `/readyz`: alive is not the same as ready.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::future::{BoxFuture, join_all};
use serde::Serialize;

/// Longest that one check may take; then it has failed.
const CHECK_TIME_MAX: Duration = Duration::from_secs(2);

type Check = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

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
    pub fn check<F, R>(mut self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.checks.insert(name, check);
        self
    }

    /// The two routes.
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        Router::new()
            .route("/livez", get(|| async { Json(Answer::alive()) }))
            .route("/readyz", get(ready).with_state(self))
    }
}

#[derive(Serialize)]
struct Answer {
    status: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    checks: BTreeMap<&'static str, String>,
}

impl Answer {
    fn alive() -> Self {
        Self {
            status: "alive",
            checks: BTreeMap::new(),
        }
    }
}

async fn ready(State(health): State<Health>) -> Response {
    let results = join_all(health.checks.iter().map(|(name, check)| async {
        let outcome = tokio::time::timeout(CHECK_TIME_MAX, check()).await;
        let outcome = outcome.unwrap_or_else(|_elapsed| Err("no answer in time".to_owned()));
        (*name, outcome)
    }))
    .await;
    let ready = results.iter().all(|(_, outcome)| outcome.is_ok());
    let checks = results
        .into_iter()
        .map(|(name, outcome)| (name, outcome.err().unwrap_or_else(|| "ok".to_owned())))
        .collect();
    let answer = |status| Json(Answer { status, checks });
    if ready {
        answer("ready").into_response()
    } else {
        Unready(answer("not_ready")).into_response()
    }
}

/// 503, but not a problem: a probe wants to see every check.
struct Unready(Json<Answer>);

impl IntoResponse for Unready {
    fn into_response(self) -> Response {
        crate::as_it_is((StatusCode::SERVICE_UNAVAILABLE, self.0).into_response())
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::{Limits, guarded};

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
    }
}
