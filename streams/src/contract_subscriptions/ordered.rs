//! Ordered subscriptions.

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures::{StreamExt, TryStreamExt};
use tokio::runtime::Handle;

use super::bench::{Bench, within};
use crate::connection::{ConnectOptions, Connection};
use crate::contract::lossy::{Line, Proxy};
use crate::subscription::{OrderedSubscription, SubscriptionError};
use crate::verify::scan;

/// Long enough for what is on its way on loopback.
const LINGER: Duration = Duration::from_millis(200);

async fn sequences(subscription: &mut OrderedSubscription, count: usize) -> Vec<u64> {
    let mut got = Vec::new();
    while got.len() < count {
        let batch = subscription.next_batch(count - got.len(), LINGER);
        let batch = within("a batch", batch).await.unwrap();
        got.extend(batch.iter().map(|event| event.position.sequence));
    }
    got
}

/// From a position on, each once and in order; it knows when it has caught up; a future that is
/// dropped in the middle loses nothing.
pub async fn resumes_from_a_position(connection: &Connection) {
    let bench = Bench::new(connection).await;
    bench.append("a", 1, 10).await;
    let mut subscription = connection.ordered(&bench.stream, 4);
    assert_eq!(subscription.pending(), None);
    within("started", subscription.start()).await.unwrap();
    assert_eq!(subscription.pending(), Some(6));
    assert_eq!(sequences(&mut subscription, 2).await, [5, 6]);
    assert!(!subscription.caught_up());
    assert_eq!(sequences(&mut subscription, 4).await, [7, 8, 9, 10]);
    assert!(subscription.caught_up());
    let nothing = tokio::time::timeout(Duration::from_millis(50), subscription.next()).await;
    assert!(nothing.is_err(), "nothing is there");
    bench.append("b", 1, 3).await;
    // Started, dropped, started: whatever was read stays.
    let mut got = Vec::new();
    while got.len() < 3 {
        let cut = subscription.next_batch(1000, Duration::MAX);
        if let Ok(batch) = tokio::time::timeout(Duration::from_micros(300), cut).await {
            got.extend(batch.unwrap().iter().map(|e| e.position.sequence));
        }
    }
    assert_eq!(got, [11, 12, 13]);
    bench.remove().await;
}

/// Read beside a busy one, each of whose events drops the future: what was begun is gone on with, for each beginning
/// is a consumer at the server.
pub async fn what_is_begun_is_gone_on_with(connection: &Connection) {
    const EVENTS: u64 = 500;
    let (busy, quiet) = (Bench::new(connection).await, Bench::new(connection).await);
    busy.append("a", 1, EVENTS).await;
    let made = format!("$JS.API.CONSUMER.CREATE.{}.>", quiet.stream);
    let mut made = connection.client().subscribe(made).await.unwrap();
    let mut of_busy = connection.ordered(&busy.stream, 0);
    within("started", of_busy.start()).await.unwrap();
    let mut of_quiet = connection.ordered(&quiet.stream, 0);
    let read = async {
        let mut read = 0;
        while read < EVENTS {
            tokio::select! {
                event = of_busy.next() => read = event.unwrap().position.sequence,
                event = of_quiet.next() => panic!("{event:?}"),
            }
        }
    };
    within("read", read).await;
    quiet.append("b", 1, 1).await;
    assert_eq!(sequences(&mut of_quiet, 1).await, [1]);
    made.unsubscribe().await.unwrap();
    let made = made.count().await;
    // Of three nodes one may not answer in time, and then it is begun anew.
    assert!((1..5).contains(&made), "{made} consumers");
    busy.remove().await;
    quiet.remove().await;
}

/// Of some subjects alone: what lies between is no gap, and it has caught up with those.
pub async fn reads_what_matches(connection: &Connection) {
    let bench = Bench::new(connection).await;
    for id in ["a", "b", "a", "a", "b"] {
        bench.append_one(id, 1).await;
    }
    let filter = format!("event.{}.b", bench.context);
    let mut subscription = connection.ordered_matching(&bench.stream, filter, 0);
    within("started", subscription.start()).await.unwrap();
    assert_eq!(subscription.pending(), Some(2));
    assert_eq!(sequences(&mut subscription, 2).await, [2, 5]);
    assert!(subscription.caught_up());
    bench.append_one("a", 1).await;
    bench.append_one("b", 1).await;
    assert_eq!(sequences(&mut subscription, 1).await, [7]);
    bench.remove().await;
}

