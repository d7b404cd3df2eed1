//! Why the notification context says no.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Reasons to refuse a [`NotificationCommand`](crate::NotificationCommand), in the order in which
/// they are checked.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum NotificationRefusal {
    /// The id stands for a message with other content.
    #[error("the notification exists with other content")]
    NotificationDiffers,
    /// Nothing was requested under this id.
    #[error("there is no such notification")]
    NotificationUnknown,
    /// It was sent, under another Message-ID or in spite of a failure.
    #[error("the notification was already sent as {message_id}")]
    NotificationAlreadySent {
        /// The mail's Message-ID.
        message_id: String,
    },
    /// It came back, so nothing else became of it.
    #[error("the notification bounced")]
    NotificationAlreadyBounced,
    /// It never went out, so it can't have come back.
    #[error("the notification was never sent")]
    NotificationNotSent,
    /// Something else became of it: there is nothing to try again or to leave.
    #[error("the notification has not failed")]
    NotificationNotFailed,
}

/// No reason to refuse a [`SuppressionCommand`](crate::SuppressionCommand): whatever it asks for can
/// be done, or is so already.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum SuppressionRefusal {}
