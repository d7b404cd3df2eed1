//! Every message of a stream as it stands.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::future::BoxFuture;
use kernel::Position;
use thiserror::Error;
use tokio::time::timeout;
use uuid::Uuid;

use crate::connection::Connection;
use crate::envelope::{DecodeError, RecordedEvent, time_from_nats};
use crate::log::BoxError;

/// Messages asked for at once.
const PULL_BATCH: usize = 1_000;

/// How long one pull request waits at the server.
const PULL_EXPIRES: Duration = Duration::from_secs(30);

/// Longest silence before the scan is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The server forgets the scan's consumer after this time without a pull.
const INACTIVE_THRESHOLD: Duration = Duration::from_mins(1);

/// A message of a stream.
#[derive(Debug, Clone)]
pub struct Scanned {
    /// Where it stands.
    pub position: Position,
    /// On which subject.
    pub subject: String,
    /// When the stream took it.
    pub recorded_at: DateTime<Utc>,
    /// Its headers.
    pub headers: Option<HeaderMap>,
    /// Its body.
    pub data: Bytes,
}

impl Scanned {
    /// The event that it is.
    ///
    /// # Errors
    /// It is none; the error says why.
    pub fn event(&self) -> Result<RecordedEvent, DecodeError> {
        RecordedEvent::read(
            self.position.clone(),
            self.recorded_at,
            &self.subject,
            self.headers.as_ref(),
            self.data.clone(),
        )
    }
}

/// Where a stream begins and ends, as its leader says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Sequence of the first message; above `last` when there is none.
    pub first: u64,
    /// Sequence of the last message that was ever taken; 0 = none was.
    pub last: u64,
    /// How many messages there are.
    pub messages: u64,
}

/// A stream could not be read to its end.
#[derive(Debug, Error)]
pub enum ScanError {
    /// The stream could not be asked for.
    #[error("stream {stream} can't be looked at")]
    Stream {
        /// Which one.
        stream: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// Reading broke off.
    #[error("reading stream {stream} broke off behind {after}")]
    Broken {
        /// Which one.
        stream: String,
        /// The last sequence that was read.
        after: u64,
        /// Why.
        #[source]
        source: BoxError,
    },
}

/// Where `stream` begins and ends now.
///
/// # Errors
/// It is not there, or the server can't be asked.
pub fn ends<'a>(
    connection: &'a Connection,
    stream: &'a str,
) -> BoxFuture<'a, Result<Ends, ScanError>> {
    Box::pin(async move {
        let found = connection.jetstream().get_stream(stream).await;
        let found = found.map_err(|source| ScanError::Stream {
            stream: stream.to_owned(),
            source: source.into(),
        })?;
        let state = &found.cached_info().state;
        Ok(Ends {
            first: state.first_sequence,
            last: state.last_sequence,
            messages: state.messages,
        })
    })
}

/// Hands every message of `stream` up to `last` to `each`, in order.
///
/// # Errors
/// The stream can't be read to there.
pub async fn scan(
    connection: &Connection,
    stream: &str,
    last: u64,
    mut each: impl FnMut(Scanned),
) -> Result<(), ScanError> {
    let broken = |after: u64, source: BoxError| ScanError::Broken {
        stream: stream.to_owned(),
        after,
        source,
    };
    // The last one that was read, and how many were.
    let (mut after, mut delivered) = (0, 0);
    if last == 0 {
        return Ok(());
    }
    let mut messages = open(connection, stream)
        .await
        .map_err(|source| broken(after, source))?;
    while after < last {
        let next = timeout(SILENCE_MAX, messages.next()).await;
        let message = match next {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return Err(broken(after, error.into())),
            Ok(None) => return Err(broken(after, "the consumer is gone".into())),
            Err(_) => return Err(broken(after, "the server is silent".into())),
        };
        let info = message.info().map_err(|error| broken(after, error))?;
        let (sequence, pending) = (info.stream_sequence, info.pending);
        let recorded_at = time_from_nats(info.published);
        delivered += 1;
        if sequence <= after {
            return Err(broken(after, "the server went backwards".into()));
        }
        if info.consumer_sequence != delivered {
            return Err(broken(after, "messages got lost on their way".into()));
        }
        after = sequence;
        if sequence > last {
            break;
        }
        let message = message.message;
        each(Scanned {
            position: Position::new(stream, sequence),
            subject: message.subject.to_string(),
            recorded_at,
            headers: message.headers,
            data: message.payload,
        });
        // What was deleted at the very end never comes.
        if pending == 0 {
            break;
        }
    }
    Ok(())
}

async fn open(connection: &Connection, stream: &str) -> Result<pull::Stream, BoxError> {
    let config = pull::Config {
        name: Some(format!("verify-{}", Uuid::new_v4().simple())),
        description: Some("reads the whole stream once".to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::None,
        inactive_threshold: INACTIVE_THRESHOLD,
        num_replicas: 1,
        memory_storage: true,
        ..pull::Config::default()
    };
    let consumer: PullConsumer = connection
        .jetstream()
        .create_consumer_on_stream(config, stream)
        .await?;
    let messages = consumer
        .stream()
        .max_messages_per_batch(PULL_BATCH)
        .expires(PULL_EXPIRES)
        .messages()
        .await?;
    Ok(messages)
}
