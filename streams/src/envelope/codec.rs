//! The body: an event's data without its tag, which stands in `ce-type`.

use bytes::Bytes;
use kernel::wire::{self, prefix};
use kernel::{Decider, Fact};

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
    wire::decode::<A>(event_type, schema_version, data).map_err(DecodeCause::from)
}
