//! Metadata as NATS headers, both ways.

use std::str::FromStr;

use async_nats::header::{HeaderName, NATS_MESSAGE_ID};
use async_nats::{HeaderMap, HeaderValue};
use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

use super::error::{DecodeCause, EncodeError};
use super::recorded::RecordedEvent;

/// Longest value that a caller may put into a header, in bytes: all of them stay far below the
/// server's 64 KiB.
const HEADER_VALUE_BYTES_MAX: usize = 1024;

const CONTENT_TYPE: &str = "content-type";
const SPEC_VERSION: &str = "ce-specversion";
const ID: &str = "ce-id";
const TYPE: &str = "ce-type";
const SOURCE: &str = "ce-source";
const SUBJECT: &str = "ce-subject";
const TIME: &str = "ce-time";
const VERSION: &str = "ce-version";
const COMMAND_ID: &str = "ce-commandid";
const CORRELATION_ID: &str = "ce-correlationid";
const CAUSATION_ID: &str = "ce-causationid";
const REQUEST_DIGEST: &str = "ce-requestdigest";
const ACTOR: &str = "ce-actor";
pub(crate) const TRACEPARENT: &str = "traceparent";

/// What `ce-type` starts with.
const TYPE_PREFIX: &str = "millrace.";

/// What `ce-source` starts with.
const SOURCE_PREFIX: &str = "/millrace/";

/// Puts the metadata of an event into headers.
pub(crate) fn write(event: &RecordedEvent) -> Result<HeaderMap, EncodeError> {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, hyphenated(event.id));
    let mut put = |header, value: String| {
        headers.insert(HeaderName::from_static(header), HeaderValue::from(value));
    };
    put(ID, hyphenated(event.id));
    put(SPEC_VERSION, "1.0".to_owned());
    put(CONTENT_TYPE, "application/json".to_owned());
    let (name, schema_version) = (&event.event_type, event.schema_version);
    if !is_event_type(name) {
        let event_type = name.clone();
        return Err(EncodeError::EventType { event_type });
    }
    put(
        TYPE,
        fit(TYPE, format!("{TYPE_PREFIX}{name}.v{schema_version}"))?,
    );
    put(
        SOURCE,
        fit(SOURCE, [SOURCE_PREFIX, &event.context].concat())?,
    );
    put(
        SUBJECT,
        fit(SUBJECT, event.aggregate_id.as_str().to_owned())?,
    );
    let time = event.time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    put(TIME, time);
    put(VERSION, event.version.to_string());
    put(COMMAND_ID, hyphenated(event.command_id));
    put(ACTOR, fit(ACTOR, event.actor.clone())?);
    for (header, value) in [
        (CORRELATION_ID, &event.correlation_id),
        (CAUSATION_ID, &event.causation_id),
        (REQUEST_DIGEST, &event.request_digest),
        (TRACEPARENT, &event.traceparent),
    ] {
        if let Some(value) = value {
            put(header, fit(header, value.clone())?);
        }
    }
    Ok(headers)
}

/// `value`, if it may stand in a header.
fn fit(header: &'static str, value: String) -> Result<String, EncodeError> {
    let fits =
        value.len() <= HEADER_VALUE_BYTES_MAX && value.bytes().all(|b| (b' '..=b'~').contains(&b));
    fits.then_some(value).ok_or(EncodeError::Header { header })
}

/// As `to_string` writes it, without the detour over formatting.
fn hyphenated(id: Uuid) -> String {
    let mut buffer = Uuid::encode_buffer();
    id.hyphenated().encode_lower(&mut buffer).to_owned()
}

/// The metadata that the headers of an event say.
pub(super) struct Metadata {
    pub(super) id: Uuid,
    pub(super) event_type: String,
    pub(super) schema_version: u32,
    pub(super) version: u64,
    pub(super) time: DateTime<Utc>,
    pub(super) command_id: Uuid,
    pub(super) actor: String,
    pub(super) correlation_id: Option<String>,
    pub(super) causation_id: Option<String>,
    pub(super) request_digest: Option<String>,
    pub(super) traceparent: Option<String>,
}

