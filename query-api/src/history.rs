//! The events of one aggregate, oldest first, as the stream holds them: who, when, why, what.
//!
//! Sealed values stay sealed here: a history is for tracing, not for reading personal data.

use axum::response::Response;
use edge::Problem;
use kernel::AggregateId;
use projections::ViewSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use streams::RecordedEvent;

use crate::asked::Freshness;
use crate::failure::{internal, nothing, of_load, parameter};
use crate::list::{LIMIT_DEFAULT, LIMIT_MAX};
use crate::{Api, answer, past};

/// Which part of a history.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageParams {
    /// Only events behind this position (`ORDER:1042`), from which the history is then read, or behind
    /// this version.
    after: Option<String>,
    /// Most events.
    #[schemars(range(min = 1, max = LIMIT_MAX))]
    limit: Option<usize>,
}

/// One event.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Event")]
pub(crate) struct Entry<'a> {
    /// Where in its stream.
    position: String,
    /// A kind of aggregate besides the context's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    /// What it is about.
    aggregate_id: &'a str,
    /// How many events that has with this one.
    version: u64,
    /// The same wherever the event is told.
    event_id: uuid::Uuid,
    /// Which event (`order_placed`).
    event_type: &'a str,
    /// Which version of its data.
    schema_version: u32,
    /// When it happened, as its command said.
    time: chrono::DateTime<chrono::Utc>,
    /// When the stream took it.
    recorded_at: chrono::DateTime<chrono::Utc>,
    /// Who did it.
    actor: &'a str,
    /// With which command.
    command_id: uuid::Uuid,
    /// The event that led to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<&'a str>,
    /// The order whose flow it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    /// The trace that it belongs to (W3C Trace Context).
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    /// As the event's schema version has it.
    #[schemars(with = "Map<String, Value>")]
    data: &'a RawValue,
}

/// A page of events; `next` is the position to go on after.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EventPage")]
pub(crate) struct Body<'a> {
    items: Vec<Entry<'a>>,
    next: Option<String>,
}

/// A page of the history of one aggregate of `view`. Only the page is held.
pub(crate) async fn page(
    api: &Api,
    view: &'static ViewSpec,
    id: &AggregateId,
    page: PageParams,
) -> Result<Response, Problem> {
    let limit = page.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(parameter(format!("limit must be 1 to {LIMIT_MAX}")));
    }
    let (position, version) = begin(api, view, page.after).await?;
    let walk = api.streams.walk(view.kind, id, None).await;
    let walk = walk.map_err(|error| of_load(&error))?;
    let last = walk.last().ok_or_else(|| nothing("history"))?;
    let mut walk = walk.behind(position);
    let mut events = Vec::new();
    while events.len() <= limit
        && let Some(event) = walk.next().await.map_err(|error| of_load(&error))?
    {
        if event.version > version {
            events.push(event);
        }
    }
    let more = events.len() > limit;
    events.truncate(limit);
    let entries: Result<Vec<_>, _> = events.iter().map(entry).collect();
    let body = Body {
        items: entries.map_err(|error| internal(&error))?,
        next: (events.last().filter(|_| more)).map(|event| event.position.to_string()),
    };
    let body = serde_json::to_string(&body).map_err(|error| internal(&error))?;
    Ok(answer::json(body, &Freshness::of(&last)))
}

/// Behind which position, and behind which version.
async fn begin(api: &Api, view: &ViewSpec, after: Option<String>) -> Result<(u64, u64), Problem> {
    match after {
        None => Ok((0, 0)),
        Some(text) if text.contains(':') => {
            Ok((past::position(api, view, "after", &text).await?, 0))
        }
        Some(text) => {
            let refused = || parameter("after must be a position (ORDER:1042) or a version (17)");
            Ok((0, text.parse().map_err(|_| refused())?))
        }
    }
}

pub(crate) fn entry(event: &RecordedEvent) -> Result<Entry<'_>, serde_json::Error> {
    Ok(Entry {
        position: event.position.to_string(),
        kind: event.kind.as_deref(),
        aggregate_id: event.aggregate_id.as_str(),
        version: event.version,
        event_id: event.id,
        event_type: &event.event_type,
        schema_version: event.schema_version,
        time: event.time,
        recorded_at: event.recorded_at,
        actor: &event.actor,
        command_id: event.command_id,
        causation_id: event.causation_id.as_deref(),
        correlation_id: event.correlation_id.as_deref(),
        traceparent: event.traceparent.as_deref(),
        data: serde_json::from_slice(&event.data)?,
    })
}
