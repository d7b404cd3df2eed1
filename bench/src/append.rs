//! `append`: a command through the store beside a raw publish with an expectation.

use std::time::Duration;

use kernel::AggregateId;
use streams::{Settings, Streams};
use uuid::Uuid;

use crate::Args;
use crate::load::{Take, closed_loop, in_turn};

use crate::reference::{Publisher, Shape};
use crate::report::{Row, rows};
use crate::shop::progress;
use crate::store::{self, command};

/// How many commands are under way at the same time.
const IN_FLIGHT: [usize; 4] = [1, 16, 64, 256];

/// performance.md: ours over a raw publish of as many bytes.
const TARGET: f64 = 0.9;

/// Aggregates that each caller goes round among, once they are there.
const KNOWN_EACH: u64 = 16;

pub(crate) async fn run(store: &store::Store, args: &Args) -> anyhow::Result<Vec<Row>> {
    let connection = store.connect().await?;
    let streams = connection.streams(Settings::default());
    command(&streams, &fresh()?).await?;
    let shape = Shape::of_last(connection.jetstream(), "NOTE").await?;
    let same = Publisher::new(connection.jetstream(), shape);
    let bare = Publisher::new(connection.jetstream(), Shape::BARE);
    let like = Publisher::like_last(connection.jetstream(), "NOTE").await?;
    let duration = Duration::from_secs(args.seconds);
    let bar = progress("append", IN_FLIGHT.len() * args.rounds * 5);

    let mut all = Vec::new();
    for in_flight in IN_FLIGHT {
        let takes = [
            bare.take("raw publish, 300 B", in_flight, duration),
            same.take("raw publish, as many bytes", in_flight, duration),
            new(&streams, in_flight, duration),
            known(&streams, in_flight, duration),
            like.take(
                "raw publish, header by header ÷ as many bytes",
                in_flight,
                duration,
            ),
        ];
        let runs = in_turn(&takes, args.rounds, &bar).await?;
        let mut figures = rows("append", in_flight, &takes, &runs);
        if let [bare, same, new, known, like] = figures.as_mut_slice() {
            let over_bare = new.clone().called("new aggregates ÷ raw, 300 B");
            let over_bare = over_bare.beside(bare.ours, None);
            *new = new.clone().beside(same.ours, Some(TARGET));
            *known = known.clone().beside(same.ours, Some(TARGET));
            // What is left to a store that decides nothing.
            *like = like.clone().beside(same.ours, None);
            figures.push(over_bare);
        }
        all.extend(figures);
    }
    bar.finish_and_clear();
    Ok(all)
}

/// Every command makes an aggregate.
fn new<'a>(streams: &Streams, in_flight: usize, duration: Duration) -> Take<'a> {
    let streams = streams.clone();
    Take::new("new aggregates ÷ as many bytes", move || {
        let streams = streams.clone();
        closed_loop(in_flight, duration, move |_, _| {
            let streams = streams.clone();
            async move { command(&streams, &fresh()?).await }
        })
    })
}

/// Every command adds to an aggregate that is in memory.
fn known<'a>(streams: &Streams, in_flight: usize, duration: Duration) -> Take<'a> {
    let streams = streams.clone();
    Take::new("known aggregates ÷ as many bytes", move || {
        let streams = streams.clone();
        closed_loop(in_flight, duration, move |caller, turn| {
            let streams = streams.clone();
            async move {
                let id = format!("known-{caller}-{}", turn % KNOWN_EACH).parse()?;
                command(&streams, &id).await
            }
        })
    })
}

fn fresh() -> anyhow::Result<AggregateId> {
    Ok(Uuid::new_v4().to_string().parse()?)
}
