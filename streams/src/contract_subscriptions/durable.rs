//! Durable subscriptions.

use std::time::{Duration, Instant};

use super::bench::{Bench, PIN_TIMEOUT, within};
use crate::connection::Connection;
use crate::subscription::{DurableSubscription, SubscriptionError};

async fn next(subscription: &mut DurableSubscription) -> u64 {
    let delivery = within("delivered", subscription.next()).await.unwrap();
    delivery.ack().await.unwrap();
    delivery.position.sequence
}

async fn silent(subscription: &mut DurableSubscription, how_long: Duration) {
    let got = tokio::time::timeout(how_long, subscription.next()).await;
    assert!(got.is_err(), "nothing should come");
}

/// Of two workers one is active. When it is dropped with deliveries in its hands, the other takes
/// over within the pin's time-out and gets those first, in order, then the newer ones.
pub async fn another_worker_takes_over(first: &Connection, second: &Connection) {
    let bench = Bench::new(first).await;
    let spec = bench.make_durable("worker").await;
    bench.append("a", 1, 5).await;
    let mut active = bench.bind(&spec).await;
    assert_eq!(next(&mut active).await, 1);
    let in_hand = within("delivered", active.next()).await.unwrap();
    assert_eq!(in_hand.position.sequence, 2);
    let standby = second.durable(&spec, crate::subscription::DurableLimits::default());
    let mut standby = standby.await.unwrap();
    silent(&mut standby, Duration::from_millis(500)).await;
    drop(active);
    bench.append("a", 6, 2).await;
    let since = Instant::now();
    let got = next(&mut standby).await;
    assert!(since.elapsed() < PIN_TIMEOUT + Duration::from_secs(3));
    assert_eq!(got, 2, "what the old one had not acknowledged comes first");
    for sequence in 3..=7 {
        assert_eq!(next(&mut standby).await, sequence);
    }
    silent(&mut standby, Duration::from_millis(300)).await;
    bench.acknowledged_up_to(&spec, 7).await;
    bench.remove().await;
}

/// What a dead worker left needs no newer event to come again, and not its acknowledgement time.
pub async fn left_overs_come_by_themselves(first: &Connection, second: &Connection) {
    let bench = Bench::new(first).await;
    let spec = bench.make_durable("left").await;
    bench.append("a", 1, 3).await;
    let mut active = bench.bind(&spec).await;
    let in_hand = within("delivered", active.next()).await.unwrap();
    assert_eq!(in_hand.position.sequence, 1);
    let standby = second.durable(&spec, crate::subscription::DurableLimits::default());
    let mut standby = standby.await.unwrap();
    drop(active);
    let since = Instant::now();
    for sequence in 1..=3 {
        assert_eq!(next(&mut standby).await, sequence);
    }
    assert!(
        since.elapsed() < PIN_TIMEOUT + Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
    bench.remove().await;
}

/// An idle worker keeps its pin, far beyond the time-out.
pub async fn an_idle_worker_stays_active(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = bench.make_durable("idle").await;
    bench.append("a", 1, 1).await;
    let mut active = bench.bind(&spec).await;
    assert_eq!(next(&mut active).await, 1);
    let mut standby = bench.bind(&spec).await;
    let idle = PIN_TIMEOUT * 2;
    tokio::join!(silent(&mut active, idle), silent(&mut standby, idle));
    bench.append("a", 2, 1).await;
    let (got, ()) = tokio::join!(
        next(&mut active),
        silent(&mut standby, Duration::from_millis(300))
    );
    assert_eq!(got, 2);
    bench.remove().await;
}

/// A worker that is released hands over at once.
pub async fn a_released_worker_hands_over_at_once(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = bench.make_durable("released").await;
    bench.append("a", 1, 1).await;
    let mut active = bench.bind(&spec).await;
    assert_eq!(next(&mut active).await, 1);
    let mut standby = bench.bind(&spec).await;
    silent(&mut standby, Duration::from_millis(100)).await;
    active.release().await;
    bench.append("a", 2, 1).await;
    let since = Instant::now();
    assert_eq!(next(&mut standby).await, 2);
    assert!(
        since.elapsed() < PIN_TIMEOUT * 4 / 5,
        "{:?}",
        since.elapsed()
    );
    bench.remove().await;
}

/// What is given back comes again after the pause, and counts its deliveries.
pub async fn retry_after_comes_again(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = bench.make_durable("again").await;
    bench.append("a", 1, 1).await;
    let mut worker = bench.bind(&spec).await;
    let first = within("delivered", worker.next()).await.unwrap();
    assert_eq!(first.delivered, 1);
    let since = Instant::now();
    first.retry_after(Duration::from_millis(700)).await.unwrap();
    let again = within("delivered", worker.next()).await.unwrap();
    assert_eq!((again.position.sequence, again.delivered), (1, 2));
    assert!(since.elapsed() >= Duration::from_millis(600));
    again.progress().await.unwrap();
    again.ack().await.unwrap();
    again.ack().await.expect("asking twice is harmless");
    bench.acknowledged_up_to(&spec, 1).await;
    bench.remove().await;
}

/// A message that is no event is an error with its position, stays unacknowledged, and the others
/// go on.
pub async fn an_unreadable_event_stays(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = bench.make_durable("unreadable").await;
    let subject = format!("event.{}.a", bench.context);
    let sent = connection.jetstream().publish(subject, "junk".into()).await;
    sent.unwrap().await.unwrap();
    bench.append("a", 1, 1).await;
    let mut worker = bench.bind(&spec).await;
    let error = within("an error", worker.next()).await.unwrap_err();
    assert!(
        matches!(error, SubscriptionError::Unreadable { .. }),
        "{error}"
    );
    assert_eq!(error.position().sequence, 1);
    assert_eq!(next(&mut worker).await, 2);
    assert_eq!(
        bench.durable_state(&spec).await,
        (1, 0),
        "1 is not acknowledged"
    );
    bench.remove().await;
}

/// A durable that nobody made is an error that says what to do.
pub async fn a_missing_durable_is_an_error(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = crate::topology::DurableSpec {
        name: "nobody-made-me",
        stream: String::leak(bench.stream.clone()),
        kind: None,
        acks: crate::topology::Acks::Each,
        on_failure: crate::topology::OnFailure::Retry,
    };
    let bound = connection.durable(&spec, crate::subscription::DurableLimits::default());
    let Err(error) = bound.await else {
        panic!("it was bound");
    };
    assert!(error.to_string().contains("provision"), "{error}");
    bench.remove().await;
}