/// The values of the headers that concern us. Looking at each header once costs less than looking for
/// each in the map: a name is hashed for that.
#[derive(Default)]
struct Values<'a> {
    id: Option<&'a str>,
    event_type: Option<&'a str>,
    version: Option<&'a str>,
    time: Option<&'a str>,
    command_id: Option<&'a str>,
    actor: Option<&'a str>,
    correlation_id: Option<&'a str>,
    causation_id: Option<&'a str>,
    request_digest: Option<&'a str>,
    traceparent: Option<&'a str>,
}

impl<'a> From<&'a HeaderMap> for Values<'a> {
    fn from(headers: &'a HeaderMap) -> Self {
        let mut found = Self::default();
        for (name, values) in headers.iter() {
            let place = match name.as_ref() {
                ID => &mut found.id,
                TYPE => &mut found.event_type,
                VERSION => &mut found.version,
                TIME => &mut found.time,
                COMMAND_ID => &mut found.command_id,
                ACTOR => &mut found.actor,
                CORRELATION_ID => &mut found.correlation_id,
                CAUSATION_ID => &mut found.causation_id,
                REQUEST_DIGEST => &mut found.request_digest,
                TRACEPARENT => &mut found.traceparent,
                _ => continue,
            };
            *place = values.first().map(HeaderValue::as_str);
        }
        found
    }
}

/// Reads the headers of an event. Unknown ones are left alone.
pub(super) fn read(headers: &HeaderMap) -> Result<Metadata, DecodeCause> {
    let found = Values::from(headers);
    let (event_type, schema_version) = read_type(required(found.event_type, TYPE)?)?;
    Ok(Metadata {
        id: parsed(found.id, ID, "a UUID")?,
        event_type,
        schema_version,
        version: parsed(found.version, VERSION, "a number")?,
        time: read_time(required(found.time, TIME)?)?,
        command_id: parsed(found.command_id, COMMAND_ID, "a UUID")?,
        actor: required(found.actor, ACTOR)?.to_owned(),
        correlation_id: found.correlation_id.map(str::to_owned),
        causation_id: found.causation_id.map(str::to_owned),
        request_digest: found.request_digest.map(str::to_owned),
        traceparent: found.traceparent.map(str::to_owned),
    })
}

/// The event's id, if the headers say one.
pub(crate) fn id(headers: &HeaderMap) -> Option<Uuid> {
    let value = headers.get(HeaderName::from_static(ID))?;
    value.as_str().parse().ok()
}

/// The flow that the headers name, if they do.
pub(crate) fn correlation_id(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(HeaderName::from_static(CORRELATION_ID));
    value.map(HeaderValue::as_str)
}

fn read_type(text: &str) -> Result<(String, u32), DecodeCause> {
    text.strip_prefix(TYPE_PREFIX)
        .and_then(|rest| rest.rsplit_once(".v"))
        .filter(|(name, _)| is_event_type(name))
        .and_then(|(name, version)| Some((name.to_owned(), version.parse().ok()?)))
        .ok_or(DecodeCause::BadHeader {
            header: TYPE,
            wanted: "millrace.<snake_case>.v<number>",
        })
}

fn read_time(text: &str) -> Result<DateTime<Utc>, DecodeCause> {
    let read = DateTime::parse_from_rfc3339(text);
    read.map(|time| time.to_utc())
        .map_err(|_| DecodeCause::BadHeader {
            header: TIME,
            wanted: "an RFC 3339 time",
        })
}

fn is_event_type(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn required<'a>(value: Option<&'a str>, header: &'static str) -> Result<&'a str, DecodeCause> {
    value.ok_or(DecodeCause::MissingHeader { header })
}

fn parsed<T: FromStr>(
    value: Option<&str>,
    header: &'static str,
    wanted: &'static str,
) -> Result<T, DecodeCause> {
    required(value, header)?
        .parse()
        .map_err(|_| DecodeCause::BadHeader { header, wanted })
}
