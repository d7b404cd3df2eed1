//! What a user may do, whether they may do anything, and what they want to hear of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantNames};

/// What a user may do.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    VariantNames,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// Buys. Everybody who registers is one, for good.
    Customer,
    /// Runs the shop.
    Operator,
}

/// Where a user stands: the answer to "may this person order?".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Standing {
    /// Nobody registered under this id.
    Unknown,
    /// In good standing.
    Active,
    /// Barred from ordering and signing in.
    Suspended,
    /// Asked to be erased: places no more orders, and waits for those that are open.
    Leaving,
    /// Nobody is left under this id.
    Erased,
}

/// What a user may be written to about beside their orders and their account. Without their word,
/// nothing.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Topic {
    /// Offers and news of the shop.
    Marketing,
    /// A word about what was left in the basket, or is in stock again.
    Reminders,
}
