//! A closed loop: so many callers, each doing one thing after another, for so long.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

/// Longest latency that is told apart, in microseconds.
const LATENCY_MAX_US: u64 = 60_000_000;

/// What one run came to.
pub(crate) struct Run {
    /// Done in a second.
    pub(crate) per_second: f64,
    /// Latencies, in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// How many were not done.
    pub(crate) failures: u64,
}

impl Run {
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
    #[allow(
        clippy::cast_precision_loss,
        reason = "counts of a run are exact in 53 bits"
    )]
    let done = latency.len() as f64;
    Ok(Run {
        per_second: done / started.elapsed().as_secs_f64(),
        latency,
        failures,
    })
}
