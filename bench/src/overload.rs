//! `overload`: what is still done of ten times as much as can be done.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use hdrhistogram::Histogram;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;

use crate::Args;
use crate::commands::Posts;
use crate::load::{LATENCY_MAX_US, Run, Take, in_turn};
use crate::report::{Row, Spread, rows};
use crate::shop::{Stack, progress};
use crate::usage;

/// How many requests are under way at the same time when all that can be done is done.
const PEAK_IN_FLIGHT: usize = 64;

/// So many times the peak arrive.
const TIMES: f64 = 10.0;

/// performance.md: what is done then over the peak.
const TARGET: f64 = 0.8;

/// Requests that wait for an answer at most; one that would be more is not sent, and not done either.
const WAITING_MAX: usize = 4_096;

/// How often arrivals are let go.
const TICK: Duration = Duration::from_millis(2);

/// A client waits no longer: what comes later helps nobody.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn run(stack: &Stack, args: &Args) -> anyhow::Result<Vec<Row>> {
    let orders = crate::commands::orders(stack).await?;
    let duration = Duration::from_secs(args.seconds);
    let bar = progress("overload", args.rounds * 2);
    let peak = [orders.take("POST /v1/orders, peak", PEAK_IN_FLIGHT, duration)];
    let peak_runs = in_turn(&peak, args.rounds, &bar).await?;
    let rates: Vec<f64> = peak_runs
        .iter()
        .flatten()
        .map(|run| run.per_second)
        .collect();
    let rate = Spread::of(&rates).median * TIMES;
    ensure!(rate > 0.0, "nothing could be done");

    let arriving = Take::new("the same, 10× as many arrive", move || {
        open_loop(orders.clone(), rate, duration)
    });
    let over = [arriving];
    let over_runs = in_turn(&over, args.rounds, &bar).await?;
    bar.finish_and_clear();
    let mut all = rows("overload", PEAK_IN_FLIGHT, &peak, &peak_runs);
    let mut done = rows("overload", WAITING_MAX, &over, &over_runs);
    if let ([peak], [done]) = (all.as_slice(), done.as_mut_slice()) {
        *done = done.clone().beside(peak.ours, Some(TARGET));
    }
    all.extend(done);
    Ok(all)
}

/// Requests arrive at `rate` a second, whether or not those before them have been answered. Done is
/// what was answered before `duration` was over.
async fn open_loop(orders: Posts, rate: f64, duration: Duration) -> anyhow::Result<Run> {
    let shared = Arc::new(Shared {
        orders,
        done: Mutex::new(Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)?),
        failures: AtomicU64::new(0),
        ends: Instant::now() + duration,
    });
    let slots = Arc::new(Semaphore::new(WAITING_MAX));
    let before = usage::now();
    let mut clock = tokio::time::interval(TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let started = Instant::now();
    let mut arrived = 0_u64;
    while Instant::now() < shared.ends {
        clock.tick().await;
        let due = due(rate, started.elapsed());
        for number in arrived..due {
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                shared.failures.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let shared = shared.clone();
            tokio::spawn(async move {
                shared.ask(number).await;
                drop(slot);
            });
        }
        arrived = due;
    }
    // Nobody waits for the rest, but it must not disturb the next round.
    let _rest = slots.acquire_many(u32::try_from(WAITING_MAX)?).await?;
    let done = shared.done.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Run {
        failures: shared.failures.load(Ordering::Relaxed),
        ..Run::of(done.clone(), duration, &before)
    })
}

/// How many have arrived by then.
fn due(rate: f64, passed: Duration) -> u64 {
    let due = rate * passed.as_secs_f64();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is positive, and a run has fewer than 2^53 requests"
    )]
    let whole = due as u64;
    whole
}

/// What all requests of a run share.
struct Shared {
    orders: Posts,
    /// Latencies of what was done in time, in microseconds.
    done: Mutex<Histogram<u64>>,
    /// What was refused, was late, or was not even sent.
    failures: AtomicU64,
    ends: Instant,
}

impl Shared {
    async fn ask(&self, number: u64) {
        let began = Instant::now();
        let caller = usize::try_from(number).unwrap_or_default() % self.orders.customers();
        let answered = tokio::time::timeout(PATIENCE, self.orders.post(caller)).await;
        if !matches!(answered, Ok(Ok(()))) || Instant::now() > self.ends {
            self.failures.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(LATENCY_MAX_US);
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.saturating_record(micros.max(1));
    }
}
