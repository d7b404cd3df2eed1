//! When a saga does not take a fact in.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The reasons not to take a fact in. A repeated or late fact is ignored, never refused.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum CheckoutRefusal {
    /// The order's placement has not been seen. It is on its way (another delivery of it is open):
    /// the fact must be delivered again later, for ignoring it would lose it.
    #[error("the checkout has not started: the order's placement comes first")]
    CheckoutNotStarted {},
    /// It follows a definition that this build does not know: of a newer build that it runs beside, or
    /// taken out of the code while it was open. Nothing is guessed: the fact must be delivered again to a
    /// build that knows it.
    #[error("the checkout follows definition revision {revision}, which this build does not know")]
    RevisionUnknown {
        /// Which.
        revision: u32,
    },
}

/// When a return or a refund does not take a fact in.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum SagaRefusal {
    /// As of a checkout: the fact must be delivered again to a build that knows the definition.
    #[error("the saga follows definition revision {revision}, which this build does not know")]
    RevisionUnknown {
        /// Which.
        revision: u32,
    },
}

/// A saga that ignores whatever it can't use refuses nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum NoRefusal {}
