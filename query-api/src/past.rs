//! What was: rows folded again from the log, by the fold that made them.
//!
//! A row as of a moment is the fold of its aggregate's events up to there. A list as of a moment takes
//! its candidates from the live table, by what never changes (the order of the list and the fixed
//! filters), folds each one anew, and compares the other filters with what it was.

use std::borrow::Cow;

use chrono::DateTime;
use edge::Problem;
use edge::openapi::Call;
use futures::{StreamExt, stream};
use kernel::{AggregateId, Position};
use projections::read::{After, Filter, How, ListedRow, Page, Part, Row};
use projections::{Replay, ViewSpec};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;
use streams::Moment;

use crate::Api;
use crate::asked::{Asked, Freshness};
use crate::failure::{internal, of_load, parameter, too_long};

/// Most events that are folded for one row of the past.
const EVENTS_MAX: usize = 50_000;

/// Most rows that are folded for one page of the past. Where few of them match, a page is shorter than
/// its limit, and goes on at its cursor.
const LOOKS_MAX: usize = 400;

/// How many of them at the same time.
const LOOKS_AT_ONCE: usize = 16;

/// A row as it was.
#[derive(Debug)]
pub(crate) struct Was {
    pub(crate) row: Row,
    /// The last event that it is the fold of.
    pub(crate) position: Position,
}

/// A moment that has been.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Been {
    pub(crate) at: Moment,
    /// The event that a view must have taken in to know of everything that had happened by then.
    pub(crate) sequence: u64,
}

/// Reads a moment in `view`'s stream: `ORDER:1042`, `1042`, or a time (RFC 3339) on the stream's clock.
pub(crate) async fn moment(
    api: &Api,
    view: &ViewSpec,
    name: &str,
    text: &str,
) -> Result<Been, Problem> {
    let stream = view.stream();
    let at = parse(text, &stream).ok_or_else(|| {
        parameter(format!(
            "{name} must be a position ({stream}:1042 or 1042) or a time (2026-01-31T12:00:00Z)"
        ))
    })?;
    been(api, &stream, name, at).await
}

/// Reads a position in `view`'s stream, of an event that is there: `ORDER:1042` or `1042`.
pub(crate) async fn position(
    api: &Api,
    view: &ViewSpec,
    name: &str,
    text: &str,
) -> Result<u64, Problem> {
    let stream = view.stream();
    let sequence = parse_position(&stream, name, text)?;
    let at = Moment::Position(sequence);
    been(api, &stream, name, at).await?;
    Ok(sequence)
}

fn parse_position(stream: &str, name: &str, text: &str) -> Result<u64, Problem> {
    match parse(text, stream) {
        Some(Moment::Position(sequence)) => Ok(sequence),
        Some(Moment::Time(_)) | None => {
            let detail = format!("{name} must be a position ({stream}:1042 or 1042)");
            Err(parameter(detail))
        }
    }
}

/// The moment, unless it is still to come.
async fn been(api: &Api, stream: &str, name: &str, at: Moment) -> Result<Been, Problem> {
    let state = api.streams.stream_state(stream).await;
    let end = state.map_err(|error| of_load(&error))?.last;
    let (to_come, sequence) = match at {
        Moment::Position(sequence) => (sequence > end, sequence),
        Moment::Time(time) => (time > streams::clock::now(), end),
    };
    if to_come {
        let detail = format!("{name} is still to come; the stream is at {stream}:{end}");
        return Err(parameter(detail));
    }
    Ok(Been { at, sequence })
}

/// A moment, as it is said: a position of the stream that it is about, or a time on its clock.
pub(crate) struct Said;

impl JsonSchema for Said {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Said".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
        "anyOf": [
            { "type": "string", "pattern": "^([A-Z]{1,32}:)?[0-9]{1,20}$" },
            { "type": "string", "format": "date-time" },
        ],
        })
    }
}

/// How a look at the past may fail.
pub(crate) fn describe(call: &mut Call<'_>) {
    call.problem(parameter(""));
    call.problem(too_long(EVENTS_MAX));
}

fn parse(text: &str, stream: &str) -> Option<Moment> {
    if let Ok(sequence) = text.parse() {
        return Some(Moment::Position(sequence));
    }
    if let Ok(position) = text.parse::<Position>() {
        return (position.stream == stream).then_some(Moment::Position(position.sequence));
    }
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(Moment::Time(time.to_utc()))
}

/// The row of `view` with this id as it was at `moment`; none if it did not exist yet.
pub(crate) async fn row(
    api: &Api,
    view: &ViewSpec,
    id: &AggregateId,
    moment: Moment,
) -> Result<Option<Was>, Problem> {
    let walk = api.streams.walk(view.kind, id, Some(moment)).await;
    let mut walk = walk.map_err(|error| of_load(&error))?;
    let mut replay: Replay = view.replay();
    let mut last = None;
    let mut events = 0_usize;
    while let Some(event) = walk.next().await.map_err(|error| of_load(&error))? {
        events += 1;
        if events > EVENTS_MAX {
            return Err(too_long(EVENTS_MAX));
        }
        replay.take(&event).map_err(|error| internal(&error))?;
        last = Some(event.position);
    }
    let row = replay.row().map_err(|error| internal(&error))?;
    Ok(row.zip(last).map(|(row, position)| Was { row, position }))
}

