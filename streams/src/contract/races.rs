//! Of several writers one wins, and the others decide again.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use kernel::AggregateId;
use tokio::time::sleep;

use super::account::{Account, AccountCommand, AccountRefusal, NumberClaim};
use super::together::open_with_number;
use super::{Rig, case, fresh_id, fresh_meta, run};
use crate::{ExecuteError, Outcome, RecordedEvent, Streams};

/// Callers on one aggregate at once, in [`many_writers_lose_nothing`].
const WRITERS: u64 = 64;

/// Commands of each of them.
const COMMANDS_EACH: u64 = 5;

/// Callers in [`writers_lose_nothing_during`].
const TROUBLED_WRITERS: u64 = 32;

/// Commands of each of them.
const TROUBLED_COMMANDS_EACH: u64 = 60;

/// With every tenth an account is opened, with its number.
const OPENS_EVERY: u64 = 10;

/// All of this page, but what needs trouble.
pub async fn all(rig: &dyn Rig) {
    of_two_creators_one_wins(rig).await;
    of_two_racing_withdrawals_one_wins(rig).await;
    of_two_racing_batches_both_are_whole(rig).await;
    many_writers_lose_nothing(rig).await;
}

/// Two processes make the same account at once: one does, the other is refused.
pub async fn of_two_creators_one_wins(rig: &dyn Rig) {
    case("of two creators one wins");
    for _ in 0..10 {
        let (here, there) = (rig.process().await, rig.process().await);
        let id = fresh_id();
        let (first_meta, second_meta) = (fresh_meta(), fresh_meta());
        let (one, other) = tokio::join!(
            here.execute::<Account>(&id, AccountCommand::Create, &first_meta),
            there.execute::<Account>(&id, AccountCommand::Create, &second_meta),
        );
        let won = [&one, &other].iter().filter(|r| r.is_ok()).count();
        assert_eq!(won, 1);
        let lost = one.err().or(other.err()).unwrap();
        let refusal = AccountRefusal::AccountOpenAlready;
        assert!(matches!(lost, ExecuteError::Refused(r) if r == refusal));
        assert_eq!(here.load_current::<Account>(&id).await.unwrap().version, 1);
    }
}

/// Two processes with warm caches want the last money: one gets it, the other is told the truth.
pub async fn of_two_racing_withdrawals_one_wins(rig: &dyn Rig) {
    case("of two racing withdrawals one wins");
    for _ in 0..10 {
        let (here, there) = (rig.process().await, rig.process().await);
        let id = fresh_id();
        account_with(&here, &id, 10).await;
        assert_eq!(
            there
                .load_current::<Account>(&id)
                .await
                .unwrap()
                .state
                .balance(),
            10
        );
        let (first_meta, second_meta) = (fresh_meta(), fresh_meta());
        let (one, other) = tokio::join!(
            here.execute::<Account>(&id, AccountCommand::Withdraw(10), &first_meta),
            there.execute::<Account>(&id, AccountCommand::Withdraw(10), &second_meta),
        );
        let won = [&one, &other].iter().filter(|r| r.is_ok()).count();
        assert_eq!(won, 1);
        let lost = one.err().or(other.err()).unwrap();
        let refusal = AccountRefusal::AccountOverdrawn { balance: 0 };
        assert!(matches!(lost, ExecuteError::Refused(r) if r == refusal));
    }
}

/// Two batches on one aggregate at once: both get in, one after the other, neither torn.
pub async fn of_two_racing_batches_both_are_whole(rig: &dyn Rig) {
    case("of two racing batches both are whole");
    for _ in 0..10 {
        let (here, there) = (rig.process().await, rig.process().await);
        let id = fresh_id();
        account_with(&here, &id, 1).await;
        there.load_current::<Account>(&id).await.unwrap();
        let (first_meta, second_meta) = (fresh_meta(), fresh_meta());
        let (one, other) = tokio::join!(
            here.execute::<Account>(&id, AccountCommand::Deposit(vec![1, 1, 1]), &first_meta),
            there.execute::<Account>(&id, AccountCommand::Deposit(vec![1, 1, 1]), &second_meta),
        );
        assert_eq!(one.unwrap().events.len() + other.unwrap().events.len(), 6);
        let history = here.history::<Account>(&id).await.unwrap();
        let versions: Vec<_> = history.iter().map(|e| e.version).collect();
        assert_eq!(versions, [1, 2, 3, 4, 5, 6, 7, 8]);
        let commands: Vec<_> = history.iter().map(|e| e.command_id).collect();
        assert!(
            commands[2..5].iter().all(|c| *c == commands[2]),
            "torn: {commands:?}"
        );
        assert!(
            commands[5..8].iter().all(|c| *c == commands[5]),
            "torn: {commands:?}"
        );
    }
}

/// 64 callers in two processes pay into one account: every payment counts once.
pub async fn many_writers_lose_nothing(rig: &dyn Rig) {
    case("many writers lose nothing");
    let (here, there) = (rig.process().await, rig.process().await);
    let id = fresh_id();
    account_with(&here, &id, 0).await;
    let callers = (0..WRITERS).map(|n| {
        let streams = if n % 2 == 0 { &here } else { &there };
        let id = &id;
        async move {
            for _ in 0..COMMANDS_EACH {
                pay_in_until_done(streams, id).await;
            }
        }
    });
    join_all(callers).await;
    let total = WRITERS * COMMANDS_EACH;
    let history = rig.process().await.history::<Account>(&id).await.unwrap();
    let versions: Vec<_> = history.iter().map(|e| e.version).collect();
    // Opened, and the first payment of nothing.
    assert_eq!(versions, (1..=total + 2).collect::<Vec<_>>());
    for streams in [&here, &there] {
        let found = streams.load_current::<Account>(&id).await.unwrap();
        assert_eq!(found.state.balance(), total);
    }
}

