//! Lanes on a durable.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, within};
use crate::connection::Connection;
use crate::lanes::{HandleError, Handler, run_lanes};
use crate::subscription::{Delivery, DurableLimits};
use crate::topology::{MAX_ACK_PENDING, PIN_TIMEOUT};

/// Writes down what it handled, by key; fails where it is told to.
#[derive(Default)]
struct Diary {
    handled: Mutex<HashMap<String, Vec<u64>>>,
    tries: Mutex<HashMap<(String, u64), u32>>,
    /// This key fails for ever.
    poisoned: Option<&'static str>,
    /// Every delivery fails this often first.
    failures: u32,
}

#[async_trait]
impl Handler for Diary {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let key = delivery.event.aggregate_id.as_str().to_owned();
        let version = delivery.event.version;
        if self.poisoned == Some(key.as_str()) {
            return Err(HandleError::permanent("poisoned"));
        }
        let tries = {
            let mut tries = self.tries.lock().await;
            let tries = tries.entry((key.clone(), version)).or_insert(0);
            *tries += 1;
            *tries
        };
        if tries <= self.failures {
            return Err(HandleError::retryable("not yet"));
        }
        assert!(
            version != 2 || tries > self.failures + 1,
            "a panic is a failure too"
        );
        tokio::time::sleep(Duration::from_millis(version % 3 * 5)).await;
        self.handled
            .lock()
            .await
            .entry(key)
            .or_default()
            .push(version);
        Ok(())
    }
}

