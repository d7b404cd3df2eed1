//! What travels with every command and is written down with each of its events.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::RecordedEvent;

/// Who asked for what, when and why: everything about a command but the command itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandMeta {
    /// Names this command for ever: the same id again is answered with what it did the first time.
    pub command_id: Uuid,
    /// When it was made. Becomes the time of its events.
    pub time: DateTime<Utc>,
    /// Who made it: `user:<id>`, `operator:<id>`, `saga:checkout`, `reactor:payment`, `system`.
    pub actor: String,
    /// The flow that it belongs to (the order's id in a checkout).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The event or request that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// Keyed hash of the request without secrets: the same command id with another one is a
    /// mistake of the caller, not a repetition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_digest: Option<String>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

impl CommandMeta {
    /// A command made by `actor` at `time`.
    pub fn new(command_id: Uuid, time: DateTime<Utc>, actor: impl Into<String>) -> Self {
        Self {
            command_id,
            time,
            actor: actor.into(),
            correlation_id: None,
            causation_id: None,
            request_digest: None,
            traceparent: None,
        }
    }

    /// A command that `actor` makes because of `event`: same flow, same trace, caused by it.
    pub fn caused_by(
        event: &RecordedEvent,
        command_id: Uuid,
        time: DateTime<Utc>,
        actor: impl Into<String>,
    ) -> Self {
        Self {
            correlation_id: event.correlation_id.clone(),
            causation_id: Some(event.id.to_string()),
            traceparent: event.traceparent.clone(),
            ..Self::new(command_id, time, actor)
        }
    }

    /// In this flow: what it leads to lies on one lane of every worker, in order
    /// ([`run_lanes`](crate::lanes::run_lanes)). Without a flow each aggregate has a lane of its own.
    #[must_use]
    pub fn with_correlation(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// Because of this event or request.
    #[must_use]
    pub fn with_causation(mut self, id: impl Into<String>) -> Self {
        self.causation_id = Some(id.into());
        self
    }

    /// Asked for by the request with this digest.
    #[must_use]
    pub fn with_request_digest(mut self, digest: impl Into<String>) -> Self {
        self.request_digest = Some(digest.into());
        self
    }

    /// In this trace.
    #[must_use]
    pub fn with_traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.traceparent = Some(traceparent.into());
        self
    }
}
