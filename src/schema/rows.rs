//! Whether the same events still make the same rows.
//!
//! Where they don't, rows of before are wrong until their view is rebuilt. Its declared revision says so to
//! everybody; this notices when that was forgotten, as [`super::states`] does for aggregates.

use std::fmt::Write as _;
use std::path::Path;

use chrono::{DateTime, TimeDelta};
use domains::Aggregate;
use kernel::{AggregateId, Position};
use projections::{ANY_TABLE, VIEWS, ViewSpec};
use streams::RecordedEvent;
use uuid::Uuid;

use super::check::{Golden, Problem};
use super::recorded::{Today, compare};

/// Below the folder of the domains.
const FILE: &str = "rows.json";

/// Whose events they all are.
const AGGREGATE: &str = "0190163d-8694-739b-aea5-966c26f8ad91";

/// Compares; records what may be recorded when `accept` says so. `steps` are the events of every saga that is
/// a table of steps, whether or not the shop has one.
pub(super) fn check(
    domains: &Path,
    (goldens, steps): (&[(&Aggregate, Vec<Golden>)], &Vec<Golden>),
    accept: bool,
) -> anyhow::Result<Vec<Problem>> {
    let id: AggregateId = AGGREGATE.parse()?;
    let today = VIEWS.iter().filter_map(|view| {
        let whose = |of: &Aggregate| of.context == view.kind.context && of.kind == view.kind.kind;
        let own = goldens.iter().find(|(aggregate, _)| whose(aggregate));
        let of_steps = (view.kind.kind == Some(ANY_TABLE)).then_some(steps);
        let events = own.map(|(_, events)| events).or(of_steps)?;
        Some(Today {
            name: view.name,
            revision: view.revision,
            events,
            folded: of_rows(view, &id, events),
        })
    });
    compare(&domains.join(FILE), "row", today, accept)
}

/// The rows after all events in their order, and after every pair. What can't be taken in says so.
fn of_rows(view: &ViewSpec, id: &AggregateId, goldens: &[Golden]) -> String {
    let mut text = String::new();
    let mut tell = |goldens: &[&Golden]| {
        let events = (1..).zip(goldens);
        let events = events.map(|(version, golden)| recorded(view, id, version, golden));
        // Writing to a string can't fail.
        let _ = writeln!(text, "{:?}", view.rows_of(&events.collect::<Vec<_>>()));
    };
    tell(&goldens.iter().collect::<Vec<_>>());
    for first in goldens {
        for second in goldens {
            tell(&[first, second]);
        }
    }
    text
}

/// As the stream would hold it, `version` hours after the epoch.
fn recorded(view: &ViewSpec, id: &AggregateId, version: u32, golden: &Golden) -> RecordedEvent {
    let time = DateTime::UNIX_EPOCH + TimeDelta::hours(i64::from(version));
    RecordedEvent {
        position: Position::new(view.stream(), version.into()),
        subject: format!("event.{}.{id}", view.context),
        context: view.kind.context.to_owned(),
        kind: view.kind.kind.map(str::to_owned),
        aggregate_id: id.clone(),
        id: Uuid::from_u128(version.into()),
        event_type: golden.event.to_owned(),
        schema_version: golden.version,
        version: version.into(),
        time,
        recorded_at: time,
        command_id: Uuid::nil(),
        correlation_id: None,
        causation_id: None,
        request_digest: None,
        actor: "operator:x".to_owned(),
        traceparent: None,
        data: golden.data.clone().into(),
    }
}
