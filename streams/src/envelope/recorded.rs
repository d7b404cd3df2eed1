//! An event as it is stored.

use std::collections::HashMap;

use async_nats::HeaderMap;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use cqrs_es::EventEnvelope;
use kernel::{AggregateId, Decider, Fact, Position};
use uuid::Uuid;

use super::error::{DecodeCause, DecodeError};
use super::{codec, headers};
use crate::subject::EventSubject;

/// Any event as it is stored, its data not decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Where it stands.
    pub position: Position,
    /// `event.<context>[.<kind>].<id>`.
    pub subject: String,
    /// The bounded context.
    pub context: String,
    /// The secondary kind of aggregate, if it is one.
    pub kind: Option<String>,
    /// Which aggregate.
    pub aggregate_id: AggregateId,
    /// UUIDv5 of the command's id and the event's index among that command's events.
    pub id: Uuid,
    /// What happened, in snake case (`order_placed`).
    pub event_type: String,
    /// The schema version that it was written under.
    pub schema_version: u32,
    /// The aggregate's version after it, from 1.
    pub version: u64,
    /// When the command was made.
    pub time: DateTime<Utc>,
    /// When the stream took it. Of an event that was appended just now, which the
    /// acknowledgement doesn't date, it is [`RecordedEvent::time`].
    pub recorded_at: DateTime<Utc>,
    /// The command that it follows from.
    pub command_id: Uuid,
    /// The flow that it belongs to.
    pub correlation_id: Option<String>,
    /// The event or request that caused the command.
    pub causation_id: Option<String>,
    /// Keyed hash of the request, without secrets.
    pub request_digest: Option<String>,
    /// Who made the command.
    pub actor: String,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// The event's data: a JSON object.
    pub data: Bytes,
}

impl RecordedEvent {
    /// Reads a message of a stream as the event that it is.
    ///
    /// # Errors
    /// It is none; the error says which header, or that it is the subject.
    pub fn read(
        position: Position,
        recorded_at: DateTime<Utc>,
        subject: &str,
        headers: Option<&HeaderMap>,
        data: Bytes,
    ) -> Result<Self, DecodeError> {
        let parts = parts(subject, headers);
        let (context, kind, aggregate_id, meta) = match parts {
            Ok(parts) => parts,
            Err(cause) => {
                return Err(DecodeError {
                    position,
                    subject: subject.to_owned(),
                    cause,
                });
            }
        };
        Ok(Self {
            position,
            subject: subject.to_owned(),
            context,
            kind,
            aggregate_id,
            id: meta.id,
            event_type: meta.event_type,
            schema_version: meta.schema_version,
            version: meta.version,
            time: meta.time,
            recorded_at,
            command_id: meta.command_id,
            correlation_id: meta.correlation_id,
            causation_id: meta.causation_id,
            request_digest: meta.request_digest,
            actor: meta.actor,
            traceparent: meta.traceparent,
            data,
        })
    }

    /// The domain event, brought forward from the schema version that it was written under.
    ///
    /// # Errors
    /// It belongs to another type of aggregate, or its body is not what its type says.
    pub fn decode<A: Decider>(&self) -> Result<A::Event, DecodeError> {
        if self.context != A::CONTEXT || self.kind.as_deref() != A::KIND {
            return Err(self.unreadable(DecodeCause::Foreign {
                found: dotted(&self.context, self.kind.as_deref()),
                wanted: dotted(A::CONTEXT, A::KIND),
            }));
        }
        codec::decode::<A>(&self.event_type, self.schema_version, &self.data)
            .map_err(|cause| self.unreadable(cause))
    }

    /// The domain event, of whichever kind of aggregate it is.
    ///
    /// # Errors
    /// It is no event of type `E` as it is written today.
    pub fn decode_as<E: Fact>(&self) -> Result<E, DecodeError> {
        kernel::wire::decode_as(&self.event_type, self.schema_version, &self.data)
            .map_err(|error| self.unreadable(error.into()))
    }

    /// The event as a [`cqrs_es::View`] takes it: `sequence` is the version; the metadata keys are
    /// `event_id`, `event_type`, `time` (RFC 3339), `position`, `command_id`, `actor`, and
    /// `correlation_id` and `causation_id` where there are such.
    ///
    /// # Errors
    /// As [`RecordedEvent::decode`].
    pub fn envelope<A: Decider>(&self) -> Result<EventEnvelope<A>, DecodeError> {
        Ok(EventEnvelope {
            aggregate_id: self.aggregate_id.to_string(),
            sequence: usize::try_from(self.version).unwrap_or(usize::MAX),
            payload: self.decode::<A>()?,
            metadata: self.metadata(),
        })
    }

    /// That this event can't be read, because of `cause`.
    pub(crate) fn unreadable(&self, cause: DecodeCause) -> DecodeError {
        DecodeError {
            position: self.position.clone(),
            subject: self.subject.clone(),
            cause,
        }
    }

    fn metadata(&self) -> HashMap<String, String> {
        let time = self.time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        // For all eight: one that grows hashes what it has once more.
        let mut metadata = HashMap::with_capacity(8);
        metadata.extend([
            ("event_id".to_owned(), self.id.to_string()),
            ("event_type".to_owned(), self.event_type.clone()),
            ("time".to_owned(), time),
            ("position".to_owned(), self.position.to_string()),
            ("command_id".to_owned(), self.command_id.to_string()),
            ("actor".to_owned(), self.actor.clone()),
        ]);
        for (key, value) in [
            ("correlation_id", &self.correlation_id),
            ("causation_id", &self.causation_id),
        ] {
            if let Some(value) = value {
                metadata.insert(key.to_owned(), value.clone());
            }
        }
        metadata
    }
}

type Parts = (String, Option<String>, AggregateId, headers::Metadata);

fn parts(subject: &str, headers: Option<&HeaderMap>) -> Result<Parts, DecodeCause> {
    let parsed = EventSubject::parse(subject).ok_or(DecodeCause::Subject)?;
    let id = parsed.id.parse().map_err(|_| DecodeCause::Subject)?;
    let none = HeaderMap::new();
    let metadata = headers::read(headers.unwrap_or(&none))?;
    let kind = parsed.kind.map(str::to_owned);
    Ok((parsed.context.to_owned(), kind, id, metadata))
}

fn dotted(context: &str, kind: Option<&str>) -> String {
    kind.map_or_else(|| context.to_owned(), |kind| format!("{context}.{kind}"))
}

/// UUIDv5 in the namespace of the command's id; the name is the index in decimal.
pub(crate) fn event_id(command_id: Uuid, index: usize) -> Uuid {
    Uuid::new_v5(&command_id, index.to_string().as_bytes())
}

/// A time in the type that the stream has; `None` = beyond what that can say.
pub(crate) fn time_to_nats(time: DateTime<Utc>) -> Option<async_nats::datetime::DateTime> {
    async_nats::datetime::DateTime::from_unix_timestamp(time.timestamp()).ok()
}

/// The stream's own time in the type that the rest of the system uses.
pub(crate) fn time_from_nats(time: async_nats::datetime::DateTime) -> DateTime<Utc> {
    DateTime::from_timestamp(time.unix_timestamp(), time.nanosecond()).unwrap_or_default()
}
