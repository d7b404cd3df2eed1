//! The body: an event's data without its tag, which stands in `ce-type`.

use bytes::Bytes;
use kernel::{Decider, Fact};
use serde::Deserialize;
use serde_json::Value;

use super::error::{DecodeCause, EncodeError};

/// The data of `event`, a JSON object.
pub(crate) fn encode<E: Fact>(event: &E) -> Result<Bytes, EncodeError> {
    let event_type = event.name();
    let tagged =
        serde_json::to_vec(event).map_err(|source| EncodeError::Body { event_type, source })?;
    let prefix = prefix(event_type);
    let data = tagged
        .strip_prefix(prefix.as_bytes())
        .and_then(|rest| rest.strip_suffix(b"}"))
        .filter(|data| data.first() == Some(&b'{'));
    let Some(length) = data.map(<[u8]>::len) else {
        return Err(EncodeError::Shape { event_type });
    };
    Ok(Bytes::from(tagged).slice(prefix.len()..prefix.len() + length))
}

/// The event that `data` is, brought forward from `schema_version` where that is needed.
pub(crate) fn decode<A: Decider>(
    event_type: &str,
    schema_version: u32,
    data: &[u8],
) -> Result<A::Event, DecodeCause> {
    let direct = tagged::<A>(event_type, data);
    if let Ok(event) = &direct
        && event.schema_version() == schema_version
    {
        return direct.map_err(|source| body(event_type, schema_version, source));
    }
    let (reached, upcast) = bring_forward::<A>(event_type, schema_version, data)
        .map_err(|source| body(event_type, schema_version, source))?;
    if reached == schema_version {
        // No step forward: either the body is broken, or the version is not one of ours.
        return match direct {
            Err(source) => Err(body(event_type, schema_version, source)),
            Ok(event) => Err(version(event_type, schema_version, &event)),
        };
    }
    let event = A::Event::deserialize(serde_json::json!({ "type": event_type, "data": upcast }))
        .map_err(|source| body(event_type, reached, source))?;
    if event.schema_version() == reached {
        Ok(event)
    } else {
        Err(version(event_type, schema_version, &event))
    }
}

fn prefix(event_type: &str) -> String {
    format!("{{\"type\":\"{event_type}\",\"data\":")
}

/// Reads tag and data as serde wrote them; the tag comes first, so nothing is buffered.
fn tagged<A: Decider>(event_type: &str, data: &[u8]) -> Result<A::Event, serde_json::Error> {
    let prefix = prefix(event_type);
    let mut json = Vec::with_capacity(prefix.len() + data.len() + 1);
    json.extend_from_slice(prefix.as_bytes());
    json.extend_from_slice(data);
    json.push(b'}');
    serde_json::from_slice(&json)
}

/// Every step that the aggregate knows, one version at a time; each must lead upwards.
fn bring_forward<A: Decider>(
    event_type: &str,
    schema_version: u32,
    data: &[u8],
) -> Result<(u32, Value), serde_json::Error> {
    let mut version = schema_version;
    let mut value: Value = serde_json::from_slice(data)?;
    while let Some((next, upcast)) = A::upcast(event_type, version, &value) {
        if next <= version {
            break;
        }
        (version, value) = (next, upcast);
    }
    Ok((version, value))
}

fn body(event_type: &str, schema_version: u32, source: serde_json::Error) -> DecodeCause {
    DecodeCause::Body {
        event_type: event_type.to_owned(),
        schema_version,
        source,
    }
}

fn version<E: Fact>(event_type: &str, found: u32, event: &E) -> DecodeCause {
    DecodeCause::SchemaVersion {
        event_type: event_type.to_owned(),
        found,
        known: event.schema_version(),
    }
}
