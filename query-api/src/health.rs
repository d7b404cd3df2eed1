//! `/livez` and `/readyz`: what must work before requests are sent here, and how far every view is
//! behind. A view that lags or has stopped is shown; it is no reason to take the role out.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use futures::future::join_all;
use projections::read::ViewStatus;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

use crate::Api;

/// Longest that one dependency may take to answer.
const CHECK_TIME_MAX: Duration = Duration::from_secs(2);

pub(crate) fn routes(api: Api) -> Router {
    Router::new()
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .with_state(api)
}

#[derive(Serialize)]
struct Alive {
    status: &'static str,
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    /// Each dependency: `ok`, or what is wrong.
    checks: BTreeMap<String, &'static str>,
    views: Vec<Lag>,
}

/// How far a view is behind.
#[derive(Serialize)]
struct Lag {
    view: String,
    stream: String,
    position: u64,
    /// The last event of its stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<u64>,
    /// Events that it has not taken in.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<u64>,
    updated_at: DateTime<Utc>,
    /// The event at which it has stopped; the cause stands in `view_position` and in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_at: Option<u64>,
}

/// What is known of one context.
struct Looked {
    context: &'static str,
    views: Option<Vec<ViewStatus>>,
    end: Option<u64>,
}

async fn alive() -> Json<Alive> {
    Json(Alive { status: "alive" })
}

async fn ready(State(api): State<Api>) -> Response {
    let looks = api.reader.contexts().map(|context| look(&api, context));
    let looked = join_all(looks).await;
    let mut checks = BTreeMap::new();
    let mut views = Vec::new();
    for context in looked {
        let word = |there: bool| if there { "ok" } else { "away" };
        let name = context.context;
        checks.insert(format!("postgres.{name}"), word(context.views.is_some()));
        checks.insert(format!("stream.{name}"), word(context.end.is_some()));
        let statuses = context.views.unwrap_or_default().into_iter();
        views.extend(statuses.map(|status| lag(status, context.end)));
    }
    let ready = checks.values().all(|check| *check == "ok");
    let (code, status) = if ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    };
    let body = Ready {
        status,
        checks,
        views,
    };
    (code, Json(body)).into_response()
}

async fn look(api: &Api, context: &'static str) -> Looked {
    let stream = context.to_ascii_uppercase();
    let (views, state) = tokio::join!(
        timeout(CHECK_TIME_MAX, api.reader.statuses(context)),
        timeout(CHECK_TIME_MAX, api.streams.stream_state(&stream)),
    );
    Looked {
        context,
        views: views.ok().and_then(Result::ok),
        end: state.ok().and_then(Result::ok).map(|state| state.last),
    }
}

fn lag(status: ViewStatus, end: Option<u64>) -> Lag {
    Lag {
        end,
        behind: end.map(|end| end.saturating_sub(status.position)),
        view: status.view,
        stream: status.stream,
        position: status.position,
        updated_at: status.updated_at,
        stopped_at: status.failed_position,
    }
}
