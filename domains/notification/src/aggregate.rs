//! One notification: what follows from a command, and what a fact changes.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use kernel::{Decider, UserId};
use serde::{Deserialize, Serialize};
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
    },
    /// It will not be tried again.
    Failed {
        /// What was to be sent.
        message: Message,
        /// Why it wasn't.
        reason: String,
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
    /// It will not be tried again.
    Failed,
}

type Decision = Result<Vec<NotificationEvent>, NotificationRefusal>;

impl Notification {
    /// The stage, once requested.
    pub fn status(&self) -> Option<NotificationStatus> {
        match self {
            Self::Unrequested => None,
            Self::Requested(_) => Some(NotificationStatus::Requested),
            Self::Sent { .. } => Some(NotificationStatus::Sent),
            Self::Failed { .. } => Some(NotificationStatus::Failed),
        }
    }

    /// What is said to whom, once requested.
    pub fn message(&self) -> Option<&Message> {
        match self {
            Self::Unrequested => None,
            Self::Requested(message)
            | Self::Sent { message, .. }
            | Self::Failed { message, .. } => Some(message),
        }
    }

    /// What is to be sent now, if anything.
    pub fn due(&self) -> Option<&Message> {
        match self {
            Self::Requested(message) => Some(message),
            Self::Unrequested | Self::Sent { .. } | Self::Failed { .. } => None,
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

    /// Also after a failure: what the mail server took, it took.
    fn record_sent(&self, message_id: &str) -> Decision {
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
            Self::Requested(_) | Self::Failed { .. } => {
                Ok(vec![NotificationEvent::NotificationSent {
                    message_id: message_id.to_owned(),
                }])
            }
        }
    }

    fn record_failure(&self, reason: &str) -> Decision {
        match self {
            Self::Unrequested => Err(NotificationRefusal::NotificationUnknown),
            Self::Sent { message_id, .. } => Err(NotificationRefusal::NotificationAlreadySent {
                message_id: message_id.clone(),
            }),
            Self::Failed { .. } => Ok(vec![]),
            Self::Requested(_) => Ok(vec![NotificationEvent::NotificationFailed {
                reason: reason.to_owned(),
            }]),
        }
    }

    fn move_to(&mut self, stage: impl FnOnce(Message) -> Self) {
        match std::mem::take(self) {
            Self::Unrequested => {}
            Self::Requested(message)
            | Self::Sent { message, .. }
            | Self::Failed { message, .. } => *self = stage(message),
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
            NotificationCommand::RecordSent { message_id } => self.record_sent(message_id),
            NotificationCommand::RecordFailure { reason } => self.record_failure(reason),
        }
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
            NotificationEvent::NotificationSent { message_id } => {
                let message_id = message_id.clone();
                self.move_to(|message| Self::Sent {
                    message,
                    message_id,
                });
            }
            NotificationEvent::NotificationFailed { reason } => {
                let reason = reason.clone();
                self.move_to(|message| Self::Failed { message, reason });
            }
        }
    }
}

impl Aggregate for Notification {
    const TYPE: &'static str = "notification";
    type Command = NotificationCommand;
    type Event = NotificationEvent;
    type Error = NotificationRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: NotificationCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), NotificationRefusal> {
        kernel::bridge(self, command, sink).await
    }

    fn apply(&mut self, event: NotificationEvent) {
        self.evolve(&event);
    }
}
