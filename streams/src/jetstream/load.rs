//! Reads by exact subject, and asks the leader.

use async_nats::client::RequestErrorKind;
use async_nats::header::{
    HeaderName, NATS_LAST_SEQUENCE, NATS_MESSAGE_ID, NATS_SEQUENCE, NATS_SUBJECT, NATS_TIME_STAMP,
};
use async_nats::jetstream::stream::{RawMessage, State};
use async_nats::{HeaderMap, Message, Request, Subscriber};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use kernel::Position;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout, timeout_at};

use super::JetStreamLog;
use super::answer::ApiError;
use crate::connection::ANSWER_TIMEOUT;
use crate::envelope::{self, RecordedEvent, time_from_nats};
use crate::log::{BoxError, Last, NewEvent, Page, ReadError, StreamState};
use crate::resolve::Next;

/// Status of the message that ends a batch.
const END_OF_BATCH: u16 = 204;

/// Status of the answer that nothing matches.
const NOT_FOUND: u16 = 404;

/// JetStream's number for "no message found".
const NO_MESSAGE_FOUND: u64 = 10037;

/// How many are left after a batch; async-nats has no name for it.
const PENDING: &str = "Nats-Num-Pending";

/// Which events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) stream: &'a str,
    pub(super) subject: &'a str,
    pub(super) after: u64,
    pub(super) max: usize,
}

#[derive(Serialize)]
struct DirectGet<'a> {
    seq: u64,
    next_by_subj: &'a str,
    batch: usize,
}

/// A batched direct get (ADR-31) by exact subject.
///
/// A message that got lost on the way shows in the next one's `Nats-Last-Sequence`, or at the end:
/// what came before it is given back, and `more` says to ask again.
pub(super) async fn read(log: &JetStreamLog, ask: Ask<'_>) -> Result<Page, ReadError> {
    let request = DirectGet {
        seq: ask.after + 1,
        next_by_subj: ask.subject,
        batch: ask.max,
    };
    let payload = serde_json::to_vec(&request).map_err(unavailable)?;
    let inbox = log.client.new_inbox();
    let subject = format!("$JS.API.DIRECT.GET.{}", ask.stream);
    let client = &log.client;
    let asked = async {
        let answers = client.subscribe(inbox.clone()).await;
        let answers = answers.map_err(unavailable)?;
        let asked = client.publish_with_reply(subject, inbox, payload.into());
        asked.await.map_err(unavailable)?;
        Ok(answers)
    };
    let mut answers = in_time(asked).await?;
    collect(&mut answers, ask).await
}

/// A direct get of the last message, by subject: no message in between is looked at.
pub(super) async fn last_event(
    log: &JetStreamLog,
    stream: &str,
    subject: &str,
) -> Result<Option<RecordedEvent>, ReadError> {
    let address = format!("$JS.API.DIRECT.GET.{stream}.{subject}");
    let request = Request::new()
        .payload(Bytes::new())
        .timeout(Some(ANSWER_TIMEOUT));
    let answer = async {
        let answer = log.client.send_request(address, request).await;
        answer.map_err(unavailable)
    };
    match Answer::read(in_time(answer).await?)? {
        Answer::Event(message, link) => event(stream, &message, link.sequence).map(Some),
        Answer::Nothing => Ok(None),
        Answer::End { .. } => Err(unavailable("a direct get without a message")),
    }
}

/// What `asked` comes to. The client's own time-out begins when a question is on its way, and while the
/// connection is away it may be long before there is room for it.
async fn in_time<T>(asked: impl Future<Output = Result<T, ReadError>>) -> Result<T, ReadError> {
    let answer = timeout(ANSWER_TIMEOUT, asked).await;
    answer.unwrap_or_else(|_late| Err(unavailable("no answer in time")))
}

async fn collect(answers: &mut Subscriber, ask: Ask<'_>) -> Result<Page, ReadError> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    let mut page = Page::default();
    // What the first message calls the previous one.
    let mut previous = 0;
    loop {
        let answer = match timeout_at(deadline, answers.next()).await {
            Ok(Some(message)) => Answer::read(message),
            // The end got lost: what is there is there.
            Ok(None) | Err(_) if !page.events.is_empty() => break,
            Ok(None) | Err(_) => return Err(unavailable("no answer to a direct get")),
        };
        match answer? {
            Answer::Nothing => return Ok(page),
            Answer::End { last, pending } => {
                page.more = pending > 0 || last != previous;
                if page.more && page.events.is_empty() {
                    break;
                }
                return Ok(page);
            }
            Answer::Event(message, link) => {
                if link.previous != previous {
                    break;
                }
                previous = link.sequence;
                page.events
                    .push(event(ask.stream, &message, link.sequence)?);
            }
        }
    }
    if page.events.is_empty() {
        return Err(unavailable("an event got lost on the way"));
    }
    page.more = true;
    Ok(page)
}

/// How a message of a batch is linked to the one before.
struct Link {
    sequence: u64,
    previous: u64,
}

enum Answer {
    Event(Box<Message>, Link),
    End { last: u64, pending: u64 },
    Nothing,
}

