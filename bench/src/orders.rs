//! `orders`: whole flows, from POST to confirmed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use async_nats::jetstream::Context;
use millrace::client::{CartLine, Shop, cart};
use reqwest::Method;
use uuid::Uuid;

use crate::Args;
use crate::load::{Take, WAITING_MAX, closed_loop, in_turn, open_loop};
use crate::reference::{self, Publisher, Shape};
use crate::report::{Row, Spread, rows};
use crate::shop::{Stack, progress};

/// What is measured.
const FLOW: &str = "POST → confirmed";

/// How many orders are under way at the same time.
const IN_FLIGHT: [usize; 3] = [1, 16, 64];

/// How many raw publishes: enough for the reference's best rate.
const RAW_IN_FLIGHT: usize = 64;

/// How many products the orders are spread over, so that no SKU is hot.
const PRODUCTS: usize = 64;

/// How many of each are there: more than a run can sell.
const STOCK: u32 = 1_000_000;

/// How often it is looked whether the mails of a run are out.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// Parts of the best rate at which the time from POST to confirmed is taken.
const LOADS: [f64; 3] = [0.25, 0.5, 0.8];

/// performance.md: events a second of whole orders, over the raw publish rate at 64 in flight; where a publish
/// waits for the disk, and where not.
const TARGET_DURABLE: f64 = 0.3;
const TARGET_RELAXED: f64 = 0.1;

pub(crate) async fn run(stack: &Stack, args: &Args) -> anyhow::Result<Vec<Row>> {
    let jetstream = stack.jetstream().await?;
    reference::prepare(&jetstream, args.nats_nodes).await?;
    let mut skus = Vec::new();
    for _ in 0..PRODUCTS {
        skus.push(stack.product(STOCK).await?);
    }
    let skus = Arc::new(skus);
    let customer = stack.customer().await?;
    let shop = Shop::new(stack.command_api())?.with_token(&customer);
    let duration = Duration::from_secs(args.seconds);
    let bar = progress("orders", IN_FLIGHT.len() * args.rounds * 2);

    let target = match args.sync.as_str() {
        "always" => TARGET_DURABLE,
        _ => TARGET_RELAXED,
    };
    let raw = Publisher::new(&jetstream, Shape::BARE);
    let mut all = Vec::new();
    for in_flight in IN_FLIGHT {
        let rates = Mutex::new(Vec::new());
        let takes = [
            raw.take("raw publish, expectation, 64", RAW_IN_FLIGHT, duration),
            Take::new(FLOW, || async {
                let before = events(&jetstream).await?;
                let (began, shop, skus) = (Instant::now(), shop.clone(), skus.clone());
                let run = closed_loop(in_flight, duration, move |caller, turn| {
                    let (shop, sku) = (shop.clone(), pick(&skus, caller as u64 + turn * 7));
                    async move { one_order(&shop, sku).await }
                });
                let run = run.await?;
                let rate = (events(&jetstream).await? - before) / began.elapsed().as_secs_f64();
                rates
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(rate);
                at_rest(&jetstream).await?;
                Ok(run)
            }),
        ];
        let runs = in_turn(&takes, args.rounds, &bar).await?;
        let mut figures = rows("orders", in_flight, &takes, &runs);
        if let [raw, ours] = figures.as_slice() {
            let mut events = ours.clone().called("events a second ÷ raw publish");
            events.ours = Spread::of(&rates.lock().unwrap_or_else(PoisonError::into_inner));
            figures.push(events.beside(raw.ours, Some(target)));
        }
        all.extend(figures);
    }
    bar.finish_and_clear();
    let rates = all.iter().filter(|row| row.what == FLOW);
    let best = rates.map(|row| row.ours.median).fold(0.0, f64::max);
    all.extend(under_load(&shop, &skus, best, args).await?);
    Ok(all)
}

/// How long orders take that arrive at a part of the best rate.
async fn under_load(
    shop: &Shop,
    skus: &Arc<Vec<String>>,
    best: f64,
    args: &Args,
) -> anyhow::Result<Vec<Row>> {
    ensure!(best > 0.0, "no order was confirmed");
    let duration = Duration::from_secs(args.seconds);
    let bar = progress("orders", LOADS.len() * args.rounds);
    let takes = LOADS.map(|part| {
        let (shop, skus) = (shop.clone(), skus.clone());
        Take::new(
            &format!("{FLOW}, {:.0} % of the best", part * 100.0),
            move || {
                let (shop, skus) = (shop.clone(), skus.clone());
                open_loop(best * part, duration, move |number| {
                    let (shop, sku) = (shop.clone(), pick(&skus, number));
                    async move { one_order(&shop, sku).await.map(|()| true) }
                })
            },
        )
    });
    let runs = in_turn(&takes, args.rounds, &bar).await?;
    bar.finish_and_clear();
    Ok(rows("orders", WAITING_MAX, &takes, &runs))
}

/// How many events there are, over all contexts.
async fn events(jetstream: &Context) -> anyhow::Result<f64> {
    let mut events = 0;
    for context in domains::CONTEXTS {
        let stream = jetstream.get_stream(context.stream).await?;
        events += stream.cached_info().state.last_sequence;
    }
    #[allow(clippy::cast_precision_loss, reason = "fewer than 2^53")]
    let events = events as f64;
    Ok(events)
}

/// Waits until nothing more comes of what was ordered: mails go out after the order is confirmed, and would be
/// in the next figure's way.
async fn at_rest(jetstream: &Context) -> anyhow::Result<()> {
    let (mut before, mut now) = (0.0, events(jetstream).await?);
    while now > before {
        tokio::time::sleep(LOOK_INTERVAL).await;
        before = std::mem::replace(&mut now, events(jetstream).await?);
    }
    Ok(())
}

/// The product of the order with this number.
fn pick(skus: &[String], number: u64) -> String {
    let pick = usize::try_from(number).unwrap_or(0) % skus.len().max(1);
    skus.get(pick).cloned().unwrap_or_default()
}

async fn one_order(shop: &Shop, sku: String) -> anyhow::Result<()> {
    let body = cart(&[CartLine { sku, quantity: 1 }], "pm_card_visa");
    let key = Uuid::new_v4().to_string();
    let headers = [("Idempotency-Key", key.as_str()), ("Prefer", "wait=20")];
    let answer = shop
        .call(Method::POST, "/v1/orders", &headers, Some(&body))
        .await?
        .success()?;
    let status = answer.text("/status");
    ensure!(
        status == "confirmed",
        "the order is {status:?}: {}",
        answer.body
    );
    Ok(())
}
