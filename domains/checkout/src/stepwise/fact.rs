//! What a saga of a table takes in.

use std::fmt;

use chrono::{DateTime, Utc};
use kernel::OrderId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::settling::Wish;

/// Something that has happened and may concern it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum StepwiseFact {
    /// A fact of a stream.
    Heard {
        /// About which order.
        order_id: OrderId,
        /// As the table calls it.
        fact: String,
        /// What is to be remembered, if it begins a saga.
        begins: Option<Value>,
        /// When it was taken in.
        at: DateTime<Utc>,
    },
    /// The bus answered an ask with "done", or with "already true".
    Answered {
        /// What was asked.
        ask: StepAsk,
        /// There was nothing to do.
        already: bool,
        /// When.
        at: DateTime<Utc>,
    },
    /// The bus answered an ask with a business "no".
    Refused {
        /// What was asked.
        ask: StepAsk,
        /// The refusal's code.
        code: String,
        /// The refusal in words.
        message: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// It was to be woken.
    TimeCame {
        /// What time it is.
        at: DateTime<Utc>,
    },
    /// An operator settles what it is suspended for.
    Settled {
        /// How.
        wish: Wish,
        /// Who.
        by: String,
        /// When.
        at: DateTime<Utc>,
    },
}

/// One thing asked. It names the command id, and comes back with the bus's answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StepAsk {
    /// About which step.
    pub step: String,
    /// To take it, or to undo it?
    pub undo: bool,
    /// From 1.
    pub attempt: u32,
}

impl fmt::Display for StepAsk {
    /// `set_aside/1`, `undo-set_aside/2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let undo = if self.undo { "undo-" } else { "" };
        write!(f, "{undo}{}/{}", self.step, self.attempt)
    }
}
