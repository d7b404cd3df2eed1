//! Lanes on a durable that is acknowledged in bulk.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, PIN_TIMEOUT, within};
use crate::connection::Connection;
use crate::lanes::{HandleError, Handler, Stopped, run_lanes};
use crate::parking::parked;
use crate::subscription::{Delivery, DurableLimits};
use crate::topology::{DurableSpec, MAX_ACK_PENDING, OnFailure};

/// Writes down what it is asked about, and what it handles.
#[derive(Default)]
pub(super) struct Sorter {
    sifted: Mutex<HashSet<u64>>,
    handled: Mutex<Vec<u64>>,
    /// What it wants to handle; nothing = everything.
    wanted: HashSet<u64>,
    /// It does not know whom anything concerns.
    blind: AtomicBool,
    /// What can't be handled now.
    pub(super) waits: Mutex<HashSet<u64>>,
    /// How often something could not.
    failures: AtomicU64,
    /// What never can.
    broken: HashSet<u64>,
    /// Nothing concerns it.
    pub(super) rests: watch::Sender<bool>,
}

#[async_trait]
impl Handler for Sorter {
    async fn sift(&self, batch: &[Delivery]) -> Result<Vec<bool>, HandleError> {
        if self.blind.load(Ordering::SeqCst) {
            return Err(HandleError::retryable("blind"));
        }
        let sequences = batch.iter().map(|delivery| delivery.position.sequence);
        self.sifted.lock().unwrap().extend(sequences.clone());
        let wants = |sequence| self.wanted.is_empty() || self.wanted.contains(&sequence);
        Ok(sequences.map(wants).collect())
    }

    async fn rests(&self) -> Result<bool, HandleError> {
        Ok(*self.rests.borrow())
    }

    async fn wakes(&self) {
        let mut rests = self.rests.subscribe();
        rests.wait_for(|rests| !rests).await.unwrap();
    }

    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let sequence = delivery.position.sequence;
        if self.broken.contains(&sequence) {
            return Err(HandleError::permanent("broken"));
        }
        if self.waits.lock().unwrap().contains(&sequence) {
            self.failures.fetch_add(1, Ordering::SeqCst);
            return Err(HandleError::retryable("not now"));
        }
        self.handled.lock().unwrap().push(sequence);
        Ok(())
    }
}

impl Sorter {
    pub(super) fn sifted(&self) -> HashSet<u64> {
        self.sifted.lock().unwrap().clone()
    }

    /// From now on it knows, or doesn't, whom anything concerns.
    pub(super) fn blind(&self, blind: bool) {
        self.blind.store(blind, Ordering::SeqCst);
    }

    pub(super) fn handled(&self) -> HashSet<u64> {
        self.handled.lock().unwrap().iter().copied().collect()
    }

