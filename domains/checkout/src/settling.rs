//! What a person may have a suspended saga do: go on, leave a step out, or be over. The words in
//! which that is asked and answered.

use std::fmt;

use kernel::{OrderId, Position, Reason, RefundId, ReturnId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One saga, of one of the kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "saga", content = "id", rename_all = "snake_case")]
pub enum SagaId {
    /// An order's checkout.
    Checkout(OrderId),
    /// What is done about goods that came back.
    Returning(ReturnId),
    /// What is told of money that went back.
    Refunding(RefundId),
}

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkout(id) => write!(f, "checkout {id}"),
            Self::Returning(id) => write!(f, "return {id}"),
            Self::Refunding(id) => write!(f, "refund {id}"),
        }
    }
}

/// What an operator wishes of a suspended saga.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wish", rename_all = "snake_case")]
pub enum Wish {
    /// That it tries again what it is suspended for.
    Resume,
    /// That it goes on behind a step (or an undo) that was dealt with by hand.
    Skip {
        /// The step that it is suspended for, as it is displayed (`capture_payment`).
        step: String,
        /// Why.
        reason: Reason,
    },
    /// That it is over: all of it was dealt with by hand.
    Resolve {
        /// Why.
        reason: Reason,
    },
}

/// What became of an operator's wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Settled {
    /// It is on record.
    Recorded {
        /// How many events it had then.
        version: u64,
        /// Where the event stands that says so.
        position: Position,
        /// It was asked for before, under the same command id.
        replayed: bool,
    },
    /// It is at another version than the wish was made for.
    Stale {
        /// How many events it has.
        version: u64,
    },
    /// It doesn't wait for that, or was tried too often.
    NotSuspended,
    /// There is no such saga.
    Unknown,
    /// The command id was used for something else.
    KeyReused,
    /// It may be on record, or come to be: the same again, under the same command id, tells.
    OutcomeUnknown,
}
