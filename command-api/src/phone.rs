//! A phone number as people type it, kept in its international form.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Fewest digits of a number that can be called from abroad, with the country's code.
const DIGITS_MIN: usize = 7;

/// Most digits (ITU-T E.164).
const DIGITS_MAX: usize = 15;

/// A phone number in E.164 form, `+` and digits. Spaces, hyphens, dots and parentheses between them
/// are left out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Phone(String);

/// Why a text is no phone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "it must be a phone number with its country's code, as in +49 30 123456: \
     {DIGITS_MIN} to {DIGITS_MAX} digits"
)]
pub(crate) struct PhoneError;

impl TryFrom<String> for Phone {
    type Error = PhoneError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let rest = text.trim().strip_prefix('+').ok_or(PhoneError)?;
        let digits: String = rest.chars().filter(|c| !" -.()".contains(*c)).collect();
        let counted = (DIGITS_MIN..=DIGITS_MAX).contains(&digits.len());
        // No country's code begins with 0.
        if !counted || digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(PhoneError);
        }
        Ok(Self(format!("+{digits}")))
    }
}

impl From<Phone> for String {
    fn from(phone: Phone) -> Self {
        phone.0
    }
}

impl JsonSchema for Phone {
    fn schema_name() -> Cow<'static, str> {
        "Phone".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\+[1-9]([ .()-]*[0-9]){6,14}[ .()-]*$",
        })
    }
}

impl fmt::Debug for Phone {
    /// Personal data doesn't belong in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phone(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Phone, PhoneError> {
        Phone::try_from(text.to_owned())
    }

    #[test]
    fn a_number_has_one_form() {
        let phone = parse(" +49 (30) 123-456.7 ").unwrap();
        assert_eq!(phone.0, "+49301234567");
        assert_eq!(format!("{phone:?}"), "Phone(…)");
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for bad in [
            "",
            "+",
            "030123456",
            "+030123456",
            "+123456",
            "+1234567890123456",
            "+49 30 12345x",
            "+49\n30123456",
            "++4930123456",
            "+٤٩٣٠١٢٣٤٥",
        ] {
            assert_eq!(parse(bad), Err(PhoneError), "{bad}");
        }
    }
}
