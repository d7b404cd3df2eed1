//! Which events an endpoint wants to hear of.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most of them for one endpoint.
pub const INTERESTS_MAX: usize = 100;

/// Longest, in bytes: the longest name of an event is far below.
pub const INTEREST_LENGTH_MAX: usize = 100;

/// What stands for every event.
const EVERYTHING: &str = "*";

/// What an interest looks like, for the API's document.
const PATTERN: &str = r"^(\*|[a-z_]+(\.[a-z_]+)*\.(\*|[a-z_]+))$";

/// One type of event (`order.order_placed`), all of one kind of aggregate (`order.*`,
/// `checkout.return.*`), or everything (`*`).
///
/// An event's full type is its aggregate's name and its own: `<context>[.<kind>].<event>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interest(String);

/// The text is no interest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a type of event is wanted, as in order.order_placed, order.* or *")]
pub struct InterestError;

impl Interest {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Every event?
    pub fn is_everything(&self) -> bool {
        self.0 == EVERYTHING
    }

    /// Is the event `event` of the aggregate `aggregate` meant?
    pub fn covers(&self, aggregate: &str, event: &str) -> bool {
        let Some((of, what)) = self.0.rsplit_once('.') else {
            return self.is_everything();
        };
        of == aggregate && (what == EVERYTHING || what == event)
    }
}

impl FromStr for Interest {
    type Err = InterestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |word: &str| {
            !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        };
        let named = text.rsplit_once('.').is_some_and(|(of, what)| {
            of.split('.').all(word) && (what == EVERYTHING || word(what))
        });
        if text.len() > INTEREST_LENGTH_MAX || !(named || text == EVERYTHING) {
            return Err(InterestError);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Interest {
    type Error = InterestError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Interest> for String {
    fn from(interest: Interest) -> Self {
        interest.0
    }
}

impl fmt::Display for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Interest {
    fn schema_name() -> Cow<'static, str> {
        "Interest".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": INTEREST_LENGTH_MAX,
            "pattern": PATTERN,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(interest: &str, aggregate: &str, event: &str) -> bool {
        let interest: Interest = interest.parse().unwrap();
        interest.covers(aggregate, event)
    }

    #[test]
    fn an_interest_is_one_type_or_a_kind_or_everything() {
        assert!(covers("order.order_placed", "order", "order_placed"));
        assert!(!covers("order.order_placed", "order", "order_shipped"));
        assert!(covers("order.*", "order", "order_shipped"));
        assert!(!covers("order.*", "payment", "payment_captured"));
        assert!(!covers("checkout.*", "checkout.return", "return_opened"));
        assert!(covers("checkout.return.*", "checkout.return", "opened"));
        assert!(covers("*", "product.import", "import_started"));
    }

    #[test]
    fn nothing_else_is_one() {
        let long = format!("order.{}", "x".repeat(INTEREST_LENGTH_MAX));
        for bad in [
            "",
            "order",
            ".",
            "order.",
            ".placed",
            "*.placed",
            "order.**",
            "Order.x",
            "a b.c",
            "order.pl*",
            &long,
        ] {
            assert_eq!(bad.parse::<Interest>(), Err(InterestError), "{bad:?}");
        }
    }
}
