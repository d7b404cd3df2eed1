//! Append, load, history, schema versions.

use async_nats::HeaderMap;
use bytes::Bytes;
use chrono::Utc;
use kernel::Position;
use kernel::wire::WireError;
use uuid::Uuid;

use super::account::{Account, AccountCommand, AccountEvent, ClaimNumber, NumberClaim};
use super::shouting::{Shout, Shouting};
use super::{Rig, case, fresh_id, fresh_meta, run};
use crate::{DecodeCause, EncodeError, ExecuteError, LoadError, Outcome, subject};

/// All of this page.
pub async fn all(rig: &dyn Rig) {
    append_then_load(rig).await;
    several_events_of_one_command(rig).await;
    a_long_history_is_loaded_in_pages(rig).await;
    metadata_comes_back(rig).await;
    an_old_schema_is_brought_forward(rig).await;
    an_unreadable_event_is_an_error(rig).await;
    a_version_gap_is_an_error(rig).await;
    what_a_header_must_not_hold_is_refused(rig).await;
    an_event_type_that_could_not_be_read_again_is_refused(rig).await;
    too_large_is_refused(rig).await;
    nothing_stands_in_the_future(rig).await;
}

/// What one process appended, another one loads.
pub async fn append_then_load(rig: &dyn Rig) {
    case("append then load");
    let (here, there) = (rig.process().await, rig.process().await);
    let id = fresh_id();
    let nothing = there.load::<Account>(&id).await.unwrap();
    assert_eq!((nothing.version, nothing.position), (0, 0));
    let opened = run(&here, &id, AccountCommand::Open);
    let opened = opened.await.unwrap();
    assert_eq!((opened.version, opened.outcome), (1, Outcome::Appended));
    let paid = run(&here, &id, AccountCommand::Deposit(vec![5]));
    let paid = paid.await.unwrap();
    assert!(paid.position.sequence > opened.position.sequence);
    assert_eq!((paid.version, paid.state.balance()), (2, 5));
    let found = there.load_with::<Account>(&paid.events[0]);
    let found = found.await.unwrap();
    assert_eq!((found.version, found.position), (2, paid.position.sequence));
    assert_eq!(found.state.balance(), 5);
    let stored = here.event_at(&paid.position).await.unwrap().unwrap();
    assert_eq!(stored.id, paid.events[0].id);
}

