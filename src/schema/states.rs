//! Whether the same events still lead to the same states.
//!
//! Snapshots of a state that means something else now must not be used. Its declared revision says
//! so, and this notices when that was forgotten: every aggregate folds the committed events, one
//! after another and in every pair, and what comes out must have the digest in `states.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use domains::{Aggregate, Written};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::check::{Golden, Problem};

/// Below the folder of the domains.
const FILE: &str = "states.json";

/// Where digests live.
const DIGESTS: Uuid = Uuid::from_u128(0x6d69_6c6c_7261_8000_8000_0000_0000_0003);

/// What an aggregate's states came to under a revision, and from which events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Recorded {
    revision: u32,
    events: Uuid,
    states: Uuid,
}

/// Compares; records what may be recorded when `accept` says so.
pub(super) fn check(
    domains: &Path,
    goldens: &[(&Aggregate, Vec<Golden>)],
    accept: bool,
) -> anyhow::Result<Vec<Problem>> {
    let file = domains.join(FILE);
    let mut recorded: BTreeMap<String, Recorded> = if file.exists() {
        serde_json::from_slice(&fs::read(&file)?).with_context(|| FILE)?
    } else {
        BTreeMap::new()
    };
    let before = recorded.clone();
    let mut problems = Vec::new();
    for (aggregate, events) in goldens {
        let today = Recorded {
            revision: aggregate.state_revision,
            events: of_events(events),
            states: of_states(aggregate, events),
        };
        let detail = match recorded.get(aggregate.name) {
            Some(known) if *known == today => continue,
            Some(known) if known.events == today.events && known.revision == today.revision => {
                "the same events lead to other states: raise STATE_REVISION"
            }
            Some(_) | None if accept => {
                recorded.insert(aggregate.name.to_owned(), today);
                continue;
            }
            Some(_) | None => "not recorded: `millrace schema check --accept` does it",
        };
        problems.push(Problem {
            file: format!("{FILE}: {}", aggregate.name),
            detail: detail.to_owned(),
        });
    }
    if recorded != before {
        let text = serde_json::to_string_pretty(&recorded)?;
        fs::write(&file, text + "\n").with_context(|| FILE)?;
    }
    Ok(problems)
}

/// Over what was written.
fn of_events(events: &[Golden]) -> Uuid {
    let mut text = Vec::new();
    for Golden {
        event,
        version,
        data,
        ..
    } in events
    {
        text.extend_from_slice(format!("{event}.v{version}\n").as_bytes());
        text.extend_from_slice(data);
    }
    Uuid::new_v5(&DIGESTS, &text)
}

/// Over the states after all events in their order, and after every pair.
fn of_states(aggregate: &Aggregate, events: &[Golden]) -> Uuid {
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
    Uuid::new_v5(&DIGESTS, Value::Array(states).to_string().as_bytes())
}
