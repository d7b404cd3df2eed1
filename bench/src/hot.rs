//! `hot`: many callers on one aggregate beside one raw publish after another.

use std::time::Duration;

use kernel::AggregateId;
use streams::{Settings, Streams};
use uuid::Uuid;

use crate::Args;
use crate::load::{Take, closed_loop, in_turn};
use crate::reference::{Publisher, Shape};
use crate::report::{Row, rows};
use crate::shop::progress;
use crate::store::{Store, command};

/// Callers on the one aggregate.
const CALLERS: [usize; 2] = [1, 64];

/// performance.md: ours over one publish in flight, of as many bytes.
const TARGET: f64 = 0.9;

pub(crate) async fn run(store: &Store, args: &Args) -> anyhow::Result<Vec<Row>> {
    let connection = store.connect().await?;
    let streams = connection.streams(Settings::default());
    let id: AggregateId = Uuid::new_v4().to_string().parse()?;
    command(&streams, &id).await?;
    let shape = Shape::of_last(connection.jetstream(), "NOTE").await?;
    let raw = Publisher::chained(connection.jetstream(), shape);
    let like = Publisher::like_last(connection.jetstream(), "NOTE")
        .await?
        .in_a_chain();
    let duration = Duration::from_secs(args.seconds);
    let bar = progress("hot", CALLERS.len() * args.rounds * 3);

    let mut all = Vec::new();
    for callers in CALLERS {
        let takes = [
            raw.take("raw publish, one in flight", 1, duration),
            one_aggregate(&streams, &id, callers, duration),
            like.take("raw publish, header by header ÷ one in flight", 1, duration),
        ];
        let runs = in_turn(&takes, args.rounds, &bar).await?;
        let mut figures = rows("hot", callers, &takes, &runs);
        if let [raw, ours, like] = figures.as_mut_slice() {
            *ours = ours.clone().beside(raw.ours, Some(TARGET));
            *like = like.clone().beside(raw.ours, None);
        }
        all.extend(figures);
    }
    bar.finish_and_clear();
    Ok(all)
}

fn one_aggregate<'a>(
    streams: &Streams,
    id: &AggregateId,
    callers: usize,
    duration: Duration,
) -> Take<'a> {
    let (streams, id) = (streams.clone(), id.clone());
    Take::new("one aggregate ÷ one in flight", move || {
        let (streams, id) = (streams.clone(), id.clone());
        closed_loop(callers, duration, move |_, _| {
            let (streams, id) = (streams.clone(), id.clone());
            async move { command(&streams, &id).await }
        })
    })
}
