//! Refusals and no-ops are about what the leader knows, never about a stale cache.

use super::account::{Account, AccountCommand, AccountRefusal};
use super::races::account_with;
use super::{Rig, case, fresh_id, run};
use crate::{ExecuteError, Outcome};

/// All of this page.
pub async fn all(rig: &dyn Rig) {
    a_refusal_on_a_stale_cache_never_gets_out(rig).await;
    a_no_op_on_a_stale_cache_never_gets_out(rig).await;
    a_true_refusal_appends_nothing(rig).await;
    a_current_load_sees_what_others_did(rig).await;
}

/// One process thinks that the account is empty; the other has paid in meanwhile.
pub async fn a_refusal_on_a_stale_cache_never_gets_out(rig: &dyn Rig) {
    case("a refusal on a stale cache never gets out");
    let (here, there) = (rig.process().await, rig.process().await);
    let id = fresh_id();
    account_with(&here, &id, 0).await;
    there.load_current::<Account>(&id).await.unwrap();
    run(&here, &id, AccountCommand::Deposit(vec![5]))
        .await
        .unwrap();
    assert_eq!(
        there.load::<Account>(&id).await.unwrap().state.balance(),
        0,
        "not stale"
    );
    let taken = run(&there, &id, AccountCommand::Withdraw(5));
    assert_eq!(taken.await.unwrap().version, 4);
}

/// The same with "it is empty already".
pub async fn a_no_op_on_a_stale_cache_never_gets_out(rig: &dyn Rig) {
    case("a no-op on a stale cache never gets out");
    let (here, there) = (rig.process().await, rig.process().await);
    let id = fresh_id();
    account_with(&here, &id, 0).await;
    there.load_current::<Account>(&id).await.unwrap();
    run(&here, &id, AccountCommand::Deposit(vec![5]))
        .await
        .unwrap();
    let emptied = run(&there, &id, AccountCommand::Empty);
    let emptied = emptied.await.unwrap();
    assert_eq!(
        (emptied.outcome, emptied.state.balance()),
        (Outcome::Appended, 0)
    );
    let again = run(&there, &id, AccountCommand::Empty);
    let again = again.await.unwrap();
    assert_eq!(again.outcome, Outcome::AlreadyTrue);
    assert_eq!(
        (again.version, &again.position),
        (emptied.version, &emptied.position)
    );
    assert_eq!(again.events, []);
}

/// Asked three times, refused three times, nothing appended; also of an account that isn't there.
pub async fn a_true_refusal_appends_nothing(rig: &dyn Rig) {
    case("a true refusal appends nothing");
    let here = rig.process().await;
    let (id, nowhere) = (fresh_id(), fresh_id());
    account_with(&here, &id, 3).await;
    for _ in 0..3 {
        let refused = run(&here, &id, AccountCommand::Withdraw(4));
        let refusal = AccountRefusal::AccountOverdrawn { balance: 3 };
        assert!(matches!(refused.await, Err(ExecuteError::Refused(r)) if r == refusal));
        let refused = run(&here, &nowhere, AccountCommand::Empty);
        let refusal = AccountRefusal::AccountNotOpen;
        assert!(matches!(refused.await, Err(ExecuteError::Refused(r)) if r == refusal));
    }
    assert_eq!(here.history::<Account>(&id).await.unwrap().len(), 2);
    assert_eq!(
        here.load_current::<Account>(&nowhere)
            .await
            .unwrap()
            .version,
        0
    );
}

/// `load` may be late, `load_current` is not.
pub async fn a_current_load_sees_what_others_did(rig: &dyn Rig) {
    case("a current load sees what others did");
    let (here, there) = (rig.process().await, rig.process().await);
    let id = fresh_id();
    account_with(&here, &id, 1).await;
    there.load_current::<Account>(&id).await.unwrap();
    for balance in 2..20 {
        let paid = run(&here, &id, AccountCommand::Deposit(vec![1]));
        let position = paid.await.unwrap().position.sequence;
        let found = there.load_current::<Account>(&id).await.unwrap();
        assert_eq!((found.state.balance(), found.position), (balance, position));
    }
}