    pub(super) async fn has_handled(&self, all: impl IntoIterator<Item = u64>) {
        let wanted: HashSet<u64> = all.into_iter().collect();
        within("handled", async {
            while !wanted.is_subset(&self.handled()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

pub(super) struct Worker {
    stop: CancellationToken,
    runs: JoinHandle<Result<(), Stopped>>,
}

impl Worker {
    pub(super) async fn start(
        connection: &Connection,
        spec: &DurableSpec,
        sorter: &Arc<Sorter>,
    ) -> Self {
        Self::within(DurableLimits::default(), connection, spec, sorter).await
    }

    /// One that tries again soon, however often it has.
    async fn impatient(connection: &Connection, spec: &DurableSpec, sorter: &Arc<Sorter>) -> Self {
        let limits = DurableLimits {
            pause_max: Duration::from_millis(20),
            ..DurableLimits::default()
        };
        Self::within(limits, connection, spec, sorter).await
    }

    pub(super) async fn within(
        limits: DurableLimits,
        connection: &Connection,
        spec: &DurableSpec,
        sorter: &Arc<Sorter>,
    ) -> Self {
        let stop = CancellationToken::new();
        let bound = connection.durable(spec, limits);
        let run = run_lanes(bound.await.unwrap(), 4, sorter.clone(), stop.clone());
        let runs = tokio::spawn(run);
        Self { stop, runs }
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        within("stopped", self.runs).await.unwrap().unwrap();
    }

    /// Without a word, as a process that is killed.
    async fn kill(self) {
        self.runs.abort();
        self.runs.await.unwrap_err();
    }
}

/// A durable under a name that no other test uses: what was parked stays for ever.
pub(super) async fn durable(bench: &Bench) -> DurableSpec {
    let name = format!("bulk-{}", bench.context);
    bench.make_in_bulk(String::leak(name)).await
}

/// All are sifted, some are handled, and nearly all messages are the deliveries themselves.
pub async fn an_event_costs_one_message(first: &Connection, writer: &Connection) {
    const EVENTS: u64 = 400;
    let bench = Bench::new(writer).await;
    let spec = durable(&bench).await;
    bench.append("a", 1, EVENTS).await;
    let sorter = Arc::new(Sorter {
        wanted: HashSet::from([7, 300]),
        ..Sorter::default()
    });
    let statistics = first.client().statistics();
    let sent = || statistics.out_messages.load(Ordering::Relaxed);
    let before = sent();
    let worker = Worker::start(first, &spec, &sorter).await;
    sorter.has_handled([7, 300]).await;
    bench.acknowledged_up_to(&spec, EVENTS).await;
    worker.stop().await;
    assert_eq!(sorter.handled(), HashSet::from([7, 300]));
    assert_eq!(sorter.sifted.lock().unwrap().len() as u64, EVENTS);
    let sent = sent() - before;
    assert!(sent < EVENTS / 4, "{sent} for {EVENTS} events");
    bench.remove().await;
}

/// What is done at shutdown is acknowledged by then: nothing of it is repeated.
pub async fn a_restart_goes_on_where_it_was(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = durable(&bench).await;
    bench.append("a", 1, 50).await;
    let first = Arc::new(Sorter::default());
    let worker = Worker::start(connection, &spec, &first).await;
    first.has_handled(1..=50).await;
    worker.stop().await;
    assert_eq!(bench.durable_state(&spec).await, (0, 50));
    bench.append("a", 51, 5).await;
    let second = Arc::new(Sorter::default());
    let worker = Worker::start(connection, &spec, &second).await;
    second.has_handled(51..=55).await;
    worker.stop().await;
    assert_eq!(second.handled(), (51..=55).collect());
    bench.remove().await;
}

/// Of two workers one works. When it is killed the other takes over and begins behind what was
/// acknowledged: what waited there is not skipped, though later ones were done.
pub async fn a_kill_repeats_and_skips_nothing(first: &Connection, second: &Connection) {
    let bench = Bench::new(first).await;
    let spec = durable(&bench).await;
    for number in 1..=30 {
        bench.append_one(&format!("k{number}"), 1).await;
    }
    let active = Arc::new(Sorter {
        waits: Mutex::new(HashSet::from([12])),
        ..Sorter::default()
    });
    let working = Worker::start(first, &spec, &active).await;
    let others = (1..=30).filter(|sequence| *sequence != 12);
    active.has_handled(others).await;
    let standby = Arc::new(Sorter::default());
    let stands_by = Worker::start(second, &spec, &standby).await;
    within("acknowledged", async {
        while bench.durable_state(&spec).await.1 != 11 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(standby.handled().is_empty(), "one works");
    working.kill().await;
    let since = Instant::now();
    standby.has_handled(12..=30).await;
    assert!(
        since.elapsed() < PIN_TIMEOUT + Duration::from_secs(10),
        "{:?}",
        since.elapsed()
    );
    assert!(standby.handled().is_disjoint(&(1..=11).collect()));
    bench.acknowledged_up_to(&spec, 30).await;
    stands_by.stop().await;
    bench.remove().await;
}

/// While it is not known whom anything concerns nothing goes on, and nothing is lost.
pub async fn what_can_not_be_sifted_now_waits(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = durable(&bench).await;
    let sorter = Arc::new(Sorter::default());
    sorter.blind(true);
    bench.append("a", 1, 9).await;
    let worker = Worker::start(connection, &spec, &sorter).await;
    within("delivered", async {
        while bench.durable_state(&spec).await != (9, 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    bench.append("b", 1, 3).await;
    assert!(sorter.handled().is_empty());
    sorter.blind(false);
    sorter.has_handled(1..=12).await;
    bench.acknowledged_up_to(&spec, 12).await;
    worker.stop().await;
    let handled = sorter.handled.lock().unwrap().len();
    assert_eq!(handled, 12, "each once");
    bench.remove().await;
}

/// What never can be handled, or be read, is set aside; the others go on, and all is acknowledged.
pub async fn what_can_not_be_handled_is_set_aside(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = durable(&bench).await;
    bench.append("bad", 1, 1).await;
    let subject = format!("event.{}.worse", bench.context);
    let sent = connection.jetstream().publish(subject, "junk".into()).await;
    sent.unwrap().await.unwrap();
    bench.append("good", 1, 3).await;
    let sorter = Arc::new(Sorter {
        broken: HashSet::from([1]),
        ..Sorter::default()
    });
    let worker = Worker::start(connection, &spec, &sorter).await;
    sorter.has_handled(3..=5).await;
    bench.acknowledged_up_to(&spec, 5).await;
    let all = parked(connection).await.unwrap();
    let ours = all.iter().filter(|(name, _, _)| name == spec.name);
    let mut keys: Vec<&str> = ours.map(|(_, key, _)| key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["bad", "worse"]);
    worker.stop().await;
    bench.remove().await;
}

/// A key that may pass, and doesn't, is set aside once it is in the way of all others: more of them come than are
/// given out at once.
pub async fn a_key_in_the_way_is_set_aside(connection: &Connection) {
    const OTHERS: u64 = 5_000;
    let bench = Bench::new(connection).await;
    let spec = durable(&bench).await;
    bench.append("bad", 1, 1).await;
    join_all((0..10).map(|n| bench.append(["a", "b"][n % 2], 1, OTHERS / 10))).await;
    let sorter = Arc::new(Sorter {
        waits: Mutex::new(HashSet::from([1])),
        ..Sorter::default()
    });
    let worker = Worker::impatient(connection, &spec, &sorter).await;
    sorter.has_handled(2..=OTHERS + 1).await;
    bench.acknowledged_up_to(&spec, OTHERS + 1).await;
    let all = parked(connection).await.unwrap();
    let ours = all.iter().filter(|(name, _, _)| name == spec.name);
    assert_eq!(ours.map(|(_, key, _)| key).collect::<Vec<_>>(), ["bad"]);
    worker.stop().await;
    bench.remove().await;
}

/// Where nothing passes, as in an outage, nobody is set aside for being in the way: all pass when it is over.
pub async fn an_outage_sets_nothing_aside(connection: &Connection) {
    const WANTED: u64 = 8;
    const OTHERS: u64 = 5_000;
    let bench = Bench::new(connection).await;
    let spec = durable(&bench).await;
    for number in 1..=WANTED {
        bench.append_one(&format!("k{number}"), 1).await;
    }
    join_all((0..10).map(|n| bench.append(["a", "b"][n % 2], 1, OTHERS / 10))).await;
    let sorter = Arc::new(Sorter {
        wanted: (1..=WANTED).collect(),
        waits: Mutex::new((1..=WANTED).collect()),
        ..Sorter::default()
    });
    let worker = Worker::impatient(connection, &spec, &sorter).await;
    within("failed often", async {
        while sorter.failures.load(Ordering::SeqCst) < 20 * WANTED {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    sorter.waits.lock().unwrap().clear();
    sorter.has_handled(1..=WANTED).await;
    bench.acknowledged_up_to(&spec, WANTED + OTHERS).await;
    let all = parked(connection).await.unwrap();
    assert!(all.iter().all(|(name, _, _)| name != spec.name));
    worker.stop().await;
    bench.remove().await;
}

/// One is also set aside where each is acknowledged by itself, and one key has more than are given out at once.
pub async fn a_long_key_in_the_way_is_set_aside(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let park = OnFailure::Park {
        after_attempts: None,
    };
    let name = format!("long-{}", bench.context);
    let spec = bench.make(String::leak(name), park).await;
    let long = MAX_ACK_PENDING.unsigned_abs() + 10;
    bench.append("bad", 1, long).await;
    bench.append("good", 1, 3).await;
    let sorter = Arc::new(Sorter {
        waits: Mutex::new((1..=long).collect()),
        ..Sorter::default()
    });
    let worker = Worker::impatient(connection, &spec, &sorter).await;
    sorter.has_handled(long + 1..=long + 3).await;
    bench.acknowledged_up_to(&spec, long + 3).await;
    worker.stop().await;
    bench.remove().await;
}

/// The stream is made anew under a worker, and another event stands where the one is that it works on: it ends,
/// and acknowledges nothing of the new log for what it has done of the old one.
pub async fn another_log_under_a_worker_ends_it(connection: &Connection) {
    for in_bulk in [false, true] {
        let bench = Bench::new(connection).await;
        let make = async || {
            if in_bulk {
                bench.make_in_bulk("anew-in-bulk").await
            } else {
                bench.make_durable("anew").await
            }
        };
        let spec = make().await;
        bench.append("a", 1, 1).await;
        let sorter = Arc::new(Sorter {
            waits: Mutex::new(HashSet::from([1])),
            ..Sorter::default()
        });
        let worker = Worker::impatient(connection, &spec, &sorter).await;
        within("delivered", async {
            while bench.durable_state(&spec).await != (1, 0) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let js = connection.jetstream();
        let stream = js.get_stream(&bench.stream).await.unwrap();
        js.delete_stream(&bench.stream).await.unwrap();
        js.create_stream(&stream.cached_info().config)
            .await
            .unwrap();
        make().await;
        bench.append("b", 1, 1).await;
        let stopped = within("ended", worker.runs).await.unwrap().unwrap_err();
        assert_eq!(stopped.position.sequence, 1);
        assert_eq!(bench.durable_state(&spec).await.1, 0);
        bench.remove().await;
    }
}

/// A worker that was taken for dead and acknowledges afterwards leaves the durable such that new
/// acknowledgements don't count; the new worker notices, and goes on.
pub async fn a_late_acknowledgement_stops_nobody(first: &Connection, second: &Connection) {
    let bench = Bench::new(first).await;
    let spec = durable(&bench).await;
    bench.append("old", 1, 100).await;
    for number in 101..=120 {
        bench.append_one(&format!("k{number}"), 1).await;
    }
    let mut stalled = bench.bind(&spec).await;
    let mut receipts = Vec::new();
    for _ in 1..=120 {
        let delivery = within("delivered", stalled.next()).await.unwrap();
        receipts.push(delivery.receipt().unwrap());
    }
    receipts[99].ack().await.unwrap();
    drop(stalled);
    let sorter = Arc::new(Sorter {
        waits: Mutex::new(HashSet::from([101])),
        ..Sorter::default()
    });
    let worker = Worker::start(second, &spec, &sorter).await;
    sorter.has_handled(102..=120).await;
    receipts[119].ack().await.unwrap();
    sorter.waits.lock().unwrap().clear();
    bench.append("new", 1, 5).await;
    sorter.has_handled(121..=125).await;
    bench.acknowledged_up_to(&spec, 125).await;
    worker.stop().await;
    bench.remove().await;
}

/// Somebody resets the durable under it: what was done is done again, what is being worked on is known, and
/// nothing is missed.
pub async fn a_reset_from_outside_loses_nothing(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = durable(&bench).await;
    bench.append("a", 1, 10).await;
    let sorter = Arc::new(Sorter {
        waits: Mutex::new(HashSet::from([10])),
        ..Sorter::default()
    });
    let worker = Worker::start(connection, &spec, &sorter).await;
    sorter.has_handled(1..=9).await;
    within("acknowledged", async {
        while bench.durable_state(&spec).await.1 != 9 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let js = connection.jetstream();
    let stream = js.get_stream_no_info(&bench.stream).await.unwrap();
    stream.reset_consumer(spec.name, Some(4)).await.unwrap();
    bench.append("b", 1, 10).await;
    sorter.has_handled(11..=20).await;
    sorter.waits.lock().unwrap().clear();
    bench.acknowledged_up_to(&spec, 20).await;
    worker.stop().await;
    let mut handled = sorter.handled.lock().unwrap().clone();
    handled.sort_unstable();
    let mut expected: Vec<u64> = (1..=20).chain(4..=9).collect();
    expected.sort_unstable();
    assert_eq!(handled, expected);
    bench.remove().await;
}

/// The server is killed and restarted under it: everything is handled and acknowledged.
pub async fn goes_on_after_a_restart(connection: &Connection, restart: impl AsyncFnOnce(&str)) {
    let bench = Bench::new(connection).await;
    let spec = durable(&bench).await;
    bench.append("a", 1, 5).await;
    let sorter = Arc::new(Sorter::default());
    let worker = Worker::start(connection, &spec, &sorter).await;
    sorter.has_handled(1..=5).await;
    restart(&bench.stream).await;
    within("connected again", async {
        while !connection.is_connected() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    })
    .await;
    bench.append("b", 1, 5).await;
    sorter.has_handled(6..=10).await;
    bench.acknowledged_up_to(&spec, 10).await;
    worker.stop().await;
    bench.remove().await;
}
