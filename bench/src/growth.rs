//! `growth`: commands on a store with a long history, beside the same on a young one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use kernel::AggregateId;
use streams::{Settings, Streams};
use uuid::Uuid;

use crate::Args;
use crate::history::{self, LONG_HISTORY_MIN};
use crate::load::{Take, closed_loop, in_turn};
use crate::report::{Row, Spread, rows};
use crate::shop::progress;
use crate::store::{Store, command};
use crate::usage;

/// Events of the young store.
const YOUNG: u64 = 10_000;

/// Commands under way at the same time.
const IN_FLIGHT: usize = 64;

/// performance.md: grown over young.
const TARGET: f64 = 0.9;

/// Coprime with every count of aggregates that is no multiple of it: spreads neighbours over the history.
const STRIDE: u64 = 7_919;

/// Where commands go.
#[derive(Clone)]
struct Shelf {
    /// Keeps nothing in memory, so that each command loads its aggregate.
    cold: Streams,
    /// Keeps what it has seen.
    warm: Streams,
    /// How many aggregates the history has.
    aggregates: u64,
    turn: Arc<AtomicU64>,
}

pub(crate) async fn run(sync: &str, args: &Args) -> anyhow::Result<Vec<Row>> {
    ensure!(
        args.events >= LONG_HISTORY_MIN.max(YOUNG),
        "growth needs --events of at least {}",
        LONG_HISTORY_MIN.max(YOUNG)
    );
    let (young, grown) = (Store::start(sync).await?, Store::start(sync).await?);
    let shelves = [
        Shelf::of(&young, YOUNG).await?,
        Shelf::of(&grown, args.events).await?,
    ];
    let duration = Duration::from_secs(args.seconds);
    let bar = progress("growth", args.rounds * 4);
    let takes = [
        shelves[0].creating("new aggregates, young", duration),
        shelves[1].creating("new aggregates, grown ÷ young", duration),
        shelves[0].adding("loaded aggregates, young", duration),
        shelves[1].adding("loaded aggregates, grown ÷ young", duration),
    ];
    let runs = in_turn(&takes, args.rounds, &bar).await?;
    bar.finish_and_clear();
    let mut figures = rows("growth", IN_FLIGHT, &takes, &runs);
    for pair in figures.chunks_mut(2) {
        if let [young, grown] = pair {
            *grown = grown.clone().beside(young.ours, Some(TARGET));
        }
    }
    let resident = Spread::of(&[usage::own_resident_mib()]);
    figures.push(Row::resident("growth", "this process".to_owned(), resident));
    young.stop().await?;
    grown.stop().await?;
    Ok(figures)
}

impl Shelf {
    /// A store with a history of so many events.
    async fn of(store: &Store, events: u64) -> anyhow::Result<Self> {
        history::write(store, events).await?;
        let connection = store.connect().await?;
        let cold = Settings {
            cache_capacity: 0,
            ..Settings::default()
        };
        Ok(Self {
            cold: connection.streams(cold),
            warm: connection.streams(Settings::default()),
            aggregates: history::short_ones(events),
            turn: Arc::default(),
        })
    }

    /// Every command makes an aggregate.
    fn creating<'a>(&self, what: &str, duration: Duration) -> Take<'a> {
        let streams = self.warm.clone();
        taken(what, duration, streams, || {
            Ok(Uuid::new_v4().to_string().parse()?)
        })
    }

    /// Every command adds to an aggregate of the history, each time to another one, that it loads first.
    fn adding<'a>(&self, what: &str, duration: Duration) -> Take<'a> {
        let (turn, aggregates) = (self.turn.clone(), self.aggregates);
        taken(what, duration, self.cold.clone(), move || {
            let turn = turn.fetch_add(1, Ordering::Relaxed);
            history::short_id(turn * STRIDE % aggregates)
        })
    }
}

fn taken<'a>(
    what: &str,
    duration: Duration,
    streams: Streams,
    next: impl Fn() -> anyhow::Result<AggregateId> + Clone + Send + Sync + 'static,
) -> Take<'a> {
    Take::new(what, move || {
        let (streams, next) = (streams.clone(), next.clone());
        closed_loop(IN_FLIGHT, duration, move |_, _| {
            let (streams, id) = (streams.clone(), next());
            async move { command(&streams, &id?).await }
        })
    })
}
