//! What a durable hands out: the event, and how to acknowledge it.

use std::time::Duration;

use async_nats::jetstream::message::Info;
use async_nats::jetstream::{AckKind, Message};
use async_nats::{Client, HeaderMap, Request, Subject};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use kernel::Position;
use thiserror::Error;
use tokio::time::{Instant, timeout};

use crate::envelope::{self, DecodeError, RecordedEvent, time_from_nats};
use crate::subject::EventSubject;
use crate::topology::Acks;

/// How long one acknowledgement may take before it counts as unknown.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest pause that [`Delivery::retry_after`] takes; longer waits are timers (architecture).
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);

/// One delivery of one message: acknowledge it, or it comes again.
#[derive(Debug)]
pub struct Delivery<T = RecordedEvent> {
    /// What was delivered.
    pub event: T,
    /// Where it stands in its stream.
    pub position: Position,
    /// How often the server has delivered it, from 1.
    pub delivered: u64,
    /// When this process got it.
    pub arrived: Instant,
    acks: Acks,
    /// The message and whom to tell; `None`: it comes from stream PARKED, where nobody waits.
    from: Option<(Box<Message>, Subject)>,
}

/// A message that is not what its stream should hold.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// The lane that it belongs to, as far as that can be told.
    pub(crate) key: String,
    /// What is wrong with it.
    pub(crate) error: DecodeError,
}

/// What came through a durable.
#[derive(Debug)]
pub(crate) enum Received<T> {
    /// What should.
    Readable(Delivery<T>),
    /// Something else.
    Unreadable(Delivery<Unreadable>),
}

/// Why an acknowledgement is not known to have arrived. The event comes again then.
#[derive(Debug, Error)]
#[error("acknowledgement of {position} is not confirmed")]
pub struct AckError {
    /// Which delivery.
    pub position: Position,
    /// What the client says.
    #[source]
    source: async_nats::Error,
}

impl<T> Delivery<T> {
    /// `None` when there is nobody to acknowledge to: it was no delivery then.
    pub(super) fn new(
        event: T,
        position: Position,
        (delivered, acks): (u64, Acks),
        message: Message,
    ) -> Option<Self> {
        let reply = message.reply.clone()?;
        Some(Self {
            event,
            position,
            delivered,
            arrived: Instant::now(),
            acks,
            from: Some((Box::new(message), reply)),
        })
    }

    /// One that was set aside and is handled now.
    pub(crate) fn parked(event: T, position: Position, delivered: u64) -> Self {
        Self {
            event,
            position,
            delivered,
            arrived: Instant::now(),
            acks: Acks::Each,
            from: None,
        }
    }

    /// The message as it came; `None` when it didn't come from a durable.
    pub(crate) fn raw(&self) -> Option<RawMessage<'_>> {
        let (message, _) = self.from.as_ref()?;
        raw(message).map(|(raw, _)| raw)
    }

    /// When the server stored it: what tells it from another that took its place.
    pub(crate) fn stored_at(&self) -> Option<DateTime<Utc>> {
        self.raw().map(|raw| raw.recorded_at)
    }

    /// Acknowledges and waits until the server has confirmed it. Asking twice is harmless. Where a
    /// durable is acknowledged in bulk its worker does that later, and this does nothing.
    ///
    /// # Errors
    /// The server did not answer: the event may come again.
    pub async fn ack(&self) -> Result<(), AckError> {
        match (self.receipt(), self.acks) {
            (None, _) | (_, Acks::InBulk) => Ok(()),
            (Some(receipt), Acks::Each) => receipt.ack().await,
        }
    }

    /// Acknowledges without waiting for a confirmation, which would say little: the server keeps what
    /// is acknowledged in memory for a while. Whatever is not known to be acknowledged comes again, and
    /// a handler takes that lightly. Where a durable is acknowledged in bulk, as [`Self::ack`].
    ///
    /// # Errors
    /// The connection is closed: the event comes again.
    pub(crate) async fn ack_unconfirmed(&self) -> Result<(), AckError> {
        match self.acks {
            Acks::Each => self.say(AckKind::Ack).await,
            Acks::InBulk => Ok(()),
        }
    }

    /// What acknowledges it, without what was delivered.
    pub(crate) fn receipt(&self) -> Option<Receipt> {
        let (message, reply) = self.from.as_ref()?;
        Some(Receipt {
            client: message.context.client(),
            position: self.position.clone(),
            stored_at: self.stored_at(),
            reply: reply.clone(),
        })
    }

    /// Gives it back: it comes again after `pause`, at most a minute. Later events of its key
    /// overtake it; a handler that minds returns an error instead and is retried in place.
    ///
    /// # Errors
    /// The connection is closed: it comes again anyway, after the acknowledgement time.
    pub async fn retry_after(&self, pause: Duration) -> Result<(), AckError> {
        self.say(AckKind::Nak(Some(pause.min(RETRY_AFTER_MAX))))
            .await
    }

    /// "Still working": the acknowledgement time starts anew. Where a durable is acknowledged in bulk
    /// this does nothing: what comes again is recognized.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn progress(&self) -> Result<(), AckError> {
        match self.acks {
            Acks::Each => self.say(AckKind::Progress).await,
            Acks::InBulk => Ok(()),
        }
    }

    async fn say(&self, kind: AckKind) -> Result<(), AckError> {
        let Some((message, reply)) = &self.from else {
            return Ok(());
        };
        let client = message.context.client();
        // While the connection is away there may be no room for more, for as long as that takes.
        let said = timeout(ACK_TIMEOUT, client.publish(reply.clone(), kind.into())).await;
        let said = said.map_err(|late| self.unconfirmed(late))?;
        said.map_err(|e| self.unconfirmed(e))
    }

    fn unconfirmed(&self, source: impl Into<async_nats::Error>) -> AckError {
        AckError {
            position: self.position.clone(),
            source: source.into(),
        }
    }
}