/// They stand side by side, in order, with versions in a row.
pub async fn several_events_of_one_command(rig: &dyn Rig) {
    case("several events of one command");
    let here = rig.process().await;
    let id = fresh_id();
    let open = run(&here, &id, AccountCommand::Open);
    open.await.unwrap();
    let command = AccountCommand::Deposit(vec![1, 2, 3]);
    let paid = run(&here, &id, command).await.unwrap();
    assert_eq!((paid.version, paid.state.balance()), (4, 6));
    let history = rig.process().await.history::<Account>(&id).await.unwrap();
    assert_eq!(
        history.iter().map(|e| e.version).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    for (answered, stored) in paid.events.iter().zip(&history[1..]) {
        assert_eq!(
            (answered.id, &answered.position),
            (stored.id, &stored.position)
        );
        assert_eq!(answered.data, stored.data);
    }
    assert_eq!(paid.position, history[3].position);
}

/// More events than one page holds.
pub async fn a_long_history_is_loaded_in_pages(rig: &dyn Rig) {
    case("a long history is loaded in pages");
    let here = rig.process().await;
    let id = fresh_id();
    let open = run(&here, &id, AccountCommand::Open);
    open.await.unwrap();
    for _ in 0..7 {
        let command = AccountCommand::Deposit(vec![1; 100]);
        run(&here, &id, command).await.unwrap();
    }
    let found = rig
        .process()
        .await
        .load_current::<Account>(&id)
        .await
        .unwrap();
    assert_eq!((found.version, found.state.balance()), (701, 700));
}

/// Who, when, why: as the command said.
pub async fn metadata_comes_back(rig: &dyn Rig) {
    case("metadata comes back");
    let here = rig.process().await;
    let id = fresh_id();
    let meta = fresh_meta()
        .with_correlation("flow-1")
        .with_causation("event-1")
        .with_request_digest("digest-1")
        .with_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let opened = here
        .execute::<Account>(&id, AccountCommand::Open, &meta)
        .await
        .unwrap();
    let history = rig.process().await.history::<Account>(&id).await.unwrap();
    let stored = &history[0];
    assert_eq!(stored.command_id, meta.command_id);
    assert_eq!(stored.time, meta.time);
    assert_eq!(stored.actor, meta.actor);
    assert_eq!(stored.correlation_id, meta.correlation_id);
    assert_eq!(stored.causation_id, meta.causation_id);
    assert_eq!(stored.request_digest, meta.request_digest);
    assert_eq!(stored.traceparent, meta.traceparent);
    assert_eq!(stored.subject, format!("event.account.{id}"));
    assert!((stored.recorded_at - Utc::now()).abs().num_seconds() < 60);
    let mut answered = opened.events[0].clone();
    answered.recorded_at = stored.recorded_at;
    assert_eq!(&answered, stored);
}

/// What was written under version 1 is read as version 2.
pub async fn an_old_schema_is_brought_forward(rig: &dyn Rig) {
    case("an old schema is brought forward");
    let here = rig.process().await;
    let id = fresh_id();
    run(&here, &id, AccountCommand::Open).await.unwrap();
    let headers = by_hand("millrace.money_deposited.v1", 2);
    let subject = subject::subject_of::<Account>(&id);
    rig.put_by_hand(&subject, headers, Bytes::from_static(br#"{"sum":7}"#))
        .await;
    let there = rig.process().await;
    let found = there.load_current::<Account>(&id).await.unwrap();
    assert_eq!(found.state.balance(), 7);
    let history = there.history::<Account>(&id).await.unwrap();
    assert_eq!(history[1].schema_version, 1);
    let decoded = history[1].decode::<Account>().unwrap();
    assert_eq!(decoded, AccountEvent::MoneyDeposited { amount: 7 });
    assert_eq!(history[1].envelope::<Account>().unwrap().sequence, 2);
    // And the writer with its warm cache loses the race, reads it and goes on.
    let paid = run(&here, &id, AccountCommand::Withdraw(7));
    assert_eq!(paid.await.unwrap().version, 3);
}

/// Loading stops at what can't be read, and says where and why; nothing is decided on half of it.
pub async fn an_unreadable_event_is_an_error(rig: &dyn Rig) {
    case("an unreadable event is an error");
    for (event_type, data, wanted) in [
        (
            "millrace.money_deposited.v2",
            r#"{"amount":"much"}"#,
            "body",
        ),
        ("millrace.money_deposited.v3", r#"{"amount":1}"#, "schema"),
        ("millrace.account_burned.v1", "{}", "body"),
        ("something.else", "{}", "ce-type"),
    ] {
        let here = rig.process().await;
        let id = fresh_id();
        run(&here, &id, AccountCommand::Open).await.unwrap();
        let subject = subject::subject_of::<Account>(&id);
        let data = Bytes::from_static(data.as_bytes());
        rig.put_by_hand(&subject, by_hand(event_type, 2), data)
            .await;
        let error = rig
            .process()
            .await
            .load_current::<Account>(&id)
            .await
            .unwrap_err();
        let LoadError::Unreadable(error) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.subject, subject);
        let cause = match &error.cause {
            DecodeCause::Wire(WireError::Body { .. }) => "body",
            DecodeCause::Wire(WireError::SchemaVersion { .. }) => "schema",
            DecodeCause::BadHeader { header, .. } => header,
            DecodeCause::Subject
            | DecodeCause::Foreign { .. }
            | DecodeCause::MissingHeader { .. }
            | DecodeCause::Version { .. } => "another one",
        };
        assert_eq!(cause, wanted);
        let paid = run(&here, &id, AccountCommand::Deposit(vec![1]));
        assert!(matches!(paid.await, Err(ExecuteError::Unreadable(_))));
    }
}

/// A missing or doubled event shows in the versions.
pub async fn a_version_gap_is_an_error(rig: &dyn Rig) {
    case("a version gap is an error");
    let here = rig.process().await;
    let id = fresh_id();
    run(&here, &id, AccountCommand::Open).await.unwrap();
    let headers = by_hand("millrace.money_deposited.v2", 3);
    let subject = subject::subject_of::<Account>(&id);
    rig.put_by_hand(&subject, headers, Bytes::from_static(br#"{"amount":7}"#))
        .await;
    let error = rig
        .process()
        .await
        .load_current::<Account>(&id)
        .await
        .unwrap_err();
    let LoadError::Unreadable(error) = error else {
        panic!("{error:?}");
    };
    assert!(matches!(
        error.cause,
        DecodeCause::Version {
            expected: 2,
            found: 3
        }
    ));
}

/// Line breaks would be headers of their own.
pub async fn what_a_header_must_not_hold_is_refused(rig: &dyn Rig) {
    case("what a header must not hold is refused");
    let here = rig.process().await;
    let id = fresh_id();
    let meta = fresh_meta().with_correlation("a\r\nNats-Rollup: all");
    let error = here
        .execute::<Account>(&id, AccountCommand::Open, &meta)
        .await
        .unwrap_err();
    let header = "ce-correlationid";
    assert!(
        matches!(error, ExecuteError::Unwritable(EncodeError::Header { header: h }) if h == header)
    );
    assert_eq!(here.load_current::<Account>(&id).await.unwrap().version, 0);
}

/// What was appended is there for ever.
pub async fn an_event_type_that_could_not_be_read_again_is_refused(rig: &dyn Rig) {
    case("an event type that could not be read again is refused");
    let here = rig.process().await;
    let id = fresh_id();
    let told = here.execute::<Shouting>(&id, Shout {}, &fresh_meta()).await;
    assert!(matches!(
        told.unwrap_err(),
        ExecuteError::Unwritable(EncodeError::EventType { event_type }) if event_type == "NoSnake"
    ));
    assert_eq!(here.load_current::<Shouting>(&id).await.unwrap().version, 0);
}

/// Above what the log takes: said at once, nothing appended. (The log in memory takes everything.)
pub async fn too_large_is_refused(rig: &dyn Rig) {
    case("too large is refused");
    let here = rig.process().await;
    let id = fresh_id();
    let owner = "x".repeat(2 * 1024 * 1024);
    let meta = fresh_meta();
    let claimed = here.execute::<NumberClaim>(&id, ClaimNumber { owner }, &meta);
    match claimed.await {
        Ok(done) => assert_eq!(done.version, 1),
        Err(error) => {
            assert!(matches!(error, ExecuteError::TooLarge), "{error:?}");
            let found = here.load_current::<NumberClaim>(&id);
            assert_eq!(found.await.unwrap().version, 0);
        }
    }
}

/// The headers of an event that our code did not write.
fn by_hand(event_type: &str, version: u64) -> HeaderMap {
    let id = Uuid::new_v4().to_string();
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("ce-id", id.as_str()),
        ("ce-type", event_type),
        ("ce-time", "2026-08-01T12:00:00Z"),
        ("ce-version", version.to_string().as_str()),
        ("ce-commandid", id.as_str()),
        ("ce-actor", "system"),
        ("x-unknown", "left alone"),
    ] {
        headers.insert(name, value);
    }
    headers
}

/// Nothing stands at a position that wasn't given out.
pub async fn nothing_stands_in_the_future(rig: &dyn Rig) {
    case("nothing stands in the future");
    let here = rig.process().await;
    let far = Position::new("ACCOUNT", u64::from(u32::MAX));
    assert_eq!(here.event_at(&far).await.unwrap(), None);
}