/// From a time on: what was stored before is left out, and a new consumer goes on where it was.
pub async fn reads_since_a_time(connection: &Connection) {
    let bench = Bench::new(connection).await;
    bench.append("a", 1, 2).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let since = Utc::now() - TimeDelta::seconds(1);
    bench.append("a", 3, 2).await;
    let filter = format!("event.{}.a", bench.context);
    let mut subscription = connection.ordered_since(&bench.stream, filter, since);
    within("started", subscription.start()).await.unwrap();
    assert_eq!(subscription.pending(), Some(2));
    assert_eq!(sequences(&mut subscription, 2).await, [3, 4]);
    let mut all = connection.ordered_all_since(&bench.stream, since);
    assert_eq!(sequences(&mut all, 2).await, [3, 4]);
    assert!(all.caught_up());
    bench.remove().await;
}

/// An empty stream, and a position at the end: caught up at once, and waiting.
pub async fn knows_that_nothing_is_there(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let mut subscription = connection.ordered(&bench.stream, 0);
    within("started", subscription.start()).await.unwrap();
    assert!(subscription.caught_up());
    bench.append("a", 1, 1).await;
    assert_eq!(sequences(&mut subscription, 1).await, [1]);
    let mut at_end = connection.ordered(&bench.stream, 1);
    within("started", at_end.start()).await.unwrap();
    assert!(at_end.caught_up());
    bench.remove().await;
}

/// The server is killed and restarted under one that has read and one that has been idle since
/// its start: both go on with exactly what comes then.
pub async fn goes_on_after_a_restart(connection: &Connection, restart: impl AsyncFnOnce(&str)) {
    let bench = Bench::new(connection).await;
    bench.append("a", 1, 7).await;
    let mut reading = connection.ordered(&bench.stream, 0);
    let mut idle = connection.ordered(&bench.stream, 7);
    assert_eq!(sequences(&mut reading, 7).await, [1, 2, 3, 4, 5, 6, 7]);
    within("started", idle.start()).await.unwrap();
    restart(&bench.stream).await;
    within("appended after the restart", async {
        while !connection.is_connected() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    })
    .await;
    bench.append("a", 8, 3).await;
    assert_eq!(sequences(&mut reading, 3).await, [8, 9, 10]);
    assert_eq!(sequences(&mut idle, 3).await, [8, 9, 10]);
    for subscription in [&mut reading, &mut idle] {
        let more = tokio::time::timeout(Duration::from_secs(1), subscription.next()).await;
        assert!(more.is_err(), "each event once");
    }
    bench.remove().await;
}

/// Somebody deletes the consumer under it: it makes another and loses nothing.
pub async fn goes_on_when_its_consumer_is_deleted(connection: &Connection) {
    let bench = Bench::new(connection).await;
    bench.append("a", 1, 3).await;
    let mut subscription = connection.ordered(&bench.stream, 0);
    assert_eq!(sequences(&mut subscription, 3).await, [1, 2, 3]);
    delete_its_consumer(&bench).await;
    bench.append("a", 4, 2).await;
    assert_eq!(sequences(&mut subscription, 2).await, [4, 5]);
    bench.remove().await;
}

/// What it says of itself: current while nothing is on its way that the reader has not had, and not
/// from the loss of its consumer until all has been read that came meanwhile.
pub async fn says_whether_it_is_current(connection: &Connection) {
    let bench = Bench::new(connection).await;
    bench.append("a", 1, 3).await;
    let mut subscription = connection.ordered(&bench.stream, 0);
    let current = subscription.current();
    let is_current = || current.load(Ordering::Acquire);
    assert!(!is_current(), "nothing was asked yet");
    assert_eq!(sequences(&mut subscription, 3).await, [1, 2, 3]);
    until(&mut subscription, &is_current).await;
    delete_its_consumer(&bench).await;
    bench.append("a", 4, 2).await;
    assert_eq!(sequences(&mut subscription, 1).await, [4]);
    assert!(!is_current(), "more has come meanwhile");
    assert_eq!(sequences(&mut subscription, 1).await, [5]);
    until(&mut subscription, &is_current).await;
    bench.remove().await;
}

/// Reads, although nothing comes, until it is so.
async fn until(subscription: &mut OrderedSubscription, so: &impl Fn() -> bool) {
    let so = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = within("a change", so) => {}
        event = subscription.next() => panic!("{event:?}"),
    }
}

/// A missing event is an error that names it, and stays one.
pub async fn a_gap_is_an_error(connection: &Connection) {
    let bench = Bench::with(connection, |config| config.deny_delete = false).await;
    bench.append("a", 1, 4).await;
    let js = connection.jetstream();
    let stream = js.get_stream_no_info(&bench.stream).await.unwrap();
    stream.delete_message(3).await.unwrap();
    let mut subscription = connection.ordered(&bench.stream, 0);
    let batch = within("a batch", subscription.next_batch(9, LINGER)).await;
    assert_eq!(
        batch.unwrap().len(),
        2,
        "what is before the gap comes first"
    );
    for _ in 0..2 {
        let error = within("an error", subscription.next()).await.unwrap_err();
        let SubscriptionError::Gap { expected, found } = error else {
            panic!("not a gap: {error}");
        };
        assert_eq!((expected.sequence, found), (3, 4));
    }
    bench.remove().await;
}

