//! What a subscription can't mend by itself.

use async_nats::jetstream::stream::ConsumerError;
use kernel::Position;
use thiserror::Error;

use crate::envelope::DecodeError;

/// A durable could not be bound.
#[derive(Debug, Error)]
#[error(
    "durable {durable} on stream {stream} can't be bound: has `millrace provision` \
     (`streams::topology::provision`) made it, and may this role use it?"
)]
pub struct SubscribeError {
    /// The stream.
    pub stream: String,
    /// The durable.
    pub durable: String,
    /// What the client says.
    #[source]
    pub source: ConsumerError,
}

/// What the log holds, or doesn't, that no retry mends.
#[derive(Debug, Error)]
pub enum SubscriptionError {
    /// A message is not what the stream should hold.
    #[error("{position} can't be read")]
    Unreadable {
        /// Where it stands.
        position: Position,
        /// What is wrong with it.
        #[source]
        source: Box<DecodeError>,
    },
    /// Events are missing: an event stream denies deletion, so the log is damaged.
    #[error("the log is damaged: {expected} should come next, but {found} came")]
    Gap {
        /// What should have come.
        expected: Position,
        /// The sequence that came.
        found: u64,
    },
    /// The reader has read further than the log goes: it was restored from an older backup, or
    /// made anew.
    #[error(
        "position {position} lies beyond the end of the log, {last}: an older log was restored"
    )]
    Ahead {
        /// What has been read.
        position: Position,
        /// The log's last sequence.
        last: u64,
    },
}

impl SubscriptionError {
    /// Where it happened.
    pub fn position(&self) -> &Position {
        match self {
            Self::Unreadable { position, .. } | Self::Ahead { position, .. } => position,
            Self::Gap { expected, .. } => expected,
        }
    }
}
