//! One notification: what follows from a command, and what a fact changes.

use kernel::{Decider, EmailClaimId, Reason, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::{Display, EnumString};

use crate::{
    Channel, Details, NotificationCommand, NotificationEvent, NotificationRefusal, Template,
};

/// A message to a person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notification {
    /// Nothing was asked.
    #[default]
    Unrequested,
    /// To be sent.
    Requested(Message),
    /// The mail server took it.
    Sent {
        /// What was sent.
        message: Message,
        /// The mail's Message-ID.
        message_id: String,
        /// Where it went, as the keyed hash of the address.
        address: Option<EmailClaimId>,
    },
    /// It came back, or there was no such mailbox.
    Bounced {
        /// What was to reach the person.
        message: Message,
        /// What the mail server said.
        reason: String,
        /// Where it was to go, as the keyed hash of the address.
        address: Option<EmailClaimId>,
    },
    /// Nothing is sent to the address any more.
    Suppressed {
        /// What was to be sent.
        message: Message,
        /// Why the address is suppressed.
        reason: Reason,
    },
    /// It will not be tried again.
    Failed {
        /// What was to be sent.
        message: Message,
        /// Why it wasn't.
        reason: String,
    },
    /// It failed or could not be sent, and an operator has left it at that.
    Dismissed {
        /// What was to be sent.
        message: Message,
        /// Why it is left.
        reason: Reason,
    },
}

/// What is said to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Whom.
    pub user_id: UserId,
    /// What about.
    pub template: Template,
    /// By which way.
    pub channel: Channel,
    /// What the template shows.
    pub details: Details,
}

/// The stage by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum NotificationStatus {
    /// To be sent.
    Requested,
    /// The mail server took it.
    Sent,
    /// It came back, or there was no such mailbox.
    Bounced,
    /// Nothing is sent to the address any more.
    Suppressed,
    /// It will not be tried again.
    Failed,
    /// It failed or could not be sent, and an operator has left it at that.
    Dismissed,
}

type Decision = Result<Vec<NotificationEvent>, NotificationRefusal>;

impl Notification {
    /// The stage, once requested.
    pub fn status(&self) -> Option<NotificationStatus> {
        match self {
            Self::Unrequested => None,
            Self::Requested(_) => Some(NotificationStatus::Requested),
            Self::Sent { .. } => Some(NotificationStatus::Sent),
            Self::Bounced { .. } => Some(NotificationStatus::Bounced),
            Self::Suppressed { .. } => Some(NotificationStatus::Suppressed),
            Self::Failed { .. } => Some(NotificationStatus::Failed),
            Self::Dismissed { .. } => Some(NotificationStatus::Dismissed),
        }
    }

    /// What is said to whom, once requested.
    pub fn message(&self) -> Option<&Message> {
        match self {
            Self::Unrequested => None,
            Self::Requested(message)
            | Self::Sent { message, .. }
            | Self::Bounced { message, .. }
            | Self::Suppressed { message, .. }
            | Self::Failed { message, .. }
            | Self::Dismissed { message, .. } => Some(message),
        }
    }

    /// What is to be sent now, if anything.
    pub fn due(&self) -> Option<&Message> {
        match self {
            Self::Requested(message) => Some(message),
            Self::Unrequested
            | Self::Sent { .. }
            | Self::Bounced { .. }
            | Self::Suppressed { .. }
            | Self::Failed { .. }
            | Self::Dismissed { .. } => None,
        }
    }

    /// The address that a bounce has shown to be dead, and what the mail server said.
    pub fn dead_address(&self) -> Option<(EmailClaimId, &str)> {
        match self {
            Self::Bounced {
                reason, address, ..
            } => address.map(|address| (address, reason.as_str())),
            Self::Unrequested
            | Self::Requested(_)
            | Self::Sent { .. }
            | Self::Suppressed { .. }
            | Self::Failed { .. }
            | Self::Dismissed { .. } => None,
        }
    }

    fn request(&self, message: Message) -> Decision {
        match self.message() {
            None => Ok(vec![NotificationEvent::NotificationRequested {
                user_id: message.user_id,
                template: message.template,
                channel: message.channel,
                details: message.details,
            }]),
            Some(known) if *known == message => Ok(vec![]),
            Some(_) => Err(NotificationRefusal::NotificationDiffers),
        }
    }

    /// Also when it was given up: what the mail server took, it took.
    fn record_sent(&self, message_id: &str, address: Option<EmailClaimId>) -> Decision {
        match self {
            Self::Unrequested => Err(NotificationRefusal::NotificationUnknown),
            Self::Sent {
                message_id: known, ..
            } if known == message_id => Ok(vec![]),
            Self::Sent {
                message_id: known, ..
            } => Err(NotificationRefusal::NotificationAlreadySent {
                message_id: known.clone(),
            }),
            Self::Bounced { .. } => Err(NotificationRefusal::NotificationAlreadyBounced),
            Self::Requested(_)
            | Self::Suppressed { .. }
            | Self::Failed { .. }
            | Self::Dismissed { .. } => Ok(vec![NotificationEvent::NotificationSent {
                message_id: message_id.to_owned(),
                address,
            }]),
        }
    }

    /// Where it went stands in the record of its sending, if it was sent.
    fn record_bounce(&self, reason: &str, address: Option<EmailClaimId>) -> Decision {
        let sent_to = match self {
            Self::Unrequested => return Err(NotificationRefusal::NotificationUnknown),
            Self::Bounced { .. } => return Ok(vec![]),
            Self::Suppressed { .. } | Self::Failed { .. } | Self::Dismissed { .. } => {
                return Err(NotificationRefusal::NotificationNotSent);
            }
            Self::Requested(_) => None,
            Self::Sent { address, .. } => *address,
        };
        Ok(vec![NotificationEvent::NotificationBounced {
            reason: reason.to_owned(),
            address: sent_to.or(address),
        }])
    }

