//! Ids that follow from what a notification is about.

use kernel::{NotificationId, UserId};
use uuid::Uuid;

use crate::{Channel, Template};

/// The namespace of notification ids (UUIDv5); never changes, or every mail would be sent again.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d69_6c6c_7261_6365_8e6f_7469_6669_6361);

/// The right-hand side of a Message-ID: a name that is never resolved (RFC 6761, `.invalid`).
const MESSAGE_ID_DOMAIN: &str = "notification.millrace.invalid";

/// The notification that this event causes, for this template, channel and person: always the same.
pub fn notification_id(
    source_event_id: Uuid,
    template: Template,
    channel: Channel,
    user_id: UserId,
) -> NotificationId {
    let name = format!("{source_event_id}/{template}/{channel}/{user_id}");
    NotificationId(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
}

/// The mail's Message-ID, with its angle brackets (RFC 5322 §3.6.4).
pub fn message_id(id: NotificationId) -> String {
    format!("<{id}@{MESSAGE_ID_DOMAIN}>")
}
