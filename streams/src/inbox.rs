//! What foreign systems tell, as they said it: raw, and kept until somebody has worked it.
//!
//! ```text
//!   put ──► inbox.<source>.<key>.<id> ──► durable ──► worked ──► removed
//!                                            └─ it can't be matched yet: it stays, is tried again
//!                                               at its timer, and expires after 30 days
//! ```
//!
//! A letter may hold personal data, so it is removed as soon as what matters of it stands elsewhere,
//! and [scrubbed](Inbox::scrub) off the disk a little later: having the server overwrite each at once
//! would have it rewrite a file of up to 8 MiB for every letter.
//! What is in the stream is therefore what waits. The sender's id names a letter: sent twice, it is
//! stored once while it is there, and for the stream's memory of ids after that.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::client::Client;
use async_nats::header::{
    NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_EXPECTED_STREAM, NATS_MESSAGE_ID,
};
use async_nats::jetstream::Context;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{
    DeleteStatus, LastRawMessageErrorKind, RawMessageErrorKind, Stream,
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use futures::future::BoxFuture;
use kernel::{AggregateId, Position};
use serde_json::json;
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::connection::Connection;
use crate::envelope::{DecodeCause, DecodeError, time_from_nats};
use crate::jetstream::answer;
use crate::resolve::Reply;
use crate::subscription::{Payload, RawMessage};
use crate::topology::{INBOX_STREAM, Withheld};

/// First token of everything in stream INBOX.
const ROOT: &str = "inbox";
/// How long it is tried to store a letter; each try is the identical message.
const PUT_BUDGET: Duration = Duration::from_secs(15);
/// Pause before another try: three replicas that are agreeing on the same letter refuse it meanwhile.
const PUT_PAUSE: Duration = Duration::from_millis(20);

/// Which letter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LetterId {
    /// Who wrote it (`payment`): a subject token.
    pub source: String,
    /// What it is about, in the sender's words; letters of one key are worked in their order.
    pub key: AggregateId,
    /// What the sender calls it.
    pub id: AggregateId,
}

/// What somebody wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Which.
    pub id: LetterId,
    /// Where it stands.
    pub position: Position,
    /// When it was stored.
    pub received_at: DateTime<Utc>,
    /// Every byte, as it came.
    pub body: Bytes,
}

/// What became of a letter that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is on disk.
    Stored,
    /// It was there before.
    Duplicate,
}

/// Stream INBOX could not be asked, or a letter can't be named.
#[derive(Debug, Error)]
pub enum InboxError {
    /// The source's name can't stand in a subject.
    #[error("{source_name:?} is no name for a source in a subject")]
    Name {
        /// What was given.
        source_name: String,
    },
    /// It is larger than the server or the stream takes.
    #[error("a letter of {bytes} bytes is larger than stream {INBOX_STREAM} takes")]
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// The server did not confirm it. Once more is safe.
    #[error("stream {INBOX_STREAM} is not available")]
    Unavailable {
        /// What the client says.
        #[source]
        source: async_nats::Error,
    },
}

/// Stores, reads and removes letters. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Inbox {
    client: Client,
    jetstream: Context,
    withheld: Withheld,
}

impl Inbox {
    /// Over this connection.
    pub fn new(connection: &Connection) -> Self {
        Self {
            client: connection.client().clone(),
            jetstream: connection.jetstream().clone(),
            withheld: connection.withheld().clone(),
        }
    }

