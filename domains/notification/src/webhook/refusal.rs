//! Why an endpoint or a delivery says no.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Reasons to refuse an [`EndpointCommand`](super::EndpointCommand), in the order in which they are
/// checked.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum EndpointRefusal {
    /// The id stands for another endpoint.
    #[error("there is another webhook endpoint under this id")]
    WebhookEndpointDiffers,
    /// It was never registered, or was removed.
    #[error("there is no such webhook endpoint")]
    WebhookEndpointUnknown,
    /// It wants to hear of nothing.
    #[error("name at least one type of event")]
    NoEventTypes,
    /// It names more than anybody needs.
    #[error("at most {max} types of events can be named")]
    TooManyEventTypes {
        /// The bound.
        max: usize,
    },
    /// It is told nothing while it is disabled.
    #[error("the webhook endpoint is disabled")]
    WebhookEndpointDisabled,
}

/// Reasons to refuse a [`DeliveryCommand`](super::DeliveryCommand), in the order in which they are
/// checked.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum DeliveryRefusal {
    /// The id stands for another delivery.
    #[error("there is another delivery under this id")]
    WebhookDeliveryDiffers,
    /// Nothing was to be told under this id.
    #[error("there is no such delivery")]
    WebhookDeliveryUnknown,
    /// Nothing was to be tried now, or something else.
    #[error("this attempt was not due")]
    WebhookAttemptNotDue,
}
