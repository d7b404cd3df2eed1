//! What a user may do, and whether they may do anything.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};

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
}
