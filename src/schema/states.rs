//! Whether the same events still lead to the same states.
//!
//! Snapshots of a state that means something else now must not be used. Its declared revision says
//! so, and this notices when that was forgotten: every aggregate folds the committed events, one
//! after another and in every pair, and what comes out must have the digest in `states.json`.

use std::path::Path;

use domains::{Aggregate, Written};
use serde_json::Value;

use super::check::{Golden, Problem};
use super::recorded::{Today, compare};

/// Below the folder of the domains.
const FILE: &str = "states.json";

/// Compares; records what may be recorded when `accept` says so.
pub(super) fn check(
    domains: &Path,
    goldens: &[(&Aggregate, Vec<Golden>)],
    accept: bool,
) -> anyhow::Result<Vec<Problem>> {
    let today = goldens.iter().map(|(aggregate, events)| Today {
        name: aggregate.name,
        revision: aggregate.state_revision,
        events,
        folded: of_states(aggregate, events),
    });
    compare(&domains.join(FILE), "state", today, accept)
}

/// The states after all events in their order, and after every pair.
fn of_states(aggregate: &Aggregate, events: &[Golden]) -> String {
    let events: Vec<Written<'_>> = events
        .iter()
        .map(|golden| (golden.event, golden.version, golden.data.as_slice()))
        .collect();
    let mut states: Vec<Value> = Vec::new();
    for count in 0..=events.len() {
        states.push(aggregate.fold(events.get(..count).unwrap_or_default()));
    }
    for first in &events {
        for second in &events {
            states.push(aggregate.fold(&[*first, *second]));
        }
    }
    Value::Array(states).to_string()
}
