//! What has happened to endpoints and deliveries, as it stands on the wire.

use chrono::{DateTime, Utc};
use kernel::{Position, Reason, UserId, WebhookEndpointId, WebhookUrl};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr, VariantNames};
use uuid::Uuid;

use super::Interest;

/// Where an endpoint listens, and of what it wants to hear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Where it listens.
    pub url: WebhookUrl,
    /// Which events, 1 to [`INTERESTS_MAX`](super::INTERESTS_MAX).
    pub event_types: Vec<Interest>,
    /// What it is for, in its owner's words.
    pub description: Option<Reason>,
}

/// Why an endpoint is told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DisabledBecause {
    /// Somebody asked for it.
    Asked,
    /// It answered 410: it is not there any more.
    Gone,
    /// Every attempt was in vain for too long.
    Failing,
}

/// Facts about one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum EndpointEvent {
    /// A server is told of events. Its first signing secret is generation 1.
    WebhookEndpointRegistered {
        /// Whose it is; `None` = the operators'.
        user_id: Option<UserId>,
        /// Where, and of what.
        subscription: Subscription,
    },
    /// It listens elsewhere, or to something else.
    WebhookEndpointChanged {
        /// Where, and of what.
        subscription: Subscription,
    },
    /// It has another signing secret, which follows from its id and this number: the secret itself
    /// stands nowhere.
    WebhookSecretRotated {
        /// The number of the new secret.
        generation: u32,
        /// Until when the old one signs as well.
        previous_until: DateTime<Utc>,
    },
    /// An attempt was in vain, the first since one was not.
    WebhookEndpointFailing {
        /// Since when.
        since: DateTime<Utc>,
    },
    /// An attempt was not in vain, the first for some time.
    WebhookEndpointRecovered {},
    /// It is told nothing.
    WebhookEndpointDisabled {
        /// Why.
        because: DisabledBecause,
        /// In somebody's words.
        reason: Option<Reason>,
    },
    /// It is told again.
    WebhookEndpointEnabled {},
    /// It is told nothing any more, for good.
    WebhookEndpointRemoved {},
}

/// What a delivery is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRef {
    /// The event's full type (`order.order_placed`).
    pub event_type: String,
    /// The event's id: the `webhook-id` of every attempt.
    pub event_id: Uuid,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// Where it stands; `None` = nothing happened, it is a test.
    pub position: Option<Position>,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// It was taken (2xx).
    Accepted {
        /// The answer's status.
        status: u16,
        /// How its body begins.
        excerpt: String,
    },
    /// It was answered, and not taken.
    Rejected {
        /// The answer's status.
        status: u16,
        /// How its body begins.
        excerpt: String,
    },
    /// There was no answer.
    Unanswered {
        /// Why.
        error: String,
    },
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// Counted over all attempts of the delivery, from 1.
    pub number: u32,
    /// When it began.
    pub at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// Facts about one delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DeliveryEvent {
    /// An endpoint is to be told of an event.
    WebhookDeliveryRequested {
        /// Which endpoint.
        endpoint_id: WebhookEndpointId,
        /// Whose it is; `None` = the operators'.
        user_id: Option<UserId>,
        /// Of what.
        event: EventRef,
    },
    /// It was tried.
    WebhookAttempted {
        /// How it went.
        attempt: Attempt,
        /// When it is tried again; `None` = it was taken, or is given up.
        next_at: Option<DateTime<Utc>>,
    },
    /// It was given up before it was taken.
    WebhookDeliveryAbandoned {
        /// Why.
        reason: Reason,
    },
    /// It begins anew, under the same id.
    WebhookRedeliveryRequested {},
}

kernel::fact!(EndpointEvent);
kernel::fact!(DeliveryEvent);
