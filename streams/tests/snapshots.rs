//! What a snapshot saves, counted where it is saved: in what is asked of the log.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use kernel::{AggregateId, Position};
use streams::contract::account::{Account, AccountCommand};
use streams::log::{AppendError, Appended, BoxError, Log, NewEvent, Page, ReadError, StreamState};
use streams::memory::MemoryLog;
use streams::{CommandMeta, RecordedEvent, Settings, Snapshots, Streams};
use uuid::Uuid;

/// Counts what would be direct gets, and can be slow or broken where snapshots are kept.
#[derive(Default)]
struct Watched {
    log: MemoryLog,
    gets: AtomicU32,
    slow: AtomicBool,
    broken: AtomicBool,
}

#[async_trait]
impl Log for Watched {
    async fn append(&self, events: &[NewEvent]) -> Result<Appended, AppendError> {
        self.log.append(events).await
    }

    async fn read(
        &self,
        stream: &str,
        subject: &str,
        after: u64,
        max: usize,
    ) -> Result<Page, ReadError> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.log.read(stream, subject, after, max).await
    }

    async fn last_event(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<RecordedEvent>, ReadError> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.log.last_event(stream, subject).await
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<u64, ReadError> {
        self.log.last(stream, subject).await
    }

    async fn event_at(&self, position: &Position) -> Result<Option<RecordedEvent>, ReadError> {
        self.log.event_at(position).await
    }

    async fn snapshot(&self, subject: &str) -> Result<Option<Bytes>, BoxError> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        if self.broken.load(Ordering::Relaxed) {
            return Err("the snapshots are away".into());
        }
        self.log.snapshot(subject).await
    }

    async fn keep_snapshot(&self, subject: &str, bytes: Bytes) -> Result<(), BoxError> {
        if self.slow.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_hours(1)).await;
        }
        if self.broken.load(Ordering::Relaxed) {
            return Err("the snapshots are away".into());
        }
        self.log.keep_snapshot(subject, bytes).await
    }

    async fn state(&self, stream: &str) -> Result<StreamState, ReadError> {
        self.log.state(stream).await
    }
}

fn id() -> AggregateId {
    Uuid::new_v4().to_string().parse().unwrap()
}

async fn deposits(streams: &Streams, id: &AggregateId, count: u64) {
    for _ in 0..count {
        let meta = CommandMeta::new(Uuid::new_v4(), Utc::now(), "system");
        let deposit = AccountCommand::Deposit(vec![1]);
        streams
            .execute::<Account>(id, deposit, &meta)
            .await
            .unwrap();
    }
}

async fn opened(streams: &Streams, id: &AggregateId) {
    let meta = CommandMeta::new(Uuid::new_v4(), Utc::now(), "system");
    streams
        .execute::<Account>(id, AccountCommand::Open, &meta)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_hot_aggregate_is_loaded_with_two_gets_and_what_came_since_with_one_more() {
    let log = Arc::new(Watched::default());
    let writer = Streams::new(log.clone(), Settings::default());
    let id = id();
    opened(&writer, &id).await;
    deposits(&writer, &id, 2_020).await;
    writer.snapshots_settled().await;
    let asked = async |snapshots, version| {
        let settings = Settings {
            snapshots,
            ..Settings::default()
        };
        let cold = Streams::new(log.clone(), settings);
        log.gets.store(0, Ordering::Relaxed);
        let found = cold.load::<Account>(&id).await.unwrap();
        assert_eq!(
            (found.version, found.state.balance()),
            (version, version - 1)
        );
        log.gets.load(Ordering::Relaxed)
    };
    assert_eq!(asked(Snapshots::Every(50), 2_021).await, 3);
    assert_eq!(asked(Snapshots::Off, 2_021).await, 6);
    deposits(&writer, &id, 29).await;
    writer.snapshots_settled().await;
    assert_eq!(asked(Snapshots::Every(50), 2_050).await, 2);
}

#[tokio::test]
async fn an_append_does_not_wait_for_snapshots_and_they_do_not_pile_up() {
    let log = Arc::new(Watched::default());
    log.slow.store(true, Ordering::Relaxed);
    let settings = Settings {
        snapshots: Snapshots::Every(1),
        ..Settings::default()
    };
    let writer = Streams::new(log.clone(), settings);
    let work = async {
        for _ in 0..1_100 {
            let id = id();
            opened(&writer, &id).await;
            deposits(&writer, &id, 1).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), work)
        .await
        .unwrap();
    let counts = writer.snapshot_counts();
    assert_eq!(counts.written, 0);
    assert!(counts.dropped >= 2_200 - 1_024, "{counts:?}");
}

#[tokio::test]
async fn where_snapshots_are_away_the_events_are_there() {
    let log = Arc::new(Watched::default());
    let writer = Streams::new(log.clone(), Settings::default());
    let id = id();
    opened(&writer, &id).await;
    deposits(&writer, &id, 60).await;
    writer.snapshots_settled().await;
    log.broken.store(true, Ordering::Relaxed);
    let cold = Streams::new(log.clone(), Settings::default());
    assert_eq!(cold.load::<Account>(&id).await.unwrap().version, 61);
    // It is not asked in vain at every load.
    log.gets.store(0, Ordering::Relaxed);
    let other = self::id();
    assert_eq!(cold.load::<Account>(&other).await.unwrap().version, 0);
    assert_eq!(log.gets.load(Ordering::Relaxed), 1);
    deposits(&cold, &id, 60).await;
    cold.snapshots_settled().await;
    assert!(cold.snapshot_counts().dropped > 0);
}
