//! The erasure of one person: how far it has come, and the receipt. It outlives the user, and says
//! nothing about them but that they are gone.

use chrono::{DateTime, Utc};
use kernel::{Decider, Position};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ErasureCommand, ErasureEvent, ErasureRefusal};

/// How far the erasure of a person has come. Its id is the user's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Erasure {
    /// Nobody asked for it.
    #[default]
    Unopened,
    /// It waits for the person's orders.
    Waiting {
        /// When at the latest it goes on.
        erase_by: DateTime<Utc>,
    },
    /// What was sealed is unreadable; the claim and the log are being seen to.
    KeyDestroyed,
    /// It is over.
    Completed {
        /// What was looked through, and what was found.
        receipt: Receipt,
    },
}

/// What an erasure has looked through once the key was gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// Every stream that may tell of people, up to where it went.
    pub scanned: Vec<Scanned>,
    /// Names, addresses and numbers that were known until the key was destroyed, and were searched
    /// for. 0 = the key was gone before they could be noted.
    pub searched: u32,
    /// Events in which one of them stands in clear, the first of them: written into a free text.
    pub readable: Vec<Position>,
}

/// What was looked through of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scanned {
    /// Up to which event.
    pub up_to: Position,
    /// How many events are about the person or their orders.
    pub events: u64,
    /// How many values in them were sealed for the person, and are unreadable now.
    pub sealed: u64,
}

type Decision = Result<Vec<ErasureEvent>, ErasureRefusal>;

impl Erasure {
    /// When at the latest the person is erased, while that is still to come.
    pub fn waits_until(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Waiting { erase_by } => Some(*erase_by),
            Self::Unopened | Self::KeyDestroyed | Self::Completed { .. } => None,
        }
    }

    fn open(&self, erase_by: DateTime<Utc>) -> Vec<ErasureEvent> {
        match self {
            Self::Unopened => vec![ErasureEvent::ErasureOpened { erase_by }],
            Self::Waiting { .. } | Self::KeyDestroyed | Self::Completed { .. } => vec![],
        }
    }

    /// Also when nobody has opened it: what is destroyed is destroyed.
    fn record_key_destroyed(&self) -> Vec<ErasureEvent> {
        match self {
            Self::Unopened | Self::Waiting { .. } => vec![ErasureEvent::KeyDestroyed {}],
            Self::KeyDestroyed | Self::Completed { .. } => vec![],
        }
    }

    /// The first receipt stands.
    fn complete(&self, receipt: &Receipt) -> Decision {
        match self {
            Self::Unopened | Self::Waiting { .. } => Err(ErasureRefusal::KeyNotDestroyed),
            Self::KeyDestroyed => Ok(vec![ErasureEvent::ErasureCompleted {
                receipt: receipt.clone(),
            }]),
            Self::Completed { .. } => Ok(vec![]),
        }
    }
}

impl Decider for Erasure {
    const CONTEXT: &'static str = "user";
    const KIND: Option<&'static str> = Some("erasure");

    fn decide(&self, command: &ErasureCommand) -> Decision {
        match command {
            ErasureCommand::OpenErasure { erase_by } => Ok(self.open(*erase_by)),
            ErasureCommand::RecordKeyDestroyed {} => Ok(self.record_key_destroyed()),
            ErasureCommand::CompleteErasure { receipt } => self.complete(receipt),
        }
    }

    fn evolve(&mut self, event: &ErasureEvent) {
        *self = match event {
            ErasureEvent::ErasureOpened { erase_by } => Self::Waiting {
                erase_by: *erase_by,
            },
            ErasureEvent::KeyDestroyed {} => Self::KeyDestroyed,
            ErasureEvent::ErasureCompleted { receipt } => Self::Completed {
                receipt: receipt.clone(),
            },
        };
    }
}

kernel::aggregate!(
    Erasure,
    "user.erasure",
    ErasureCommand,
    ErasureEvent,
    ErasureRefusal
);
