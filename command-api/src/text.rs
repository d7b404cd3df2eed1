//! Bounded text of people: trimmed, not empty, without control characters.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Reads a text of 1 to `MAX` characters: `#[serde(deserialize_with = "text::bounded::<_, 200>")]`.
pub(crate) fn bounded<'de, D: Deserializer<'de>, const MAX: usize>(
    source: D,
) -> Result<String, D::Error> {
    let text = String::deserialize(source)?;
    parse(&text, MAX).map_err(D::Error::custom)
}

/// As [`bounded`], but it may be left out. Blank counts as left out.
pub(crate) fn optional<'de, D: Deserializer<'de>, const MAX: usize>(
    source: D,
) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(source)?;
    text.filter(|text| !text.trim().is_empty())
        .map(|text| parse(&text, MAX).map_err(D::Error::custom))
        .transpose()
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
