//! An event as it stands on the wire: CloudEvents 1.0 in binary mode, both ways.
//!
//! ```text
//!   header              from                                    read back as
//!   Nats-Msg-Id, ce-id  UUIDv5(command id, index)               id
//!   ce-type             millrace.<event type>.v<schema version> event_type, schema_version
//!   ce-source           /millrace/<context>
//!   ce-subject          the aggregate's id                      aggregate_id (from the subject)
//!   ce-time             when the command was made               time
//!   ce-version          the aggregate's version                 version
//!   ce-commandid, ce-correlationid, ce-causationid, ce-requestdigest, ce-actor, traceparent
//!   body                the event's data only, a JSON object    data
//! ```

mod codec;
mod command;
mod error;
mod headers;
mod recorded;
#[cfg(test)]
mod tests;

pub use command::CommandMeta;
pub use error::{DecodeCause, DecodeError, EncodeError};
pub use recorded::RecordedEvent;

pub(crate) use codec::encode;
pub(crate) use headers::{TRACEPARENT, correlation_id, id, write};
pub(crate) use recorded::{event_id, time_from_nats, time_to_nats};
