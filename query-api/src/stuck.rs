//! `/v1/system/stuck`: everything that waits for a human or is late, for operators.

use axum::Json;
use axum::extract::State;
use edge::openapi::{Calls, about};
use edge::{Principal, Problem};
use projections::stuck::{ITEMS_MAX, Stuck};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::Api;
use crate::asked::Params;
use crate::failure::parameter;
use crate::list::LIMIT_DEFAULT;

pub(crate) fn calls() -> Calls<Api> {
    Calls::default().get(
        "/v1/system/stuck",
        about("Read what is stuck")
            .more("Everything that waits for a human or is late, and what may be done about it.")
            .refuses([Problem::forbidden("")]),
        stuck,
    )
}

/// What may be asked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Most {
    /// Most items, of each kind where there are several.
    #[schemars(range(min = 1, max = ITEMS_MAX))]
    limit: Option<usize>,
}

impl Most {
    /// How many that is.
    ///
    /// # Errors
    /// 400: out of bounds.
    pub(crate) fn limit(&self) -> Result<usize, Problem> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        let within = (1..=ITEMS_MAX).contains(&limit);
        let refused = || parameter(format!("limit must be 1 to {ITEMS_MAX}"));
        within.then_some(limit).ok_or_else(refused)
    }
}

async fn stuck(
    State(api): State<Api>,
    principal: Principal,
    Params(most): Params<Most>,
) -> Result<Json<Stuck>, Problem> {
    principal.require_operator()?;
    Ok(Json(api.radar.look(most.limit()?).await))
}
