//! `recovery`: how soon a new order is seen to after the saga role was killed with −9, with many
//! sagas open and with none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use async_nats::jetstream;
use devstack::launch::{Child, Signal, Spawner};
use futures::TryStreamExt;
use futures::stream;

use crate::Args;
use crate::commands::Posts;
use crate::report::{Row, Spread};
use crate::shop::{Flow, Stack, progress};

/// Orders that are placed at once, to have many.
const IN_FLIGHT: usize = 16;

/// Units of the product: nobody goes without.
const STOCK: u32 = 10_000_000;

/// Each saga's first ask of another context that is answered by an event: its payment. Nobody takes
/// the money here, so that is where it stays.
const ASKED: &str = "PAYMENT";

/// Between two looks at the stream.
const LOOK: Duration = Duration::from_millis(2);

/// After this long something is broken.
const PATIENCE: Duration = Duration::from_mins(10);

pub(crate) async fn run(args: &Args) -> anyhow::Result<Vec<Row>> {
    let stack = Stack::start(args, Flow::Left).await?;
    let sku = stack.product(STOCK).await?;
    let orders = Posts::of_orders(&stack, sku, IN_FLIGHT).await?;
    let (spawner, jetstream) = (Spawner::start()?, stack.jetstream().await?);
    let mut scene = Scene {
        saga: stack.worker("saga", &spawner).await?,
        stack,
        spawner,
        orders,
        jetstream,
    };
    scene.opens(1).await?;
    let bar = progress("recovery", args.rounds * 2);
    let mut figures = Vec::new();
    for open in [1, args.sagas] {
        scene.opens(open).await?;
        let mut took = Vec::new();
        for _ in 0..args.rounds {
            took.push(scene.kills().await?.as_secs_f64() * 1e3);
            bar.inc(1);
        }
        figures.push((open, Spread::of(&took)));
    }
    bar.finish_and_clear();
    scene.saga.stop(Signal::TERM, PATIENCE).await?;
    scene.stack.stop().await?;
    let rows = figures.into_iter().map(|(open, took)| {
        let what = "kill −9 → a new order's payment asked".to_owned();
        Row::milliseconds("recovery", what, usize::try_from(open).unwrap_or(0), took)
    });
    Ok(rows.collect())
}

struct Scene {
    saga: Child,
    stack: Stack,
    spawner: Spawner,
    orders: Posts,
    jetstream: jetstream::Context,
}

impl Scene {
    /// Sees to it that so many sagas are open.
    async fn opens(&self, sagas: u64) -> anyhow::Result<()> {
        let missing = sagas.saturating_sub(self.asked().await?);
        let bar = progress("sagas", usize::try_from(missing)?);
        let placed = Arc::new(AtomicU64::new(0));
        let all = stream::iter((0..missing).map(Ok::<_, anyhow::Error>));
        all.try_for_each_concurrent(IN_FLIGHT, |_| async {
            let number = placed.fetch_add(1, Ordering::Relaxed);
            self.orders
                .post(usize::try_from(number)? % IN_FLIGHT)
                .await?;
            bar.inc(1);
            Ok(())
        })
        .await?;
        self.until_asked(sagas).await?;
        bar.finish_and_clear();
        Ok(())
    }

    /// Kills the role, places an order, starts the role again; how long until it has gone on.
    async fn kills(&mut self) -> anyhow::Result<Duration> {
        let asked = self.asked().await?;
        self.saga.signaller().send(Signal::KILL)?;
        let started = Instant::now();
        self.saga.wait().await;
        self.orders.post(0).await?;
        self.saga = self.stack.worker("saga", &self.spawner).await?;
        self.until_asked(asked + 1).await?;
        Ok(started.elapsed())
    }

    async fn until_asked(&self, count: u64) -> anyhow::Result<()> {
        let started = Instant::now();
        while self.asked().await? < count {
            ensure!(started.elapsed() < PATIENCE, "the sagas do not go on");
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// How many payments were asked for.
    async fn asked(&self) -> anyhow::Result<u64> {
        let stream = self.jetstream.get_stream(ASKED).await?;
        Ok(stream.cached_info().state.messages)
    }
}
