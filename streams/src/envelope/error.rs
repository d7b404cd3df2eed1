//! Why an event could not be read or written.

use thiserror::Error;

use kernel::Position;
use kernel::wire::WireError;

/// The log holds something that can't be read as the event that it should be.
#[derive(Debug, Error)]
#[error("the event at {position} on {subject} can't be read")]
pub struct DecodeError {
    /// Where it stands.
    pub position: Position,
    /// On which subject.
    pub subject: String,
    /// What is wrong with it.
    #[source]
    pub cause: DecodeCause,
}

/// What is wrong with an event in the log.
#[derive(Debug, Error)]
pub enum DecodeCause {
    /// Not `event.<context>[.<kind>].<id>`.
    #[error("the subject is not an event's")]
    Subject,
    /// Of another aggregate type than was asked for.
    #[error("it belongs to {found}, not to {wanted}")]
    Foreign {
        /// `context` or `context.kind` of the event.
        found: String,
        /// `context` or `context.kind` that was asked for.
        wanted: String,
    },
    /// A header that every event has is not there.
    #[error("header {header} is missing")]
    MissingHeader {
        /// Which one.
        header: &'static str,
    },
    /// A header does not say what it should.
    #[error("header {header} should be {wanted}")]
    BadHeader {
        /// Which one.
        header: &'static str,
        /// What should stand there.
        wanted: &'static str,
    },
    /// The body is not what its type and schema version say.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// An event before this one is missing, or stands twice.
    #[error("it says version {found} of its aggregate where version {expected} follows")]
    Version {
        /// One more than the version before.
        expected: u64,
        /// As the header says.
        found: u64,
    },
}

/// An event that can't be put on the wire. Nothing was appended.
#[derive(Debug, Error)]
pub enum EncodeError {
    /// serde could not write it.
    #[error("event {event_type} can't be serialized")]
    Body {
        /// Which type of event.
        event_type: &'static str,
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
    /// Not `#[serde(tag = "type", content = "data")]` with struct variants.
    #[error("event {event_type} is not written as {{\"type\":…,\"data\":{{…}}}}")]
    Shape {
        /// Which type of event.
        event_type: &'static str,
    },
    /// The name of its type ([`kernel::Fact::name`]) could not be read again.
    #[error("event type {event_type:?} is not in snake case: a-z, 0-9 and _")]
    EventType {
        /// The name.
        event_type: String,
    },
    /// A value that must not stand in a header: control characters, not ASCII, too long.
    #[error("header {header} would hold what a header must not")]
    Header {
        /// Which one.
        header: &'static str,
    },
    /// Not one batch: no steps, steps of two contexts, or two on one aggregate.
    #[error("the steps are not of one context and of different aggregates")]
    NotTogether,
}
