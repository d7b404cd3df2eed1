//! A handler that rests: nothing is delivered to it, and the durable is moved past what comes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::bench::{Bench, within};
use super::bulk::{Sorter, Worker, durable};
use crate::connection::Connection;
use crate::subscription::DurableLimits;
use crate::topology::DurableSpec;

/// Passes over soon.
const LIMITS: DurableLimits = DurableLimits {
    prefetch: 8,
    pause_max: Duration::from_secs(1),
    silence_max: Duration::from_mins(1),
    pass_over_every: Duration::from_millis(100),
};

/// A worker that rests, and how many events of the flow a it took until it did.
async fn at_rest(bench: &Bench, spec: &DurableSpec, of: &Connection) -> (Arc<Sorter>, Worker, u64) {
    let sorter = Arc::new(Sorter::default());
    sorter.rests.send_replace(true);
    let worker = Worker::within(LIMITS, of, spec, &sorter).await;
    let resting = async {
        let mut last = 1;
        loop {
            bench.append("a", last, 1).await;
            bench.acknowledged_up_to(spec, last).await;
            if !sorter.sifted().contains(&last) {
                return last;
            }
            last += 1;
        }
    };
    let last = within("at rest", resting).await;
    (sorter, worker, last)
}

/// What comes while it rests costs no delivery and counts as done; what comes afterwards is handled, all of it.
pub async fn who_rests_is_passed_over(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = durable(&bench).await;
    let (sorter, worker, last) = at_rest(&bench, &spec, connection).await;
    bench.append("a", last + 1, 200).await;
    bench.acknowledged_up_to(&spec, last + 200).await;
    let passed: HashSet<u64> = (last..=last + 200).collect();
    assert!(sorter.sifted().is_disjoint(&passed), "nothing is delivered");
    sorter.rests.send_replace(false);
    bench.append("a", last + 201, 30).await;
    sorter.has_handled(last + 201..=last + 230).await;
    worker.stop().await;
    assert!(sorter.handled().is_disjoint(&passed));
    assert_eq!(bench.durable_state(&spec).await, (0, last + 230));
    bench.remove().await;
}

/// Whatever is recorded after it woke is handled, wherever it was in falling asleep.
pub async fn who_wakes_hears_what_was_not_passed_over(connection: &Connection) {
    let bench = Bench::new(connection).await;
    let spec = durable(&bench).await;
    let (sorter, worker, last) = at_rest(&bench, &spec, connection).await;
    for round in 0..8_u64 {
        sorter.rests.send_replace(true);
        // It looks once a second: it has fallen asleep, or is about to, or still works.
        tokio::time::sleep(Duration::from_millis(150) * u32::try_from(round).unwrap()).await;
        let asleep = last + 1 + round * 10;
        bench.append("a", asleep, 5).await;
        sorter.rests.send_replace(false);
        bench.append("a", asleep + 5, 5).await;
        sorter.has_handled(asleep + 5..asleep + 10).await;
    }
    worker.stop().await;
    bench.remove().await;
}

/// While one works, those that rest pass over nothing: what it has not been given yet is its own.
pub async fn who_rests_leaves_it_to_who_works(first: &Connection, second: &Connection) {
    let bench = Bench::new(first).await;
    let spec = durable(&bench).await;
    let (sorter, worker, last) = at_rest(&bench, &spec, first).await;
    let active = Arc::new(Sorter::default());
    let working = Worker::start(second, &spec, &active).await;
    let mut first = last + 1;
    // Until the server has pinned it, what comes may be passed over.
    let pinned = async {
        while active.handled().is_empty() {
            bench.append("a", first, 1).await;
            first += 1;
            tokio::time::sleep(LIMITS.pass_over_every).await;
        }
    };
    within("handled", pinned).await;
    active.blind(true);
    bench.append("b", 1, 50).await;
    // Several looks of the one that rests.
    tokio::time::sleep(LIMITS.pass_over_every * 10).await;
    let (_, floor) = bench.durable_state(&spec).await;
    assert!(floor < first, "none is passed over");
    active.blind(false);
    active.has_handled(first..first + 50).await;
    working.stop().await;
    worker.stop().await;
    assert!(sorter.handled().is_disjoint(&active.handled()));
    bench.remove().await;
}