/// A message that is no event is an error with its position; a reader that wants to goes on.
pub async fn an_unreadable_event_is_an_error(connection: &Connection) {
    let bench = Bench::new(connection).await;
    bench.append("a", 1, 1).await;
    let subject = format!("event.{}.a", bench.context);
    let sent = connection.jetstream().publish(subject, "junk".into()).await;
    sent.unwrap().await.unwrap();
    bench.append("a", 2, 1).await;
    let mut subscription = connection.ordered(&bench.stream, 0);
    assert_eq!(sequences(&mut subscription, 1).await, [1]);
    let error = within("an error", subscription.next()).await.unwrap_err();
    assert!(
        matches!(error, SubscriptionError::Unreadable { .. }),
        "{error}"
    );
    assert_eq!(error.position().sequence, 2);
    assert_eq!(sequences(&mut subscription, 1).await, [3]);
    bench.remove().await;
}

/// A position beyond the end of the log: an older log was restored.
pub async fn a_log_that_is_too_short_is_an_error(connection: &Connection) {
    let bench = Bench::new(connection).await;
    bench.append("a", 1, 3).await;
    let mut subscription = connection.ordered(&bench.stream, 100);
    let error = within("an error", subscription.next()).await.unwrap_err();
    let SubscriptionError::Ahead { position, last } = error else {
        panic!("not ahead: {error}");
    };
    assert_eq!((position.sequence, last), (100, 3));
    bench.remove().await;
}

/// A scan that breaks off in the middle, as when its server is killed, hands on each message once and to the
/// end; and of a stream whose messages are all gone it hands on none. Wants a runtime of several threads.
pub async fn a_scan_goes_on(connection: &Connection) {
    let bench = Bench::with(connection, |config| config.deny_purge = false).await;
    // More than it asks for at once.
    let all = 2_500;
    bench.append("a", 1, all).await;
    let mut seen = Vec::new();
    let scanned = scan(connection, &bench.stream, all, |message| {
        seen.push(message.position.sequence);
        if seen.len() == 1 {
            let deleted = delete_its_consumer(&bench);
            tokio::task::block_in_place(|| Handle::current().block_on(deleted));
        }
    });
    within("scanned", scanned).await.unwrap();
    assert_eq!(seen, (1..=all).collect::<Vec<_>>());

    let js = connection.jetstream();
    let stream = js.get_stream(&bench.stream).await.unwrap();
    stream.purge().await.unwrap();
    let empty = scan(connection, &bench.stream, all, |_| {
        panic!("nothing is there")
    });
    let at_once = Duration::from_secs(10);
    tokio::time::timeout(at_once, empty).await.unwrap().unwrap();
    bench.remove().await;
}

/// The node that a consumer is on may be behind the stream's leader, and says that nothing waits: the reader has
/// caught up with what the leader knows, not before.
pub async fn a_node_that_is_behind_is_not_believed(options: &ConnectOptions) {
    let all = Connection::open(options).await.unwrap();
    let bench = Bench::new(&all).await;
    bench.append("a", 1, 3).await;
    let proxy = Proxy::start(options).await;
    let connection = Connection::open(&proxy.options).await.unwrap();
    proxy.set(Line::HidesPending);
    let (stream, filter) = (bench.stream.as_str(), format!("event.{}.a", bench.context));
    let past = Utc::now() - TimeDelta::hours(1);
    for mut subscription in [
        connection.ordered(stream, 0),
        connection.ordered_matching(stream, &filter, 0),
        connection.ordered_since(stream, &filter, past),
        connection.ordered_all_since(stream, past),
    ] {
        within("started", subscription.start()).await.unwrap();
        assert!(!subscription.caught_up(), "nothing was read");
        assert_eq!(sequences(&mut subscription, 3).await, [1, 2, 3]);
        assert!(subscription.caught_up());
    }
    let future = Utc::now() + TimeDelta::hours(1);
    for mut subscription in [
        connection.ordered(stream, 3),
        connection.ordered_matching(stream, &filter, 3),
        connection.ordered_matching(stream, "event.none.*", 0),
        connection.ordered_since(stream, &filter, future),
        connection.ordered_all_since(stream, future),
    ] {
        within("started", subscription.start()).await.unwrap();
        assert!(subscription.caught_up(), "nothing is to be read");
    }
    bench.remove().await;
}

/// Takes the one consumer away under its reader.
async fn delete_its_consumer(bench: &Bench) {
    let js = bench.connection.jetstream();
    let stream = js.get_stream_no_info(&bench.stream).await.unwrap();
    let names: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
    assert_eq!(names.len(), 1, "one consumer per reader: {names:?}");
    stream.delete_consumer(&names[0]).await.unwrap();
}
