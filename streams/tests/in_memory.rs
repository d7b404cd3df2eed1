//! The log in memory keeps the store's contract, and lost answers lose nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::sync::Arc;

use chrono::Utc;
use kernel::AggregateId;
use streams::contract::account::{
    Account, AccountCommand, AccountRefusal, ClaimNumber, NumberClaim,
};
use streams::contract::{self, InMemory};
use streams::contract_subscriptions::bus;
use streams::memory::{Fault, FirstCheck, MemoryLog};
use streams::{CommandMeta, ExecuteError, LoadError, Outcome, Settings, Snapshots, Streams, step};
use uuid::Uuid;

const BOTH: [FirstCheck; 2] = [FirstCheck::Expectation, FirstCheck::MessageId];

fn meta() -> CommandMeta {
    CommandMeta::new(Uuid::new_v4(), Utc::now(), "system")
}

fn id() -> AggregateId {
    Uuid::new_v4().to_string().parse().unwrap()
}

#[tokio::test]
async fn with_no_attempt_and_no_events_a_page_it_is_one_of_each() {
    let settings = Settings {
        execute_attempts_max: 0,
        load_page_events: 0,
        snapshots: Snapshots::Off,
        ..Settings::default()
    };
    let log = Arc::new(MemoryLog::new(FirstCheck::Expectation));
    let id = id();
    for command in [AccountCommand::Open, AccountCommand::Deposit(vec![1, 2])] {
        // Each with a cache of its own, so that the history is read.
        let streams = Streams::new(log.clone(), settings);
        streams
            .execute::<Account>(&id, command, &meta())
            .await
            .unwrap();
    }
    let read = Streams::new(log, settings).load::<Account>(&id).await;
    assert_eq!(read.unwrap().state.balance(), 3);
}

struct Bank {
    log: Arc<MemoryLog>,
    here: Streams,
    there: Streams,
}

impl Bank {
    fn new(first_check: FirstCheck) -> Self {
        let log = Arc::new(MemoryLog::new(first_check));
        let process = || Streams::new(log.clone(), Settings::default());
        Self {
            here: process(),
            there: process(),
            log,
        }
    }

