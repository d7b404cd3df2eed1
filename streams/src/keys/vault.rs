//! Stream KEYS: one subject per person, the last message counts.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{
    DirectGetErrorKind, LastRawMessageErrorKind, RawMessageErrorKind,
};
use kernel::UserId;
use serde::{Deserialize, Serialize};

use super::error::KeysError;
use crate::connection::Connection;
use crate::topology::{KEYS_STREAM, Withheld};

/// Tries to write a record whose outcome is unknown; each is the identical message.
const WRITE_TRIES: u32 = 3;

/// Before a record is tried again while somebody else's is in flight.
const IN_FLIGHT_PAUSE: Duration = Duration::from_millis(20);

/// What stands on a person's subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(super) enum Record {
    /// The person's key.
    Key {
        /// The fingerprint of the master key.
        master: String,
        /// Nonce and ciphertext in base64url.
        wrapped: String,
        /// Where it stood under another master key, until that is overwritten.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<u64>,
    },
    /// The key was destroyed.
    Destroyed {
        /// Where the key stood, so that whoever finds only half of the work done can end it;
        /// 0 = there was none.
        key: u64,
        /// Where it stood before, should that not be overwritten yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaced: Option<u64>,
    },
}

/// A record and its place.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) record: Record,
    pub(super) sequence: u64,
}

/// What stands on a subject, whatever it is.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// A record.
    Stored(Stored),
    /// Something that can't be read as one, and its place.
    Unreadable(u64),
}

/// Reads and writes the stream.
#[derive(Debug, Clone)]
pub(super) struct Vault {
    jetstream: Context,
    withheld: Withheld,
}

impl Vault {
    pub(super) fn new(connection: &Connection) -> Self {
        Self {
            jetstream: connection.jetstream().clone(),
            withheld: connection.withheld().clone(),
        }
    }

    /// The person's record. Any replica may answer that there is one; that there is none is asked
    /// of the leader.
    pub(super) async fn read(&self, person: UserId) -> Result<Option<Stored>, KeysError> {
        match self.find(person).await? {
            None => Ok(None),
            Some(Found::Stored(stored)) => Ok(Some(stored)),
            Some(Found::Unreadable(_)) => Err(KeysError::Broken { person }),
        }
    }

    /// As [`Self::read`], whatever it is that stands there.
    pub(super) async fn find(&self, person: UserId) -> Result<Option<Found>, KeysError> {
        let subject = subject(person);
        let stream = self.jetstream.get_stream_no_info(KEYS_STREAM).await;
        let stream = stream.map_err(unavailable)?;
        match stream.direct_get_last_for_subject(&subject).await {
            Ok(message) => return Ok(Some(found(&message))),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => {}
            Err(error) => return Err(unavailable(error)),
        }
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(Some(found(&message))),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Writes `record` behind sequence `expected` (0 = the first) and returns what stands there
    /// afterwards: this record, or what somebody else wrote before.
    pub(super) async fn write(
        &self,
        person: UserId,
        record: &Record,
        expected: u64,
    ) -> Result<Stored, KeysError> {
        self.withheld.allows(KEYS_STREAM).map_err(unavailable)?;
        let payload = serde_json::to_vec(record).map_err(unavailable)?;
        let mut tries = 1;
        loop {
            let message = PublishMessage::build()
                .payload(payload.clone().into())
                .expected_last_subject_sequence(expected)
                .expected_stream(KEYS_STREAM);
            let sent = self.jetstream.send_publish(subject(person), message).await;
            let acknowledged = match sent {
                Ok(acknowledgement) => acknowledgement.await,
                Err(error) => Err(error),
            };
            match acknowledged {
                Ok(ack) => {
                    return Ok(Stored {
                        record: record.clone(),
                        sequence: ack.sequence,
                    });
                }
                // Somebody was there before: another creator, or an earlier try of ours. What three
                // replicas have not agreed on yet can't be read: it is tried again.
                Err(error) if is_conflict(&error) => {
                    if let Some(stored) = self.read(person).await? {
                        return Ok(stored);
                    }
                    if tries >= WRITE_TRIES {
                        return Err(unavailable(error));
                    }
                    tokio::time::sleep(IN_FLIGHT_PAUSE).await;
                }
                Err(error) if tries >= WRITE_TRIES => return Err(unavailable(error)),
                Err(_) => {}
            }
            tries += 1;
        }
    }

    /// Overwrites the message at `sequence` on disk.
    pub(super) async fn erase(&self, sequence: u64) -> Result<(), KeysError> {
        let stream = self.jetstream.get_stream_no_info(KEYS_STREAM).await;
        let stream = stream.map_err(unavailable)?;
        // Without `no_erase` the server writes random bytes over the record.
        let Err(error) = stream.delete_message(sequence).await else {
            return Ok(());
        };
        // The server answers "gone already" and "forbidden" with the same code: look.
        match stream.get_raw_message(sequence).await {
            Err(gone) if gone.kind() == RawMessageErrorKind::NoMessageFound => Ok(()),
            Ok(_) | Err(_) => Err(unavailable(error)),
        }
    }
}

fn subject(person: UserId) -> String {
    format!("key.{person}")
}

fn found(message: &StreamMessage) -> Found {
    let sequence = message.sequence;
    match serde_json::from_slice(&message.payload) {
        Ok(record) => Found::Stored(Stored { record, sequence }),
        Err(_) => Found::Unreadable(sequence),
    }
}

/// 10071 by its kind; 10164, which three replicas answer, by its code.
fn is_conflict(error: &PublishError) -> bool {
    let constant = async_nats::jetstream::ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT;
    let source = std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
    error.kind() == PublishErrorKind::WrongLastSequence
        || source.is_some_and(|source| source.error_code() == constant)
}

fn unavailable(source: impl Into<async_nats::Error>) -> KeysError {
    KeysError::Unavailable {
        source: source.into(),
    }
}
