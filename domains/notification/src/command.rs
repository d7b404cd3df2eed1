//! What can be asked of the notification context.

use kernel::{EmailClaimId, Reason, UserId};

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
        /// Where it went, as the keyed hash of the address.
        address: Option<EmailClaimId>,
    },
    /// It came back, or the mail server knows no such mailbox.
    RecordBounce {
        /// What the mail server said.
        reason: String,
        /// Where it was to go, if it was not recorded when it was sent.
        address: Option<EmailClaimId>,
    },
    /// It is not sent, because nothing is sent to the address any more.
    RecordSuppression {
        /// Why the address is suppressed.
        reason: Reason,
    },
    /// It will never be taken.
    RecordFailure {
        /// What the mail server said, or why there is no recipient.
        reason: String,
    },
    /// An operator has it tried again, as the same mail.
    ResendNotification {},
    /// An operator leaves it at that: nobody waits for it any more.
    DismissNotification {
        /// Why.
        reason: Reason,
    },
}

/// Asked of the suppression of one email address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum SuppressionCommand {
    /// Nothing is to be sent to the address any more.
    SuppressAddress {
        /// Why.
        reason: Reason,
    },
    /// The address may be written to again.
    UnsuppressAddress {},
}
