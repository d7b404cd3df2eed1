//! How load is made.
//!
//! ```text
//!   closed loop   so many callers, each doing one thing after another, for so long
//!   open loop     things arrive at a rate, whether or not those before them are done
//! ```

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, timeout};

use crate::usage::{self, Usages};

/// Longest latency that is told apart, in microseconds.
pub(crate) const LATENCY_MAX_US: u64 = 60_000_000;

/// How often arrivals of an open loop are let go.
const TICK: Duration = Duration::from_millis(1);

/// Things of an open loop that are under way at most; one that would be more counts as failed. Nearly as many as
/// an API has connections for (8,192), and so many times what it works at (1,024) that it has to refuse.
pub(crate) const WAITING_MAX: usize = 7_680;

/// Nobody waits longer for a thing of an open loop.
const PATIENCE: Duration = Duration::from_secs(20);

/// What one run came to.
pub(crate) struct Run {
    /// Done in a second.
    pub(crate) per_second: f64,
    /// Latencies, in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// How many were not done.
    pub(crate) failures: u64,
    /// What it cost.
    pub(crate) usages: Usages,
}

impl Run {
    /// A run that was timed by hand.
    pub(crate) fn of(latency: Histogram<u64>, took: Duration, before: &Usages) -> Self {
        #[allow(
            clippy::cast_precision_loss,
            reason = "counts of a run are exact in 53 bits"
        )]
        let done = latency.len() as f64;
        Self {
            per_second: done / took.as_secs_f64(),
            latency,
            failures: 0,
            usages: usage::since(before),
        }
    }

    /// The latency that so many per cent stay below, in milliseconds.
    pub(crate) fn percentile_ms(&self, percentile: f64) -> f64 {
        #[allow(
            clippy::cast_precision_loss,
            reason = "microseconds below a minute are exact in 53 bits"
        )]
        let micros = self.latency.value_at_percentile(percentile) as f64;
        micros / 1_000.0
    }
}

/// Runs `work(caller, turn)` with `in_flight` callers for `duration`.
pub(crate) async fn closed_loop<W, F>(
    in_flight: usize,
    duration: Duration,
    work: W,
) -> anyhow::Result<Run>
where
    W: Fn(usize, u64) -> F + Send + Sync + 'static,
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let work = Arc::new(work);
    let before = usage::now();
    let mut callers = JoinSet::new();
    let started = Instant::now();
    for caller in 0..in_flight {
        let work = work.clone();
        callers.spawn(async move {
            let mut latency = Histogram::<u64>::new_with_bounds(1, LATENCY_MAX_US, 3)?;
            let mut failures = 0u64;
            let mut turn = 0u64;
            while started.elapsed() < duration {
                let began = Instant::now();
                match work(caller, turn).await {
                    Ok(()) => {
                        let micros = u64::try_from(began.elapsed().as_micros())?;
                        latency.saturating_record(micros.max(1));
                    }
                    Err(error) => {
                        if failures == 0 {
                            eprintln!("bench: the first failure of a caller: {error:#}");
                        }
                        failures += 1;
                    }
                }
                turn += 1;
            }
            anyhow::Ok((latency, failures))
        });
    }
    let mut latency = Histogram::<u64>::new_with_bounds(1, LATENCY_MAX_US, 3)?;
    let mut failures = 0;
    while let Some(caller) = callers.join_next().await {
        let (of_caller, failed) = caller??;
        latency.add(of_caller)?;
        failures += failed;
    }
    Ok(Run {
        failures,
        ..Run::of(latency, started.elapsed(), &before)
    })
}

/// Has `work(number)`, which tells whether it was done, begun `rate` times a second for `duration`. The rate that comes out is of what
/// was done before `duration` was over; the latencies are of all that was done.
pub(crate) async fn open_loop<W, F>(rate: f64, duration: Duration, work: W) -> anyhow::Result<Run>
where
    W: Fn(u64) -> F + Send + Sync + 'static,
    F: Future<Output = anyhow::Result<bool>> + Send + 'static,
{
    let before = usage::now();
    let mut clock = tokio::time::interval(TICK);
    clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let arrivals = Arc::new(Arrivals::new(duration)?);
    let slots = Arc::new(Semaphore::new(WAITING_MAX));
    let mut arrived = 0_u64;
    loop {
        clock.tick().await;
        let passed = arrivals.started.elapsed();
        if passed >= duration {
            break;
        }
        let due = due(rate, passed);
        for number in arrived..due {
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                arrivals.failures.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let (arrivals, thing) = (Arc::clone(&arrivals), work(number));
            tokio::spawn(async move {
                arrivals.see_to(thing, due_after(rate, number)).await;
                drop(slot);
            });
        }
        arrived = due;
    }
    let usages = usage::since(&before);
    // What is under way is waited for: it counts, and must not disturb the next run.
    let _all = slots.acquire_many(u32::try_from(WAITING_MAX)?).await?;
    let latency = arrivals.latency.lock();
    let latency = latency.unwrap_or_else(PoisonError::into_inner).clone();
    #[allow(
        clippy::cast_precision_loss,
        reason = "counts of a run are exact in 53 bits"
    )]
    let in_time = arrivals.in_time.load(Ordering::Relaxed) as f64;
    Ok(Run {
        per_second: in_time / duration.as_secs_f64(),
        latency,
        failures: arrivals.failures.load(Ordering::Relaxed),
        usages,
    })
}

