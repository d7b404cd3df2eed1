//! `memory`: what a process holds while many more aggregates pass than its cache keeps.

use anyhow::ensure;
use futures::{TryStreamExt, stream};
use streams::Settings;

use crate::Args;
use crate::report::{Row, Spread};
use crate::shop::progress;
use crate::store::{Store, command};
use crate::usage;

/// Commands under way at the same time.
const WRITERS: usize = 256;

/// Aggregates in memory at most: a tenth of what `memory` shows by default.
const CACHE_CAPACITY: u64 = 100_000;

/// How often the cache has been filled when memory is looked at for the first time: by then every
/// aggregate that comes takes the place of another.
const FILLS: u64 = 2;

/// Memory at the end may be so much above memory with a full cache: 1 ÷ 1.2.
const TARGET: f64 = 1.0 / 1.2;

pub(crate) async fn run(store: &Store, args: &Args) -> anyhow::Result<Vec<Row>> {
    let full = FILLS * CACHE_CAPACITY;
    ensure!(args.events > full, "memory needs --events above {full}");
    let connection = store.connect().await?;
    let streams = connection.streams(Settings {
        cache_capacity: CACHE_CAPACITY,
        ..Settings::default()
    });
    let bar = progress("memory", 0);
    bar.set_length(args.events);
    let pass = async |numbers: std::ops::Range<u64>| {
        stream::iter(numbers.map(anyhow::Ok))
            .try_for_each_concurrent(WRITERS, async |number| {
                command(&streams, &format!("seen-{number}").parse()?).await?;
                bar.inc(1);
                Ok(())
            })
            .await
    };
    let empty = usage::own_resident_mib();
    pass(0..full).await?;
    let filled = usage::own_resident_mib();
    pass(full..args.events).await?;
    let after = usage::own_resident_mib();
    bar.finish_and_clear();
    let row = |aggregates: u64, resident| {
        let what = format!("after {aggregates} aggregates");
        Row::resident("memory", what, Spread::of(&[resident]))
    };
    let (empty, filled) = (row(0, empty), row(full, filled));
    let after = row(args.events, after).at_most(filled.ours, TARGET);
    Ok(vec![empty, filled, after])
}
