//! What has happened in the notification context, as it stands on the wire.

use kernel::{EmailClaimId, Money, OrderId, Reason, Tracking, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr, VariantNames};

/// What a notification is about; also the name of its template files.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    VariantNames,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Template {
    /// An account was opened; its address is to be verified.
    Welcome,
    /// An account has another address, which is to be verified.
    VerifyEmail,
    /// The order is paid and will be shipped.
    OrderConfirmed,
    /// The order can't be fulfilled.
    OrderRejected,
    /// The order was called off.
    OrderCanceled,
    /// The order left the house.
    OrderShipped,
    /// Money went back.
    OrderRefunded,
}

/// The way a notification takes.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    VariantNames,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Channel {
    /// A mail to the user's address.
    Email,
}

/// What a template may show. Nothing personal: name and address are unsealed when it is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Details {
    /// The order that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub order_id: Option<OrderId>,
    /// The order's total, or the amount refunded.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub amount: Option<Money>,
    /// Why it was rejected or canceled.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// The carrier's number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tracking: Option<Tracking>,
}

/// Facts about one notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum NotificationEvent {
    /// Somebody is to be told.
    NotificationRequested {
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
    NotificationSent {
        /// The mail's Message-ID.
        message_id: String,
        /// Where it went, as the keyed hash of the address; not known of the first schema version.
        address: Option<EmailClaimId>,
    },
    /// It came back, or there is no such mailbox.
    NotificationBounced {
        /// What the mail server said.
        reason: String,
        /// Where it was to go, as the keyed hash of the address.
        address: Option<EmailClaimId>,
    },
    /// It is not sent, because nothing is sent to the address any more.
    NotificationSuppressed {
        /// Why the address is suppressed.
        reason: Reason,
    },
    /// It will never be taken.
    NotificationFailed {
        /// Why.
        reason: String,
    },
    /// It is to be sent after all, under the same Message-ID.
    NotificationResendRequested {},
    /// It is left at that.
    NotificationDismissed {
        /// Why.
        reason: Reason,
    },
}

kernel::fact!(NotificationEvent, |event| match event {
    NotificationEvent::NotificationSent { .. } => 2,
    NotificationEvent::NotificationRequested { .. }
    | NotificationEvent::NotificationBounced { .. }
    | NotificationEvent::NotificationSuppressed { .. }
    | NotificationEvent::NotificationFailed { .. }
    | NotificationEvent::NotificationResendRequested {}
    | NotificationEvent::NotificationDismissed { .. } => 1,
});

/// Facts about the suppression of one email address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SuppressionEvent {
    /// Nothing is sent to the address any more.
    AddressSuppressed {
        /// Why.
        reason: Reason,
    },
    /// The address may be written to again.
    AddressUnsuppressed {},
}

kernel::fact!(SuppressionEvent);
