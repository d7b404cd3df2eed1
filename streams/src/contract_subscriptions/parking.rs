//! What can't be handled is set aside, and comes back when a person says so.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_trait::async_trait;
use bytes::Bytes;
use chrono::Utc;
use futures::{StreamExt, TryStreamExt};
use kernel::Position;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::bench::{Bench, within};
use crate::connection::{ConnectOptions, Connection};
use crate::contract::lossy::{Line, Proxy};
use crate::lanes::{HandleError, Handler, Stopped, run_lanes};
use crate::parking::{
    Lot, Note, Overview, ParkedEvent, ParkedKey, ParkingError, Reading, Record, What, Wish, all_of,
    ask, history, parked,
};
use crate::subscription::{Delivery, DurableLimits, RawMessage};
use crate::topology::{DurableSpec, OnFailure, PARKED_STREAM};

/// Parks what is permanent only.
const PERMANENT: OnFailure = OnFailure::Park {
    after_attempts: None,
};

/// By when a worker has begun with another try.
const RETRY_BEGINS: Duration = Duration::from_secs(3);

/// Writes down what it handled; what is broken fails.
#[derive(Default)]
struct Clerk {
    broken: Mutex<HashSet<(String, u64)>>,
    retryable: bool,
    /// How often it was asked to handle something.
    asked: AtomicU32,
    handled: Mutex<Vec<(String, u64)>>,
}

#[async_trait]
impl Handler for Clerk {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let event = &delivery.event;
        let done = (event.aggregate_id.to_string(), event.version);
        if self.broken.lock().await.contains(&done) {
            return Err(if self.retryable {
                HandleError::retryable("not now")
            } else {
                HandleError::permanent("it is broken")
            });
        }
        delivery.ack().await.map_err(HandleError::retryable)?;
        self.handled.lock().await.push(done);
        Ok(())
    }
}

impl Clerk {
    fn with_broken(key: &str, version: u64) -> Arc<Self> {
        let broken = HashSet::from([(key.to_owned(), version)]);
        Arc::new(Self {
            broken: Mutex::new(broken),
            ..Self::default()
        })
    }

    async fn handled(&self, key: &str) -> Vec<u64> {
        let handled = self.handled.lock().await;
        let of_key = handled.iter().filter(|(k, _)| k == key);
        of_key.map(|(_, version)| *version).collect()
    }

