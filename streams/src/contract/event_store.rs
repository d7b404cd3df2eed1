//! The same as cqrs-es sees it.

use std::collections::HashMap;

use cqrs_es::{AggregateContext, AggregateError, CqrsFramework, EventStore};

use super::account::{Account, AccountCommand, AccountEvent, AccountRefusal};
use super::{Rig, case, fresh_id};

/// All of this page.
pub async fn all(rig: &dyn Rig) {
    a_commit_is_loaded(rig).await;
    of_two_commits_on_one_context_one_wins(rig).await;
    the_framework_runs_on_it(rig).await;
}

/// With its metadata.
pub async fn a_commit_is_loaded(rig: &dyn Rig) {
    case("a commit is loaded");
    let store = rig.process().await.store::<Account>();
    let id = fresh_id();
    let context = store.load_aggregate(id.as_str()).await.unwrap();
    let metadata = HashMap::from([("actor".to_owned(), "user:1".to_owned())]);
    let events = vec![
        AccountEvent::AccountOpened {},
        AccountEvent::MoneyDeposited { amount: 2 },
    ];
    let committed = store
        .commit(events.clone(), context, metadata)
        .await
        .unwrap();
    let loaded = store.load_events(id.as_str()).await.unwrap();
    for envelopes in [&committed, &loaded] {
        let payloads: Vec<_> = envelopes.iter().map(|e| e.payload.clone()).collect();
        assert_eq!(payloads, events);
        assert_eq!(
            envelopes.iter().map(|e| e.sequence).collect::<Vec<_>>(),
            [1, 2]
        );
        assert_eq!(envelopes[0].metadata["actor"], "user:1");
    }
    let mut context = store.load_aggregate(id.as_str()).await.unwrap();
    assert_eq!(context.aggregate().balance(), 2);
}

/// The expectation is the position that the context was loaded at.
pub async fn of_two_commits_on_one_context_one_wins(rig: &dyn Rig) {
    case("of two commits on one context one wins");
    let (here, there) = (
        rig.process().await.store::<Account>(),
        rig.process().await.store::<Account>(),
    );
    let id = fresh_id();
    for _ in 0..3 {
        let one = here.load_aggregate(id.as_str()).await.unwrap();
        let other = there.load_aggregate(id.as_str()).await.unwrap();
        let events = || vec![AccountEvent::MoneyDeposited { amount: 1 }];
        here.commit(events(), one, HashMap::new()).await.unwrap();
        let lost = there.commit(events(), other, HashMap::new()).await;
        assert!(matches!(lost, Err(AggregateError::AggregateConflict)));
    }
    assert_eq!(here.load_events(id.as_str()).await.unwrap().len(), 3);
}

/// `CqrsFramework::execute`, with a refusal.
pub async fn the_framework_runs_on_it(rig: &dyn Rig) {
    case("the framework runs on it");
    let framework = CqrsFramework::new(rig.process().await.store::<Account>(), vec![], ());
    let id = fresh_id();
    for command in [AccountCommand::Open, AccountCommand::Deposit(vec![1])] {
        framework.execute(id.as_str(), command).await.unwrap();
    }
    let refused = framework
        .execute(id.as_str(), AccountCommand::Withdraw(2))
        .await;
    let refusal = AccountRefusal::AccountOverdrawn { balance: 1 };
    assert!(matches!(refused, Err(AggregateError::UserError(r)) if r == refusal));
    assert!(
        framework
            .execute("a.b", AccountCommand::Open)
            .await
            .is_err()
    );
}
