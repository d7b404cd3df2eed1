//! The notification context: who was told what, once.
//!
//! ```text
//!   notification  Unrequested ──RequestNotification──► Requested ──RecordSent──► Sent ──RecordBounce──► Bounced
//!                                                        │  │  └──RecordBounce──► Bounced
//!                                                        │  └──RecordFailure──► Failed ──RecordSent──► Sent
//!                                                        └──RecordSuppression──► Suppressed ──RecordSent──► Sent
//!   notification  Failed ──ResendNotification──► Requested   Failed, Requested ──DismissNotification──► Dismissed
//!                 Dismissed ──ResendNotification──► Requested   Dismissed ──RecordSent──► Sent
//!   suppression   Open ──SuppressAddress──► Suppressed ──UnsuppressAddress──► Open
//! ```
//!
//! A notification's id follows from what caused it, so neither a replay nor a retry asks twice, and
//! a mail's Message-ID follows from the notification's id, so that a mail sent twice by a crash is
//! one mail to its reader.
//!
//! A mail that bounces suppresses its address: nothing is sent there until an operator lifts that.
//! Suppression is about the address, not the person, so its id is the address's keyed hash. What is
//! sent here belongs to an order or an account, so it asks for no consent to advertising.
//!
//! ```text
//!   id           notification_id, message_id             what follows from what
//!   command      NotificationCommand, SuppressionCommand what can be asked
//!   event        NotificationEvent, Template, Details,   what has happened, as it stands on the wire
//!                SuppressionEvent
//!   refusal      NotificationRefusal                     why not
//!   aggregate    Notification: decide, evolve            read this first
//!   suppression  Suppression: decide, evolve
//!   webhook      what other systems are told, with files of its own
//! ```

mod aggregate;
mod command;
mod event;
mod id;
mod refusal;
mod suppression;
pub mod webhook;

pub use aggregate::{Message, Notification, NotificationStatus};
pub use command::{NotificationCommand, SuppressionCommand};
pub use event::{Channel, Details, NotificationEvent, SuppressionEvent, Template};
pub use id::{message_id, notification_id};
pub use refusal::{NotificationRefusal, SuppressionRefusal};
pub use suppression::Suppression;
