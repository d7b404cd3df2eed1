//! What can be asked of an endpoint and of a delivery.

use chrono::{DateTime, Utc};
use kernel::{Reason, UserId, WebhookEndpointId};
use serde::{Deserialize, Serialize};

use super::{Attempt, DisabledBecause, EventRef, Subscription};

/// Asked of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum EndpointCommand {
    /// Events are to be told to a server.
    RegisterWebhookEndpoint {
        /// Whose it is; it hears of their events alone. `None` = the operators', which hears of all.
        user_id: Option<UserId>,
        /// Where, and of what.
        subscription: Subscription,
    },
    /// It listens elsewhere, or wants to hear of other events.
    ChangeWebhookEndpoint {
        /// Where, and of what.
        subscription: Subscription,
    },
    /// It gets another signing secret.
    RotateWebhookSecret {
        /// Until when what it is told is signed with the old one as well.
        previous_until: DateTime<Utc>,
    },
    /// An attempt at it was in vain.
    RecordWebhookFailure {
        /// When.
        at: DateTime<Utc>,
        /// How long all attempts may be in vain before it is disabled, in seconds.
        patience_s: u64,
    },
    /// It took what it was told.
    RecordWebhookSuccess {},
    /// It is told nothing until it is enabled again.
    DisableWebhookEndpoint {
        /// Why.
        because: DisabledBecause,
        /// In somebody's words.
        reason: Option<Reason>,
    },
    /// It is told again of what happens from now on.
    EnableWebhookEndpoint {},
    /// It is told nothing any more.
    RemoveWebhookEndpoint {},
}

/// Asked of one delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum DeliveryCommand {
    /// An endpoint is to be told of an event.
    RequestWebhookDelivery {
        /// Which endpoint.
        endpoint_id: WebhookEndpointId,
        /// Whose it is; `None` = the operators'.
        user_id: Option<UserId>,
        /// Of what.
        event: EventRef,
    },
    /// It was tried.
    RecordWebhookAttempt {
        /// How it went.
        attempt: Attempt,
        /// When it is tried again; `None` = never, unless somebody asks.
        next_at: Option<DateTime<Utc>>,
    },
    /// It is not tried any more.
    AbandonWebhookDelivery {
        /// Why.
        reason: Reason,
    },
    /// Once more from the beginning, under the same id.
    RedeliverWebhook {},
}
