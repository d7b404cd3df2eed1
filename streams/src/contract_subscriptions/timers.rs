//! Timers.

use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use uuid::Uuid;

use super::bench::{at_last, within};
use crate::connection::Connection;
use crate::subscription::DurableLimits;
use crate::timers::{Canceled, DueTimer, TimerId, TimerSubscription, Timers};
use crate::topology::{Acks, DurableSpec, OnFailure, TIMERS_STREAM};

/// A saga of the test's own, with its durable.
async fn saga(connection: &Connection) -> (String, Timers, TimerSubscription) {
    let saga = format!("contract{}", Uuid::new_v4().simple());
    let name: &'static str = String::leak(format!("{saga}-timers"));
    let spec = DurableSpec {
        name,
        stream: TIMERS_STREAM,
        kind: None,
        acks: Acks::Each,
        on_failure: OnFailure::Retry,
    };
    let js = connection.jetstream();
    at_last("made", async || {
        let made = js.create_consumer_on_stream(spec.config(), TIMERS_STREAM);
        made.await
    })
    .await;
    let timers = Timers::new(connection);
    let due = timers
        .subscribe(&spec, DurableLimits::default())
        .await
        .unwrap();
    (saga, timers, due)
}

fn timer(saga: &str, id: &str) -> TimerId {
    TimerId {
        saga: saga.to_owned(),
        id: id.parse().unwrap(),
    }
}

async fn next(due: &mut TimerSubscription) -> DueTimer {
    let delivery = within("due", due.next()).await.unwrap();
    delivery.ack().await.unwrap();
    delivery.event
}

async fn silent(due: &mut TimerSubscription, how_long: Duration) {
    assert!(tokio::time::timeout(how_long, due.next()).await.is_err());
}

async fn remove(connection: &Connection, saga: &str) {
    let js = connection.jetstream();
    let stream = js.get_stream_no_info(TIMERS_STREAM).await.unwrap();
    stream
        .delete_consumer(&format!("{saga}-timers"))
        .await
        .unwrap();
    let all = format!("timer.*.{saga}.>");
    stream.purge().filter(all).await.unwrap();
}

/// It tells its time, to the millisecond and never an earlier one: it is a proof that the time has come.
fn rang_for(timer: &DueTimer, time: DateTime<Utc>) {
    let told = timer.due - time;
    let within = TimeDelta::zero()..TimeDelta::milliseconds(1);
    assert!(within.contains(&told), "it tells {} of {time}", timer.due);
}

/// Fires once, not before it is due, and says when it was due, and since when it is waited for if that was told; due in
/// the past fires at once.
pub async fn fires_once_when_due(connection: &Connection) {
    let (saga, timers, mut due) = saga(connection).await;
    let at = Utc::now() + TimeDelta::milliseconds(1200);
    timers.set(&timer(&saga, "later"), at).await.unwrap();
    let past = Utc::now() - TimeDelta::hours(1);
    let since = (past - TimeDelta::days(3)).trunc_subsecs(3);
    let set = timers.set_since(&timer(&saga, "past"), past, since).await;
    set.unwrap();
    let first = next(&mut due).await;
    assert_eq!(first.id, timer(&saga, "past"));
    rang_for(&first, past);
    assert_eq!(first.since, Some(since));
    let second = next(&mut due).await;
    assert_eq!(second.id, timer(&saga, "later"));
    assert_eq!(second.since, None);
    assert!(Utc::now() >= at, "not before it is due");
    silent(&mut due, Duration::from_millis(600)).await;
    remove(connection, &saga).await;
}

/// Setting it again replaces it: it fires once, at the second time.
pub async fn setting_again_replaces(connection: &Connection) {
    let (saga, timers, mut due) = saga(connection).await;
    let id = timer(&saga, "o-1");
    let soon = Utc::now() + TimeDelta::milliseconds(400);
    let later = Utc::now() + TimeDelta::milliseconds(1500);
    timers.set(&id, soon).await.unwrap();
    timers.set(&id, later).await.unwrap();
    let fired = next(&mut due).await;
    assert!(Utc::now() >= later);
    rang_for(&fired, later);
    silent(&mut due, Duration::from_millis(600)).await;
    remove(connection, &saga).await;
}

/// A cancellation says exactly whether it was in time.
pub async fn canceling_says_whether_it_was_in_time(connection: &Connection) {
    let (saga, timers, mut due) = saga(connection).await;
    let id = timer(&saga, "o-1");
    assert_eq!(timers.cancel(&id).await.unwrap(), Canceled::NotPending);
    let soon = Utc::now() + TimeDelta::milliseconds(900);
    assert!(!timers.is_pending(&id).await.unwrap());
    timers.set(&id, soon).await.unwrap();
    assert!(timers.is_pending(&id).await.unwrap());
    assert_eq!(timers.cancel(&id).await.unwrap(), Canceled::InTime);
    assert!(!timers.is_pending(&id).await.unwrap());
    assert_eq!(timers.cancel(&id).await.unwrap(), Canceled::NotPending);
    silent(&mut due, Duration::from_millis(1500)).await;
    timers.set(&id, Utc::now()).await.unwrap();
    next(&mut due).await;
    assert_eq!(timers.cancel(&id).await.unwrap(), Canceled::NotPending);
    remove(connection, &saga).await;
}

/// The server is killed while a timer is pending, and is still down when it is due: it fires late, and once.
/// `down_until` has whoever leads a stream be down until a time, and tells when it was.
pub async fn survives_a_restart(
    connection: &Connection,
    down_until: impl AsyncFn(&str, DateTime<Utc>) -> DateTime<Utc>,
) {
    let (saga, timers, mut due) = saga(connection).await;
    let id = timer(&saga, "o-1");
    let mut ahead = TimeDelta::seconds(1);
    let at = loop {
        let at = Utc::now() + ahead;
        timers.set(&id, at).await.unwrap();
        if down_until(TIMERS_STREAM, at).await < at {
            break at;
        }
        // A busy machine has killed it too late to show anything.
        next(&mut due).await;
        ahead = ahead * 2;
    };
    let fired = next(&mut due).await;
    assert_eq!(fired.id, id);
    rang_for(&fired, at);
    silent(&mut due, Duration::from_secs(1)).await;
    remove(connection, &saga).await;
}
