//! The log on NATS JetStream.
//!
//! ```text
//!   append   one event = one publish with an expectation; several = one atomic batch
//!   batch    ADR-50 by hand: what goes into which message
//!   answer   what the server's answer to a publish means, by its number
//!   snapshot the last message of a subject, replaced whole
//!   load     batched direct get by exact subject; the leader's word
//! ```

pub(crate) mod answer;
mod append;
mod batch;
mod load;
mod snapshot;

use std::sync::Arc;

use async_nats::client::Client;
use async_nats::connection::State;
use async_nats::jetstream::Context;
use async_trait::async_trait;
use bytes::Bytes;
use kernel::Position;
use tokio::sync::Semaphore;

use crate::connection::Connection;
use crate::envelope::RecordedEvent;
use crate::log::{
    AppendError, Appended, BoxError, Last, Log, NewEvent, Page, ReadError, StreamState,
};
use crate::resolve::{self, Budget};
use crate::topology::Withheld;

/// Appends that wait for their answer at once, over one connection. More wait their turn here,
/// where a caller's own time-out still ends them with nothing sent.
const APPENDS_IN_FLIGHT_MAX: usize = 4096;

/// Streams of events on JetStream, over one connection.
#[derive(Debug)]
pub struct JetStreamLog {
    client: Client,
    context: Context,
    in_flight: Semaphore,
    withheld: Withheld,
}

impl JetStreamLog {
    /// The log behind `connection`.
    pub fn new(connection: &Connection) -> Self {
        Self {
            client: connection.client().clone(),
            context: connection.jetstream().clone(),
            in_flight: Semaphore::new(APPENDS_IN_FLIGHT_MAX),
            withheld: connection.withheld().clone(),
        }
    }

    fn connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }
}

impl Connection {
    /// The event store over this connection.
    pub fn streams(&self, settings: crate::store::Settings) -> crate::store::Streams {
        crate::store::Streams::new(Arc::new(JetStreamLog::new(self)), settings)
    }
}

#[async_trait]
impl Log for JetStreamLog {
    async fn append(&self, events: &[NewEvent]) -> Result<Appended, AppendError> {
        if let Some(first) = events.first() {
            let allowed = self.withheld.allows(&first.event.position.stream);
            allowed.map_err(AppendError::Unavailable)?;
        }
        let _permit = self.in_flight.acquire().await;
        resolve::append(self, events, &Budget::SERVER).await
    }

    async fn read(
        &self,
        stream: &str,
        subject: &str,
        after: u64,
        max: usize,
    ) -> Result<Page, ReadError> {
        load::read(
            self,
            load::Ask {
                stream,
                subject,
                after,
                max,
            },
        )
        .await
    }

    async fn last_event(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<RecordedEvent>, ReadError> {
        load::last_event(self, stream, subject).await
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<Last, ReadError> {
        load::last(self, stream, subject).await
    }

    async fn event_at(&self, position: &Position) -> Result<Option<RecordedEvent>, ReadError> {
        load::event_at(self, position).await
    }

    async fn snapshot(&self, subject: &str) -> Result<Option<Bytes>, BoxError> {
        snapshot::read(self, subject).await
    }

    async fn keep_snapshot(&self, subject: &str, bytes: Bytes) -> Result<(), BoxError> {
        snapshot::write(self, subject, bytes).await
    }

    async fn state(&self, stream: &str) -> Result<StreamState, ReadError> {
        load::state(self, stream).await
    }
}
