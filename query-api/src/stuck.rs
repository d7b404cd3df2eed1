//! `/v1/system/stuck`: everything that waits for a human or is late, for operators.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use edge::{Principal, Problem};
use projections::stuck::{ITEMS_MAX, Stuck};
use serde::Deserialize;

use crate::Api;
use crate::list::LIMIT_DEFAULT;

pub(crate) fn routes() -> Router<Api> {
    Router::new().route("/v1/system/stuck", get(stuck))
}

/// What may be asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Most items of each kind.
    limit: Option<usize>,
}

async fn stuck(
    State(api): State<Api>,
    principal: Principal,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Stuck>, Problem> {
    principal.require_operator()?;
    let Query(asked) = asked.map_err(|refused| Problem::malformed(refused.body_text()))?;
    let limit = asked.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=ITEMS_MAX).contains(&limit) {
        return Err(Problem::malformed(format!(
            "limit is a number from 1 to {ITEMS_MAX}"
        )));
    }
    Ok(Json(api.radar.look(limit).await))
}
