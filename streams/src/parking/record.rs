//! One message of stream PARKED, both ways.

use std::str::FromStr;

use async_nats::HeaderMap;
use async_nats::header::HeaderName;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use kernel::Position;
use serde::{Deserialize, Serialize};

use super::Place;
use crate::subscription::RawMessage;

/// Headers of the server: they told it what to do with the original, and must not do it again.
const SERVER_PREFIX: &str = "nats-";

/// Headers of the copy that tell why it is there, in small letters.
const OUR_PREFIX: &str = "parked-";

const POSITION: &str = "Parked-Position";
const SUBJECT: &str = "Parked-Subject";
const RECORDED_AT: &str = "Parked-Recorded-At";
const CAUSE: &str = "Parked-Cause";
const ATTEMPTS: &str = "Parked-Attempts";

/// Longest cause in a header, in characters.
const CAUSE_LENGTH_MAX: usize = 1000;

/// One entry in the history of a parked key.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where it stands in stream PARKED.
    pub sequence: u64,
    /// When the server stored it.
    pub at: DateTime<Utc>,
    /// Whose (`checkout-order`).
    pub subscription: String,
    /// Of which key.
    pub key: String,
    /// What happened.
    pub what: What,
}

/// What a record says.
#[derive(Debug, Clone)]
pub enum What {
    /// An event was set aside.
    Parked(ParkedEvent),
    /// Anything else.
    Note(Note),
}

/// A message of another stream as it was, with the reason why it is here.
#[derive(Debug, Clone)]
pub struct ParkedEvent {
    /// Where it stands in its own stream.
    pub position: Position,
    /// Its subject there.
    pub subject: String,
    /// When its stream took it.
    pub recorded_at: DateTime<Utc>,
    /// Why it was set aside, in words.
    pub cause: String,
    /// How often it had been tried; 0 = another one of its key held it up.
    pub attempts: u32,
    /// Its own headers, without the server's.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub payload: Bytes,
}

/// What people ask for, and what the role did about it; JSON on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Note {
    /// A person asks for another try.
    Retry {
        /// Who.
        by: String,
        /// Why, if they said so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A person takes the first waiting event out, and asks for the rest to be handled.
    Skip {
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// Which event: nothing happens when it waits no more.
        position: Position,
    },
    /// A process of the role has begun, or is still at it.
    Trying {},
    /// An event was handled.
    Handled {
        /// Which.
        position: Position,
    },
    /// An event could still not be handled: the key stays parked.
    Failed {
        /// Which.
        position: Position,
        /// Why.
        cause: String,
    },
    /// Nothing waits any more: from here on the key's events are handled as they come.
    Done {},
}

impl Note {
    /// Is it for people to write?
    pub(super) fn is_asked(&self) -> bool {
        match self {
            Self::Retry { .. } | Self::Skip { .. } => true,
            Self::Trying {} | Self::Handled { .. } | Self::Failed { .. } | Self::Done {} => false,
        }
    }
}

impl ParkedEvent {
    /// A message that is to be set aside.
    pub(crate) fn of(message: &RawMessage<'_>, cause: &str, attempts: u32) -> Self {
        let headers = without(message.headers, SERVER_PREFIX);
        Self {
            position: message.position.clone(),
            subject: message.subject.to_owned(),
            recorded_at: message.recorded_at,
            cause: cause.to_owned(),
            attempts,
            headers,
            payload: message.payload.clone(),
        }
    }

    /// The message as it stands in its own stream.
    pub(crate) fn message(&self) -> RawMessage<'_> {
        RawMessage {
            position: self.position.clone(),
            recorded_at: self.recorded_at,
            subject: &self.subject,
            headers: Some(&self.headers),
            payload: self.payload.clone(),
        }
    }

    /// W3C trace context of the event, if it carries one.
    pub fn traceparent(&self) -> Option<&str> {
        self.header("traceparent")
    }

    /// What kind of event it says it is (`millrace.order_placed.v1`).
    pub fn event_type(&self) -> Option<&str> {
        self.header("ce-type")
    }

    fn header(&self, name: &'static str) -> Option<&str> {
        let value = self.headers.get(HeaderName::from_static(name));
        value.map(async_nats::HeaderValue::as_str)
    }

    /// Headers of the copy.
    pub(super) fn write(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        let recorded_at = self
            .recorded_at
            .to_rfc3339_opts(SecondsFormat::AutoSi, true);
        headers.insert(POSITION, self.position.to_string().as_str());
        headers.insert(SUBJECT, printable(&self.subject).as_str());
        headers.insert(RECORDED_AT, recorded_at.as_str());
        headers.insert(CAUSE, printable(&self.cause).as_str());
        headers.insert(ATTEMPTS, self.attempts.to_string().as_str());
        headers
    }

    fn read(message: &RawMessage<'_>) -> Option<Self> {
        let headers = message.headers?;
        Some(Self {
            position: parsed(headers, POSITION)?,
            subject: parsed(headers, SUBJECT)?,
            recorded_at: parsed(headers, RECORDED_AT)?,
            cause: parsed(headers, CAUSE)?,
            attempts: parsed(headers, ATTEMPTS)?,
            headers: without(Some(headers), OUR_PREFIX),
            payload: message.payload.clone(),
        })
    }
}

