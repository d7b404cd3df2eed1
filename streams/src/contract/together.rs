//! Several aggregates, all or none.

use kernel::AggregateId;

use super::account::{Account, AccountCommand, ClaimNumber, NumberClaim};
use super::races::account_with;
use super::{Rig, case, fresh_id, fresh_meta};
use crate::{
    CommandMeta, EncodeError, ExecuteAtError, ExecuteError, ExecutedTogether, Outcome, Streams,
    TogetherRefusal, step,
};

/// All of this page.
pub async fn all(rig: &dyn Rig) {
    both_are_done(rig).await;
    a_refusal_of_one_undoes_nothing_of_the_other(rig).await;
    of_two_racing_for_one_number_one_wins(rig).await;
    again_is_answered_as_the_first_time(rig).await;
    what_is_no_batch_is_refused(rig).await;
    a_condition_is_about_the_first(rig).await;
}

pub(super) async fn open_with_number(
    streams: &Streams,
    (account, number): (&AggregateId, &AggregateId),
    meta: &CommandMeta,
) -> Result<ExecutedTogether, ExecuteError<TogetherRefusal>> {
    let owner = account.to_string();
    let steps = vec![
        step::<Account>(account.clone(), AccountCommand::Create),
        step::<NumberClaim>(number.clone(), ClaimNumber { owner }),
    ];
    streams.execute_together(steps, meta).await
}

/// One batch, one command, two aggregates; then one that has nothing to do beside one that has.
pub async fn both_are_done(rig: &dyn Rig) {
    case("both are done");
    let here = rig.process().await;
    let (account, number) = (fresh_id(), fresh_id());
    let done = open_with_number(&here, (&account, &number), &fresh_meta())
        .await
        .unwrap();
    assert_eq!(done.outcome, Outcome::Appended);
    assert_eq!(done.steps[0].version, 1);
    assert_eq!(done.steps[1].position, done.position.sequence);
    assert_eq!(done.steps[0].position + 1, done.steps[1].position);
    assert!(done.steps[0].state::<Account>().is_some());
    assert!(done.steps[0].state::<NumberClaim>().is_none());
    let owner = account.to_string();
    let steps = vec![
        step::<NumberClaim>(number.clone(), ClaimNumber { owner }),
        step::<Account>(account.clone(), AccountCommand::Deposit(vec![1, 2])),
    ];
    let done = here.execute_together(steps, &fresh_meta()).await.unwrap();
    assert_eq!(
        (done.steps[0].events.len(), done.steps[1].events.len()),
        (0, 2)
    );
    let there = rig.process().await;
    assert_eq!(
        there
            .load_current::<Account>(&account)
            .await
            .unwrap()
            .state
            .balance(),
        3
    );
    assert_eq!(
        there
            .load_current::<NumberClaim>(&number)
            .await
            .unwrap()
            .version,
        1
    );
}