/// A page of `view` as it was: the rows that existed and matched every filter, behind `after`.
pub(crate) async fn page(
    api: &Api,
    asked: &Asked,
    view: &'static ViewSpec,
    (filters, been): (&[Filter], Been),
    part: Part<'_>,
) -> Result<(Page, Freshness), Problem> {
    // A row's place in the order of time never changes either.
    let fixed = filters
        .iter()
        .filter(|filter| filter.how != How::Is || view.fixed.contains(&filter.column));
    let fixed: Vec<Filter> = fixed.cloned().collect();
    let asked = asked.at_least(view, been.sequence);
    let mut rows = Vec::new();
    let (limit, mut after) = (part.limit, part.after.cloned());
    let mut looks = 0;
    let freshness = loop {
        let here = Part {
            after: after.as_ref(),
            ..part
        };
        let (candidates, freshness) = asked.list(api, view, &fixed, here).await?;
        looks += candidates.rows.len();
        let end = candidates.next.is_none();
        let mut found = stream::iter(candidates.rows)
            .map(|candidate| then(api, view, candidate, been.at))
            .buffered(LOOKS_AT_ONCE);
        let mut place = None;
        while rows.len() < limit
            && let Some(looked) = found.next().await
        {
            let (seen, was) = looked?;
            place = Some(seen);
            rows.extend(was.filter(|row| matches(row, filters)));
        }
        let exhausted = found.next().await.is_none();
        after = (!end || !exhausted).then_some(place).flatten();
        if after.is_none() || rows.len() >= limit || looks >= LOOKS_MAX {
            break freshness;
        }
    };
    let page = Page {
        position: been.sequence,
        rows,
        next: after,
    };
    Ok((page, freshness))
}

/// A candidate's place in the list, and what it was.
async fn then(
    api: &Api,
    view: &ViewSpec,
    candidate: ListedRow,
    moment: Moment,
) -> Result<(After, Option<ListedRow>), Problem> {
    let id: AggregateId = candidate
        .view_id
        .parse()
        .map_err(|error| internal(&error))?;
    let was = row(api, view, &id, moment).await?;
    let place = After {
        sort: candidate.sort.clone(),
        view_id: candidate.view_id.clone(),
    };
    let row = was.map(|was| ListedRow {
        version: was.row.version,
        payload: was.row.payload,
        ..candidate
    });
    Ok((place, row))
}

/// Did the row match, as the generated columns of its table would say?
fn matches(row: &ListedRow, filters: &[Filter]) -> bool {
    let Ok(payload) = serde_json::from_str::<Value>(&row.payload) else {
        return false;
    };
    let mut changing = filters.iter().filter(|filter| filter.how == How::Is);
    changing.all(|filter| match payload.get(filter.column) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => *text == filter.value,
        Some(other) => {
            let text = other.to_string();
            text == filter.value
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_position_or_a_time() {
        assert_eq!(parse("1042", "ORDER"), Some(Moment::Position(1042)));
        assert_eq!(parse("ORDER:1042", "ORDER"), Some(Moment::Position(1042)));
        let time = parse("2026-01-31T12:00:00+01:00", "ORDER");
        let utc = "2026-01-31T11:00:00Z".parse().unwrap();
        assert_eq!(time, Some(Moment::Time(utc)));
        for bad in ["", "PAYMENT:1", "-1", "yesterday", "2026-01-31"] {
            assert_eq!(parse(bad, "ORDER"), None, "{bad}");
        }
    }

    #[test]
    fn a_position_is_no_time() {
        let position = |text| parse_position("ORDER", "after", text);
        assert_eq!(position("ORDER:7").unwrap(), 7);
        assert_eq!(position("0").unwrap(), 0);
        for bad in ["", "PAYMENT:1", "2026-01-31T12:00:00Z"] {
            let refused = position(bad).unwrap_err();
            let said = "after must be a position (ORDER:1042 or 1042)";
            assert_eq!(refused.detail, said, "{bad}");
        }
    }

    #[test]
    fn a_row_matches_by_what_its_columns_would_say() {
        let row = ListedRow {
            view_id: "a".into(),
            sort: None,
            version: 1,
            payload: r#"{"status":"placed","low_stock":true,"category":null}"#.into(),
        };
        let is = |column, value: &str| matches(&row, &[Filter::new(column, value)]);
        assert!(is("status", "placed") && is("low_stock", "true"));
        assert!(!is("status", "shipped") && !is("category", "null") && !is("gone", ""));
    }
}