/// Acknowledges one delivery, or all up to it: as the durable has it.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    client: Client,
    pub(crate) position: Position,
    /// When the server stored what it is about.
    pub(crate) stored_at: Option<DateTime<Utc>>,
    reply: Subject,
}

impl Receipt {
    /// Waits until the server has confirmed it.
    pub(crate) async fn ack(&self) -> Result<(), AckError> {
        // async-nats's `double_ack` takes "nobody listens" for a confirmation; a request doesn't.
        let request = Request::new()
            .payload(AckKind::Ack.into())
            .timeout(Some(ACK_TIMEOUT));
        let unconfirmed = |source| AckError {
            position: self.position.clone(),
            source,
        };
        let answer = self.client.send_request(self.reply.clone(), request);
        let answer = timeout(ACK_TIMEOUT, answer).await;
        let answer = answer.map_err(|late| unconfirmed(late.into()))?;
        answer
            .map(|_| ())
            .map_err(|source| unconfirmed(source.into()))
    }
}

/// A message as the server stores it, before it is decoded.
#[derive(Debug)]
pub struct RawMessage<'a> {
    /// Where it stands.
    pub position: Position,
    /// When the server stored it.
    pub recorded_at: DateTime<Utc>,
    /// The subject.
    pub subject: &'a str,
    pub(crate) headers: Option<&'a HeaderMap>,
    /// The body.
    pub payload: Bytes,
}

/// The stored message in a delivery; `None` when it is no delivery.
pub(crate) fn raw(message: &Message) -> Option<(RawMessage<'_>, Info<'_>)> {
    let info = message.info().ok()?;
    let raw = RawMessage {
        position: Position::new(info.stream, info.stream_sequence),
        recorded_at: time_from_nats(info.published),
        subject: message.subject.as_str(),
        headers: message.headers.as_ref(),
        payload: message.payload.clone(),
    };
    Some((raw, info))
}

/// What can come through a durable: events, and due timers.
pub trait Payload: Send + Sync + Sized + 'static {
    /// Decodes.
    ///
    /// # Errors
    /// The message is not of this kind.
    fn read(message: &RawMessage<'_>) -> Result<Self, DecodeError>;

    /// Deliveries of one lane key are handled one after another and in order.
    fn lane_key(&self) -> &str;

    /// The lane key of a message that can't be read, as far as it tells.
    fn lane_key_of(message: &RawMessage<'_>) -> String;
}

impl Payload for RecordedEvent {
    fn read(message: &RawMessage<'_>) -> Result<Self, DecodeError> {
        read_event(message)
    }

    /// The correlation id, else the aggregate's own id.
    fn lane_key(&self) -> &str {
        self.correlation_id
            .as_deref()
            .unwrap_or_else(|| self.aggregate_id.as_str())
    }

    /// The correlation id, else the aggregate's id as its subject says, else the subject.
    fn lane_key_of(message: &RawMessage<'_>) -> String {
        let correlation_id = message.headers.and_then(envelope::correlation_id);
        let id = || EventSubject::parse(message.subject).map(|subject| subject.id);
        let key = correlation_id.or_else(id).unwrap_or(message.subject);
        key.to_owned()
    }
}

pub(super) fn read_event(message: &RawMessage<'_>) -> Result<RecordedEvent, DecodeError> {
    RecordedEvent::read(
        message.position.clone(),
        message.recorded_at,
        message.subject,
        message.headers,
        message.payload.clone(),
    )
}