impl Answer {
    fn read(message: Message) -> Result<Self, ReadError> {
        let headers = message.headers.as_ref();
        let number = |name| header(headers, name).and_then(|text| text.parse::<u64>().ok());
        match message.status.map(|status| status.as_u16()) {
            Some(END_OF_BATCH) => Ok(Self::End {
                last: number(NATS_LAST_SEQUENCE).unwrap_or(0),
                pending: number(HeaderName::from_static(PENDING)).unwrap_or(0),
            }),
            Some(NOT_FOUND) => Ok(Self::Nothing),
            Some(status) => {
                let description = message.description.as_deref().unwrap_or("no description");
                let text = format!("direct get answered {status}: {description}");
                Err(unavailable(text))
            }
            None => {
                let link = number(NATS_SEQUENCE).map(|sequence| Link {
                    sequence,
                    previous: number(NATS_LAST_SEQUENCE).unwrap_or(0),
                });
                let link = link.ok_or_else(|| unavailable("a direct get without sequence"))?;
                Ok(Self::Event(Box::new(message), link))
            }
        }
    }
}

fn event(stream: &str, message: &Message, sequence: u64) -> Result<RecordedEvent, ReadError> {
    let headers = message.headers.as_ref();
    let recorded_at = header(headers, NATS_TIME_STAMP)
        .and_then(|time| time.parse::<DateTime<Utc>>().ok())
        .ok_or_else(|| unavailable("a direct get without time"))?;
    let subject = header(headers, NATS_SUBJECT).unwrap_or(message.subject.as_str());
    let position = Position::new(stream, sequence);
    let data = message.payload.clone();
    Ok(RecordedEvent::read(
        position,
        recorded_at,
        subject,
        headers,
        data,
    )?)
}

fn header(headers: Option<&HeaderMap>, name: HeaderName) -> Option<&str> {
    headers?.get(name).map(async_nats::HeaderValue::as_str)
}

#[derive(Serialize, Default)]
struct LeaderGet<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_by_subj: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_by_subj: Option<&'a str>,
}

#[derive(Deserialize)]
struct LeaderAnswer {
    error: Option<ApiError>,
    message: Option<RawMessage>,
}

/// The last message on a subject, as the leader knows it.
pub(super) async fn last(
    log: &JetStreamLog,
    stream: &str,
    subject: &str,
) -> Result<Last, ReadError> {
    let request = LeaderGet {
        last_by_subj: Some(subject),
        ..LeaderGet::default()
    };
    let Some(raw) = leader(log, stream, &request).await? else {
        return Ok(Last::default());
    };
    let sequence = raw.sequence;
    // Whatever somebody put there by hand, it is the last.
    let id = stored(raw)
        .ok()
        .and_then(|message| envelope::id(&message.headers));
    Ok(Last {
        sequence,
        id: id.unwrap_or_default(),
    })
}

/// The event at a position, as the leader knows it.
pub(super) async fn event_at(
    log: &JetStreamLog,
    position: &Position,
) -> Result<Option<RecordedEvent>, ReadError> {
    let request = LeaderGet {
        seq: Some(position.sequence),
        ..LeaderGet::default()
    };
    let Some(raw) = leader(log, &position.stream, &request).await? else {
        return Ok(None);
    };
    let message = stored(raw)?;
    let event = RecordedEvent::read(
        position.clone(),
        time_from_nats(message.time),
        message.subject.as_str(),
        Some(&message.headers),
        message.payload,
    )?;
    Ok(Some(event))
}

/// What follows the expected position of `new`, as the leader knows it.
pub(super) async fn next(log: &JetStreamLog, new: &NewEvent) -> Result<Option<Next>, BoxError> {
    let request = LeaderGet {
        seq: Some(new.expected + 1),
        next_by_subj: Some(&new.event.subject),
        ..LeaderGet::default()
    };
    let Some(raw) = leader(log, &new.event.position.stream, &request).await? else {
        return Ok(None);
    };
    let sequence = raw.sequence;
    let message = stored(raw)?;
    let id = header(Some(&message.headers), NATS_MESSAGE_ID).and_then(|id| id.parse().ok());
    Ok(Some(Next { sequence, id }))
}

/// What stream there is, as its leader says.
pub(super) async fn state(log: &JetStreamLog, stream: &str) -> Result<StreamState, ReadError> {
    let info = log.context.get_stream(stream).await.map_err(unavailable)?;
    let info = info.cached_info();
    let State {
        first_sequence,
        last_sequence,
        ..
    } = info.state;
    Ok(StreamState {
        created: time_from_nats(info.created),
        first: first_sequence,
        last: last_sequence,
    })
}

async fn leader(
    log: &JetStreamLog,
    stream: &str,
    request: &LeaderGet<'_>,
) -> Result<Option<RawMessage>, ReadError> {
    let payload = serde_json::to_vec(request).map_err(unavailable)?;
    let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
    let answer = async {
        let answer = log.client.request(subject, payload.into()).await;
        answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => unavailable("the stream has no leader now"),
            RequestErrorKind::TimedOut
            | RequestErrorKind::InvalidSubject
            | RequestErrorKind::MaxPayloadExceeded
            | RequestErrorKind::Other => unavailable(error),
        })
    };
    let answer = in_time(answer).await?;
    let answer: LeaderAnswer = serde_json::from_slice(&answer.payload).map_err(unavailable)?;
    match answer.error {
        Some(error) if error.err_code == NO_MESSAGE_FOUND => Ok(None),
        Some(error) => Err(unavailable(error)),
        None => Ok(answer.message),
    }
}

fn stored(raw: RawMessage) -> Result<async_nats::jetstream::message::StreamMessage, ReadError> {
    raw.try_into().map_err(ReadError::Unavailable)
}

fn unavailable(reason: impl Into<BoxError>) -> ReadError {
    ReadError::Unavailable(reason.into())
}
