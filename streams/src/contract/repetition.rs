//! The same command id again.

use super::account::{Account, AccountCommand};
use super::races::account_with;
use super::{Rig, case, fresh_id, fresh_meta, run};
use crate::{ExecuteError, Outcome};

/// More commands than an id is remembered in memory for.
const FORGOTTEN_AFTER: usize = 1_050;

/// All of this page.
pub async fn all(rig: &dyn Rig) {
    a_repeated_command_is_answered_as_the_first_time(rig).await;
    a_repeated_creation_is_answered_as_the_first_time(rig).await;
    a_repeated_batch_is_answered_as_the_first_time(rig).await;
    another_request_under_the_same_id_is_refused(rig).await;
    another_aggregate_under_the_same_id_is_refused(rig).await;
    a_long_forgotten_command_is_not_done_twice(rig).await;
}

/// In the same process, in another one with a warm and in one with a cold cache: one event, one
/// answer, as of then.
pub async fn a_repeated_command_is_answered_as_the_first_time(rig: &dyn Rig) {
    case("a repeated command is answered as the first time");
    let (here, warm) = (rig.process().await, rig.process().await);
    let id = fresh_id();
    account_with(&here, &id, 10).await;
    warm.load_current::<Account>(&id).await.unwrap();
    let meta = fresh_meta().with_request_digest("d");
    let withdraw = AccountCommand::Withdraw(10);
    let first = here
        .execute::<Account>(&id, withdraw.clone(), &meta)
        .await
        .unwrap();
    // The newest command, then an older one.
    for later in [None, Some(AccountCommand::Deposit(vec![3]))] {
        if let Some(command) = later {
            run(&here, &id, command).await.unwrap();
        }
        for streams in [&here, &warm, &rig.process().await] {
            let again = streams
                .execute::<Account>(&id, withdraw.clone(), &meta)
                .await
                .unwrap();
            assert_eq!(again.outcome, Outcome::Replayed);
            assert_eq!(
                (again.version, &again.position),
                (first.version, &first.position)
            );
            assert_eq!(again.state, first.state);
            assert_eq!(again.events[0].id, first.events[0].id);
            let looked_up = streams.repeated::<Account>(&id, &meta).await.unwrap();
            let looked_up = looked_up.unwrap();
            assert_eq!(looked_up.outcome, Outcome::Replayed);
            assert_eq!(
                (looked_up.version, &looked_up.position, looked_up.state),
                (first.version, &first.position, again.state)
            );
            let other = meta.clone().with_request_digest("other");
            let other = streams.repeated::<Account>(&id, &other).await;
            assert!(matches!(other, Err(ExecuteError::KeyReused)));
            let never = streams.repeated::<Account>(&id, &fresh_meta()).await;
            assert!(never.unwrap().is_none());
        }
    }
    assert_eq!(here.history::<Account>(&id).await.unwrap().len(), 4);
}

/// A creation does not load first, and still is not done twice.
pub async fn a_repeated_creation_is_answered_as_the_first_time(rig: &dyn Rig) {
    case("a repeated creation is answered as the first time");
    let (here, there) = (rig.process().await, rig.process().await);
    let id = fresh_id();
    let meta = fresh_meta();
    let first = here
        .execute::<Account>(&id, AccountCommand::Create, &meta)
        .await
        .unwrap();
    run(&here, &id, AccountCommand::Deposit(vec![1]))
        .await
        .unwrap();
    let again = there
        .execute::<Account>(&id, AccountCommand::Create, &meta)
        .await
        .unwrap();
    assert_eq!((again.outcome, again.version), (Outcome::Replayed, 1));
    assert_eq!(again.position, first.position);
    assert_eq!(again.state.balance(), 0);
}