    /// Stores a letter, unless it is there. What the server refuses for good is not tried again.
    ///
    /// # Errors
    /// It is not known to be on disk: the sender must send it again; or it is too large.
    pub fn put<'a>(
        &'a self,
        letter: &'a LetterId,
        body: Bytes,
    ) -> BoxFuture<'a, Result<Put, InboxError>> {
        Box::pin(async move {
            let subject = letter.subject()?;
            self.withheld.allows(INBOX_STREAM).map_err(unavailable)?;
            let give_up = Instant::now() + PUT_BUDGET;
            loop {
                let failed = match self.publish(&subject, letter, body.clone()).await {
                    // The position is there: so is the letter.
                    Reply::Acknowledged {
                        duplicate: true, ..
                    }
                    | Reply::WrongPosition
                    | Reply::KnownId => return Ok(Put::Duplicate),
                    Reply::Acknowledged { .. } => return Ok(Put::Stored),
                    Reply::TooLarge => return Err(InboxError::TooLarge { bytes: body.len() }),
                    Reply::Refused(source) => return Err(unavailable(source)),
                    Reply::Unwritable(error) => return Err(unavailable(error)),
                    // Somebody who is only about to store it is no proof.
                    Reply::InFlight => "another one is being stored there".into(),
                    Reply::Busy(source) | Reply::Unknown(source) => source,
                };
                if Instant::now() >= give_up {
                    return Err(unavailable(failed));
                }
                sleep(PUT_PAUSE).await;
            }
        })
    }

    async fn publish(&self, subject: &str, letter: &LetterId, body: Bytes) -> Reply {
        let mut headers = HeaderMap::new();
        let id = format!("{}.{}", letter.source, letter.id);
        headers.insert(NATS_MESSAGE_ID, id);
        headers.insert(NATS_EXPECTED_STREAM, INBOX_STREAM);
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        answer::published(&self.client, subject.to_owned(), (headers, body), 1).await
    }

    /// The letter that `source` calls `id`; `None`: it was removed, has expired or never came. The
    /// stream's leader is asked.
    ///
    /// # Errors
    /// The server did not answer.
    pub fn read<'a>(
        &'a self,
        source: &'a str,
        id: &'a AggregateId,
    ) -> BoxFuture<'a, Result<Option<Letter>, InboxError>> {
        Box::pin(async move {
            let subject = format!("{ROOT}.{}.*.{id}", token(source)?);
            let found = self.stream().await?;
            let found = found.get_last_raw_message_by_subject(&subject).await;
            let message = match found {
                Ok(message) => message,
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                    return Ok(None);
                }
                Err(error) => return Err(unavailable(error)),
            };
            Ok(LetterId::parse(&message.subject).map(|id| Letter {
                id,
                position: Position::new(INBOX_STREAM, message.sequence),
                received_at: time_from_nats(message.time),
                body: message.payload,
            }))
        })
    }

    /// Removes a letter. Twice is once.
    ///
    /// # Errors
    /// It is not known to be gone.
    pub async fn remove(&self, letter: &Letter) -> Result<(), InboxError> {
        let sequence = letter.position.sequence;
        let delete = format!("STREAM.MSG.DELETE.{INBOX_STREAM}");
        let ask = json!({ "seq": sequence, "no_erase": true });
        let answer = self.jetstream.request(delete, &ask).await;
        let answer: Response<DeleteStatus> = answer.map_err(unavailable)?;
        let Response::Err { error } = answer else {
            return Ok(());
        };
        let stream = self.stream().await?;
        // The server answers "gone already" and "forbidden" with the same code: look.
        match stream.get_raw_message(sequence).await {
            Err(gone) if gone.kind() == RawMessageErrorKind::NoMessageFound => Ok(()),
            Ok(_) | Err(_) => Err(unavailable(error)),
        }
    }

    /// Has the server throw away the files that removed letters stood in, if no letter is there. One
    /// that comes in meanwhile stays. Returns whether it did.
    ///
    /// # Errors
    /// The server did not answer: once more is safe.
    pub async fn scrub(&self) -> Result<bool, InboxError> {
        let stream = self.jetstream.get_stream(INBOX_STREAM).await;
        let stream = stream.map_err(unavailable)?;
        let state = &stream.cached_info().state;
        let empty = state.messages == 0 && state.last_sequence > 0;
        if empty {
            let behind = state.last_sequence + 1;
            let purged = stream.purge().sequence(behind).await;
            purged.map_err(unavailable)?;
        }
        Ok(empty)
    }

    /// Every letter that is there, sorted: what waits to be worked, for the first time or again.
    ///
    /// # Errors
    /// The server did not answer.
    pub async fn waiting(&self) -> Result<Vec<LetterId>, InboxError> {
        let stream = self.jetstream.get_stream(INBOX_STREAM).await;
        let stream = stream.map_err(unavailable)?;
        let subjects = stream.info_with_subjects(format!("{ROOT}.>")).await;
        let subjects = subjects.map_err(unavailable)?;
        let all: Vec<(String, usize)> = subjects.try_collect().await.map_err(unavailable)?;
        let ids = all
            .iter()
            .filter_map(|(subject, _)| LetterId::parse(subject));
        let mut ids: Vec<LetterId> = ids.collect();
        ids.sort();
        Ok(ids)
    }

    /// As [`Self::waiting`], and when the oldest of all letters came.
    ///
    /// # Errors
    /// The server did not answer.
    pub async fn overview(&self) -> Result<(Vec<LetterId>, Option<DateTime<Utc>>), InboxError> {
        let letters = self.waiting().await?;
        let (_, oldest) = self.backlog().await?;
        let oldest = oldest.filter(|_| !letters.is_empty());
        Ok((letters, oldest))
    }

    /// How many letters there are, and when the oldest came: one question.
    ///
    /// # Errors
    /// The server did not answer.
    pub async fn backlog(&self) -> Result<(u64, Option<DateTime<Utc>>), InboxError> {
        let stream = self.stream().await?;
        let info = stream.get_info().await.map_err(unavailable)?;
        let letters = info.state.messages;
        let oldest = time_from_nats(info.state.first_timestamp);
        Ok((letters, (letters > 0).then_some(oldest)))
    }

    async fn stream(&self) -> Result<Stream<()>, InboxError> {
        let stream = self.jetstream.get_stream_no_info(INBOX_STREAM).await;
        stream.map_err(unavailable)
    }
}

