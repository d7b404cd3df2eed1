//! A command that was made for one version is decided on that version, or not at all.

use futures::future::join_all;

use super::account::{Account, AccountCommand};
use super::races::account_with;
use super::{Rig, case, fresh_id, fresh_meta, run};
use crate::{ExecuteAtError, ExecuteError, Outcome};

/// Callers for one version, in [`of_many_for_one_version_one_wins`].
const CALLERS: usize = 16;

/// All of this page.
pub async fn all(rig: &dyn Rig) {
    another_version_is_stale(rig).await;
    a_stale_cache_says_nothing(rig).await;
    of_many_for_one_version_one_wins(rig).await;
    what_was_done_before_is_not_stale(rig).await;
}

/// Older and newer are both refused, also where there is nothing; nothing is appended.
pub async fn another_version_is_stale(rig: &dyn Rig) {
    case("another version is stale");
    let here = rig.process().await;
    let (id, nowhere) = (fresh_id(), fresh_id());
    account_with(&here, &id, 1).await;
    for expected in [0, 1, 3] {
        let meta = fresh_meta();
        let paid = here.execute_at::<Account>(&id, expected, deposit(), &meta);
        let error = paid.await.unwrap_err();
        assert!(
            matches!(error, ExecuteAtError::Stale { version: 2 }),
            "{error:?}"
        );
    }
    let meta = fresh_meta();
    let made = here.execute_at::<Account>(&nowhere, 1, AccountCommand::Create, &meta);
    let error = made.await.unwrap_err();
    assert!(
        matches!(error, ExecuteAtError::Stale { version: 0 }),
        "{error:?}"
    );
    let made = here.execute_at::<Account>(&nowhere, 0, AccountCommand::Create, &meta);
    assert_eq!(made.await.unwrap().version, 1);
    assert_eq!(here.history::<Account>(&id).await.unwrap().len(), 2);
    // A refusal on the right version is a refusal.
    let meta = fresh_meta();
    let taken = here.execute_at::<Account>(&id, 2, AccountCommand::Withdraw(9), &meta);
    let error = taken.await.unwrap_err();
    assert!(
        matches!(error, ExecuteAtError::Failed(ExecuteError::Refused(_))),
        "{error:?}"
    );
}

/// What this process believes is neither a reason to refuse nor one to append.
pub async fn a_stale_cache_says_nothing(rig: &dyn Rig) {
    case("a stale cache says nothing");
    let (here, there) = (rig.process().await, rig.process().await);
    let id = fresh_id();
    account_with(&here, &id, 1).await;
    there.load_current::<Account>(&id).await.unwrap();
    run(&here, &id, deposit()).await.unwrap();
    // There, version 2 is still believed in.
    let meta = fresh_meta();
    let paid = there.execute_at::<Account>(&id, 2, deposit(), &meta).await;
    let error = paid.unwrap_err();
    assert!(
        matches!(error, ExecuteAtError::Stale { version: 3 }),
        "{error:?}"
    );
    run(&here, &id, deposit()).await.unwrap();
    let meta = fresh_meta();
    let paid = there.execute_at::<Account>(&id, 4, deposit(), &meta).await;
    assert_eq!(paid.unwrap().version, 5);
}

/// Everybody read the same version and wants to change it: one does, the others are told.
pub async fn of_many_for_one_version_one_wins(rig: &dyn Rig) {
    case("of many for one version one wins");
    let (here, there) = (rig.process().await, rig.process().await);
    let id = fresh_id();
    account_with(&here, &id, 0).await;
    there.load_current::<Account>(&id).await.unwrap();
    for version in 2..7 {
        let callers = (0..CALLERS).map(|n| {
            let streams = if n % 2 == 0 { &here } else { &there };
            let id = &id;
            async move {
                let meta = fresh_meta();
                streams
                    .execute_at::<Account>(id, version, deposit(), &meta)
                    .await
            }
        });
        let mut won = 0;
        for done in join_all(callers).await {
            match done {
                Ok(done) => {
                    assert_eq!(done.version, version + 1);
                    won += 1;
                }
                Err(ExecuteAtError::Stale { version: found }) => assert_eq!(found, version + 1),
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(won, 1);
    }
    let found = here.load_current::<Account>(&id).await.unwrap();
    assert_eq!((found.version, found.state.balance()), (7, 5));
}

/// A client that got no answer sends the same request again, with the version that it knew then.
pub async fn what_was_done_before_is_not_stale(rig: &dyn Rig) {
    case("what was done before is not stale");
    let (here, there) = (rig.process().await, rig.process().await);
    let id = fresh_id();
    account_with(&here, &id, 0).await;
    let meta = fresh_meta();
    let paid = here.execute_at::<Account>(&id, 2, deposit(), &meta).await;
    assert_eq!(paid.unwrap().outcome, Outcome::Appended);
    run(&here, &id, deposit()).await.unwrap();
    for streams in [&here, &there] {
        let again = streams.execute_at::<Account>(&id, 2, deposit(), &meta);
        let again = again.await.unwrap();
        assert_eq!((again.version, again.outcome), (3, Outcome::Replayed));
    }
}

fn deposit() -> AccountCommand {
    AccountCommand::Deposit(vec![1])
}
