//! What a checkout asks of the contexts, and the commands that this becomes.

use std::fmt;

use chrono::{DateTime, Utc};
use kernel::AggregateId;
use notification::Template;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{CheckoutFact, Step};

/// One thing asked. It names the command id, and comes back with the bus's refusal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// To take a step.
    Step {
        /// Which.
        step: Step,
        /// From 1; above 1 only after an operator resumed.
        attempt: u32,
    },
    /// To undo a step.
    Undo {
        /// Which.
        step: Step,
        /// From 1.
        attempt: u32,
    },
    /// To reject the order, now that all is undone.
    RejectOrder {
        /// From 1.
        attempt: u32,
    },
    /// To note on the order that its money went back.
    RecordRefund,
    /// To tell the customer.
    Notify {
        /// What about.
        template: Template,
    },
}

impl fmt::Display for Ask {
    /// The ask in one word and its attempt: `undo-reserve_stock-MUG/1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step { step, attempt } => write!(f, "{step}/{attempt}"),
            Self::Undo { step, attempt } => write!(f, "undo-{step}/{attempt}"),
            Self::RejectOrder { attempt } => write!(f, "reject_order/{attempt}"),
            Self::RecordRefund => write!(f, "record_refund/1"),
            Self::Notify { template } => write!(f, "notify-{template}/1"),
        }
    }
}

/// An ask of a saga as the bus takes it; the checkout's unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due<A = Ask> {
    /// The command's id: the same for the same ask, whenever it is sent.
    pub ask_id: Uuid,
    /// What is asked; goes into the saga's fact if the answer is no.
    pub label: A,
    /// Which context.
    pub context: &'static str,
    /// Which secondary kind of its aggregates.
    pub kind: Option<&'static str>,
    /// Which aggregate.
    pub aggregate_id: AggregateId,
    /// The command, as that context reads it.
    pub command: serde_json::Value,
}

impl Due {
    /// The fact that the answer was a business "no".
    pub fn refused(&self, code: String, message: String, at: DateTime<Utc>) -> CheckoutFact {
        CheckoutFact::AskRefused {
            ask: self.label.clone(),
            code,
            message,
            at,
        }
    }

    /// The fact that the answer was "already true, nothing to write", where that says more than
    /// the streams do: the release of a hold that never was and, its time being over or its SKU
    /// unknown, never will be. Of everything else that is already true the event is on its way.
    pub fn already(&self) -> Option<CheckoutFact> {
        match &self.label {
            Ask::Undo { step, .. } if step.sku().is_some() => Some(CheckoutFact::NothingToUndo {
                ask: self.label.clone(),
            }),
            Ask::Undo { .. }
            | Ask::Step { .. }
            | Ask::RejectOrder { .. }
            | Ask::RecordRefund
            | Ask::Notify { .. } => None,
        }
    }
}