/// How many are due after so long.
fn due(rate: f64, passed: Duration) -> u64 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is positive, and a run has fewer than 2^53 things"
    )]
    let whole = (rate * passed.as_secs_f64()) as u64;
    whole
}

/// When the thing with this number is due.
fn due_after(rate: f64, number: u64) -> Duration {
    #[allow(
        clippy::cast_precision_loss,
        reason = "a run has fewer than 2^53 things"
    )]
    let number = number as f64;
    Duration::from_secs_f64(number / rate)
}

/// What all things of an open loop share.
struct Arrivals {
    started: Instant,
    ends: Instant,
    /// In microseconds.
    latency: Mutex<Histogram<u64>>,
    /// Done before the end.
    in_time: AtomicU64,
    failures: AtomicU64,
}

impl Arrivals {
    fn new(duration: Duration) -> anyhow::Result<Self> {
        let started = Instant::now();
        Ok(Self {
            started,
            ends: started + duration,
            latency: Mutex::new(Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)?),
            in_time: AtomicU64::default(),
            failures: AtomicU64::default(),
        })
    }

    /// Its time counts from when it was due, not from when the machine got to it.
    async fn see_to(&self, thing: impl Future<Output = anyhow::Result<bool>>, due: Duration) {
        let began = self.started + due;
        let failure = match timeout(PATIENCE, thing).await {
            Ok(Ok(true)) => None,
            Ok(Ok(false)) => Some("it was not done".to_owned()),
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(late) => Some(late.to_string()),
        };
        if let Some(failure) = failure {
            if self.failures.fetch_add(1, Ordering::Relaxed) == 0 {
                eprintln!("bench: the first failure of an open loop: {failure}");
            }
            return;
        }
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(LATENCY_MAX_US);
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        latency.saturating_record(micros.max(1));
        if Instant::now() <= self.ends {
            self.in_time.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// `work`, once: so many things in one go.
pub(crate) async fn one_go<F>(things: u64, work: F) -> anyhow::Result<Run>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let before = usage::now();
    let started = Instant::now();
    work.await?;
    #[allow(
        clippy::cast_precision_loss,
        reason = "counts of a run are exact in 53 bits"
    )]
    let things = things as f64;
    Ok(Run {
        per_second: things / started.elapsed().as_secs_f64(),
        latency: Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)?,
        failures: 0,
        usages: usage::since(&before),
    })
}

/// One figure: what is done, and how it is taken once.
pub(crate) struct Take<'a> {
    pub(crate) what: String,
    take: Box<dyn Fn() -> BoxFuture<'a, anyhow::Result<Run>> + Send + 'a>,
}

impl<'a> Take<'a> {
    /// `take` takes the figure called `what` once.
    pub(crate) fn new<T, F>(what: &str, take: T) -> Self
    where
        T: Fn() -> F + Send + 'a,
        F: Future<Output = anyhow::Result<Run>> + Send + 'a,
    {
        Self {
            what: what.to_owned(),
            take: Box::new(move || take().boxed()),
        }
    }
}

/// Takes the figures in turn, so that what happens to the machine happens to all of them; one list
/// of runs for each.
pub(crate) async fn in_turn(
    takes: &[Take<'_>],
    rounds: usize,
    progress: &ProgressBar,
) -> anyhow::Result<Vec<Vec<Run>>> {
    let mut runs: Vec<Vec<Run>> = takes.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (take, runs) in takes.iter().zip(&mut runs) {
            progress.set_message(take.what.clone());
            runs.push((take.take)().await?);
            progress.inc(1);
        }
    }
    Ok(runs)
}
