//! Bounded text, parsed once at the edge and never checked again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a text was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TextError {
    /// Nothing but white space.
    #[error("it must not be empty")]
    Empty,
    /// Too many characters.
    #[error("it must not be longer than {max} characters")]
    TooLong {
        /// The bound, in characters.
        max: usize,
    },
    /// A control character (a line break counts, except in a description).
    #[error("it must not hold control characters")]
    ControlCharacter,
}

fn parse(text: &str, max: usize, lines: bool) -> Result<String, TextError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(TextError::Empty);
    }
    if text.chars().count() > max {
        return Err(TextError::TooLong { max });
    }
    if text
        .chars()
        .any(|c| c.is_control() && !(lines && c == '\n'))
    {
        return Err(TextError::ControlCharacter);
    }
    Ok(text.to_owned())
}

macro_rules! bounded_text {
    ($($(#[$doc:meta])* $name:ident, $max:expr, lines: $lines:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Longest, in characters.
            pub const LENGTH_MAX: usize = $max;

            /// The text, trimmed.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse(text, Self::LENGTH_MAX, $lines).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

bounded_text! {
    /// Why somebody did something, in their words.
    Reason, 500, lines: false;
    /// What a product is called.
    Title, 200, lines: false;
    /// What a product is, in some paragraphs.
    Description, 10_000, lines: true;
    /// A carrier's tracking number.
    Tracking, 100, lines: false;
    /// The payment provider's name for a way to pay (`pm_card_visa`).
    PaymentMethod, 100, lines: false;
    /// Where a webhook endpoint listens, as its owner wrote it.
    WebhookUrl, 2_000, lines: false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_trimmed_and_bounded() {
        assert_eq!("  late  ".parse::<Reason>().unwrap().as_str(), "late");
        assert_eq!(" ".parse::<Reason>(), Err(TextError::Empty));
        assert_eq!(
            "a\r\nb".parse::<Tracking>(),
            Err(TextError::ControlCharacter)
        );
        assert!("a\nb".parse::<Description>().is_ok());
        assert_eq!(
            "ä".repeat(501).parse::<Reason>(),
            Err(TextError::TooLong { max: 500 })
        );
        assert!("ä".repeat(500).parse::<Reason>().is_ok());
    }
}
