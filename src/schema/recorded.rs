//! What the committed events came to when somebody looked last, in a file beside the code.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::check::{Golden, Problem};

/// Where digests live.
const DIGESTS: Uuid = Uuid::from_u128(0x6d69_6c6c_7261_8000_8000_0000_0000_0003);

/// What something came to under a revision, and from which events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Recorded {
    revision: u32,
    events: Uuid,
    folded: Uuid,
}

/// What the committed events come to today.
pub(super) struct Today<'a> {
    /// Of what: an aggregate, a read model.
    pub(super) name: &'a str,
    /// The revision that it declares.
    pub(super) revision: u32,
    /// From which events.
    pub(super) events: &'a [Golden],
    /// What they come to.
    pub(super) folded: String,
}

/// Compares with `file`, which is about a `what`; records what may be recorded when `accept` says so.
pub(super) fn compare<'a>(
    file: &Path,
    what: &str,
    all: impl Iterator<Item = Today<'a>>,
    accept: bool,
) -> anyhow::Result<Vec<Problem>> {
    let told = || file.file_name().unwrap_or_default().display().to_string();
    let mut recorded: BTreeMap<String, Recorded> = if file.exists() {
        serde_json::from_slice(&fs::read(file)?).with_context(told)?
    } else {
        BTreeMap::new()
    };
    let before = recorded.clone();
    let mut problems = Vec::new();
    for found in all {
        let today = Recorded {
            revision: found.revision,
            events: of_events(found.events),
            folded: Uuid::new_v5(&DIGESTS, found.folded.as_bytes()),
        };
        let detail = match recorded.get(found.name) {
            Some(known) if *known == today => continue,
            Some(known) if known.events == today.events && known.revision == today.revision => {
                format!("the same events lead to another {what}: raise its revision")
            }
            Some(_) | None if accept => {
                recorded.insert(found.name.to_owned(), today);
                continue;
            }
            Some(_) | None => "not recorded: `millrace schema check --accept` does it".to_owned(),
        };
        problems.push(Problem {
            file: format!("{}: {}", told(), found.name),
            detail,
        });
    }
    if recorded != before {
        let text = serde_json::to_string_pretty(&recorded)?;
        fs::write(file, text + "\n").with_context(told)?;
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