    async fn open(&self, id: &AggregateId, balance: u64) {
        for command in [AccountCommand::Open, AccountCommand::Deposit(vec![balance])] {
            self.here
                .execute::<Account>(id, command, &meta())
                .await
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bus_of_one_process_keeps_the_bus_contract() {
    bus::keeps_the_contract(bus::Way::Here).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_as_on_one_server() {
    contract::all(&InMemory::new(FirstCheck::Expectation)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_as_on_three_replicas() {
    contract::all(&InMemory::new(FirstCheck::MessageId)).await;
}

/// A log that holds nothing shows that nothing was read.
#[tokio::test]
async fn whoever_follows_a_stream_needs_no_more_than_its_events() {
    let (there, id) = (Streams::in_memory(), id());
    let mut events = Vec::new();
    for command in [
        AccountCommand::Open,
        AccountCommand::Deposit(vec![5]),
        AccountCommand::Deposit(vec![2, 3]),
    ] {
        let done = there.execute::<Account>(&id, command, &meta()).await;
        events.extend(done.unwrap().events);
    }
    let follower = Streams::in_memory();
    for (event, balance) in events.iter().zip([0, 5, 7, 10]) {
        let loaded = follower.load_with::<Account>(event).await.unwrap();
        assert_eq!(
            (loaded.version, loaded.position),
            (event.version, event.position.sequence)
        );
        assert_eq!(loaded.state.balance(), balance);
    }
    let again = follower.load_with::<Account>(&events[1]).await.unwrap();
    assert_eq!((again.version, again.state.balance()), (4, 10), "it was in");
    let late = Streams::in_memory().load_with::<Account>(&events[1]).await;
    assert_eq!(
        late.unwrap().version,
        0,
        "one before it is missing: the log is asked"
    );
}

#[tokio::test]
async fn an_answer_lost_before_or_after_the_append_makes_one_event() {
    for (first_check, fault) in BOTH.into_iter().flat_map(|check| {
        [
            Fault::LoseAppend,
            Fault::LoseAcknowledgement,
            Fault::DelayAppend,
        ]
        .map(|f| (check, f))
    }) {
        for amounts in [vec![5], vec![2, 3]] {
            let bank = Bank::new(first_check);
            let id = id();
            bank.open(&id, 0).await;
            bank.log.fail_next([fault]);
            let deposit = AccountCommand::Deposit(amounts.clone());
            let paid = bank
                .here
                .execute::<Account>(&id, deposit, &meta())
                .await
                .unwrap();
            let count = 2 + amounts.len();
            let version = count as u64;
            assert_eq!(
                (paid.version, paid.outcome),
                (version, Outcome::Appended),
                "{fault:?}"
            );
            assert_eq!(
                (paid.state.balance(), paid.events.len()),
                (5, amounts.len())
            );
            assert_eq!(
                bank.here.history::<Account>(&id).await.unwrap().len(),
                count
            );
            // The cache goes on from there.
            let next = AccountCommand::Withdraw(5);
            let next = bank
                .here
                .execute::<Account>(&id, next, &meta())
                .await
                .unwrap();
            assert_eq!(next.version, version + 1);
        }
    }
}

#[tokio::test]
async fn an_answer_lost_on_a_creation_makes_one_aggregate() {
    for (check, fault) in BOTH
        .into_iter()
        .zip([Fault::LoseAcknowledgement, Fault::DelayAppend])
    {
        let bank = Bank::new(check);
        let id = id();
        bank.log.fail_next([fault, fault]);
        let made = bank
            .here
            .execute::<Account>(&id, AccountCommand::Create, &meta())
            .await;
        let made = made.unwrap();
        assert_eq!((made.version, made.outcome), (1, Outcome::Appended));
        assert_eq!(bank.there.load::<Account>(&id).await.unwrap().version, 1);
    }
}

#[tokio::test]
async fn who_was_faster_during_a_doubt_wins_and_the_loser_decides_again() {
    for check in BOTH {
        let bank = Bank::new(check);
        let id = id();
        bank.open(&id, 5).await;
        bank.there.load::<Account>(&id).await.unwrap();
        // Our append is lost; before we try again, the other process takes the money.
        bank.log.fail_next([Fault::LoseAppend]);
        let (ours, theirs) = (meta(), meta());
        let (here, there) = tokio::join!(
            bank.here
                .execute::<Account>(&id, AccountCommand::Withdraw(5), &ours),
            bank.there
                .execute::<Account>(&id, AccountCommand::Withdraw(5), &theirs),
        );
        assert_eq!(there.unwrap().version, 3);
        let refusal = AccountRefusal::AccountOverdrawn { balance: 0 };
        assert!(matches!(here, Err(ExecuteError::Refused(r)) if r == refusal));
    }
}

#[tokio::test]
async fn an_answer_lost_on_a_batch_of_two_aggregates_makes_both_once() {
    for fault in [
        Fault::LoseAppend,
        Fault::LoseAcknowledgement,
        Fault::DelayAppend,
    ] {
        let bank = Bank::new(FirstCheck::Expectation);
        let (account, number) = (id(), id());
        bank.log.fail_next([fault]);
        let owner = account.to_string();
        let steps = vec![
            step::<Account>(account.clone(), AccountCommand::Create),
            step::<NumberClaim>(number.clone(), ClaimNumber { owner }),
        ];
        let done = bank.here.execute_together(steps, &meta()).await.unwrap();
        assert_eq!(done.outcome, Outcome::Appended);
        assert_eq!(
            (done.steps[0].version, done.steps[1].version),
            (1, 1),
            "{fault:?}"
        );
        assert_eq!(
            bank.there
                .load::<NumberClaim>(&number)
                .await
                .unwrap()
                .version,
            1
        );
    }
}

#[tokio::test]
async fn a_log_that_refuses_is_unavailable_and_one_that_is_silent_is_unknown() {
    let bank = Bank::new(FirstCheck::Expectation);
    let id = id();
    bank.log.fail_next([Fault::Refuse]);
    let refused = bank
        .here
        .execute::<Account>(&id, AccountCommand::Open, &meta())
        .await;
    assert!(matches!(refused, Err(ExecuteError::Unavailable { .. })));
    // A refusal after a lost answer says nothing about the lost one.
    bank.log.fail_next([Fault::LoseAcknowledgement]);
    bank.log
        .fail_next(std::iter::repeat_n(Fault::Refuse, 1_000));
    let meta = meta();
    let unknown = bank
        .here
        .execute::<Account>(&id, AccountCommand::Open, &meta)
        .await;
    assert!(
        matches!(unknown, Err(ExecuteError::Unknown { .. })),
        "{unknown:?}"
    );
    // The same command again finds out.
    let healthy = Streams::new(bank.log.clone(), Settings::default());
    let again = loop {
        match healthy
            .execute::<Account>(&id, AccountCommand::Open, &meta)
            .await
        {
            Err(ExecuteError::Unavailable { .. }) => {}
            done => break done.unwrap(),
        }
    };
    assert_eq!((again.version, again.outcome), (1, Outcome::Replayed));
}

/// An account with 5 on it, and a process that knows of 3 more, which the log has lost.
async fn bank_of_another_log(id: &AggregateId) -> Bank {
    let bank = Bank::new(FirstCheck::Expectation);
    bank.open(id, 5).await;
    let backup = bank.log.backup();
    bank.open(id, 3).await;
    bank.log.restore(&backup);
    bank
}

async fn pay(streams: &Streams, id: &AggregateId, amount: u64) {
    let deposit = AccountCommand::Deposit(vec![amount]);
    let paid = streams.execute::<Account>(id, deposit, &meta()).await;
    paid.unwrap();
}

#[tokio::test]
async fn what_a_restored_log_has_lost_is_not_answered_as_confirmed() {
    let id = id();
    let bank = bank_of_another_log(&id).await;
    let lost = bank.here.load_current::<Account>(&id).await;
    assert!(
        matches!(lost, Err(LoadError::Unavailable { .. })),
        "{lost:?}"
    );
    let again = bank.here.load_current::<Account>(&id).await.unwrap();
    assert_eq!((again.version, again.state.balance()), (2, 5));
}

#[tokio::test]
async fn another_event_at_the_same_place_of_another_log_confirms_nothing() {
    let id = id();
    for refused in [false, true] {
        let bank = bank_of_another_log(&id).await;
        pay(&bank.there, &id, 90).await;
        if refused {
            let withdraw = || AccountCommand::Withdraw(50);
            let meta = meta();
            let first = bank.here.execute::<Account>(&id, withdraw(), &meta).await;
            assert!(
                matches!(first, Err(ExecuteError::Unavailable { .. })),
                "{first:?}"
            );
            let again = bank.here.execute::<Account>(&id, withdraw(), &meta);
            assert_eq!(again.await.unwrap().state.balance(), 45);
        } else {
            let first = bank.here.load_current::<Account>(&id).await;
            assert!(
                matches!(first, Err(LoadError::Unavailable { .. })),
                "{first:?}"
            );
            let again = bank.here.load_current::<Account>(&id).await.unwrap();
            assert_eq!(again.state.balance(), 95);
        }
    }
}

#[tokio::test]
async fn what_another_log_has_since_is_not_added_to_what_was_lost() {
    let id = id();
    for conflict in [false, true] {
        let bank = bank_of_another_log(&id).await;
        for _ in 0..2 {
            pay(&bank.there, &id, 90).await;
        }
        if conflict {
            let withdraw = AccountCommand::Withdraw(8);
            let late = bank.here.execute::<Account>(&id, withdraw, &meta()).await;
            assert!(
                matches!(late, Err(ExecuteError::Unavailable { .. })),
                "{late:?}"
            );
        } else {
            let late = bank.here.load_current::<Account>(&id).await;
            assert!(
                matches!(late, Err(LoadError::Unavailable { .. })),
                "{late:?}"
            );
        }
        let again = bank.here.load_current::<Account>(&id).await.unwrap();
        assert_eq!((again.version, again.state.balance()), (4, 185));
    }
}
