//! A step without its type: what a batch needs to know of each aggregate in it.

use std::sync::Arc;

use async_trait::async_trait;
use kernel::{AggregateId, Decider, Refusal};

use super::{Part, State, Step, StepDone, TogetherRefusal};
use crate::envelope::{CommandMeta, DecodeError, EncodeError, RecordedEvent};
use crate::log::{NewEvent, ReadError};
use crate::store::Streams;
use crate::store::execute::Work;
use crate::store::held::Held;
use crate::store::load::Address;
use crate::store::record;
use crate::store::repetition::{Done, same_request};

/// A step before its turn.
#[async_trait]
pub(super) trait Erased: Send + Sync {
    fn address(&self) -> &Address;

    /// Loads the aggregate. Asks for the turn.
    async fn open<'a>(
        &'a self,
        streams: &'a Streams,
        meta: &'a CommandMeta,
    ) -> Result<Box<dyn Open + 'a>, ReadError>;

    /// The aggregate right after the event at `position`.
    async fn state_at(&self, streams: &Streams, position: u64) -> Result<State, ReadError>;
}

/// What a step decides.
pub(super) enum Decided {
    Events(Vec<NewEvent>),
    /// Its `step` is filled in by who knows it.
    Refused(TogetherRefusal),
}

/// A step whose aggregate is loaded and whose turn it is.
#[async_trait]
pub(super) trait Open: Send + Sync {
    /// `index_from`: how many events the steps before have.
    fn decide(&self, index_from: usize) -> Result<Decided, EncodeError>;
    /// Is what it decided on what the leader knows? If not, reads on.
    async fn prove(&self) -> Result<bool, ReadError>;
    /// What the command did here before.
    async fn repetition(&self, however_old: bool) -> Result<Option<StepDone>, ReadError>;
    /// Reads everything that the leader knows.
    async fn sync(&self) -> Result<(), ReadError>;
    /// Takes in what was appended.
    fn take(&self, events: Vec<RecordedEvent>) -> Result<StepDone, DecodeError>;
    /// The aggregate as it is, with no events of this command.
    fn unchanged(&self) -> StepDone;
    /// Do these events belong to this request?
    fn is_of(&self, done: &StepDone) -> bool;
    fn forget(&self);
}

pub(super) struct TypedStep<A: Decider> {
    address: Address,
    id: AggregateId,
    command: A::Command,
}

impl<A: Decider> TypedStep<A> {
    pub(super) fn new(id: AggregateId, command: A::Command) -> Self {
        Self {
            address: Address::of::<A>(&id),
            id,
            command,
        }
    }
}

impl<A: Decider> Step for TypedStep<A> {
    fn into_part(self: Box<Self>) -> Part {
        Part(self)
    }
}

#[async_trait]
impl<A: Decider> Erased for TypedStep<A> {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn open<'a>(
        &'a self,
        streams: &'a Streams,
        meta: &'a CommandMeta,
    ) -> Result<Box<dyn Open + 'a>, ReadError> {
        let held = streams.held::<A>(&self.address).await?;
        let work = Work {
            streams,
            address: &self.address,
            id: &self.id,
            command: &self.command,
            meta,
        };
        Ok(Box::new(Opened { work, held }))
    }

    async fn state_at(&self, streams: &Streams, position: u64) -> Result<State, ReadError> {
        let state = streams.state_at::<A>(&self.address, position).await?;
        Ok(state as State)
    }
}

struct Opened<'a, A: Decider> {
    work: Work<'a, A>,
    held: Arc<Held<A>>,
}

impl<A: Decider> Opened<'_, A> {
    fn done(&self, done: Done<A>) -> StepDone {
        StepDone {
            aggregate_id: self.work.id.clone(),
            version: done.version,
            position: done.position.sequence,
            events: done.events,
            state: done.state.map(|state| state as State),
        }
    }

    fn as_held(&self, events: Vec<RecordedEvent>) -> StepDone {
        let known = self.held.lock();
        StepDone {
            aggregate_id: self.work.id.clone(),
            version: known.version,
            position: known.position,
            events,
            state: Some(Arc::clone(&known.state) as State),
        }
    }
}

#[async_trait]
impl<A: Decider> Open for Opened<'_, A> {
    fn decide(&self, index_from: usize) -> Result<Decided, EncodeError> {
        let (state, basis) = {
            let known = self.held.lock();
            (Arc::clone(&known.state), known.basis())
        };
        match state.decide(self.work.command) {
            Ok(events) => {
                let part = record::Part {
                    address: self.work.address,
                    id: self.work.id,
                    basis,
                    index_from,
                };
                record::record::<A>(part, &events, self.work.meta).map(Decided::Events)
            }
            Err(refusal) => Ok(Decided::Refused(TogetherRefusal {
                step: 0,
                code: refusal.code(),
                message: refusal.to_string(),
                // A refusal that can't be serialized still has its code and its words.
                value: serde_json::to_value(&refusal).unwrap_or_default(),
            })),
        }
    }

    async fn prove(&self) -> Result<bool, ReadError> {
        self.work.prove(&self.held).await
    }

    async fn repetition(&self, however_old: bool) -> Result<Option<StepDone>, ReadError> {
        let Work {
            streams,
            address,
            meta,
            ..
        } = self.work;
        let found = if however_old {
            let held = &self.held;
            streams
                .repetition_of_old(address, held, meta.command_id)
                .await?
        } else {
            self.work.repeated(&self.held).await?
        };
        Ok(found.map(|done| self.done(done)))
    }

    async fn sync(&self) -> Result<(), ReadError> {
        self.work.sync(&self.held).await
    }

    fn take(&self, events: Vec<RecordedEvent>) -> Result<StepDone, DecodeError> {
        let recent_max = self.work.streams.inner.settings.recent_commands_max;
        {
            let mut known = self.held.lock();
            let before = known.version;
            for event in &events {
                known
                    .read(event, recent_max)
                    .inspect_err(|_| self.forget())?;
            }
            let Work {
                streams, address, ..
            } = self.work;
            streams.keep_snapshot(address, before, &known);
        }
        let cache = &self.work.streams.inner.cache;
        cache.keep_changed(&self.work.address.subject, &self.held);
        Ok(self.as_held(events))
    }

    fn unchanged(&self) -> StepDone {
        self.as_held(Vec::new())
    }

    fn is_of(&self, done: &StepDone) -> bool {
        same_request(&done.events, self.work.meta)
    }

    fn forget(&self) {
        self.work.forget();
    }
}
