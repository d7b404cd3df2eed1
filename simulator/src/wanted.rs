//! What a saga wants to ask, whichever saga it is.

use checkout::refunding::RefundAsk;
use checkout::returning::ReturnAsk;
use checkout::{Ask, Checkout, Due, Refunding, Returning, Saga};
use chrono::{DateTime, Utc};
use kernel::AggregateId;
use serde_json::Value;

use crate::bus::AskId;
use crate::saga::{Fact, SagaId};

/// An ask of one of the sagas.
#[derive(Debug)]
pub(crate) enum Wanted {
    Checkout(Due<Ask>),
    Returning(Due<ReturnAsk>),
    Refunding(Due<RefundAsk>),
}

impl Wanted {
    pub(crate) fn ask_id(&self) -> AskId {
        match self {
            Self::Checkout(due) => due.ask_id,
            Self::Returning(due) => due.ask_id,
            Self::Refunding(due) => due.ask_id,
        }
    }

    pub(crate) fn label(&self) -> String {
        match self {
            Self::Checkout(due) => due.label.to_string(),
            Self::Returning(due) => due.label.to_string(),
            Self::Refunding(due) => due.label.to_string(),
        }
    }

    /// Whom, which one, what.
    pub(crate) fn addressed(&self) -> (&'static str, AggregateId, Value) {
        match self {
            Self::Checkout(due) => addressed(due),
            Self::Returning(due) => addressed(due),
            Self::Refunding(due) => addressed(due),
        }
    }

    /// The fact that the answer was a business "no".
    pub(crate) fn refused(
        &self,
        saga: SagaId,
        (code, message): (String, String),
        at: DateTime<Utc>,
    ) -> Fact {
        match (self, saga) {
            (Self::Checkout(due), SagaId::Checkout(order)) => {
                Fact::Checkout(order, Checkout::refused(due, code, message, at))
            }
            (Self::Returning(due), SagaId::Returning(id)) => {
                Fact::Returning(id, Returning::refused(due, code, message, at))
            }
            (Self::Refunding(due), SagaId::Refunding(id)) => {
                Fact::Refunding(id, Refunding::refused(due, code, message, at))
            }
            _ => unreachable!("a saga asks what is its own"),
        }
    }

    /// The fact that it was done, where no stream tells of it; `already` = it was true already.
    pub(crate) fn answered(&self, saga: SagaId, already: bool, at: DateTime<Utc>) -> Option<Fact> {
        match (self, saga) {
            (Self::Checkout(due), SagaId::Checkout(order)) => {
                Some(Fact::Checkout(order, Checkout::answered(due, already, at)?))
            }
            (Self::Returning(due), SagaId::Returning(id)) => {
                Some(Fact::Returning(id, Returning::answered(due, already, at)?))
            }
            (Self::Refunding(due), SagaId::Refunding(id)) => {
                Some(Fact::Refunding(id, Refunding::answered(due, already, at)?))
            }
            _ => None,
        }
    }
}

fn addressed<A>(due: &Due<A>) -> (&'static str, AggregateId, Value) {
    (due.context, due.aggregate_id.clone(), due.command.clone())
}