fn parsed<T: FromStr>(headers: &HeaderMap, name: &'static str) -> Option<T> {
    headers.get(name)?.as_str().parse().ok()
}

/// The headers whose names don't begin like that, nor like the server's own.
fn without(headers: Option<&HeaderMap>, prefix: &str) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
        let lower = name.to_string().to_ascii_lowercase();
        if lower.starts_with(prefix) || lower.starts_with(SERVER_PREFIX) {
            continue;
        }
        for value in values {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// What a header takes: one line of ASCII, bounded.
fn printable(text: &str) -> String {
    let plain = |c: char| if matches!(c, ' '..='~') { c } else { '?' };
    text.chars().map(plain).take(CAUSE_LENGTH_MAX).collect()
}

impl Record {
    /// Reads a message of stream PARKED; `None` when it is none of ours.
    pub(super) fn read(message: &RawMessage<'_>) -> Option<Self> {
        let place = Place::parse(message.subject)?;
        let what = match ParkedEvent::read(message) {
            Some(event) if !place.asked => What::Parked(event),
            Some(_) => return None,
            None => {
                let note: Note = serde_json::from_slice(&message.payload).ok()?;
                if note.is_asked() != place.asked {
                    return None;
                }
                What::Note(note)
            }
        };
        Some(Self {
            sequence: message.position.sequence,
            at: message.recorded_at,
            subscription: place.subscription,
            key: place.key,
            what,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parking::subject;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_message_comes_back_as_it_was_without_the_servers_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("ce-type", "millrace.order_placed.v1");
        headers.insert("traceparent", TRACE);
        headers.insert("Nats-Msg-Id", "1");
        headers.insert("nats-schedule", "@at 2026-01-01T00:00:00Z");
        let original = RawMessage {
            position: Position::new("ORDER", 7),
            recorded_at: Utc::now(),
            subject: "event.order.o-1",
            headers: Some(&headers),
            payload: Bytes::from_static(b"{}"),
        };
        let parked = ParkedEvent::of(&original, "no\r\nsuch thing", 3);
        let written = parked.write();
        let copy = RawMessage {
            position: Position::new("PARKED", 1),
            recorded_at: Utc::now(),
            subject: &subject("mailer", "o-1"),
            headers: Some(&written),
            payload: parked.payload.clone(),
        };
        let record = Record::read(&copy).unwrap();
        let What::Parked(back) = record.what else {
            panic!("it is an event");
        };
        assert_eq!((back.cause.as_str(), back.attempts), ("no??such thing", 3));
        assert_eq!(back.traceparent(), Some(TRACE));
        assert_eq!(back.event_type(), Some("millrace.order_placed.v1"));
        let back = back.message();
        assert_eq!(back.position, original.position);
        assert_eq!(back.recorded_at, original.recorded_at);
        assert_eq!(back.subject, original.subject);
        assert_eq!(back.headers.unwrap().len(), 2, "{:?}", back.headers);
    }

    #[test]
    fn a_role_can_not_ask_and_a_person_can_not_do() {
        let note = |subject: &str, note: &Note| {
            let message = RawMessage {
                position: Position::new("PARKED", 1),
                recorded_at: Utc::now(),
                subject,
                headers: None,
                payload: serde_json::to_vec(note).unwrap().into(),
            };
            Record::read(&message).is_some()
        };
        let ask = Note::Retry {
            by: "ada".to_owned(),
            reason: None,
        };
        assert!(note("parked.mailer.o-1.asked", &ask));
        assert!(!note("parked.mailer.o-1", &ask));
        assert!(note("parked.mailer.o-1", &Note::Done {}));
        assert!(!note("parked.mailer.o-1.asked", &Note::Done {}));
    }
}
