//! The notification context: who was told what, once.
//!
//! ```text
//!   Unrequested ──RequestNotification──► Requested ──RecordSent──► Sent
//!                                            └──RecordFailure──► Failed ──RecordSent──► Sent
//! ```
//!
//! A notification's id follows from what caused it, so neither a replay nor a retry asks twice, and
//! a mail's Message-ID follows from the notification's id, so that a mail sent twice by a crash is
//! one mail to its reader.
//!
//! ```text
//!   id         notification_id, message_id           what follows from what
//!   command    NotificationCommand                   what can be asked
//!   event      NotificationEvent, Template, Details  what has happened, as it stands on the wire
//!   refusal    NotificationRefusal                   why not
//!   aggregate  Notification: decide, evolve          read this first
//! ```

mod aggregate;
mod command;
mod event;
mod id;
mod refusal;

pub use aggregate::{Message, Notification, NotificationStatus};
pub use command::NotificationCommand;
pub use event::{Channel, Details, NotificationEvent, Template};
pub use id::{message_id, notification_id};
pub use refusal::NotificationRefusal;
