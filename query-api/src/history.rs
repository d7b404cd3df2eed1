//! The events of one aggregate, oldest first, as the stream holds them: who, when, why, what.
//!
//! Sealed values stay sealed here: a history is for tracing, not for reading personal data.

use axum::response::Response;
use edge::Problem;
use kernel::{AggregateId, Decider};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use streams::RecordedEvent;

use crate::asked::Freshness;
use crate::failure::{internal, of_load, parameter};
use crate::list::{LIMIT_DEFAULT, LIMIT_MAX};
use crate::{Api, answer};

/// Which part of a history.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageParams {
    /// Only events behind this version.
    after: Option<u64>,
    /// Most events.
    limit: Option<usize>,
}

/// One event.
#[derive(Serialize)]
struct Entry<'a> {
    position: String,
    version: u64,
    event_id: uuid::Uuid,
    event_type: &'a str,
    schema_version: u32,
    time: chrono::DateTime<chrono::Utc>,
    recorded_at: chrono::DateTime<chrono::Utc>,
    actor: &'a str,
    command_id: uuid::Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    data: &'a RawValue,
}

/// A page of events; `next` is the version to go on after.
#[derive(Serialize)]
struct Body<'a> {
    items: Vec<Entry<'a>>,
    next: Option<u64>,
}

/// The history of one aggregate, or a part of it.
pub(crate) async fn of<A: Decider>(
    api: &Api,
    id: &AggregateId,
    page: PageParams,
) -> Result<Response, Problem> {
    let limit = page.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(parameter(format!("limit must be 1 to {LIMIT_MAX}")));
    }
    let events = api.streams.history::<A>(id).await;
    let events = events.map_err(|error| of_load(&error))?;
    let Some(last) = events.last() else {
        return Err(Problem::not_found("nothing has happened under this id"));
    };
    let freshness = Freshness {
        position: last.position.to_string(),
        stale: false,
        ignored: None,
        applied: None,
    };
    let after = page.after.unwrap_or(0);
    let shown: Vec<_> = events.iter().filter(|e| e.version > after).collect();
    let more = shown.len() > limit;
    let shown = shown.get(..limit.min(shown.len())).unwrap_or_default();
    let entries: Result<Vec<_>, _> = shown.iter().map(|event| entry(event)).collect();
    let body = Body {
        items: entries.map_err(|error| internal(&error))?,
        next: shown.last().filter(|_| more).map(|event| event.version),
    };
    let body = serde_json::to_string(&body).map_err(|error| internal(&error))?;
    Ok(answer::json(body, &freshness))
}

fn entry(event: &RecordedEvent) -> Result<Entry<'_>, serde_json::Error> {
    Ok(Entry {
        position: event.position.to_string(),
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
