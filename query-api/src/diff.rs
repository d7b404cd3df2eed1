//! What changed between two moments, as a JSON Patch (RFC 6902): applied to the resource as of `from`
//! it gives the resource as of `to`.

use axum::response::Response;
use edge::Problem;
use json_patch::Patch;
use kernel::{AggregateId, Position};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use streams::Moment;

use crate::asked::Freshness;
use crate::caller::Caller;
use crate::failure::{internal, nothing, parameter};
use crate::resource::Resource;
use crate::{Api, answer, past};

/// Between which moments.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Between {
    /// The earlier moment: a position of its stream, or a time on the stream's clock.
    #[schemars(with = "past::Said")]
    from: String,
    /// Now, if it isn't there.
    #[schemars(with = "Option<past::Said>")]
    to: Option<String>,
}

/// What changed between two moments.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Difference")]
pub(crate) struct Body {
    from: Side,
    to: Side,
    /// A JSON Patch (RFC 6902).
    patch: Patch,
}

/// One of the two moments.
#[derive(Serialize, JsonSchema)]
struct Side {
    /// The last event that had happened; none = it did not exist yet, and is `null` to the patch.
    position: Option<Position>,
    /// How many events it had.
    version: u64,
    #[serde(skip)]
    document: Value,
}

/// Answers the difference.
pub(crate) async fn between(
    resource: &'static Resource,
    api: &Api,
    caller: &Caller,
    id: &AggregateId,
    Between { from, to }: Between,
) -> Result<Response, Problem> {
    let from = past::moment(api, resource.view, "from", &from).await?;
    let to = match to {
        Some(text) => past::moment(api, resource.view, "to", &text).await?.at,
        None => Moment::Position(u64::MAX),
    };
    let (from, to) = (
        side(resource, api, caller, id, from.at).await?,
        side(resource, api, caller, id, to).await?,
    );
    let Some(position) = to.position.clone() else {
        return Err(nothing(resource.what));
    };
    if from.version > to.version {
        return Err(parameter("from must not be behind to"));
    }
    let patch = json_patch::diff(&from.document, &to.document);
    let body =
        serde_json::to_string(&Body { from, to, patch }).map_err(|error| internal(&error))?;
    Ok(answer::json(body, &Freshness::of(&position)))
}

async fn side(
    resource: &'static Resource,
    api: &Api,
    caller: &Caller,
    id: &AggregateId,
    moment: Moment,
) -> Result<Side, Problem> {
    let Some(was) = resource.was(api, caller, id, moment).await? else {
        return Ok(Side {
            position: None,
            version: 0,
            document: Value::Null,
        });
    };
    let version = was.row.version;
    let body = resource.open_one(api, was.row.payload).await?;
    Ok(Side {
        position: Some(was.position),
        version,
        document: serde_json::from_str(&body).map_err(|error| internal(&error))?,
    })
}
