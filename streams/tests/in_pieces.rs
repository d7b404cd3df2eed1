//! A log that answers in pieces, and callers that don't wait for the end.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use futures::future::{BoxFuture, FutureExt};
use futures::poll;
use kernel::{AggregateId, Position};
use streams::contract::account::{Account, AccountCommand};
use streams::log::{AppendError, Appended, Last, Log, NewEvent, Page, ReadError, StreamState};
use streams::memory::MemoryLog;
use streams::{BoxError, CommandMeta, Outcome, RecordedEvent, Settings, Snapshots, Streams, step};
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

    async fn last(&self, stream: &str, subject: &str) -> Result<Last, ReadError> {
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

/// More awaits than any call has.
const AWAITS_MAX: usize = 1_000;

/// Two accounts, and what is asked of them: to pay 5 into each, if anything.
struct Bank {
    log: Arc<Piecemeal>,
    streams: Streams,
    ids: [AggregateId; 2],
    /// The one request, however often.
    meta: CommandMeta,
}

/// What is begun, and dropped before it ends.
type Call = for<'a> fn(&'a Bank) -> BoxFuture<'a, ()>;

const CALLS: [(&str, u64, Call); 6] = [
    ("load", 0, |bank| {
        let load = bank.streams.load::<Account>(&bank.ids[0]);
        load.map(drop).boxed()
    }),
    ("load_current", 0, |bank| {
        let load = bank.streams.load_current::<Account>(&bank.ids[0]);
        load.map(drop).boxed()
    }),
    ("a refusal", 0, |bank| {
        let refused = AccountCommand::Withdraw(1_000);
        let meta = bank.meta.clone();
        async move {
            let refused = bank
                .streams
                .execute::<Account>(&bank.ids[0], refused, &meta);
            drop(refused.await);
        }
        .boxed()
    }),
    ("one event", 1, |bank| bank.pay(vec![5]).boxed()),
    ("several", 1, |bank| bank.pay(vec![2, 3]).boxed()),
    ("together", 2, |bank| bank.pay_together().boxed()),
];

impl Bank {
    /// Each with 10 on it; `warm` = this process knows them, but not the last deposit.
    async fn open(warm: bool) -> Self {
        let log = Arc::<Piecemeal>::default();
        let bank = Self {
            streams: process(&log, Snapshots::Every(1)),
            ids: [id(), id()],
            meta: meta(),
            log,
        };
        let there = process(&bank.log, Snapshots::Every(1));
        for id in &bank.ids {
            for command in [AccountCommand::Open, AccountCommand::Deposit(vec![1, 2])] {
                let done = there.execute::<Account>(id, command, &meta()).await;
                done.unwrap();
            }
            if warm {
                bank.streams.load::<Account>(id).await.unwrap();
            }
            let more = AccountCommand::Deposit(vec![7]);
            let done = there.execute::<Account>(id, more, &meta()).await;
            done.unwrap();
        }
        bank
    }

    async fn pay(&self, amounts: Vec<u64>) {
        let pay = AccountCommand::Deposit(amounts);
        let paid = self
            .streams
            .execute::<Account>(&self.ids[0], pay, &self.meta);
        assert!(matches!(
            paid.await.unwrap().outcome,
            Outcome::Appended | Outcome::Replayed
        ));
    }

    async fn pay_together(&self) {
        let pay = |id: &AggregateId| step::<Account>(id.clone(), AccountCommand::Deposit(vec![5]));
        let steps = self.ids.iter().map(pay).collect();
        let paid = self.streams.execute_together(steps, &self.meta).await;
        paid.unwrap();
    }
}

fn process(log: &Arc<Piecemeal>, snapshots: Snapshots) -> Streams {
    let settings = Settings {
        snapshots,
        ..Settings::default()
    };
    Streams::new(log.clone(), settings)
}

/// Polls it so often, then drops it. Did it end?
async fn begun(call: impl Future, polls: usize) -> bool {
    let mut call = pin!(call);
    for _ in 0..polls {
        if poll!(call.as_mut()).is_ready() {
            return true;
        }
        // Whatever it has begun besides goes on.
        tokio::task::yield_now().await;
    }
    false
}

/// The next command is decided on what the log has, whoever loads sees the same, also from snapshots, and the
/// dropped command again is done once.
async fn all_is_well(bank: &Bank, (name, paid, call): (&str, u64, Call), polls: usize) {
    let case = format!("{name} dropped after {polls}");
    for id in &bank.ids {
        let pay = AccountCommand::Deposit(vec![1]);
        let next = bank.streams.execute::<Account>(id, pay, &meta()).await;
        let next = next.unwrap();
        for snapshots in [Snapshots::Off, Snapshots::Every(1)] {
            let cold = process(&bank.log, snapshots).load::<Account>(id).await;
            let cold = cold.unwrap();
            assert_eq!(
                (cold.version, &cold.state),
                (next.version, &next.state),
                "{case}"
            );
        }
    }
    call(bank).await;
    for (id, paid) in bank.ids.iter().zip([paid > 0, paid > 1]) {
        let here = bank.streams.load::<Account>(id).await.unwrap();
        assert_eq!(here.state.balance(), 11 + 5 * u64::from(paid), "{case}");
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_at_any_await_leaves_everything_right() {
    for warm in [false, true] {
        for call in CALLS {
            let mut ended = false;
            for polls in 0..AWAITS_MAX {
                let bank = Bank::open(warm).await;
                ended = begun(call.2(&bank), polls).await;
                all_is_well(&bank, call, polls).await;
                if ended {
                    break;
                }
            }
            assert!(ended, "{} never ends", call.0);
        }
    }
}
