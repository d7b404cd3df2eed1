//! The claim on one email address: one live user at a time holds it.

use kernel::{Decider, UserId};
use serde::{Deserialize, Serialize};

use crate::{EmailCommand, EmailEvent, EmailRefusal};

/// Who holds an email address. Its id is a keyed hash of the normalized address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmailClaim {
    /// Nobody.
    #[default]
    Free,
    /// This user.
    Held {
        /// The holder.
        user_id: UserId,
    },
}

impl EmailClaim {
    /// Who holds the address.
    pub fn holder(&self) -> Option<UserId> {
        match self {
            Self::Free => None,
            Self::Held { user_id } => Some(*user_id),
        }
    }

    fn claim(&self, user_id: UserId) -> Result<Vec<EmailEvent>, EmailRefusal> {
        match self.holder() {
            Some(holder) if holder == user_id => Ok(vec![]),
            Some(_) => Err(EmailRefusal::EmailTaken),
            None => Ok(vec![EmailEvent::EmailClaimed { user_id }]),
        }
    }

    fn release(&self, user_id: UserId) -> Result<Vec<EmailEvent>, EmailRefusal> {
        match self.holder() {
            Some(holder) if holder == user_id => Ok(vec![EmailEvent::EmailReleased { user_id }]),
            Some(_) => Err(EmailRefusal::EmailHeldByAnother),
            None => Ok(vec![]),
        }
    }
}

impl Decider for EmailClaim {
    const CONTEXT: &'static str = "user";
    const KIND: Option<&'static str> = Some("email");

    fn decide(&self, command: &EmailCommand) -> Result<Vec<EmailEvent>, EmailRefusal> {
        match command {
            EmailCommand::ClaimEmail { user_id } => self.claim(*user_id),
            EmailCommand::ReleaseEmail { user_id } => self.release(*user_id),
        }
    }

    fn evolve(&mut self, event: &EmailEvent) {
        match event {
            EmailEvent::EmailClaimed { user_id } => *self = Self::Held { user_id: *user_id },
            EmailEvent::EmailReleased { user_id: _ } => *self = Self::Free,
        }
    }
}

kernel::aggregate!(
    EmailClaim,
    "user.email",
    EmailCommand,
    EmailEvent,
    EmailRefusal
);