    async fn has_handled(&self, key: &str, versions: &[u64]) {
        within("handled", async {
            while self.handled(key).await != versions {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

/// A worker that runs.
struct Worker {
    stop: CancellationToken,
    runs: JoinHandle<Result<(), Stopped>>,
}

impl Worker {
    async fn start(bench: &Bench, spec: &DurableSpec, clerk: &Arc<Clerk>) -> Self {
        let limits = DurableLimits::default();
        Self::over(&bench.connection, spec, limits, clerk).await
    }

    async fn over(
        connection: &Connection,
        spec: &DurableSpec,
        limits: DurableLimits,
        clerk: &Arc<Clerk>,
    ) -> Self {
        let stop = CancellationToken::new();
        let subscription = connection.durable(spec, limits).await.unwrap();
        let run = run_lanes(subscription, 4, clerk.clone(), stop.clone());
        let runs = tokio::spawn(run);
        Self { stop, runs }
    }

    async fn stop(self) {
        self.stop.cancel();
        within("stopped", self.runs).await.unwrap().unwrap();
    }
}

/// A durable under a name that no other test uses: what was parked stays for ever.
async fn durable(bench: &Bench, on_failure: OnFailure) -> DurableSpec {
    let name = format!("parks-{}", bench.context);
    bench.make(String::leak(name), on_failure).await
}

async fn state(bench: &Bench, spec: &DurableSpec, key: &str) -> Option<ParkedKey> {
    let all = parked(&bench.connection).await.unwrap();
    let mut ours = all
        .into_iter()
        .filter(|(s, k, _)| s == spec.name && k == key);
    ours.next().map(|(_, _, state)| state)
}

/// Waits until exactly these events of the key wait; none = it is not parked.
async fn waits(bench: &Bench, spec: &DurableSpec, key: &str, sequences: &[u64]) {
    within("as parked as it should be", async {
        loop {
            let state = state(bench, spec, key).await;
            let waiting: Vec<u64> = state
                .iter()
                .flat_map(|state| &state.waiting)
                .map(|waiting| waiting.position.sequence)
                .collect();
            if waiting == sequences && state.is_some() != sequences.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// The poisoned event and the later ones of its key are set aside in order and acknowledged, also
/// behind a restart of the worker; others go on. A retry handles them in order, then new ones are
/// handled as they come.
pub async fn a_poisoned_key_is_set_aside_and_comes_back(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = durable(&bench, PERMANENT).await;
    let clerk = Clerk::with_broken("bad", 1);
    bench.append("bad", 1, 2).await;
    bench.append("good", 1, 3).await;
    let worker = Worker::start(&bench, &spec, &clerk).await;
    clerk.has_handled("good", &[1, 2, 3]).await;
    waits(&bench, &spec, "bad", &[1, 2]).await;
    bench.acknowledged_up_to(&spec, 5).await;
    worker.stop().await;
    let first = state(&bench, &spec, "bad").await.unwrap().waiting[0].clone();
    assert_eq!((first.cause.as_str(), first.attempts), ("it is broken", 1));

    clerk.broken.lock().await.clear();
    bench.append("bad", 3, 1).await;
    let worker = Worker::start(&bench, &spec, &clerk).await;
    waits(&bench, &spec, "bad", &[1, 2, 6]).await;
    assert!(clerk.handled("bad").await.is_empty(), "nothing overtakes");
    let retry = Wish::Retry { reason: None };
    ask(connection, spec.name, "bad", "ada", retry)
        .await
        .unwrap();
    clerk.has_handled("bad", &[1, 2, 3]).await;
    waits(&bench, &spec, "bad", &[]).await;
    bench.append("bad", 4, 1).await;
    clerk.has_handled("bad", &[1, 2, 3, 4]).await;
    bench.acknowledged_up_to(&spec, 7).await;
    worker.stop().await;
    bench.remove().await;
}

/// However many wait, one reader reads them for another try.
pub async fn a_retry_reads_what_waits_once(connection: &Connection) {
    const WAITING: u64 = 60;
    let bench = Bench::new(connection).await;
    let spec = durable(&bench, PERMANENT).await;
    let clerk = Clerk::with_broken("bad", 1);
    bench.append("bad", 1, WAITING).await;
    let worker = Worker::start(&bench, &spec, &clerk).await;
    let all: Vec<u64> = (1..=WAITING).collect();
    waits(&bench, &spec, "bad", &all).await;
    clerk.broken.lock().await.clear();
    let made = "$JS.API.CONSUMER.CREATE.PARKED.>";
    let mut made = connection.client().subscribe(made).await.unwrap();
    let retry = Wish::Retry { reason: None };
    ask(connection, spec.name, "bad", "ada", retry)
        .await
        .unwrap();
    clerk.has_handled("bad", &all).await;
    made.unsubscribe().await.unwrap();
    let made: Vec<_> = made.collect().await;
    assert!(!made.is_empty(), "who asks reads, too");
    // Of three nodes one may be behind, and then it is another reader that goes on.
    assert!(made.len() < 30, "{} readers", made.len());
    worker.stop().await;
    bench.remove().await;
}

/// A skipped event is left out, with who and why on record; the later ones are handled.
pub async fn a_skip_leaves_one_event_out(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = durable(&bench, PERMANENT).await;
    let clerk = Clerk::with_broken("bad", 2);
    bench.append("bad", 1, 3).await;
    let worker = Worker::start(&bench, &spec, &clerk).await;
    waits(&bench, &spec, "bad", &[2, 3]).await;
    let skip = || Wish::Skip {
        reason: "sent by hand".to_owned(),
    };
    ask(connection, spec.name, "bad", "ada", skip())
        .await
        .unwrap();
    clerk.has_handled("bad", &[1, 3]).await;
    waits(&bench, &spec, "bad", &[]).await;
    let records = history(connection, spec.name, "bad").await.unwrap();
    let skipped = records.iter().any(|record| match &record.what {
        What::Note(Note::Skip { by, reason, .. }) => by == "ada" && reason == "sent by hand",
        What::Note(_) | What::Parked(_) => false,
    });
    assert!(skipped, "{records:?}");
    let again = ask(connection, spec.name, "bad", "ada", skip()).await;
    assert!(matches!(again, Err(ParkingError::NotParked { .. })));
    worker.stop().await;
    bench.remove().await;
}

/// A retry that fails leaves the key parked, with the cause.
pub async fn a_retry_that_fails_says_so(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = durable(&bench, PERMANENT).await;
    let clerk = Clerk::with_broken("bad", 1);
    bench.append("bad", 1, 2).await;
    let worker = Worker::start(&bench, &spec, &clerk).await;
    waits(&bench, &spec, "bad", &[1, 2]).await;
    let retry = Wish::Retry { reason: None };
    let asked = ask(connection, spec.name, "bad", "ada", retry)
        .await
        .unwrap();
    within("failed", async {
        loop {
            let state = state(&bench, &spec, "bad").await.unwrap();
            if state.failed.is_some_and(|failed| failed > asked) {
                assert_eq!(state.waiting[0].attempts, 2);
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    waits(&bench, &spec, "bad", &[1, 2]).await;
    worker.stop().await;
    bench.remove().await;
}

/// What can't be read is set aside as it is, and the events of its aggregate wait behind it.
pub async fn what_can_not_be_read_is_set_aside(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = durable(&bench, PERMANENT).await;
    let clerk = Arc::new(Clerk::default());
    let subject = format!("event.{}.a", bench.context);
    let sent = connection.jetstream().publish(subject, "junk".into()).await;
    sent.unwrap().await.unwrap();
    bench.append("a", 1, 1).await;
    bench.append("b", 1, 1).await;
    let worker = Worker::start(&bench, &spec, &clerk).await;
    clerk.has_handled("b", &[1]).await;
    waits(&bench, &spec, "a", &[1, 2]).await;
    bench.acknowledged_up_to(&spec, 3).await;
    let records = history(connection, spec.name, "a").await.unwrap();
    let What::Parked(junk) = &records[0].what else {
        panic!("{records:?}");
    };
    assert_eq!(&junk.payload[..], b"junk");
    let skip = Wish::Skip {
        reason: "junk".to_owned(),
    };
    ask(connection, spec.name, "a", "ada", skip).await.unwrap();
    clerk.has_handled("a", &[1]).await;
    worker.stop().await;
    bench.remove().await;
}

/// What may pass is tried as often as the policy says, then set aside.
pub async fn what_does_not_pass_in_time_is_set_aside(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let after_attempts = Some(3);
    let spec = durable(&bench, OnFailure::Park { after_attempts }).await;
    let clerk = Arc::new(Clerk {
        broken: Mutex::new(HashSet::from([("slow".to_owned(), 1)])),
        retryable: true,
        ..Clerk::default()
    });
    bench.append("slow", 1, 1).await;
    let worker = Worker::start(&bench, &spec, &clerk).await;
    waits(&bench, &spec, "slow", &[1]).await;
    let state = state(&bench, &spec, "slow").await.unwrap();
    assert_eq!(state.waiting[0].attempts, 3);
    worker.stop().await;
    bench.remove().await;
}

/// Two workers, one killed with a key parked: the other knows it when it takes over.
pub async fn a_standby_knows_what_is_parked(first: &Connection, second: &Connection) {
    let bench = Bench::new(first).await;
    let spec = durable(&bench, PERMANENT).await;
    let clerk = Clerk::with_broken("bad", 1);
    let active = Worker::start(&bench, &spec, &clerk).await;
    bench.append("good", 1, 1).await;
    clerk.has_handled("good", &[1]).await;
    let other = Arc::new(Clerk::default());
    let standby = Worker::over(second, &spec, DurableLimits::default(), &other).await;
    bench.append("bad", 1, 1).await;
    waits(&bench, &spec, "bad", &[2]).await;
    active.runs.abort();
    bench.append("bad", 2, 1).await;
    bench.append("good", 2, 1).await;
    other.has_handled("good", &[2]).await;
    waits(&bench, &spec, "bad", &[2, 3]).await;
    assert!(other.handled("bad").await.is_empty(), "nothing overtakes");
    standby.stop().await;
    bench.remove().await;
}

/// A try that takes longer than a process may be silent is nobody else's: the one that is at it says so.
pub async fn a_long_try_is_left_to_who_is_at_it(first: &Connection, second: &Connection) {
    let bench = Bench::new(first).await;
    let spec = durable(&bench, PERMANENT).await;
    // So either may begin.
    bench.unpin(&spec).await;
    let limits = DurableLimits {
        silence_max: Duration::from_secs(2),
        ..DurableLimits::default()
    };
    let clerk = Clerk::with_broken("bad", 1);
    bench.append("bad", 1, 1).await;
    let one = Worker::over(first, &spec, limits, &clerk).await;
    let other = Worker::over(second, &spec, limits, &clerk).await;
    waits(&bench, &spec, "bad", &[1]).await;
    clerk.broken.lock().await.clear();
    let before = clerk.asked.load(Ordering::Relaxed);
    let in_hand = clerk.handled.lock().await;
    let retry = Wish::Retry { reason: None };
    ask(first, spec.name, "bad", "ada", retry).await.unwrap();
    tokio::time::sleep(RETRY_BEGINS + limits.silence_max * 3).await;
    let asked = clerk.asked.load(Ordering::Relaxed) - before;
    assert_eq!(asked, 1, "processes at once");
    drop(in_hand);
    clerk.has_handled("bad", &[1]).await;
    waits(&bench, &spec, "bad", &[]).await;
    one.stop().await;
    other.stop().await;
    bench.remove().await;
}

/// A standby doesn't begin with a parked key while the active worker has another event of it in hand.
pub async fn a_standby_begins_with_no_parked_key(first: &Connection, second: &Connection) {
    let bench = Bench::new(first).await;
    let spec = durable(&bench, PERMANENT).await;
    let clerk = Arc::new(Clerk::default());
    let active = Worker::start(&bench, &spec, &clerk).await;
    bench.append("good", 1, 1).await;
    clerk.has_handled("good", &[1]).await;
    let other = Arc::new(Clerk::default());
    let standby = Worker::over(second, &spec, DurableLimits::default(), &other).await;
    let in_hand = clerk.handled.lock().await;
    bench.append("bad", 1, 1).await;
    bench.acknowledged_up_to(&spec, 2).await;
    // As if 2 had come late.
    let lot = Lot::new(first, spec.name);
    lot.park("bad", &event(3), false).await.unwrap();
    let retry = Wish::Retry { reason: None };
    ask(first, spec.name, "bad", "ada", retry).await.unwrap();
    tokio::time::sleep(RETRY_BEGINS).await;
    assert!(!is_tried(first, &spec, "bad").await, "2 is in hand");
    drop(in_hand);
    within("tried", async {
        while !is_tried(first, &spec, "bad").await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    active.stop().await;
    standby.stop().await;
    bench.remove().await;
}

/// What comes late, before what waits, while a worker asks whether it may try that again, or says that it does: two of
/// a key are never handled at once.
pub async fn nothing_is_handled_beside_a_try_that_begins(options: &ConnectOptions) {
    let all = Connection::open(options).await.unwrap();
    let bench = Bench::new(&all).await;
    let spec = durable(&bench, PERMANENT).await;
    let proxy = Proxy::start(options).await;
    let connection = Connection::open(&proxy.options).await.unwrap();
    let clerk = Arc::new(Clerk::default());
    let worker = Worker::over(&connection, &spec, DurableLimits::default(), &clerk).await;
    // Behind the second it looks after left-overs only after some seconds, which is held back as well.
    bench.append("good", 1, 2).await;
    clerk.has_handled("good", &[1, 2]).await;
    let lot = Lot::new(&all, spec.name);
    lot.park("bad", &event(9), false).await.unwrap();
    let begins = async |request: &'static str| {
        proxy.set(Line::HoldsBack(request));
        let retry = Wish::Retry { reason: None };
        ask(&all, spec.name, "bad", "ada", retry).await.unwrap();
        within("begun", proxy.holds_back()).await;
    };

    let whose_turn = format!("CONSUMER.INFO.{}.{}", spec.stream, spec.name);
    begins(String::leak(whose_turn)).await;
    let in_hand = clerk.handled.lock().await;
    bench.append("bad", 1, 1).await;
    within("in hand", async {
        while clerk.asked.load(Ordering::Relaxed) < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    proxy.set(Line::Good);
    tokio::time::sleep(RETRY_BEGINS).await;
    assert!(!is_tried(&all, &spec, "bad").await, "3 is in hand");
    drop(in_hand);
    within("tried", async {
        // What waits can't be read.
        while state(&bench, &spec, "bad").await.unwrap().failed.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;

    begins("HPUB parked.").await;
    bench.append("bad", 2, 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = clerk.asked.load(Ordering::Relaxed);
    assert_eq!(asked, 3, "4 is handled beside the try");
    proxy.set(Line::Good);
    clerk.has_handled("bad", &[1, 2]).await;
    worker.stop().await;
    bench.remove().await;
}

async fn is_tried(connection: &Connection, spec: &DurableSpec, key: &str) -> bool {
    let records = history(connection, spec.name, key).await.unwrap();
    let tried = |record: &Record| matches!(record.what, What::Note(Note::Trying {}));
    records.iter().any(tried)
}

/// Where nothing comes, nobody is pinned: what is parked is tried again all the same.
pub async fn a_retry_needs_no_delivery(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = durable(&bench, PERMANENT).await;
    let clerk = Clerk::with_broken("bad", 1);
    bench.append("bad", 1, 1).await;
    let worker = Worker::start(&bench, &spec, &clerk).await;
    waits(&bench, &spec, "bad", &[1]).await;
    bench.acknowledged_up_to(&spec, 1).await;
    worker.stop().await;
    clerk.broken.lock().await.clear();
    let worker = Worker::start(&bench, &spec, &clerk).await;
    let retry = Wish::Retry { reason: None };
    ask(connection, spec.name, "bad", "ada", retry)
        .await
        .unwrap();
    clerk.has_handled("bad", &[1]).await;
    worker.stop().await;
    bench.remove().await;
}

/// However much stands in PARKED, another look reads what came since the last one.
pub async fn another_look_reads_what_is_new(first: &Connection, second: &Connection) {
    const KEYS: u64 = 300;
    let subscription = format!("looks-{}", Uuid::new_v4().simple());
    let lot = Lot::new(first, &subscription);
    for sequence in 1..=KEYS {
        let key = sequence.to_string();
        lot.park(&key, &event(sequence), false).await.unwrap();
    }
    let overview = Overview::new(second);
    let messages = || {
        let statistics = second.client().statistics();
        statistics.in_messages.load(Ordering::Relaxed)
    };
    let ours = async || {
        let before = messages();
        let all = overview.look().await.unwrap();
        let ours = all.iter().filter(|(by, ..)| *by == subscription).count();
        (ours, messages() - before)
    };
    let (told, read) = ours().await;
    assert!(told == 300 && read > KEYS, "{told} keys, {read} messages");
    lot.park("another", &event(KEYS + 1), false).await.unwrap();
    let (told, read) = ours().await;
    assert!(told == 301 && read < 10, "{told} keys, {read} messages");
}

/// What got lost on the way comes late, behind a newer event of its key that is parked by then. Between
/// those that wait it waits at its own place; before them it is handled at once, and a retry waits for
/// it. Nothing is taken for parked that never was.
pub async fn what_comes_late_is_handled_or_waits(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = durable(&bench, PERMANENT).await;
    bench.unpin(&spec).await;
    let clerk = Clerk::with_broken("bad", 2);
    bench.append("bad", 1, 3).await;
    let mut lossy = bench.bind(&spec).await;
    let mut lost = Vec::new();
    for _ in 1..=3 {
        lost.push(within("delivered", lossy.next()).await.unwrap());
    }
    drop(lossy);
    let come = async |index: usize| {
        let delivery: &Delivery = &lost[index];
        delivery.retry_after(Duration::from_millis(1)).await
    };
    let worker = Worker::start(&bench, &spec, &clerk).await;
    come(1).await.unwrap();
    waits(&bench, &spec, "bad", &[2]).await;
    bench.append("bad", 4, 1).await;
    waits(&bench, &spec, "bad", &[2, 4]).await;
    come(2).await.unwrap();
    waits(&bench, &spec, "bad", &[2, 3, 4]).await;

    clerk.broken.lock().await.clear();
    let in_hand = clerk.handled.lock().await;
    come(0).await.unwrap();
    bench.acknowledged_up_to(&spec, 4).await;
    let retry = Wish::Retry { reason: None };
    ask(connection, spec.name, "bad", "ada", retry)
        .await
        .unwrap();
    tokio::time::sleep(RETRY_BEGINS).await;
    assert!(!is_tried(connection, &spec, "bad").await, "1 is in hand");
    drop(in_hand);
    clerk.has_handled("bad", &[1, 2, 3, 4]).await;
    waits(&bench, &spec, "bad", &[]).await;
    worker.stop().await;
    bench.remove().await;
}

/// A worker that must stop does, and says where.
pub async fn a_worker_that_must_stop_does(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = durable(&bench, OnFailure::Stop).await;
    let clerk = Clerk::with_broken("bad", 2);
    bench.append("bad", 1, 3).await;
    let worker = Worker::start(&bench, &spec, &clerk).await;
    let stopped = within("stopped", worker.runs).await.unwrap().unwrap_err();
    assert_eq!(stopped.position.sequence, 2);
    assert_eq!(clerk.handled("bad").await, [1]);
    bench.remove().await;
}

/// The node that a reader's consumer is on may not have yet what the leader has: the reader has nothing of it, and
/// looks again.
pub async fn what_a_node_lacks_is_read_later(connection: &Connection) {
    let subscription = format!("lacks-{}", Uuid::new_v4().simple());
    let lot = Lot::new(connection, &subscription);
    let lacking = consumer_that_gives_nothing(connection, &lot, &subscription).await;
    let retry = Wish::Retry { reason: None };
    let asked = ask(connection, &subscription, "key", "ada", retry);
    asked.await.unwrap();
    within("read", async {
        while lot.due(Utc::now()).is_empty() {
            lot.poll_if_news().await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let js = connection.jetstream();
    let removed = js.delete_consumer_from_stream(&lacking, PARKED_STREAM);
    removed.await.unwrap();
}

/// The same of a new reader: it knows what is parked only when it has read what the leader has.
pub async fn a_node_that_is_behind_is_not_believed(options: &ConnectOptions) {
    let all = Connection::open(options).await.unwrap();
    let subscription = format!("behind-{}", Uuid::new_v4().simple());
    park_one(&all, &subscription, 1).await;
    let proxy = Proxy::start(options).await;
    let connection = Connection::open(&proxy.options).await.unwrap();
    proxy.set(Line::HidesPending);
    let lot = Lot::new(&connection, &subscription);
    let (read, ()) = tokio::join!(lot.catch_up(), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        proxy.set(Line::Good);
    });
    read.unwrap();
    assert!(lot.concerns("key", 2), "1 waits before it");
}

/// Has `lot` read one parked event, and puts a consumer in the place of its own that gives nothing of what is
/// there. Its name.
async fn consumer_that_gives_nothing(
    connection: &Connection,
    lot: &Lot,
    subscription: &str,
) -> String {
    park_one(connection, subscription, 1).await;
    lot.catch_up().await.unwrap();
    let js = connection.jetstream();
    let stream = js.get_stream_no_info(PARKED_STREAM).await.unwrap();
    let consumers: Vec<_> = stream.consumers().try_collect().await.unwrap();
    let filter = all_of(subscription);
    let ours = consumers
        .iter()
        .find(|info| info.config.filter_subject == filter);
    let name = ours.unwrap().name.clone();
    stream.delete_consumer(&name).await.unwrap();
    let config = pull::Config {
        name: Some(name.clone()),
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: u64::from(u32::MAX),
        },
        filter_subject: "parked.nothing".to_owned(),
        ack_policy: AckPolicy::None,
        inactive_threshold: Duration::from_mins(5),
        ..pull::Config::default()
    };
    stream.create_consumer(config).await.unwrap();
    name
}

/// Of a key that has much waiting no more is in memory than comes in a batch.
pub async fn a_long_key_is_read_in_batches(connection: &Connection) {
    const WAITING: u64 = 700;
    const BATCH: usize = 256;
    let lot = Lot::new(connection, &format!("long-{}", Uuid::new_v4().simple()));
    for sequence in 1..=WAITING {
        lot.park("key", &event(sequence), false).await.unwrap();
    }
    let mut reading = Reading::default();
    for sequence in 1..=WAITING {
        let next = lot.next("key", &mut reading).await.unwrap();
        let position = next.unwrap().1.position;
        assert_eq!(position.sequence, sequence);
        assert!(reading.events.len() < BATCH, "{}", reading.events.len());
        let handled = Note::Handled { position };
        lot.ended("key", handled).await.unwrap();
    }
}

/// Sets an event of key `key` aside, as another process would.
async fn park_one(connection: &Connection, subscription: &str, sequence: u64) {
    let other = Lot::new(connection, subscription);
    other.catch_up().await.unwrap();
    other.park("key", &event(sequence), false).await.unwrap();
}

fn event(sequence: u64) -> ParkedEvent {
    let message = RawMessage {
        position: Position::new("NONE", sequence),
        recorded_at: Utc::now(),
        subject: "none",
        headers: None,
        payload: Bytes::new(),
    };
    ParkedEvent::of(&message, "a test", 1)
}
