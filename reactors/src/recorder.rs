//! How an outcome gets back: as a command over the bus, under an id of its own.

use std::time::Duration;

use kernel::{AggregateId, Decider, Position};
use serde::Serialize;
use streams::bus::{Answer, Ask, Bus, BusError};
use streams::lanes::HandleError;
use streams::{CommandMeta, RecordedEvent, clock};
use thiserror::Error;
use uuid::Uuid;

/// Longest wait for the context's answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends commands to the contexts.
#[derive(Clone)]
pub(crate) struct Recorder {
    bus: Bus,
}

/// What is to be recorded, and because of what.
pub(crate) struct Record<'a, C> {
    /// Of which aggregate.
    pub(crate) id: &'a AggregateId,
    /// The command.
    pub(crate) command: &'a C,
    /// What makes its command id unlike that of another outcome of the same aggregate. The same
    /// label and aggregate always give the same command id, so a repeat is found in the log.
    pub(crate) label: &'a str,
    /// What the reactor was reacting to.
    pub(crate) cause: &'a Cause,
    /// Who reacts (`reactor:payment`).
    pub(crate) actor: &'a str,
}

/// What the reactor was reacting to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cause {
    /// The flow that it belongs to.
    pub(crate) correlation_id: Option<String>,
    /// Its own id.
    pub(crate) causation_id: Option<String>,
    /// The trace that it was part of.
    pub(crate) traceparent: Option<String>,
}

impl From<&RecordedEvent> for Cause {
    fn from(event: &RecordedEvent) -> Self {
        Self {
            correlation_id: event.correlation_id.clone(),
            causation_id: Some(event.id.to_string()),
            traceparent: event.traceparent.clone(),
        }
    }
}

/// The context's answer, as far as a reactor cares.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It stands in the log at, or was true as of, this place.
    At(Position),
    /// The context says no: the aggregate has moved on meanwhile.
    Refused(String),
}

/// No answer, or a technical one.
#[derive(Debug, Error)]
pub(crate) enum RecordError {
    /// Nobody answered.
    #[error("the {context} context did not answer")]
    Bus {
        /// Who was asked.
        context: &'static str,
        /// Why.
        #[source]
        source: BusError,
    },
    /// The context could not.
    #[error("the {context} context could not record it: {message}")]
    Failed {
        /// Who was asked.
        context: &'static str,
        /// What it said.
        message: String,
        /// Is it worth another try?
        retryable: bool,
    },
    /// The command can't be written as JSON.
    #[error("the command can't be written")]
    Encode(#[from] serde_json::Error),
}

impl From<RecordError> for HandleError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Failed {
                retryable: false, ..
            }
            | RecordError::Encode(_) => HandleError::permanent(error),
            RecordError::Bus { .. } | RecordError::Failed { .. } => HandleError::retryable(error),
        }
    }
}

impl Recorder {
    pub(crate) fn new(bus: Bus) -> Self {
        Self { bus }
    }

    pub(crate) fn bus(&self) -> &Bus {
        &self.bus
    }

    pub(crate) async fn record<A: Decider>(
        &self,
        record: Record<'_, A::Command>,
    ) -> Result<Recorded, RecordError>
    where
        A::Command: Serialize,
    {
        let command_id = Uuid::new_v5(
            &Uuid::NAMESPACE_OID,
            format!("{}/{}/{}", A::TYPE, record.id, record.label).as_bytes(),
        );
        let mut meta = CommandMeta::new(command_id, clock::now(), record.actor);
        meta.correlation_id = record.cause.correlation_id.clone();
        meta.causation_id = record.cause.causation_id.clone();
        meta.traceparent = record.cause.traceparent.clone();
        let ask = Ask {
            context: A::CONTEXT.to_owned(),
            kind: A::KIND.map(str::to_owned),
            id: record.id.clone(),
            command: serde_json::to_value(record.command)?,
            meta,
        };
        let answer = self.bus.ask(&ask, ASK_TIMEOUT).await;
        match answer.map_err(|source| RecordError::Bus {
            context: A::CONTEXT,
            source,
        })? {
            Answer::Done { position, .. } => Ok(Recorded::At(position)),
            Answer::Refused { code, .. } => Ok(Recorded::Refused(code)),
            Answer::Failed { message, retryable } => Err(RecordError::Failed {
                context: A::CONTEXT,
                message,
                retryable,
            }),
        }
    }
}
