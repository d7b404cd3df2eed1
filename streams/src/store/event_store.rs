//! The store as cqrs-es knows event stores.

use std::collections::HashMap;
use std::marker::PhantomData;

use chrono::{DateTime, Utc};
use cqrs_es::{AggregateContext, AggregateError, EventEnvelope, EventStore};
use kernel::{AggregateId, Decider};
use uuid::Uuid;

use super::LoadError;
use super::Streams;
use super::load::Address;
use super::record::{Basis, Part, record, stored};
use crate::envelope::{CommandMeta, RecordedEvent};
use crate::log::AppendError;

/// Who makes a command that doesn't say so.
const ACTOR_UNKNOWN: &str = "system";

/// A [`cqrs_es::EventStore`]: what cqrs-es's `CqrsFramework` and its tests run on.
///
/// `commit` states the position that its context was loaded at, so of two commits on one context
/// one is an [`AggregateError::AggregateConflict`]. The metadata may hold `command_id` (a UUID;
/// without it every commit is a command of its own), `time` (RFC 3339; without it, now), `actor`,
/// `correlation_id`, `causation_id`, `request_digest` and `traceparent`; other keys are not kept.
#[derive(Debug, Clone)]
pub struct Store<A> {
    streams: Streams,
    aggregate: PhantomData<fn() -> A>,
}

impl<A: Decider> Store<A> {
    pub(super) fn new(streams: Streams) -> Self {
        Self {
            streams,
            aggregate: PhantomData,
        }
    }
}

/// An aggregate between load and commit.
#[derive(Debug, Clone)]
pub struct StoreContext<A> {
    id: AggregateId,
    aggregate: A,
    basis: Basis,
}

impl<A: Decider> AggregateContext<A> for StoreContext<A> {
    fn aggregate(&mut self) -> &mut A {
        &mut self.aggregate
    }
}

type Failure<A> = AggregateError<<A as cqrs_es::Aggregate>::Error>;

impl<A: Decider> EventStore<A> for Store<A> {
    type AC = StoreContext<A>;

    async fn load_events(&self, aggregate_id: &str) -> Result<Vec<EventEnvelope<A>>, Failure<A>> {
        let id = parse::<A>(aggregate_id)?;
        let history = self.streams.history::<A>(&id).await.map_err(failure::<A>)?;
        envelopes(&history)
    }

    async fn load_aggregate(&self, aggregate_id: &str) -> Result<StoreContext<A>, Failure<A>> {
        let id = parse::<A>(aggregate_id)?;
        let loaded = self.streams.load_current::<A>(&id).await;
        let loaded = loaded.map_err(failure::<A>)?;
        Ok(StoreContext {
            id,
            aggregate: (*loaded.state).clone(),
            basis: Basis {
                version: loaded.version,
                position: loaded.position,
            },
        })
    }

    async fn commit(
        &self,
        events: Vec<A::Event>,
        context: StoreContext<A>,
        metadata: HashMap<String, String>,
    ) -> Result<Vec<EventEnvelope<A>>, Failure<A>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let meta =
            meta_from(metadata).map_err(|error| AggregateError::UnexpectedError(error.into()))?;
        let address = Address::of::<A>(&context.id);
        let inner = &self.streams.inner;
        let _turn = inner.queues.turn(&address.subject).await;
        let part = Part {
            address: &address,
            id: &context.id,
            basis: context.basis,
            index_from: 0,
        };
        let new = record::<A>(part, &events, &meta)
            .map_err(|error| AggregateError::UnexpectedError(error.into()))?;
        // The next load reads what was appended, or what won.
        inner.cache.evict(&address.subject);
        let appended = self
            .streams
            .append(&new)
            .await
            .map_err(append_failure::<A>)?;
        let events = if appended.uncertain {
            self.of_command(&context.id, meta.command_id).await?
        } else {
            stored(new, appended.last)
        };
        envelopes(&events)
    }
}

impl<A: Decider> Store<A> {
    /// What is in the log is the answer when the acknowledgement isn't.
    async fn of_command(
        &self,
        id: &AggregateId,
        command_id: Uuid,
    ) -> Result<Vec<RecordedEvent>, Failure<A>> {
        let mut events = self.streams.history::<A>(id).await.map_err(failure::<A>)?;
        events.retain(|event| event.command_id == command_id);
        Ok(events)
    }
}

fn envelopes<A: Decider>(events: &[RecordedEvent]) -> Result<Vec<EventEnvelope<A>>, Failure<A>> {
    events
        .iter()
        .map(|event| event.envelope::<A>().map_err(LoadError::from))
        .collect::<Result<_, _>>()
        .map_err(failure::<A>)
}

fn parse<A: Decider>(aggregate_id: &str) -> Result<AggregateId, Failure<A>> {
    aggregate_id
        .parse()
        .map_err(|error: kernel::IdError| AggregateError::UnexpectedError(error.into()))
}

fn meta_from(mut metadata: HashMap<String, String>) -> Result<CommandMeta, MetadataError> {
    let command_id = match metadata.get("command_id") {
        None => Uuid::new_v4(),
        Some(text) => text.parse().map_err(|_| MetadataError("command_id"))?,
    };
    let time = match metadata.get("time") {
        None => Utc::now(),
        Some(text) => text
            .parse::<DateTime<Utc>>()
            .map_err(|_| MetadataError("time"))?,
    };
    let actor = metadata.remove("actor");
    Ok(CommandMeta {
        correlation_id: metadata.remove("correlation_id"),
        causation_id: metadata.remove("causation_id"),
        request_digest: metadata.remove("request_digest"),
        traceparent: metadata.remove("traceparent"),
        ..CommandMeta::new(command_id, time, actor.as_deref().unwrap_or(ACTOR_UNKNOWN))
    })
}

/// A metadata key does not hold what it should.
#[derive(Debug, thiserror::Error)]
#[error("metadata {0} can't be read")]
struct MetadataError(&'static str);

fn failure<A: Decider>(error: LoadError) -> Failure<A> {
    match error {
        LoadError::Unavailable { .. } => AggregateError::DatabaseConnectionError(error.into()),
        LoadError::Unreadable(_) => AggregateError::DeserializationError(error.into()),
    }
}

fn append_failure<A: Decider>(error: AppendError) -> Failure<A> {
    match error {
        AppendError::Conflict | AppendError::Duplicate => AggregateError::AggregateConflict,
        AppendError::Unavailable(_) | AppendError::Unknown(_) => {
            AggregateError::DatabaseConnectionError(error.into())
        }
        AppendError::TooLarge | AppendError::Unwritable(_) => {
            AggregateError::UnexpectedError(error.into())
        }
    }
}
