//! `sku`: a product that everybody buys. Its state and its load stay small, whatever was sold.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use chrono::{TimeDelta, Utc};
use inventory::{InventoryCommand, StockItem};
use kernel::AggregateId;
use streams::topology::{Topology, provision};
use streams::{CommandMeta, Settings, Streams};
use uuid::Uuid;

use crate::Args;
use crate::decide::{reservation, reserve};
use crate::load::{Take, closed_loop, in_turn};
use crate::report::{Row, Spread, rows};
use crate::server::Server;
use crate::shop::progress;

/// Of one reservation: reserved, committed, shipped.
const EVENTS: u64 = 3;

/// Reservations of the SKU that the hot one is beside.
const FEW: u64 = 100;

/// Time between two orders of it, on its own clock: three a second, day and night.
const PACE: TimeDelta = TimeDelta::milliseconds(333);

/// The hot one's load may take twice as long as the other's: it has its last half hour to read.
const TARGET: f64 = 0.5;

/// Sells so often, and looks at what is kept of it.
pub(crate) async fn run(sync: &str, args: &Args) -> anyhow::Result<Vec<Row>> {
    let server = Server::start(sync).await?;
    let connection = server.connect().await?;
    provision(&connection, &Topology::new(&["inventory"], &[]), 1).await?;
    let streams = connection.streams(Settings::default());
    let many = args.events / EVENTS;
    let (few_id, hot_id): (AggregateId, AggregateId) = ("FEW".parse()?, "HOT".parse()?);
    let few = sell(&streams, &few_id, FEW).await?;
    let hot = sell(&streams, &hot_id, many).await?;
    streams.snapshots_settled().await;

    let cold = connection.streams(Settings {
        cache_capacity: 0,
        ..Settings::reading()
    });
    let duration = Duration::from_secs(args.seconds);
    let bar = progress("sku", args.rounds * 2);
    let takes = [
        load("load, 100 sold", &cold, few_id, duration),
        load("load, many sold ÷ it", &cold, hot_id, duration),
    ];
    let runs = in_turn(&takes, args.rounds, &bar).await?;
    bar.finish_and_clear();
    let mut figures = rows("sku", 1, &takes, &runs);
    if let [few, hot] = figures.as_mut_slice() {
        *hot = hot.clone().beside(few.ours, Some(TARGET));
    }
    let size = |sold: u64, bytes: usize| {
        #[allow(clippy::cast_precision_loss, reason = "far below 53 bits")]
        let kib = bytes as f64 / 1024.0;
        Row::kibibytes("sku", format!("state, {sold} sold"), Spread::of(&[kib]))
    };
    figures.extend([size(FEW, few), size(many, hot)]);
    server.stop().await?;
    Ok(figures)
}

/// Sells a SKU so often, as the saga does; answers the bytes of its state.
async fn sell(streams: &Streams, id: &AggregateId, times: u64) -> anyhow::Result<usize> {
    let bar = progress("sku", 0);
    bar.set_length(times);
    let command = async |command: InventoryCommand| {
        let meta = CommandMeta::new(Uuid::new_v4(), Utc::now(), "saga:checkout");
        streams.execute::<StockItem>(id, command, &meta).await
    };
    command(InventoryCommand::CreateStockItem {}).await?;
    let mut at = Utc::now() - PACE * i32::try_from(times)?;
    let mut state = Arc::default();
    for number in 1..=times {
        if number % 1_000 == 1 {
            command(InventoryCommand::ReceiveStock { quantity: 1_000 }).await?;
        }
        let reservation = reservation(number.into());
        command(reserve(number.into(), at)).await?;
        command(InventoryCommand::CommitReservation { reservation, at }).await?;
        let shipped = InventoryCommand::ShipReservation { reservation, at };
        state = command(shipped).await?.state;
        at += PACE;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(serde_json::to_vec(&*state)?.len())
}

fn load(what: &str, cold: &Streams, id: AggregateId, duration: Duration) -> Take<'static> {
    let cold = cold.clone();
    Take::new(what, move || {
        let (cold, id) = (cold.clone(), id.clone());
        closed_loop(1, duration, move |_, _| {
            let (cold, id) = (cold.clone(), id.clone());
            async move {
                let loaded = cold.load::<StockItem>(&id).await?;
                ensure!(loaded.version > EVENTS, "{id} was never sold");
                Ok(())
            }
        })
    })
}
