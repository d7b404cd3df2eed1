//! Every message of a stream as it stands.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer};
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::RawMessageErrorKind;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use futures::future::BoxFuture;
use kernel::Position;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};
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

/// How long it is tried again where no message comes of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Before it is tried again.
const PAUSE: Duration = Duration::from_millis(250);

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
    /// There is no such stream.
    #[error("there is no stream {stream}")]
    Missing {
        /// Which one.
        stream: String,
    },
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
        let found = found.map_err(|source| {
            let stream = stream.to_owned();
            if is_missing(&source) {
                return ScanError::Missing { stream };
            }
            let source = source.into();
            ScanError::Stream { stream, source }
        })?;
        let state = &found.cached_info().state;
        Ok(Ends {
            first: state.first_sequence,
            last: state.last_sequence,
            messages: state.messages,
        })
    })
}

fn is_missing(error: &GetStreamError) -> bool {
    let missing = ErrorCode::STREAM_NOT_FOUND;
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == missing)
}

/// Hands every message of `stream` up to `last` to `each`, in order, each once. Where reading breaks off, as
/// while a cluster elects, it goes on behind the last message that came.
///
/// # Errors
/// The stream can't be read to there, however often that is tried.
pub async fn scan(
    connection: &Connection,
    stream: &str,
    last: u64,
    mut each: impl FnMut(Scanned),
) -> Result<(), ScanError> {
    let (mut after, mut since) = (0, Instant::now());
    loop {
        let before = after;
        let read = read_on(connection, stream, (&mut after, last), &mut each).await;
        let Err(source) = read else {
            return Ok(());
        };
        if after > before {
            since = Instant::now();
        } else if since.elapsed() >= PATIENCE {
            let stream = stream.to_owned();
            return Err(ScanError::Broken {
                stream,
                after,
                source,
            });
        }
        sleep(PAUSE).await;
    }
}

/// Reads behind `after`, which moves on with every message.
async fn read_on(
    connection: &Connection,
    stream: &str,
    (after, last): (&mut u64, u64),
    each: &mut impl FnMut(Scanned),
) -> Result<(), BoxError> {
    if *after >= last {
        return Ok(());
    }
    let consumer = open(connection, stream, *after + 1).await?;
    if consumer.cached_info().num_pending == 0 {
        return ended(connection, stream, *after).await;
    }
    let mut messages = consumer
        .stream()
        .max_messages_per_batch(PULL_BATCH)
        .expires(PULL_EXPIRES)
        .messages()
        .await?;
    let mut delivered = 0;
    while *after < last {
        let message = timeout(SILENCE_MAX, messages.next())
            .await
            .map_err(|_| "the server is silent")?
            .ok_or("the consumer is gone")??;
        let info = message.info()?;
        let (sequence, pending) = (info.stream_sequence, info.pending);
        let recorded_at = time_from_nats(info.published);
        delivered += 1;
        if sequence <= *after {
            return Err("the server went backwards".into());
        }
        if info.consumer_sequence != delivered {
            return Err("messages got lost on their way".into());
        }
        if sequence > last {
            break;
        }
        *after = sequence;
        let message = message.message;
        each(Scanned {
            position: Position::new(stream, sequence),
            subject: message.subject.to_string(),
            recorded_at,
            headers: message.headers,
            data: message.payload,
        });
        // What was deleted at the very end never comes.
        if pending == 0 && *after < last {
            return ended(connection, stream, *after).await;
        }
    }
    Ok(())
}

/// Is there nothing behind `after`? The consumer's node may itself be behind, so the stream's leader is asked.
async fn ended(connection: &Connection, stream: &str, after: u64) -> Result<(), BoxError> {
    let found = connection.jetstream().get_stream(stream).await?;
    let next = found.get_first_raw_message_by_subject(">", after + 1).await;
    match next.map_err(|error| (error.kind(), error)) {
        Ok(_) => Err("the node that was read from is behind".into()),
        Err((RawMessageErrorKind::NoMessageFound, _)) => Ok(()),
        Err((_, error)) => Err(error.into()),
    }
}

/// A consumer from `start_sequence` on.
async fn open(
    connection: &Connection,
    stream: &str,
    start_sequence: u64,
) -> Result<PullConsumer, BoxError> {
    let config = pull::Config {
        name: Some(format!("verify-{}", Uuid::new_v4().simple())),
        description: Some("reads the whole stream once".to_owned()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
        ack_policy: AckPolicy::None,
        inactive_threshold: INACTIVE_THRESHOLD,
        num_replicas: 1,
        memory_storage: true,
        ..pull::Config::default()
    };
    let jetstream = connection.jetstream();
    Ok(jetstream.create_consumer_on_stream(config, stream).await?)
}
