//! What can be asked of the notification context.

use kernel::UserId;

use crate::{Channel, Details, Template};
use serde::{Deserialize, Serialize};

/// Asked of one notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum NotificationCommand {
    /// Somebody is to be told.
    RequestNotification {
        /// Whom.
        user_id: UserId,
        /// What about.
        template: Template,
        /// By which way.
        channel: Channel,
        /// What the template shows.
        details: Details,
    },
    /// The mail server took it.
    RecordSent {
        /// The mail's Message-ID, derived from the notification's id.
        message_id: String,
    },
    /// It will never be taken.
    RecordFailure {
        /// What the mail server said, or why there is no recipient.
        reason: String,
    },
}
