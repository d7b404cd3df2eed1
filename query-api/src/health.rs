//! `/livez`, `/readyz` and `/v1/system/lag`: what must work before requests are sent here, and how far
//! every view is behind. A view that lags or has stopped is shown; it is no reason to take the role out.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use edge::openapi::{Calls, about};
use edge::{Principal, Problem};
use projections::Reader;
use projections::lag::{self, Lag, Looked};
use projections::stuck::{ITEMS_MAX, Part, Radar};
use schemars::JsonSchema;
use serde::Serialize;
use streams::Streams;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::Api;
use crate::asked::{NoParams, Params};

/// How often the metrics about the views are brought up to date.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// With which of these looks the metric about stuck work is: every half a minute.
const RADAR_EACH: u32 = 6;

/// The probes.
pub(crate) fn probes(api: Api) -> Router {
    Router::new()
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .with_state(api)
}

/// The same for people.
pub(crate) fn calls() -> Calls<Api> {
    Calls::default().get(
        "/v1/system/lag",
        about("Read how far the read models are behind").refuses([Problem::forbidden("")]),
        lags,
    )
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

/// How far every view is behind the end of its stream.
#[derive(Serialize, JsonSchema)]
struct Lags {
    views: Vec<Lag>,
    /// What could not be asked.
    away: Vec<String>,
}

async fn alive() -> Json<Alive> {
    Json(Alive { status: "alive" })
}

async fn ready(State(api): State<Api>) -> Response {
    let (mut checks, views) = look(&api.reader, &api.streams).await;
    let has_read = api.log.barrier().check().is_ok();
    checks.insert("start-up".to_owned(), has_read);
    let ready = checks.values().all(|there| *there);
    let (code, status) = if ready {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    };
    let word = |there: bool| if there { "ok" } else { "away" };
    let checks = checks.into_iter().map(|(name, there)| (name, word(there)));
    let body = Ready {
        status,
        checks: checks.collect(),
        views,
    };
    (code, Json(body)).into_response()
}

async fn lags(
    State(api): State<Api>,
    principal: Principal,
    _: Params<NoParams>,
) -> Result<Json<Lags>, Problem> {
    principal.require_operator()?;
    let (checks, views) = look(&api.reader, &api.streams).await;
    let away = checks.into_iter().filter(|(_, there)| !there);
    let away = away.map(|(name, _)| name).collect();
    Ok(Json(Lags { views, away }))
}

/// Which dependencies are there, and how far every view is behind.
async fn look(reader: &Reader, streams: &Streams) -> (BTreeMap<String, bool>, Vec<Lag>) {
    let mut checks = BTreeMap::new();
    let mut lags = Vec::new();
    for Looked {
        context,
        views,
        end,
    } in lag::look_at_all(reader, streams).await
    {
        checks.insert(format!("postgres.{context}"), views.is_some());
        checks.insert(format!("stream.{context}"), end.is_some());
        lags.extend(views.unwrap_or_default());
    }
    (checks, lags)
}

/// Tells the metrics how far every view is behind, and what is stuck, as long as it lives. It stands here and not in the
/// projector, because a projector that is dead tells nothing.
pub(crate) struct Watch(JoinHandle<()>);

impl Watch {
    pub(crate) fn start(reader: Reader, streams: Streams, radar: Radar) -> Self {
        Self(tokio::spawn(async move {
            let mut clock = interval(LOOK_EVERY);
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for nth in (0..RADAR_EACH).cycle() {
                clock.tick().await;
                let views = lag::look_at_all(&reader, &streams).await;
                let lags = views.iter().flat_map(|looked| &looked.views).flatten();
                lags.for_each(report);
                if nth == 0 {
                    let stuck = radar.look_beside(&views, ITEMS_MAX).await;
                    stuck.parts.iter().for_each(count);
                }
            }
        }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Of a kind that can't be asked now, what was known of it stays, and is told to be old.
fn count(part: &Part) {
    let kind: &'static str = part.kind.into();
    let away = part.away.is_some();
    metrics::gauge!("stuck_away", "kind" => kind).set(f64::from(u8::from(away)));
    if !away {
        let told = u32::try_from(part.told).unwrap_or(u32::MAX);
        metrics::gauge!("stuck_items", "kind" => kind).set(f64::from(told));
    }
}

fn report(lag: &Lag) {
    let set = |name: &'static str, value: f64| {
        metrics::gauge!(name, "view" => lag.view.clone()).set(value);
    };
    if let Some(behind) = lag.behind {
        // Exact up to four billion events behind.
        set(
            "view_lag_events",
            u32::try_from(behind).unwrap_or(u32::MAX).into(),
        );
    }
    if let Some(seconds) = lag.behind_s {
        set("view_lag_seconds", seconds);
    }
    set("view_stalled", f64::from(u8::from(lag.stalled)));
    set("view_outdated", f64::from(u8::from(lag.outdated)));
    if lag.stalled {
        let Lag {
            view,
            position,
            behind,
            ..
        } = lag;
        tracing::warn!(
            view,
            position,
            behind,
            "a read model doesn't move while events wait, or has stopped"
        );
    }
}
