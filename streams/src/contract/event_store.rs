//! The same as cqrs-es sees it: what any of its event stores must do.
//!
//! [`all`] runs it on ours; [`any`] on every store that compares sequences, such as postgres-es's;
//! [`without_conflicts`] on cqrs-es's `MemStore` too, which never compares them: there, of two
//! commits on one context, both get in. It is no stand-in for a store in a test about races.

use std::collections::HashMap;

use cqrs_es::{AggregateContext, AggregateError, CqrsFramework, EventStore};

use super::account::{Account, AccountCommand, AccountEvent, AccountRefusal};
use super::{Rig, case, fresh_id};

/// All of this page, on two processes of ours.
pub async fn all(rig: &dyn Rig) {
    let store = async || rig.process().await.store::<Account>();
    any(&store().await, store().await).await;
    an_id_that_is_none_is_refused(store().await).await;
}

/// What every store must do that others write to as well: `here` and `there` share one log.
pub async fn any<S: EventStore<Account>>(here: &S, there: S) {
    without_conflicts(here).await;
    of_two_commits_on_one_context_one_wins(here, &there).await;
    of_two_creating_commits_one_wins(here, &there).await;
    the_framework_runs_on_it(there).await;
}

/// What a store must do that nobody else writes to.
pub async fn without_conflicts<S: EventStore<Account>>(store: &S) {
    nothing_is_loaded_of_what_never_happened(store).await;
    a_commit_is_loaded(store).await;
    a_commit_goes_on_from_the_last_one(store).await;
}

/// An empty history, and the default state.
pub async fn nothing_is_loaded_of_what_never_happened<S: EventStore<Account>>(store: &S) {
    case("nothing is loaded of what never happened");
    let id = fresh_id();
    assert!(store.load_events(id.as_str()).await.unwrap().is_empty());
    let mut context = store.load_aggregate(id.as_str()).await.unwrap();
    assert_eq!(*context.aggregate(), Account::default());
}

/// With its metadata.
pub async fn a_commit_is_loaded<S: EventStore<Account>>(store: &S) {
    case("a commit is loaded");
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

/// Its sequences follow, and so does the state.
pub async fn a_commit_goes_on_from_the_last_one<S: EventStore<Account>>(store: &S) {
    case("a commit goes on from the last one");
    let id = fresh_id();
    for sequence in 1..=4 {
        let context = store.load_aggregate(id.as_str()).await.unwrap();
        let committed = store.commit(paid(), context, HashMap::new()).await.unwrap();
        assert_eq!(committed[0].sequence, sequence);
    }
    let mut context = store.load_aggregate(id.as_str()).await.unwrap();
    assert_eq!(context.aggregate().balance(), 4);
}

/// The expectation is what the context was loaded at.
pub async fn of_two_commits_on_one_context_one_wins<S: EventStore<Account>>(here: &S, there: &S) {
    case("of two commits on one context one wins");
    let id = fresh_id();
    for _ in 0..3 {
        let one = here.load_aggregate(id.as_str()).await.unwrap();
        let other = there.load_aggregate(id.as_str()).await.unwrap();
        here.commit(paid(), one, HashMap::new()).await.unwrap();
        let lost = there.commit(paid(), other, HashMap::new()).await;
        assert!(matches!(lost, Err(AggregateError::AggregateConflict)));
    }
    assert_eq!(here.load_events(id.as_str()).await.unwrap().len(), 3);
}

/// At the same time, on an aggregate that isn't there yet: one event, one conflict.
pub async fn of_two_creating_commits_one_wins<S: EventStore<Account>>(here: &S, there: &S) {
    case("of two creating commits one wins");
    for _ in 0..10 {
        let id = fresh_id();
        let one = here.load_aggregate(id.as_str()).await.unwrap();
        let other = there.load_aggregate(id.as_str()).await.unwrap();
        let events = || vec![AccountEvent::AccountOpened {}];
        let (one, other) = tokio::join!(
            here.commit(events(), one, HashMap::new()),
            there.commit(events(), other, HashMap::new()),
        );
        assert_eq!([&one, &other].iter().filter(|r| r.is_ok()).count(), 1);
        let lost = one.err().or(other.err()).unwrap();
        assert!(matches!(lost, AggregateError::AggregateConflict));
        assert_eq!(here.load_events(id.as_str()).await.unwrap().len(), 1);
    }
}

/// `CqrsFramework::execute`, with a refusal.
pub async fn the_framework_runs_on_it<S: EventStore<Account>>(store: S) {
    case("the framework runs on it");
    let framework = CqrsFramework::new(store, vec![], ());
    let id = fresh_id();
    for command in [AccountCommand::Open, AccountCommand::Deposit(vec![1])] {
        framework.execute(id.as_str(), command).await.unwrap();
    }
    let refused = framework
        .execute(id.as_str(), AccountCommand::Withdraw(2))
        .await;
    let refusal = AccountRefusal::AccountOverdrawn { balance: 1 };
    assert!(matches!(refused, Err(AggregateError::UserError(r)) if r == refusal));
}

/// A dot would make it another subject.
async fn an_id_that_is_none_is_refused<S: EventStore<Account>>(store: S) {
    case("an id that is none is refused");
    let framework = CqrsFramework::new(store, vec![], ());
    for id in ["a.b", "*", ">", "a b", "", "a\r\nb", "ä", &"x".repeat(300)] {
        let refused = framework.execute(id, AccountCommand::Open).await;
        assert!(refused.is_err(), "{id:?}");
    }
}

fn paid() -> Vec<AccountEvent> {
    vec![AccountEvent::MoneyDeposited { amount: 1 }]
}