impl Diary {
    async fn wait_for(&self, keys: &[&str], count: u64) {
        let wanted: Vec<u64> = (1..=count).collect();
        within("handled", async {
            loop {
                let handled = self.handled.lock().await;
                if keys.iter().all(|key| handled.get(*key) == Some(&wanted)) {
                    return;
                }
                drop(handled);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }
}

/// Four keys over two lanes; everything fails once and one delivery of each key panics once:
/// each is handled once, in the order of its key, and everything is acknowledged, with a message each
/// that no answer is waited for.
pub async fn one_key_stays_in_order(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = bench.make_durable("lanes").await;
    let keys = ["a", "b", "c", "d"];
    for number in 1..=8 {
        for key in keys {
            bench.append_one(key, number).await;
        }
    }
    let diary = Arc::new(Diary {
        failures: 1,
        ..Diary::default()
    });
    let shutdown = CancellationToken::new();
    let acknowledged = format!("$JS.ACK.{}.{}.>", bench.stream, spec.name);
    let mut said = connection.client().subscribe(acknowledged).await.unwrap();
    let subscription = bench.bind(&spec).await;
    let run = run_lanes(subscription, 2, diary.clone(), shutdown.clone());
    let run = tokio::spawn(run);
    diary.wait_for(&keys, 8).await;
    bench.acknowledged_up_to(&spec, 32).await;
    shutdown.cancel();
    within("stopped", run).await.unwrap().unwrap();
    said.unsubscribe().await.unwrap();
    let said: Vec<_> = said.collect().await;
    assert!(said.len() >= 32, "{} of 32", said.len());
    assert!(said.iter().all(|message| message.reply.is_none()));
    bench.remove().await;
}

/// A key that fails for ever stops neither the other keys nor the lanes, and loses nothing.
pub async fn a_poisoned_key_stops_nobody_else(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = bench.make_durable("poisoned").await;
    bench.append("bad", 1, 2).await;
    bench.append("good", 1, 5).await;
    let diary = Arc::new(Diary {
        poisoned: Some("bad"),
        ..Diary::default()
    });
    let shutdown = CancellationToken::new();
    let subscription = bench.bind(&spec).await;
    let run = run_lanes(subscription, 1, diary.clone(), shutdown.clone());
    let run = tokio::spawn(run);
    diary.wait_for(&["good"], 5).await;
    within("acknowledged", async {
        while bench.durable_state(&spec).await != (2, 0) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    shutdown.cancel();
    within("stopped", run).await.unwrap().unwrap();
    // The next worker gets them at once.
    let mut next = bench.bind(&spec).await;
    for sequence in [1, 2] {
        let delivery = within("delivered", next.next()).await.unwrap();
        assert_eq!(delivery.position.sequence, sequence);
    }
    bench.remove().await;
}

/// Fails, and counts how often.
#[derive(Default)]
struct Refusal(AtomicUsize);

#[async_trait]
impl Handler for Refusal {
    async fn handle(&self, _delivery: &Delivery) -> Result<(), HandleError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(HandleError::retryable("what it needs is away"))
    }
}

/// More keys fail than a worker is given at once, for longer than a pin lasts: it stays the only one.
pub async fn a_worker_with_full_hands_stays_the_only_one(first: &Connection, second: &Connection) {
    let bench = Bench::new(first).await;
    let spec = bench.make_durable("full").await;
    let keys = usize::try_from(MAX_ACK_PENDING).unwrap() + 50;
    for key in 0..keys {
        bench.append_one(&format!("k{key}"), 1).await;
    }
    let workers = [Arc::<Refusal>::default(), Arc::default()];
    let shutdown = CancellationToken::new();
    let mut runs = Vec::new();
    for (worker, connection) in workers.iter().zip([first, second]) {
        let bound = connection.durable(&spec, DurableLimits::default()).await;
        let run = run_lanes(bound.unwrap(), 64, worker.clone(), shutdown.clone());
        runs.push(tokio::spawn(run));
    }
    let tries = || [0, 1].map(|index| workers[index].0.load(Ordering::Relaxed));
    within("its hands are full", async {
        while tries().iter().sum::<usize>() < keys - 50 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    tokio::time::sleep(PIN_TIMEOUT * 2).await;
    assert!(tries().contains(&0), "two have worked: {:?}", tries());
    shutdown.cancel();
    for run in runs {
        within("stopped", run).await.unwrap().unwrap();
    }
    bench.remove().await;
}

/// Can't do "fails" now, and is at "hangs" for ever.
#[derive(Default)]
struct Busy {
    sifted: Mutex<HashSet<String>>,
    failures: AtomicUsize,
    hangs: AtomicBool,
}

#[async_trait]
impl Handler for Busy {
    async fn sift(&self, batch: &[Delivery]) -> Result<Vec<bool>, HandleError> {
        let keys = batch.iter().map(|delivery| &delivery.event.aggregate_id);
        self.sifted
            .lock()
            .await
            .extend(keys.map(ToString::to_string));
        Ok(vec![true; batch.len()])
    }

    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        if delivery.event.aggregate_id.as_str() == "fails" {
            self.failures.fetch_add(1, Ordering::Relaxed);
            return Err(HandleError::retryable("not now"));
        }
        self.hangs.store(true, Ordering::Relaxed);
        std::future::pending().await
    }
}

/// One key is due for its next try while another takes the only lane: what comes is taken in all the same, and it is
/// told for how long that one fails. `page`: what the process tells of itself.
pub async fn a_key_that_is_due_holds_nothing_up(
    connection: &Connection,
    page: impl Fn() -> String,
) {
    for in_bulk in [false, true] {
        let bench = Bench::new(connection).await;
        let name = String::leak(format!("due-{}", bench.context));
        let spec = if in_bulk {
            bench.make_in_bulk(name).await
        } else {
            bench.make_durable(name).await
        };
        let busy = Arc::<Busy>::default();
        let soon = DurableLimits {
            pause_max: Duration::from_millis(20),
            ..DurableLimits::default()
        };
        let bound = connection.durable(&spec, soon).await.unwrap();
        let run = run_lanes(bound, 1, busy.clone(), CancellationToken::new());
        let run = tokio::spawn(run);
        bench.append("fails", 1, 1).await;
        until("failed", async || busy.failures.load(Ordering::Relaxed) > 0).await;
        bench.append("hangs", 1, 1).await;
        until("busy", async || busy.hangs.load(Ordering::Relaxed)).await;
        tokio::time::sleep(soon.pause_max * 2).await;

        bench.append("comes", 1, 1).await;
        until("taken in", async || {
            !in_bulk || busy.sifted.lock().await.contains("comes")
        })
        .await;
        is_told_on(name, &page).await;
        run.abort();
        bench.remove().await;
    }
}

/// Knows once not whom anything concerns, and from then on thinks for ever.
#[derive(Default)]
struct Thinker(AtomicUsize);

#[async_trait]
impl Handler for Thinker {
    async fn sift(&self, _: &[Delivery]) -> Result<Vec<bool>, HandleError> {
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(HandleError::retryable("not now"));
        }
        std::future::pending().await
    }

    async fn handle(&self, _: &Delivery) -> Result<(), HandleError> {
        Ok(())
    }
}

/// What comes while the handler is asked once more whom what came before concerns, for long, is due as well.
pub async fn a_sift_that_lasts_holds_nothing_up(
    connection: &Connection,
    page: impl Fn() -> String,
) {
    let bench = Bench::new(connection).await;
    let name = String::leak(format!("lasts-{}", bench.context));
    let spec = bench.make_in_bulk(name).await;
    let thinker = Arc::<Thinker>::default();
    let bound = bench.bind(&spec).await;
    let run = run_lanes(bound, 1, thinker.clone(), CancellationToken::new());
    let run = tokio::spawn(run);
    bench.append("a", 1, 1).await;
    until("asked again", async || {
        thinker.0.load(Ordering::Relaxed) > 1
    })
    .await;
    bench.append("b", 1, 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    is_told_on(name, &page).await;
    run.abort();
    bench.remove().await;
}

/// Waits until `page` tells of another second and a half for which something of the durable fails.
async fn is_told_on(durable: &str, page: impl Fn() -> String) {
    let tells = format!("streams_failing_seconds{{durable=\"{durable}\"}} ");
    let seconds = || {
        let page = page();
        let told = page.lines().find_map(|line| line.strip_prefix(&tells));
        told.map_or(0.0, |seconds| seconds.parse().unwrap())
    };
    let before = seconds();
    until("told", async || seconds() > before + 1.5).await;
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    within(what, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// The server is killed and restarted while lanes run: everything is handled and acknowledged.
pub async fn lanes_go_on_after_a_restart(connection: &Connection, restart: impl AsyncFnOnce(&str)) {
    let bench = Bench::new(connection).await;
    let spec = bench.make_durable("restarted").await;
    bench.append("a", 1, 3).await;
    let diary = Arc::new(Diary::default());
    let shutdown = CancellationToken::new();
    let subscription = bench.bind(&spec).await;
    let run = run_lanes(subscription, 4, diary.clone(), shutdown.clone());
    let run = tokio::spawn(run);
    diary.wait_for(&["a"], 3).await;
    restart(&bench.stream).await;
    within("connected again", async {
        while !connection.is_connected() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    })
    .await;
    bench.append("b", 1, 3).await;
    diary.wait_for(&["b"], 3).await;
    bench.acknowledged_up_to(&spec, 6).await;
    shutdown.cancel();
    within("stopped", run).await.unwrap().unwrap();
    bench.remove().await;
}
