//! Events in, row out: what the unit tests of the views share.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use cqrs_es::EventEnvelope;
use kernel::{Decider, Money, Position};
use serde::Serialize;
use streams::RecordedEvent;
use uuid::Uuid;

use crate::fold::StoredRow;
use crate::view::{EntityView, ViewSpec};

/// When every story begins; each event comes a second after the one before.
pub(crate) fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

/// `amount` cents.
pub(crate) fn eur(amount: i64) -> Money {
    Money::new(amount, "EUR".parse().unwrap())
}

/// The row that the events make; it must also survive being stored between any two of them.
pub(crate) fn fold<A: Decider, V: EntityView<A> + PartialEq>(id: &str, events: Vec<A::Event>) -> V {
    let mut row = V::default();
    for (index, payload) in events.into_iter().enumerate() {
        let at = start() + TimeDelta::seconds(i64::try_from(index).unwrap());
        let time = at.to_rfc3339_opts(SecondsFormat::Millis, true);
        row.update(&EventEnvelope {
            aggregate_id: id.to_owned(),
            sequence: index + 1,
            payload,
            metadata: HashMap::from([("time".to_owned(), time)]),
        });
        let stored = serde_json::to_string(&row).unwrap();
        assert!(
            serde_json::from_str::<V>(&stored).unwrap() == row,
            "{stored}"
        );
    }
    row
}

/// An event as its stream would hold it, at this position and version, `position` hours after the start.
pub(crate) fn recorded<A: Decider>(id: &str, at: (u64, u64), event: &A::Event) -> RecordedEvent {
    recorded_of((A::CONTEXT, A::KIND), id, at, event)
}

/// The same of an aggregate of whichever context and kind.
pub(crate) fn recorded_of(
    (context, kind): (&str, Option<&str>),
    id: &str,
    (position, version): (u64, u64),
    event: &impl Serialize,
) -> RecordedEvent {
    let tagged = serde_json::to_value(event).unwrap();
    let time = start() + TimeDelta::hours(i64::try_from(position).unwrap());
    RecordedEvent {
        position: Position::new(context.to_ascii_uppercase(), position),
        subject: format!("event.{context}.{id}"),
        context: context.into(),
        kind: kind.map(Into::into),
        aggregate_id: id.parse().unwrap(),
        id: Uuid::from_u128(u128::from(position)),
        event_type: tagged["type"].as_str().unwrap().to_owned(),
        schema_version: 1,
        version,
        time,
        recorded_at: time,
        command_id: Uuid::nil(),
        correlation_id: None,
        causation_id: None,
        request_digest: None,
        actor: "operator:x".into(),
        traceparent: None,
        data: tagged["data"].to_string().into(),
    }
}

/// The rows of a table projection after these batches, each stored before the next begins with nothing
/// in memory, as after a crash.
pub(crate) fn table(view: &ViewSpec, batches: &[&[RecordedEvent]]) -> Vec<StoredRow> {
    let mut table: HashMap<String, StoredRow> = HashMap::new();
    for batch in batches {
        let mut fold = view.fold();
        loop {
            let missing: Vec<_> = batch.iter().flat_map(|e| fold.missing(e)).collect();
            if missing.is_empty() {
                break;
            }
            for id in missing {
                match table.get(&id) {
                    Some(row) => fold.put(row).unwrap(),
                    None => fold.put_absent(&id),
                }
            }
        }
        for event in *batch {
            fold.apply(event).unwrap();
        }
        for row in fold.changed().unwrap() {
            table.insert(row.view_id.clone(), row);
        }
    }
    let mut rows: Vec<_> = table.into_values().collect();
    rows.sort_by(|one, other| one.view_id.cmp(&other.view_id));
    rows
}

/// However the events are cut into batches, and if all of them come twice, the rows are the same.
pub(crate) fn same_rows_however_they_come(
    view: &ViewSpec,
    events: &[RecordedEvent],
) -> Vec<StoredRow> {
    let whole = table(view, &[events]);
    for cut in 0..events.len() {
        let (before, after) = events.split_at(cut);
        assert_eq!(table(view, &[before, after]), whole, "cut at {cut}");
        assert_eq!(table(view, &[before, events]), whole, "again from {cut}");
    }
    let each: Vec<_> = events.iter().flat_map(|e| [e.clone(), e.clone()]).collect();
    assert_eq!(table(view, &[&each]), whole, "each twice");
    let singly: Vec<_> = events.chunks(1).collect();
    assert_eq!(table(view, &singly), whole, "one by one");
    whole
}