/// 32 callers in two processes pay into a few accounts while the log has `trouble`: a server is
/// killed, a leader steps down. Each payment counts once, whatever its caller was told meanwhile; of two events, and
/// of an account and its number, both are there.
pub async fn writers_lose_nothing_during(rig: &dyn Rig, trouble: impl AsyncFnOnce()) {
    case("writers lose nothing during trouble");
    let (here, there) = (rig.process().await, rig.process().await);
    let ids = [fresh_id(), fresh_id(), fresh_id(), fresh_id()];
    for id in &ids {
        account_with(&here, id, 0).await;
    }
    let done = AtomicU64::new(0);
    let callers = (0..TROUBLED_WRITERS).map(|n| {
        let streams = if n % 2 == 0 { &here } else { &there };
        let id = &ids[(n / 2) as usize % ids.len()];
        let done = &done;
        async move {
            let mut opened = Vec::new();
            for command in 0..TROUBLED_COMMANDS_EACH {
                // Alone and in two, by both processes, into each account.
                let amounts = match (n / 2 + command) % 2 {
                    0 => vec![2],
                    _ => vec![1, 1],
                };
                pay_in_whatever_happens(streams, id, amounts).await;
                if command % OPENS_EVERY == 0 {
                    opened.push(open_whatever_happens(streams).await);
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
            opened
        }
    });
    let total = TROUBLED_WRITERS * TROUBLED_COMMANDS_EACH;
    let (opened, ()) = tokio::join!(join_all(callers), async {
        // In the middle of the work, not before or after it.
        while done.load(Ordering::Relaxed) < total / 4 {
            sleep(Duration::from_millis(1)).await;
        }
        trouble().await;
        assert!(done.load(Ordering::Relaxed) < total, "too late for trouble");
    });
    let mut found = 0;
    for id in &ids {
        let history = rig.process().await.history::<Account>(id).await.unwrap();
        let versions: Vec<_> = history.iter().map(|e| e.version).collect();
        assert_eq!(versions, (1..=history.len() as u64).collect::<Vec<_>>());
        // Behind the two with which it was opened.
        let payments = history[2..].chunk_by(|one, next| one.command_id == next.command_id);
        let payments: Vec<_> = payments.collect();
        assert_each_is_whole(&payments);
        for streams in [&here, &there, &rig.process().await] {
            let state = streams.load_current::<Account>(id).await.unwrap().state;
            assert_eq!(state.balance(), 2 * payments.len() as u64);
        }
        found += payments.len() as u64;
    }
    assert_eq!(found, total);
    let there = rig.process().await;
    for (account, number) in opened.into_iter().flatten() {
        let account = there.load_current::<Account>(&account).await.unwrap();
        let number = there.load_current::<NumberClaim>(&number).await.unwrap();
        assert_eq!((account.version, number.version), (1, 1));
    }
}

/// Two at once, or 1 and 1 side by side; and each command is there once.
fn assert_each_is_whole(payments: &[&[RecordedEvent]]) {
    let commands: HashSet<_> = payments
        .iter()
        .map(|payment| payment[0].command_id)
        .collect();
    assert_eq!(commands.len(), payments.len(), "torn or repeated");
    for payment in payments {
        let bodies: Vec<_> = payment.iter().map(|event| &event.data[..]).collect();
        let is_whole = matches!(
            bodies[..],
            [br#"{"amount":2}"#] | [br#"{"amount":1}"#, br#"{"amount":1}"#]
        );
        assert!(is_whole, "torn: {payment:?}");
    }
}

/// A client that asks again, with the same id, until it knows that its command was done.
async fn pay_in_whatever_happens(streams: &Streams, id: &AggregateId, amounts: Vec<u64>) {
    let meta = fresh_meta();
    let pays = async || {
        let command = AccountCommand::Deposit(amounts.clone());
        streams.execute::<Account>(id, command, &meta).await
    };
    whatever_happens(pays).await;
}

/// The same, for an account and its number, which is one batch.
async fn open_whatever_happens(streams: &Streams) -> (AggregateId, AggregateId) {
    let (account, number, meta) = (fresh_id(), fresh_id(), fresh_meta());
    whatever_happens(async || open_with_number(streams, (&account, &number), &meta).await).await;
    (account, number)
}

async fn whatever_happens<T, R: std::error::Error + 'static>(
    asks: impl AsyncFn() -> Result<T, ExecuteError<R>>,
) {
    loop {
        match asks().await {
            Ok(_) => return,
            Err(
                ExecuteError::Conflict
                | ExecuteError::Unavailable { .. }
                | ExecuteError::Unknown { .. },
            ) => sleep(Duration::from_millis(20)).await,
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// The same command again, with the same id, is what a client or a saga does after a conflict.
async fn pay_in_until_done(streams: &Streams, id: &AggregateId) {
    let meta = fresh_meta();
    loop {
        let paid = streams.execute::<Account>(id, AccountCommand::Deposit(vec![1]), &meta);
        match paid.await {
            Ok(done) => {
                assert_eq!(done.outcome, Outcome::Appended);
                return;
            }
            Err(ExecuteError::Conflict) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

pub(super) async fn account_with(streams: &Streams, id: &AggregateId, balance: u64) {
    let open = run(streams, id, AccountCommand::Open);
    open.await.unwrap();
    let command = AccountCommand::Deposit(vec![balance]);
    run(streams, id, command).await.unwrap();
}
