//! The message log: who was told what, and whether the mail server took it.

use cqrs_es::{EventEnvelope, View};
use kernel::{OrderId, UserId};
use notification::{Channel, Details, Notification, NotificationEvent, Template};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::moment::Moment;
use crate::view::{EntityView, Sort};

/// How far a message has come.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Delivery {
    /// To be sent.
    #[default]
    Requested,
    /// The mail server took it.
    Sent,
    /// It came back, or there was no such mailbox.
    Bounced,
    /// Nothing is sent to the address any more.
    Suppressed,
    /// The mail server never will take it.
    Failed,
    /// It failed, and an operator has left it at that.
    Dismissed,
}

/// One message to one person.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NotificationEntry {
    /// The notification's id.
    pub id: String,
    /// Whom.
    pub user_id: Option<UserId>,
    /// The order that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<OrderId>,
    /// What about.
    pub template: Option<Template>,
    /// By which way.
    pub channel: Option<Channel>,
    /// How far it has come.
    pub status: Delivery,
    /// Why it bounced, was suppressed, failed or was dismissed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the template shows.
    pub details: Details,
    /// The mail's Message-ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// How many events the notification has.
    pub version: u64,
    /// When it was asked for.
    pub requested_at: Option<Moment>,
    /// When the mail server took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Moment>,
    /// When it was heard that it came back, or that there is no such mailbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounced_at: Option<Moment>,
    /// When it was given up because of its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressed_at: Option<Moment>,
    /// When it was given up because the mail server will not take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Moment>,
    /// When an operator had it tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resent_at: Option<Moment>,
    /// When an operator left it at that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dismissed_at: Option<Moment>,
}

impl EntityView<Notification> for NotificationEntry {
    const NAME: &'static str = "notification_entry";
    const FILTERS: &'static [&'static str] = &["order_id", "user_id", "status"];
    const FIXED: &'static [&'static str] = &["order_id", "user_id"];
    const SORT: Sort = Sort::Latest("requested_at");
}

impl View<Notification> for NotificationEntry {
    fn update(&mut self, event: &EventEnvelope<Notification>) {
        let at = Moment::of(event);
        self.id.clone_from(&event.aggregate_id);
        self.version = event.sequence as u64;
        match &event.payload {
            NotificationEvent::NotificationRequested {
                user_id,
                template,
                channel,
                details,
            } => {
                self.user_id = Some(*user_id);
                self.order_id = details.order_id;
                self.template = Some(*template);
                self.channel = Some(*channel);
                self.details = details.clone();
                self.requested_at = at;
            }
            NotificationEvent::NotificationSent {
                message_id,
                address: _,
            } => {
                self.status = Delivery::Sent;
                self.message_id = Some(message_id.clone());
                self.reason = None;
                self.sent_at = at;
            }
            NotificationEvent::NotificationBounced { reason, address: _ } => {
                self.status = Delivery::Bounced;
                self.reason = Some(reason.clone());
                self.bounced_at = at;
            }
            NotificationEvent::NotificationSuppressed { reason } => {
                self.status = Delivery::Suppressed;
                self.reason = Some(reason.to_string());
                self.suppressed_at = at;
            }
            NotificationEvent::NotificationFailed { reason } => {
                self.status = Delivery::Failed;
                self.reason = Some(reason.clone());
                self.failed_at = at;
            }
            NotificationEvent::NotificationResendRequested {} => {
                self.status = Delivery::Requested;
                self.reason = None;
                self.resent_at = at;
            }
            NotificationEvent::NotificationDismissed { reason } => {
                self.status = Delivery::Dismissed;
                self.reason = Some(reason.to_string());
                self.dismissed_at = at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testkit::fold;

    fn requested() -> NotificationEvent {
        NotificationEvent::NotificationRequested {
            user_id: UserId(Uuid::from_u128(1)),
            template: Template::OrderConfirmed,
            channel: Channel::Email,
            details: Details {
                order_id: Some(OrderId(Uuid::from_u128(7))),
                ..Details::default()
            },
        }
    }

    #[test]
    fn a_sent_mail_shows_its_message_id() {
        let sent = NotificationEvent::NotificationSent {
            message_id: "<n-1@shop>".into(),
            address: None,
        };
        let row: NotificationEntry = fold::<Notification, _>("n-1", vec![requested(), sent]);
        assert_eq!(row.status, Delivery::Sent);
        assert_eq!(row.message_id.as_deref(), Some("<n-1@shop>"));
        assert_eq!(row.order_id, Some(OrderId(Uuid::from_u128(7))));
    }

    #[test]
    fn a_failed_mail_says_why() {
        let failed = NotificationEvent::NotificationFailed {
            reason: "no such mailbox".into(),
        };
        let row: NotificationEntry = fold::<Notification, _>("n-1", vec![requested(), failed]);
        assert_eq!(row.status, Delivery::Failed);
        assert!(row.failed_at.is_some() && row.sent_at.is_none());
    }

    #[test]
    fn a_failed_mail_is_to_be_sent_again_or_left_at_that() {
        let failed = || NotificationEvent::NotificationFailed {
            reason: "message refused".into(),
        };
        let resent = NotificationEvent::NotificationResendRequested {};
        let row: NotificationEntry =
            fold::<Notification, _>("n-1", vec![requested(), failed(), resent]);
        assert_eq!((row.status, row.reason), (Delivery::Requested, None));
        assert!(row.resent_at > row.failed_at && row.failed_at.is_some());
        let dismissed = NotificationEvent::NotificationDismissed {
            reason: "told by phone".parse().unwrap(),
        };
        let row: NotificationEntry =
            fold::<Notification, _>("n-1", vec![requested(), failed(), dismissed]);
        assert_eq!(row.status, Delivery::Dismissed);
        assert_eq!(row.reason.as_deref(), Some("told by phone"));
        assert!(row.dismissed_at > row.failed_at);
    }

    #[test]
    fn a_mail_that_came_back_says_so_beside_when_it_was_sent() {
        let sent = NotificationEvent::NotificationSent {
            message_id: "<n-1@shop>".into(),
            address: None,
        };
        let bounced = NotificationEvent::NotificationBounced {
            reason: "no such mailbox".into(),
            address: None,
        };
        let story = vec![requested(), sent, bounced];
        let row: NotificationEntry = fold::<Notification, _>("n-1", story);
        assert_eq!(row.status, Delivery::Bounced);
        assert!(row.sent_at < row.bounced_at);
        assert_eq!(row.reason.as_deref(), Some("no such mailbox"));
    }

    #[test]
    fn a_mail_that_is_not_sent_for_its_address_says_why() {
        let suppressed = NotificationEvent::NotificationSuppressed {
            reason: "complained".parse().unwrap(),
        };
        let row: NotificationEntry = fold::<Notification, _>("n-1", vec![requested(), suppressed]);
        assert_eq!(row.status, Delivery::Suppressed);
        assert!(row.suppressed_at.is_some() && row.sent_at.is_none());
        assert_eq!(row.reason.as_deref(), Some("complained"));
    }
}
