//! The API's documents beside their committed copies: what a change means for clients stands in the diff.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::Problem;
use crate::entry;

/// What differs between the document of today and its copy in `file`. `accept` writes the copy anew.
///
/// # Errors
/// The file can't be read or written.
pub fn check_api(file: &Path, accept: bool) -> anyhow::Result<Option<Problem>> {
    let today = entry::document();
    let Some(copy) = copy(file, &today.text(), accept)? else {
        return Ok(None);
    };
    let copy = serde_json::from_slice(&copy).unwrap_or_default();
    let place = difference(&copy, today.json(), String::new());
    Ok(place.map(|place| another(file, "API", &place)))
}

/// What differs between the graph of today and its copy in `file`, in the schema language. `accept`
/// writes the copy anew.
///
/// # Errors
/// The file can't be read or written.
pub fn check_graph(file: &Path, accept: bool) -> anyhow::Result<Option<Problem>> {
    let today = query_api::language();
    let Some(copy) = copy(file, &today, accept)? else {
        return Ok(None);
    };
    let copy = String::from_utf8(copy).unwrap_or_default();
    if copy == today {
        return Ok(None);
    }
    let same = copy.lines().zip(today.lines());
    let line = same.take_while(|(copy, today)| copy == today).count() + 1;
    Ok(Some(another(file, "graph", &format!("line {line}"))))
}

/// What is committed in `file`: nothing where there is none. `None` = it was accepted, and is today's.
fn copy(file: &Path, today: &str, accept: bool) -> anyhow::Result<Option<Vec<u8>>> {
    let said = |what: &'static str| move || format!("{} can't be {what}", file.display());
    if accept {
        fs::write(file, today).with_context(said("written"))?;
        return Ok(None);
    }
    match fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(Vec::new())),
        read => read.map(Some).with_context(said("read")),
    }
}

fn another(file: &Path, what: &str, place: &str) -> Problem {
    Problem {
        file: file.display().to_string(),
        detail: format!(
            "the {what} is another one today, first at {place}: look at the difference, then record \
             it with `millrace schema check --accept`"
        ),
    }
}

/// The first place where they differ, as a JSON pointer.
fn difference(one: &Value, other: &Value, place: String) -> Option<String> {
    if one == other {
        return None;
    }
    let (Value::Object(one), Value::Object(other)) = (one, other) else {
        return Some(place);
    };
    let names = one.keys().chain(other.keys());
    let mut differing = names.filter(|name| one.get(*name) != other.get(*name));
    let name = differing.next()?;
    let below = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
    match (one.get(name), other.get(name)) {
        (Some(one), Some(other)) => difference(one, other, below),
        (None, _) | (_, None) => Some(below),
    }
}
