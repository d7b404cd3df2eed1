//! Bounded text of people: trimmed, not empty, without control characters.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

/// A text of 1 to `MAX` characters.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Text<const MAX: usize>(String);

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        parse(&text, MAX).map(Self)
    }
}

impl<const MAX: usize> From<Text<MAX>> for String {
    fn from(text: Text<MAX>) -> Self {
        text.0
    }
}

impl<const MAX: usize> JsonSchema for Text<MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Text{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        kernel::schema::text(MAX)
    }
}

/// Reads a text that may be left out. Blank counts as left out.
pub(crate) fn optional<'de, D: Deserializer<'de>, const MAX: usize>(
    source: D,
) -> Result<Option<Text<MAX>>, D::Error> {
    let text = Option::<String>::deserialize(source)?;
    text.filter(|text| !text.trim().is_empty())
        .map(|text| Text::try_from(text).map_err(D::Error::custom))
        .transpose()
}

/// What [`optional`] reads.
pub(crate) fn optional_schema<const MAX: usize>(_: &mut SchemaGenerator) -> Schema {
    let mut schema = Schema::default();
    schema.insert("type".to_owned(), json!(["string", "null"]));
    schema.insert("maxLength".to_owned(), json!(MAX));
    let pattern = r"^(\s*|[^\u0000-\u001f\u007f-\u009f]*)$";
    schema.insert("pattern".to_owned(), json!(pattern));
    schema
}

fn parse(text: &str, max: usize) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("it must not be empty".to_owned());
    }
    if text.chars().count() > max {
        return Err(format!("it must not be longer than {max} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("it must not hold control characters".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_trimmed_and_bounded() {
        assert_eq!(parse(" Zoë ", 3).as_deref(), Ok("Zoë"));
        for bad in [
            "",
            "  ",
            "abcd",
            "a\nb",
            "a\r\nBcc: x",
            "a\u{0}",
            "a\u{85}b",
        ] {
            assert!(parse(bad, 3).is_err(), "{bad:?}");
        }
    }
}
