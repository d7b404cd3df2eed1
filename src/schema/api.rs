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
    let said = |what: &'static str| move || format!("{} can't be {what}", file.display());
    if accept {
        fs::write(file, today.text()).with_context(said("written"))?;
        return Ok(None);
    }
    let copy = match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(error) if error.kind() == ErrorKind::NotFound => Value::Null,
        Err(error) => return Err(error).with_context(said("read")),
    };
    Ok(difference(&copy, today.json(), String::new()).map(|place| Problem {
        file: file.display().to_string(),
        detail: format!(
            "the API is another one today, first at {place}: look at the difference, then record \
             it with `millrace schema check --accept`"
        ),
    }))
}

/// What differs between the graph of today and its copy in `file`, in the schema language. `accept`
/// writes the copy anew.
///
/// # Errors
/// The file can't be read or written.
pub fn check_graph(file: &Path, accept: bool) -> anyhow::Result<Option<Problem>> {
    let today = query_api::language();
    let said = |what: &'static str| move || format!("{} can't be {what}", file.display());
    if accept {
        fs::write(file, today).with_context(said("written"))?;
        return Ok(None);
    }
    let copy = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(said("read")),
    };
    if copy == today {
        return Ok(None);
    }
    let same = copy.lines().zip(today.lines());
    let line = same.take_while(|(copy, today)| copy == today).count() + 1;
    Ok(Some(Problem {
        file: file.display().to_string(),
        detail: format!(
            "the graph is another one today, first at line {line}: look at the difference, then \
             record it with `millrace schema check --accept`"
        ),
    }))
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
