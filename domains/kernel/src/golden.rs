//! The test kit of the wire: every event version ever written stays readable, byte for byte.
//!
//! A context keeps one file for each in `wire/<event>.v<version>.json`: the event's data, as it
//! stands in the body of a message. Where parts of it may be left out, further files show it in its other
//! shapes: `wire/<event>.v<version>-2.json`. This is the one place in the domain that reads files, and only
//! tests call it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::{Decider, Fact};

/// Most upcasting steps from the oldest version to today's.
const UPCASTS_MAX: u32 = 100;

/// Checks the files of `folder` against one example of every event of `A`, whose names are
/// `variants`: each has its file, each file decodes to its event and is what the event encodes to,
/// and files of older versions still decode. Of an event's further examples each has its numbered file.
///
/// Answers the names of the files that belong to `A`, for [`no_other_files`].
///
/// # Errors
/// What is missing or differs, and what to do.
pub fn check<A: Decider>(
    folder: &Path,
    variants: &[&str],
    examples: &[A::Event],
) -> Result<BTreeSet<String>, String> {
    let mut files = BTreeSet::new();
    for variant in variants {
        let mut own = examples.iter().filter(|event| event.name() == *variant);
        let Some(example) = own.next() else {
            return Err(format!("{variant} has no example: add one to the test"));
        };
        for (further, number) in own.zip(2..) {
            let version = further.schema_version();
            let file = format!("{variant}.v{version}-{number}.json");
            compared::<A>(folder, &file, further)?;
            files.insert(file);
        }
        for version in 1..=example.schema_version() {
            let file = format!("{variant}.v{version}.json");
            if version == example.schema_version() {
                compared::<A>(folder, &file, example)?;
            } else {
                read::<A>(folder, &file, example, version)?;
            }
            files.insert(file);
        }
    }
    Ok(files)
}

/// Checks that `folder` holds `expected` and nothing else.
///
/// # Errors
/// The file that no event belongs to.
pub fn no_other_files(folder: &Path, expected: &BTreeSet<String>) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let name = entry.map_err(|error| error.to_string())?.file_name();
        let name = name.to_string_lossy().into_owned();
        if !expected.contains(&name) {
            return Err(format!(
                "{name} belongs to no event: what was written must stay readable"
            ));
        }
    }
    Ok(())
}

/// The file is the example, there and back.
fn compared<A: Decider>(folder: &Path, file: &str, example: &A::Event) -> Result<(), String> {
    let event = read::<A>(folder, file, example, example.schema_version())?;
    if event != *example {
        return Err(format!("{file} decodes to another event: {event:?}"));
    }
    Ok(())
}

fn read<A: Decider>(
    folder: &Path,
    file: &str,
    example: &A::Event,
    version: u32,
) -> Result<A::Event, String> {
    let encoded = serde_json::to_value(example).map_err(|error| error.to_string())?;
    let data = encoded.get("data").cloned().unwrap_or(Value::Null);
    let text = fs::read_to_string(folder.join(file))
        .map_err(|error| format!("{file}: {error}; today it would be:\n{data:#}"))?;
    let golden: Value = serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))?;
    if version == example.schema_version() && golden != data {
        return Err(format!(
            "{file} is not what the event encodes to: a new shape is a new version\n{data:#}"
        ));
    }
    let (version, data) = upcast::<A>(example.name(), version, golden);
    if version != example.schema_version() {
        return Err(format!("{file}: no upcaster from version {version}"));
    }
    let tagged = json!({ "type": example.name(), "data": data });
    serde_json::from_value(tagged).map_err(|error| format!("{file}: {error}"))
}

fn upcast<A: Decider>(name: &str, mut version: u32, mut data: Value) -> (u32, Value) {
    for _ in 0..UPCASTS_MAX {
        let Some((next, brought_forward)) = A::upcast(name, version, &data) else {
            break;
        };
        (version, data) = (next, brought_forward);
    }
    (version, data)
}
