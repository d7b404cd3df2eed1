//! `growth`: commands on a store with a long history, beside the same on a young one.

use std::time::Duration;

use anyhow::ensure;
use streams::Settings;
use uuid::Uuid;

use crate::Args;
use crate::history;
use crate::load::{Take, closed_loop, in_turn};
use crate::report::{Row, Spread, rows};
use crate::shop::progress;
use crate::store::{Store, command};
use crate::usage;

/// Events of the young store.
const YOUNG: u64 = 100_000;

/// Commands under way at the same time.
const IN_FLIGHT: usize = 64;

/// performance.md: grown over young.
const TARGET: f64 = 0.9;

pub(crate) async fn run(sync: &str, args: &Args) -> anyhow::Result<Vec<Row>> {
    ensure!(args.events > YOUNG, "growth needs --events above {YOUNG}");
    let (young, grown) = (Store::start(sync).await?, Store::start(sync).await?);
    history::write(&young, YOUNG).await?;
    history::write(&grown, args.events).await?;
    let duration = Duration::from_secs(args.seconds);
    let bar = progress("growth", args.rounds * 2);
    let takes = [
        creating(&young, "new aggregates, young", duration).await?,
        creating(&grown, "new aggregates, grown ÷ young", duration).await?,
    ];
    let runs = in_turn(&takes, args.rounds, &bar).await?;
    bar.finish_and_clear();
    let mut figures = rows("growth", IN_FLIGHT, &takes, &runs);
    if let [young, grown] = figures.as_mut_slice() {
        *grown = grown.clone().beside(young.ours, Some(TARGET));
    }
    let resident = Spread::of(&[usage::own_resident_mib()]);
    figures.push(Row::resident("growth", "this process".to_owned(), resident));
    young.stop().await?;
    grown.stop().await?;
    Ok(figures)
}

/// Every command makes an aggregate, as an order does.
async fn creating<'a>(store: &Store, what: &str, duration: Duration) -> anyhow::Result<Take<'a>> {
    let streams = store.connect().await?.streams(Settings::default());
    Ok(Take::new(what, move || {
        let streams = streams.clone();
        closed_loop(IN_FLIGHT, duration, move |_, _| {
            let streams = streams.clone();
            async move { command(&streams, &Uuid::new_v4().to_string().parse()?).await }
        })
    }))
}
