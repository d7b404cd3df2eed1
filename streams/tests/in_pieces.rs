//! A log that answers in pieces, and callers that don't wait for the end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use kernel::{AggregateId, Position};
use streams::contract::account::{Account, AccountCommand};
use streams::log::{AppendError, Appended, Log, NewEvent, Page, ReadError, StreamState};
use streams::memory::MemoryLog;
use streams::{BoxError, CommandMeta, Outcome, RecordedEvent, Settings, Streams};
use uuid::Uuid;

fn meta() -> CommandMeta {
    CommandMeta::new(Uuid::new_v4(), Utc::now(), "system")
}

fn id() -> AggregateId {
    Uuid::new_v4().to_string().parse().unwrap()
}

/// A log in memory that gives out one event a page, and that lets others run before it does anything and before
/// it says what it did.
#[derive(Default)]
struct Piecemeal(MemoryLog);

async fn slowly<T>(work: impl Future<Output = T>) -> T {
    tokio::task::yield_now().await;
    let done = work.await;
    tokio::task::yield_now().await;
    done
}

#[async_trait]
impl Log for Piecemeal {
    async fn append(&self, events: &[NewEvent]) -> Result<Appended, AppendError> {
        slowly(self.0.append(events)).await
    }

    async fn read(
        &self,
        stream: &str,
        subject: &str,
        after: u64,
        _max: usize,
    ) -> Result<Page, ReadError> {
        slowly(self.0.read(stream, subject, after, 1)).await
    }

    async fn last_event(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<RecordedEvent>, ReadError> {
        slowly(self.0.last_event(stream, subject)).await
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<u64, ReadError> {
        slowly(self.0.last(stream, subject)).await
    }

    async fn event_at(&self, position: &Position) -> Result<Option<RecordedEvent>, ReadError> {
        slowly(self.0.event_at(position)).await
    }

    async fn snapshot(&self, subject: &str) -> Result<Option<Bytes>, BoxError> {
        slowly(self.0.snapshot(subject)).await
    }

    async fn keep_snapshot(&self, subject: &str, bytes: Bytes) -> Result<(), BoxError> {
        slowly(self.0.keep_snapshot(subject, bytes)).await
    }

    async fn state(&self, stream: &str) -> Result<StreamState, ReadError> {
        slowly(self.0.state(stream)).await
    }
}

#[tokio::test]
async fn a_repeated_command_is_answered_with_all_its_events_however_they_come() {
    let streams = Streams::new(Arc::<Piecemeal>::default(), Settings::default());
    let (id, meta_of_three) = (id(), meta());
    let three = || AccountCommand::Deposit(vec![1, 2, 3]);
    for (command, meta) in [
        (AccountCommand::Open, meta()),
        (three(), meta_of_three.clone()),
        (AccountCommand::Withdraw(1), meta()),
    ] {
        let done = streams.execute::<Account>(&id, command, &meta).await;
        assert_eq!(done.unwrap().outcome, Outcome::Appended);
    }
    let again = streams.execute::<Account>(&id, three(), &meta_of_three);
    let again = again.await.unwrap();
    assert_eq!(again.outcome, Outcome::Replayed);
    assert_eq!((again.events.len(), again.version), (3, 4));
    assert_eq!(again.state.balance(), 6);
}