/// The number is taken, so the account isn't opened either.
pub async fn a_refusal_of_one_undoes_nothing_of_the_other(rig: &dyn Rig) {
    case("a refusal of one undoes nothing of the other");
    let (here, there) = (rig.process().await, rig.process().await);
    let (first, second, number) = (fresh_id(), fresh_id(), fresh_id());
    open_with_number(&here, (&first, &number), &fresh_meta())
        .await
        .unwrap();
    let refused = open_with_number(&there, (&second, &number), &fresh_meta()).await;
    let Err(ExecuteError::Refused(refusal)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((refusal.step, refusal.code.as_str()), (1, "number_taken"));
    assert_eq!(refusal.value["owner"], first.as_str());
    assert_eq!(
        there
            .load_current::<Account>(&second)
            .await
            .unwrap()
            .version,
        0
    );
}

/// Two batches with different accounts want one number: the loser's account isn't there.
pub async fn of_two_racing_for_one_number_one_wins(rig: &dyn Rig) {
    case("of two racing for one number one wins");
    for _ in 0..10 {
        let (here, there) = (rig.process().await, rig.process().await);
        let (first, second, number) = (fresh_id(), fresh_id(), fresh_id());
        let (first_meta, second_meta) = (fresh_meta(), fresh_meta());
        let (one, other) = tokio::join!(
            open_with_number(&here, (&first, &number), &first_meta),
            open_with_number(&there, (&second, &number), &second_meta),
        );
        let won = [&one, &other].iter().filter(|r| r.is_ok()).count();
        assert_eq!(won, 1, "{one:?} {other:?}");
        let loser = if one.is_ok() { &second } else { &first };
        let lost = one.err().or(other.err()).unwrap();
        assert!(
            matches!(&lost, ExecuteError::Refused(r) if r.code == "number_taken"),
            "{lost:?}"
        );
        assert_eq!(
            here.load_current::<Account>(loser).await.unwrap().version,
            0
        );
        assert_eq!(
            here.load_current::<NumberClaim>(&number)
                .await
                .unwrap()
                .version,
            1
        );
    }
}

/// In this process and in another one.
pub async fn again_is_answered_as_the_first_time(rig: &dyn Rig) {
    case("again is answered as the first time");
    let here = rig.process().await;
    let (account, number) = (fresh_id(), fresh_id());
    let meta = fresh_meta().with_request_digest("one");
    let first = open_with_number(&here, (&account, &number), &meta)
        .await
        .unwrap();
    account_with(&here, &account, 4).await;
    for streams in [&here, &rig.process().await] {
        let again = open_with_number(streams, (&account, &number), &meta)
            .await
            .unwrap();
        assert_eq!(
            (again.outcome, &again.position),
            (Outcome::Replayed, &first.position)
        );
        assert_eq!(again.steps[0].version, 1);
        assert_eq!(again.steps[1].events[0].id, first.steps[1].events[0].id);
        let other = meta.clone().with_request_digest("other");
        let reused = open_with_number(streams, (&account, &number), &other).await;
        assert!(matches!(reused, Err(ExecuteError::KeyReused)));
    }
}

/// No steps, or two on one aggregate.
pub async fn what_is_no_batch_is_refused(rig: &dyn Rig) {
    case("what is no batch is refused");
    let here = rig.process().await;
    let id = fresh_id();
    let twice = vec![
        step::<Account>(id.clone(), AccountCommand::Open),
        step::<Account>(id, AccountCommand::Open),
    ];
    for steps in [vec![], twice] {
        let refused = here.execute_together(steps, &fresh_meta()).await;
        assert!(matches!(
            refused,
            Err(ExecuteError::Unwritable(EncodeError::NotTogether))
        ));
    }
}

/// Of many who change it in one batch, each made for the same version, one is done. A process that
/// believes an older version doesn't refuse by it, and what was done before is not stale.
pub async fn a_condition_is_about_the_first(rig: &dyn Rig) {
    case("a condition is about the first");
    let (here, there) = (rig.process().await, rig.process().await);
    let account = fresh_id();
    account_with(&here, &account, 1).await;
    there.load::<Account>(&account).await.unwrap();
    let number = fresh_id();
    let steps = || {
        let owner = account.to_string();
        vec![
            step::<Account>(account.clone(), AccountCommand::Deposit(vec![1])),
            step::<NumberClaim>(number.clone(), ClaimNumber { owner }),
        ]
    };
    let meta = fresh_meta();
    let at = |version| move |current| current == version;
    let done = here.execute_together_if(steps(), at(2), &meta).await;
    assert_eq!(done.unwrap().steps[0].version, 3);
    let again = there.execute_together_if(steps(), at(2), &meta).await;
    assert_eq!(again.unwrap().outcome, Outcome::Replayed);
    let stale = there
        .execute_together_if(steps(), at(2), &fresh_meta())
        .await;
    let stale = stale.unwrap_err();
    assert!(
        matches!(stale, ExecuteAtError::Stale { version: 3 }),
        "{stale:?}"
    );
    let next = there
        .execute_together_if(steps(), at(3), &fresh_meta())
        .await;
    assert_eq!(next.unwrap().steps[0].version, 4);
}
