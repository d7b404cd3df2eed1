//! The welcome mail: a person who opened an account is told so, once; and whoever takes another
//! address is asked there whether it is theirs.

use async_trait::async_trait;
use kernel::{AggregateId, NotificationId, UserId};
use notification::{Channel, Details, Notification, NotificationCommand, Template};
use streams::lanes::{HandleError, Handler};
use streams::subscription::Delivery;
use user::{User, UserEvent};

use crate::recorder::{Cause, Record, Recorder};

/// As what this reactor acts.
const ACTOR: &str = "reactor:welcome";

/// Asks the notification context for the mail to each new user, and to each new address.
pub(crate) struct Welcome {
    recorder: Recorder,
}

impl Welcome {
    pub(crate) fn new(recorder: Recorder) -> Self {
        Self { recorder }
    }
}

#[async_trait]
impl Handler for Welcome {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let event = &delivery.event;
        if event.kind.is_some() {
            // An email claim, or an erasure: nobody is to be told.
            return Ok(());
        }
        let template = match event.decode::<User>().map_err(HandleError::permanent)? {
            UserEvent::UserRegistered { .. } => Template::Welcome,
            UserEvent::EmailChanged { .. } => Template::VerifyEmail,
            UserEvent::EmailVerified { .. }
            | UserEvent::PasswordChanged { .. }
            | UserEvent::ProfileUpdated { .. }
            | UserEvent::AddressAdded { .. }
            | UserEvent::AddressRemoved { .. }
            | UserEvent::DefaultAddressSet { .. }
            | UserEvent::NotificationPreferenceSet { .. }
            | UserEvent::RoleGranted { .. }
            | UserEvent::RoleRevoked { .. }
            | UserEvent::UserSuspended { .. }
            | UserEvent::UserReactivated {}
            | UserEvent::ErasureRequested { .. }
            | UserEvent::UserErased { .. } => return Ok(()),
        };
        let user_id: UserId = event
            .aggregate_id
            .as_str()
            .parse()
            .map_err(HandleError::permanent)?;
        let id: NotificationId =
            notification::notification_id(event.id, template, Channel::Email, user_id);
        let command = NotificationCommand::RequestNotification {
            user_id,
            template,
            channel: Channel::Email,
            details: Details::default(),
        };
        // A refusal means that it was asked with other content before: told already.
        self.recorder
            .record::<Notification>(Record {
                id: &AggregateId::from(id),
                command: &command,
                label: "request",
                cause: &Cause::from(event),
                actor: ACTOR,
            })
            .await?;
        Ok(())
    }
}
