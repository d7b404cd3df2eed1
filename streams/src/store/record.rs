//! Turns what was decided into what is appended.

use bytes::Bytes;
use kernel::{AggregateId, Decider, Fact, Position};

use super::load::Address;
use crate::envelope::{CommandMeta, EncodeError, RecordedEvent, encode, event_id};
use crate::log::NewEvent;

/// On which state a decision was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Basis {
    pub(super) version: u64,
    pub(super) position: u64,
}

/// One aggregate's part of an append.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) address: &'a Address,
    pub(super) id: &'a AggregateId,
    pub(super) basis: Basis,
    /// How many events of the same command come before, on other aggregates.
    pub(super) index_from: usize,
}

/// The events as they will stand in the log, all but their sequence.
pub(super) fn record<A: Decider>(
    part: Part<'_>,
    events: &[A::Event],
    meta: &CommandMeta,
) -> Result<Vec<NewEvent>, EncodeError> {
    let mut recorded = Vec::with_capacity(events.len());
    let mut version = part.basis.version;
    for (index, event) in events.iter().enumerate() {
        version += 1;
        let data = encode(event)?;
        let index = part.index_from + index;
        recorded.push(NewEvent {
            event: recorded_event::<A>(part, event, meta, (index, version, data)),
            expected: part.basis.position,
        });
    }
    Ok(recorded)
}

fn recorded_event<A: Decider>(
    part: Part<'_>,
    event: &A::Event,
    meta: &CommandMeta,
    (index, version, data): (usize, u64, Bytes),
) -> RecordedEvent {
    RecordedEvent {
        position: Position::new(part.address.stream.clone(), 0),
        subject: part.address.subject.to_string(),
        context: A::CONTEXT.to_owned(),
        kind: A::KIND.map(str::to_owned),
        aggregate_id: part.id.clone(),
        id: event_id(meta.command_id, index),
        event_type: event.name().to_owned(),
        schema_version: event.schema_version(),
        version,
        time: meta.time,
        recorded_at: meta.time,
        command_id: meta.command_id,
        correlation_id: meta.correlation_id.clone(),
        causation_id: meta.causation_id.clone(),
        request_digest: meta.request_digest.clone(),
        actor: meta.actor.clone(),
        traceparent: meta.traceparent.clone(),
        data,
    }
}

/// The events with the sequences that their append was given.
pub(super) fn stored(new: Vec<NewEvent>, last: u64) -> Vec<RecordedEvent> {
    let first = (last + 1).saturating_sub(new.len() as u64);
    (first..)
        .zip(new)
        .map(|(sequence, mut new)| {
            new.event.position.sequence = sequence;
            new.event
        })
        .collect()
}