impl LetterId {
    fn subject(&self) -> Result<String, InboxError> {
        let Self { source, key, id } = self;
        Ok(format!("{ROOT}.{}.{key}.{id}", token(source)?))
    }

    /// The letter that stands on `subject`.
    fn parse(subject: &str) -> Option<Self> {
        let mut tokens = subject.split('.');
        if tokens.next() != Some(ROOT) {
            return None;
        }
        let (source, key, id) = (tokens.next()?, tokens.next()?, tokens.next()?);
        if tokens.next().is_some() {
            return None;
        }
        Some(Self {
            source: source.to_owned(),
            key: key.parse().ok()?,
            id: id.parse().ok()?,
        })
    }
}

fn token(source: &str) -> Result<AggregateId, InboxError> {
    source.parse().map_err(|_| InboxError::Name {
        source_name: source.to_owned(),
    })
}

fn unavailable(source: impl Into<async_nats::Error>) -> InboxError {
    InboxError::Unavailable {
        source: source.into(),
    }
}

impl Payload for Letter {
    fn read(message: &RawMessage<'_>) -> Result<Self, DecodeError> {
        let id = LetterId::parse(message.subject).ok_or_else(|| DecodeError {
            position: message.position.clone(),
            subject: message.subject.to_owned(),
            cause: DecodeCause::Subject,
        })?;
        Ok(Self {
            id,
            position: message.position.clone(),
            received_at: message.recorded_at,
            body: message.payload.clone(),
        })
    }

    fn lane_key(&self) -> &str {
        self.id.key.as_str()
    }

    fn lane_key_of(message: &RawMessage<'_>) -> String {
        message.subject.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_its_letter() {
        let letter = LetterId {
            source: "payment".to_owned(),
            key: "pi_1".parse().unwrap(),
            id: "evt_1".parse().unwrap(),
        };
        let subject = letter.subject().unwrap();
        assert_eq!(subject, "inbox.payment.pi_1.evt_1");
        assert_eq!(LetterId::parse(&subject), Some(letter));
        for foreign in ["inbox.payment.pi_1", "event.payment.a.b", "inbox.a.b.c.d"] {
            assert_eq!(LetterId::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_source_that_is_no_token_is_refused() {
        for bad in ["", "a.b", "*", ">", "a b"] {
            assert!(token(bad).is_err(), "{bad:?}");
        }
    }
}