    /// It is given up with `event`, unless something has become of it already.
    fn give_up(&self, event: NotificationEvent) -> Decision {
        match self {
            Self::Unrequested => Err(NotificationRefusal::NotificationUnknown),
            Self::Sent { message_id, .. } => Err(NotificationRefusal::NotificationAlreadySent {
                message_id: message_id.clone(),
            }),
            Self::Bounced { .. } => Err(NotificationRefusal::NotificationAlreadyBounced),
            Self::Suppressed { .. } | Self::Failed { .. } | Self::Dismissed { .. } => Ok(vec![]),
            Self::Requested(_) => Ok(vec![event]),
        }
    }

    fn resend(&self) -> Decision {
        match self {
            Self::Unrequested => Err(NotificationRefusal::NotificationUnknown),
            Self::Requested(_) => Ok(vec![]),
            Self::Sent { .. } | Self::Bounced { .. } | Self::Suppressed { .. } => {
                Err(NotificationRefusal::NotificationNotFailed)
            }
            Self::Failed { .. } | Self::Dismissed { .. } => {
                Ok(vec![NotificationEvent::NotificationResendRequested {}])
            }
        }
    }

    /// Also of one that is still to be sent: what asks for that may be set aside and skipped, and then nothing
    /// becomes of it.
    fn dismiss(&self, reason: &Reason) -> Decision {
        match self {
            Self::Unrequested => Err(NotificationRefusal::NotificationUnknown),
            Self::Dismissed { .. } => Ok(vec![]),
            Self::Sent { .. } | Self::Bounced { .. } | Self::Suppressed { .. } => {
                Err(NotificationRefusal::NotificationNotFailed)
            }
            Self::Requested(_) | Self::Failed { .. } => {
                Ok(vec![NotificationEvent::NotificationDismissed {
                    reason: reason.clone(),
                }])
            }
        }
    }

    fn move_to(&mut self, stage: impl FnOnce(Message) -> Self) {
        match std::mem::take(self) {
            Self::Unrequested => {}
            Self::Requested(message)
            | Self::Sent { message, .. }
            | Self::Bounced { message, .. }
            | Self::Suppressed { message, .. }
            | Self::Failed { message, .. }
            | Self::Dismissed { message, .. } => *self = stage(message),
        }
    }
}

impl Decider for Notification {
    const CONTEXT: &'static str = "notification";

    fn decide(&self, command: &NotificationCommand) -> Decision {
        match command {
            NotificationCommand::RequestNotification {
                user_id,
                template,
                channel,
                details,
            } => self.request(Message {
                user_id: *user_id,
                template: *template,
                channel: *channel,
                details: details.clone(),
            }),
            NotificationCommand::RecordSent {
                message_id,
                address,
            } => self.record_sent(message_id, *address),
            NotificationCommand::RecordBounce { reason, address } => {
                self.record_bounce(reason, *address)
            }
            NotificationCommand::RecordSuppression { reason } => {
                self.give_up(NotificationEvent::NotificationSuppressed {
                    reason: reason.clone(),
                })
            }
            NotificationCommand::RecordFailure { reason } => {
                self.give_up(NotificationEvent::NotificationFailed {
                    reason: reason.clone(),
                })
            }
            NotificationCommand::ResendNotification {} => self.resend(),
            NotificationCommand::DismissNotification { reason } => self.dismiss(reason),
        }
    }

    /// The first version of `notification_sent` did not say where the mail went.
    fn upcast(event_type: &str, version: u32, data: &Value) -> Option<(u32, Value)> {
        if (event_type, version) != ("notification_sent", 1) {
            return None;
        }
        let mut data = data.clone();
        if let Some(fields) = data.as_object_mut() {
            fields.insert("address".to_owned(), Value::Null);
        }
        Some((2, data))
    }

    fn evolve(&mut self, event: &NotificationEvent) {
        match event {
            NotificationEvent::NotificationRequested {
                user_id,
                template,
                channel,
                details,
            } => {
                *self = Self::Requested(Message {
                    user_id: *user_id,
                    template: *template,
                    channel: *channel,
                    details: details.clone(),
                });
            }
            NotificationEvent::NotificationSent {
                message_id,
                address,
            } => {
                let (message_id, address) = (message_id.clone(), *address);
                self.move_to(|message| Self::Sent {
                    message,
                    message_id,
                    address,
                });
            }
            NotificationEvent::NotificationBounced { reason, address } => {
                let (reason, address) = (reason.clone(), *address);
                self.move_to(|message| Self::Bounced {
                    message,
                    reason,
                    address,
                });
            }
            NotificationEvent::NotificationSuppressed { reason } => {
                let reason = reason.clone();
                self.move_to(|message| Self::Suppressed { message, reason });
            }
            NotificationEvent::NotificationFailed { reason } => {
                let reason = reason.clone();
                self.move_to(|message| Self::Failed { message, reason });
            }
            NotificationEvent::NotificationResendRequested {} => self.move_to(Self::Requested),
            NotificationEvent::NotificationDismissed { reason } => {
                let reason = reason.clone();
                self.move_to(|message| Self::Dismissed { message, reason });
            }
        }
    }
}

kernel::aggregate!(
    Notification,
    "notification",
    NotificationCommand,
    NotificationEvent,
    NotificationRefusal
);