/// All events of it, again.
pub async fn a_repeated_batch_is_answered_as_the_first_time(rig: &dyn Rig) {
    case("a repeated batch is answered as the first time");
    let (here, there) = (rig.process().await, rig.process().await);
    let id = fresh_id();
    account_with(&here, &id, 0).await;
    there.load_current::<Account>(&id).await.unwrap();
    let meta = fresh_meta();
    let command = AccountCommand::Deposit(vec![1, 2, 3]);
    let first = here
        .execute::<Account>(&id, command.clone(), &meta)
        .await
        .unwrap();
    for streams in [&here, &there, &rig.process().await] {
        let again = streams
            .execute::<Account>(&id, command.clone(), &meta)
            .await
            .unwrap();
        assert_eq!(
            (again.outcome, again.version),
            (Outcome::Replayed, first.version)
        );
        let ids = |done: &crate::Executed<Account>| {
            done.events
                .iter()
                .map(|e| (e.id, e.position.sequence))
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&again), ids(&first));
    }
}

/// The digest of the request tells a repetition from a mistake.
pub async fn another_request_under_the_same_id_is_refused(rig: &dyn Rig) {
    case("another request under the same id is refused");
    let here = rig.process().await;
    let id = fresh_id();
    account_with(&here, &id, 10).await;
    let meta = fresh_meta().with_request_digest("one");
    here.execute::<Account>(&id, AccountCommand::Withdraw(1), &meta)
        .await
        .unwrap();
    let other = meta.with_request_digest("other");
    for streams in [&here, &rig.process().await] {
        let again = streams.execute::<Account>(&id, AccountCommand::Withdraw(2), &other);
        assert!(matches!(again.await, Err(ExecuteError::KeyReused)));
    }
    assert_eq!(
        here.load_current::<Account>(&id)
            .await
            .unwrap()
            .state
            .balance(),
        9
    );
}

/// An event's id would be there twice.
pub async fn another_aggregate_under_the_same_id_is_refused(rig: &dyn Rig) {
    case("another aggregate under the same id is refused");
    let here = rig.process().await;
    let (id, other) = (fresh_id(), fresh_id());
    let meta = fresh_meta();
    here.execute::<Account>(&id, AccountCommand::Open, &meta)
        .await
        .unwrap();
    let again = here
        .execute::<Account>(&other, AccountCommand::Open, &meta)
        .await;
    assert!(matches!(again, Err(ExecuteError::KeyReused)), "{again:?}");
    assert_eq!(
        here.load_current::<Account>(&other).await.unwrap().version,
        0
    );
}

/// Beyond the ids that are remembered the log itself still knows the event, for a while.
pub async fn a_long_forgotten_command_is_not_done_twice(rig: &dyn Rig) {
    case("a long forgotten command is not done twice");
    let here = rig.process().await;
    let id = fresh_id();
    let created = fresh_meta().with_request_digest("created");
    let create = here.execute::<Account>(&id, AccountCommand::Create, &created);
    let create = create.await.unwrap();
    let meta = fresh_meta();
    let deposit = AccountCommand::Deposit(vec![1]);
    let first = here
        .execute::<Account>(&id, deposit.clone(), &meta)
        .await
        .unwrap();
    for _ in 0..FORGOTTEN_AFTER {
        run(&here, &id, deposit.clone()).await.unwrap();
    }
    let again = here.execute::<Account>(&id, deposit, &meta).await.unwrap();
    assert_eq!(
        (again.outcome, again.version),
        (Outcome::Replayed, first.version)
    );
    assert_eq!(again.position, first.position);
    // A creation is never forgotten.
    let other = created.clone().with_request_digest("other");
    for streams in [&here, &rig.process().await] {
        let again = streams.execute::<Account>(&id, AccountCommand::Create, &created);
        let again = again.await.unwrap();
        assert_eq!((again.outcome, again.version), (Outcome::Replayed, 1));
        assert_eq!(again.position, create.position);
        let other = streams.execute::<Account>(&id, AccountCommand::Create, &other);
        assert!(matches!(other.await, Err(ExecuteError::KeyReused)));
    }
}
