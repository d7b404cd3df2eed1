//! `simulate`: how many runs of the simulator are played in a second, each a shop in which
//! everything goes wrong, held against its equations after every step.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use hdrhistogram::Histogram;
use simulator::Options;

use crate::Args;
use crate::load::Run;
use crate::report::Row;
use crate::shop::progress;
use crate::usage;

/// Runs between two looks at the clock.
const BATCH: u64 = 500;

pub(crate) fn run(args: &Args) -> anyhow::Result<Vec<Row>> {
    let duration = Duration::from_secs(args.seconds);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let bar = progress("simulate", args.rounds);
    let mut runs = Vec::new();
    for _ in 0..args.rounds {
        runs.push(played(duration, threads)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(vec![Row::new(
        "simulate",
        "runs, all equations held",
        threads,
        &runs,
    )])
}

fn played(duration: Duration, threads: usize) -> anyhow::Result<Run> {
    let (before, started) = (usage::now(), Instant::now());
    let mut seed = 0;
    while started.elapsed() < duration {
        let report = simulator::simulate(&Options {
            seed,
            runs: BATCH,
            threads,
            bug: None,
        });
        ensure!(report.ok, "a run failed: millrace simulate --seed {seed}");
        seed += BATCH;
    }
    let took = started.elapsed();
    #[allow(clippy::cast_precision_loss, reason = "a run plays fewer than 2^53")]
    let per_second = seed as f64 / took.as_secs_f64();
    Ok(Run {
        per_second,
        ..Run::of(Histogram::new(3)?, took, &before)
    })
}
