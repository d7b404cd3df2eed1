//! What a snapshot saves, and what it can't, counted in what is asked of the log.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use kernel::{AggregateId, Position};
use streams::bus::{Answer, Ask, Bus, Host, Hosts};
use streams::contract::account::{Account, AccountCommand};
use streams::log::{
    AppendError, Appended, BoxError, Last, Log, NewEvent, Page, ReadError, StreamState,
};
use streams::memory::MemoryLog;
use streams::{CommandMeta, Outcome, RecordedEvent, Settings, Snapshots, Streams, step};
use uuid::Uuid;

/// Counts what would be direct gets, and the events that they give out; can be slow or broken where snapshots are
/// kept, and slow for who begins at the beginning.
#[derive(Default)]
struct Watched {
    log: MemoryLog,
    gets: AtomicU32,
    events: AtomicUsize,
    endless: AtomicBool,
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
        if after == 0 && self.endless.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_hours(1)).await;
        }
        let page = self.log.read(stream, subject, after, max).await?;
        self.events.fetch_add(page.events.len(), Ordering::Relaxed);
        Ok(page)
    }

    async fn last_event(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<RecordedEvent>, ReadError> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.log.last_event(stream, subject).await
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<Last, ReadError> {
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

fn meta() -> CommandMeta {
    CommandMeta::new(Uuid::new_v4(), Utc::now(), "system")
}

async fn deposits(streams: &Streams, id: &AggregateId, count: u64) {
    for _ in 0..count {
        let meta = meta();
        let deposit = AccountCommand::Deposit(vec![1]);
        streams
            .execute::<Account>(id, deposit, &meta)
            .await
            .unwrap();
    }
}

async fn opened(streams: &Streams, id: &AggregateId) {
    let meta = meta();
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

/// An account with many events before and many after one deposit, whose meta this is.
async fn long_ago(streams: &Streams, id: &AggregateId) -> CommandMeta {
    opened(streams, id).await;
    deposits(streams, id, 3_000).await;
    let meta = meta();
    let done = streams.execute::<Account>(id, AccountCommand::Deposit(vec![5]), &meta);
    done.await.unwrap();
    deposits(streams, id, 100).await;
    streams.snapshots_settled().await;
    meta
}

#[tokio::test]
async fn an_ask_that_comes_again_reads_no_history() {
    let log = Arc::new(Watched::default());
    let streams = Streams::new(log.clone(), Settings::default());
    let id = id();
    let meta = long_ago(&streams, &id).await;
    let hosts = Hosts::from_iter([Host::new("account", streams).aggregate::<Account>()]);
    let ask = Ask {
        context: "account".to_owned(),
        kind: None,
        id: id.clone(),
        command: serde_json::to_value(AccountCommand::Deposit(vec![5])).unwrap(),
        meta,
    };
    log.events.store(0, Ordering::Relaxed);
    for _ in 0..3 {
        let answer = Bus::within(&hosts).ask(&ask, Duration::from_secs(5)).await;
        let Answer::Done {
            version, already, ..
        } = answer.unwrap()
        else {
            panic!("not done");
        };
        assert_eq!((version, already), (3_002, true));
    }
    let read = log.events.load(Ordering::Relaxed);
    assert!(read < 20, "{read}");
}

#[tokio::test]
async fn nobody_waits_while_the_state_of_long_ago_is_folded_for_who_repeats_a_command() {
    let log = Arc::new(Watched::default());
    let streams = Streams::new(log.clone(), Settings::default());
    let id = id();
    let meta = long_ago(&streams, &id).await;
    let deposit = || AccountCommand::Deposit(vec![5]);
    let again = streams.execute::<Account>(&id, deposit(), &meta);
    let again = again.await.unwrap();
    assert_eq!(again.outcome, Outcome::Replayed);
    assert_eq!((again.version, again.state.balance()), (3_002, 3_005));
    let alone = || vec![step::<Account>(id.clone(), deposit())];
    let together = streams.execute_together(alone(), &meta).await.unwrap();
    let state = together.steps[0].state::<Account>().unwrap();
    assert_eq!((together.outcome, state), (Outcome::Replayed, again.state));

    log.endless.store(true, Ordering::Relaxed);
    let mut folding = Vec::new();
    for way in 0..3 {
        let (streams, id, meta) = (streams.clone(), id.clone(), meta.clone());
        let alone = alone();
        folding.push(tokio::spawn(async move {
            match way {
                0 => drop(streams.execute::<Account>(&id, deposit(), &meta).await),
                1 => drop(
                    streams
                        .execute_at::<Account>(&id, 1, deposit(), &meta)
                        .await,
                ),
                _ => drop(streams.execute_together(alone, &meta).await),
            }
        }));
        tokio::task::yield_now().await;
    }
    let other = tokio::time::timeout(Duration::from_secs(5), deposits(&streams, &id, 1));
    other.await.unwrap();
    assert!(folding.iter().all(|task| !task.is_finished()));
    folding.iter().for_each(tokio::task::JoinHandle::abort);
}
