//! Personal data, opened on the way out. Everything else of a row stays the text that it is.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use edge::Problem;
use kernel::Sealed;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use streams::keys::Keys;

use crate::failure::{internal, of_keys};

/// A sealed field of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it was sealed for.
    pub(crate) purpose: &'static str,
    /// What is in it.
    pub(crate) plain: Plain,
    /// What is shown when the person was erased.
    pub(crate) erased: &'static str,
}

/// What is in a sealed field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plain {
    /// Text.
    Text,
    /// A JSON object as text.
    Object,
    /// Nothing sealed itself, but a list of objects with such a member; it is a JSON object as text.
    ObjectIn(&'static str),
}

/// A row with its fields opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The row as it is to be shown.
    pub(crate) body: String,
    /// Was the key of one of them destroyed?
    pub(crate) erased: bool,
}

/// A sealed value and where it stands in its row.
struct Found {
    row: usize,
    range: Range<usize>,
    sealed: Sealed,
    field: Field,
}

/// Opens `fields` in every row; a row's field that is null or missing stays so.
pub(crate) async fn open(
    keys: &Keys,
    fields: &[Field],
    rows: Vec<String>,
) -> Result<Vec<Opened>, Problem> {
    let mut found = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        find(index, row, fields, &mut found)?;
    }
    let wanted: Vec<_> = found
        .iter()
        .map(|found| (&found.sealed, found.field.purpose))
        .collect();
    let opened = keys.open_many(&wanted).await;
    let opened = opened.map_err(|error| of_keys(&error))?;
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|body| Opened {
            body,
            erased: false,
        })
        .collect();
    // From the back, so that the places in front stay where they are.
    for (found, plain) in found.into_iter().zip(opened).rev() {
        if let Some(row) = rows.get_mut(found.row) {
            row.erased |= plain.is_none();
            row.body
                .replace_range(found.range, &shown(found.field, plain)?);
        }
    }
    Ok(rows)
}

/// The row with its field `name` saying something else, which is JSON.
pub(crate) fn with(row: &str, name: &str, json: &str) -> Result<String, Problem> {
    let members: HashMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(row).map_err(|error| internal(&error))?;
    let mut body = row.to_owned();
    if let Some(value) = members.get(name).map(|raw| raw.get()) {
        body.replace_range(place(row, value), json);
    }
    Ok(body)
}

/// Where `value`, which is borrowed from `row`, stands in it.
fn place(row: &str, value: &str) -> Range<usize> {
    let start = value.as_ptr().addr().saturating_sub(row.as_ptr().addr());
    start..start.saturating_add(value.len())
}

/// The sealed fields of one row, in the order in which they stand there.
fn find(index: usize, row: &str, fields: &[Field], found: &mut Vec<Found>) -> Result<(), Problem> {
    let members: HashMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(row).map_err(|error| internal(&error))?;
    let begin = found.len();
    for field in fields {
        let Some(value) = members.get(field.name).map(|raw| raw.get()) else {
            continue;
        };
        if value == "null" {
            continue;
        }
        for value in sealed_in(value, *field)? {
            let sealed = serde_json::from_str(value).map_err(|error| internal(&error))?;
            found.push(Found {
                row: index,
                range: place(row, value),
                sealed,
                field: *field,
            });
        }
    }
    if let Some(of_row) = found.get_mut(begin..) {
        of_row.sort_by_key(|found| found.range.start);
    }
    Ok(())
}

/// The sealed values in a field's value, as parts of that very text.
fn sealed_in(value: &str, field: Field) -> Result<Vec<&str>, Problem> {
    let Plain::ObjectIn(member) = field.plain else {
        return Ok(vec![value]);
    };
    let items: Vec<HashMap<Cow<'_, str>, &RawValue>> =
        serde_json::from_str(value).map_err(|error| internal(&error))?;
    let sealed = items.into_iter();
    Ok(sealed
        .filter_map(|item| item.get(member).map(|raw| raw.get()))
        .collect())
}

/// The JSON that stands for the opened value.
fn shown(field: Field, plain: Option<String>) -> Result<String, Problem> {
    let Some(plain) = plain else {
        return Ok(field.erased.to_owned());
    };
    if field.plain != Plain::Text && serde_json::from_str::<IgnoredAny>(&plain).is_ok() {
        return Ok(plain);
    }
    serde_json::to_string(&plain).map_err(|error| internal(&error))
}

#[cfg(test)]
mod tests {
    use kernel::UserId;
    use uuid::Uuid;

    use super::*;

    const NAME: Field = Field {
        name: "name",
        purpose: "n",
        plain: Plain::Text,
        erased: "null",
    };
    const HOME: Field = Field {
        name: "home",
        purpose: "h",
        plain: Plain::Object,
        erased: "{\"erased\":true}",
    };

    fn places(row: &str) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        find(0, row, &[NAME, HOME], &mut found).unwrap();
        let text = |range: &Range<usize>| row[range.clone()].to_owned();
        found
            .iter()
            .map(|found| (found.field.name, text(&found.range)))
            .collect()
    }

    #[test]
    fn sealed_fields_are_found_where_they_stand_and_nowhere_else() {
        let sealed = Sealed::new(UserId(Uuid::from_u128(1)), "abc");
        let text = serde_json::to_string(&sealed).unwrap();
        let row = format!(
            r#"{{"note":"\"name\":\"fake\"","home":{text},"deep":{{"name":"no"}},"name" : {text}}}"#
        );
        assert_eq!(
            places(&row),
            [("home", text.clone()), ("name", text.clone())]
        );
        assert_eq!(places(r#"{"name":null}"#), []);
        let row = r#"{"a":"status","status":"active"}"#;
        let erased = with(row, "status", "\"erased\"").unwrap();
        assert_eq!(erased, r#"{"a":"status","status":"erased"}"#);
    }

    #[test]
    fn what_is_sealed_in_a_list_is_found_in_each_of_its_items() {
        let book = Field {
            name: "book",
            purpose: "b",
            plain: Plain::ObjectIn("home"),
            erased: "null",
        };
        let sealed = Sealed::new(UserId(Uuid::from_u128(1)), "abc");
        let text = serde_json::to_string(&sealed).unwrap();
        let row = format!(
            r#"{{"home":{text},"book":[{{"id":1,"home":{text}}},{{"id":2}},{{"home" : {text}}}]}}"#
        );
        let mut found = Vec::new();
        find(0, &row, &[book], &mut found).unwrap();
        let first = row.find("\"id\":1").unwrap();
        assert_eq!(found.len(), 2);
        for found in &found {
            assert_eq!(row[found.range.clone()], text);
            assert!(found.range.start > first);
        }
        found.clear();
        find(0, r#"{"book":[]}"#, &[book], &mut found).unwrap();
        assert!(found.is_empty());
    }

    #[test]
    fn what_is_shown_is_json() {
        let quoted = shown(NAME, Some("A \"B\"".into())).unwrap();
        assert_eq!(quoted, r#""A \"B\"""#);
        let object = r#"{"city":"X"}"#;
        assert_eq!(shown(HOME, Some(object.into())).unwrap(), object);
        assert_eq!(shown(HOME, Some("no json".into())).unwrap(), "\"no json\"");
        assert_eq!(shown(HOME, None).unwrap(), "{\"erased\":true}");
    }
}
