//! When a saga does not take a fact in.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The one reason not to take a fact in. A repeated or late fact is ignored, never refused.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum CheckoutRefusal {
    /// The order's placement has not been seen. It is on its way (another delivery of it is open):
    /// the fact must be delivered again later, for ignoring it would lose it.
    #[error("the checkout has not started: the order's placement comes first")]
    CheckoutNotStarted {},
}

/// A saga that ignores whatever it can't use refuses nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum NoRefusal {}
