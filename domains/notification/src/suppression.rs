//! Whether one email address may be written to.

use kernel::{Decider, Reason};
use serde::{Deserialize, Serialize};

use crate::{SuppressionCommand, SuppressionEvent, SuppressionRefusal};

/// Whether anything is sent to an address. Its id is the keyed hash of the normalized address, the
/// same as that of the claim on it in the user context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Suppression {
    /// It may be written to.
    #[default]
    Open,
    /// Nothing is sent there.
    Suppressed {
        /// Why.
        reason: Reason,
    },
}

impl Suppression {
    /// Why nothing is sent there, if nothing is.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Open => None,
            Self::Suppressed { reason } => Some(reason),
        }
    }

    /// A second reason is none: the first one stands.
    fn suppress(&self, reason: &Reason) -> Vec<SuppressionEvent> {
        match self {
            Self::Suppressed { .. } => vec![],
            Self::Open => vec![SuppressionEvent::AddressSuppressed {
                reason: reason.clone(),
            }],
        }
    }

    fn lift(&self) -> Vec<SuppressionEvent> {
        match self {
            Self::Open => vec![],
            Self::Suppressed { .. } => vec![SuppressionEvent::AddressUnsuppressed {}],
        }
    }
}

impl Decider for Suppression {
    const CONTEXT: &'static str = "notification";
    const KIND: Option<&'static str> = Some("suppression");

    fn decide(
        &self,
        command: &SuppressionCommand,
    ) -> Result<Vec<SuppressionEvent>, SuppressionRefusal> {
        Ok(match command {
            SuppressionCommand::SuppressAddress { reason } => self.suppress(reason),
            SuppressionCommand::UnsuppressAddress {} => self.lift(),
        })
    }

    fn evolve(&mut self, event: &SuppressionEvent) {
        match event {
            SuppressionEvent::AddressSuppressed { reason } => {
                *self = Self::Suppressed {
                    reason: reason.clone(),
                };
            }
            SuppressionEvent::AddressUnsuppressed {} => *self = Self::Open,
        }
    }
}

kernel::aggregate!(
    Suppression,
    "notification.suppression",
    SuppressionCommand,
    SuppressionEvent,
    SuppressionRefusal
);
