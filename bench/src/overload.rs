//! `overload`: what is still done of ten times as much as can be done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;

use crate::Args;
use crate::commands::Posts;
use crate::load::{Take, WAITING_MAX, in_turn, open_loop};
use crate::report::{Row, Spread, rows};
use crate::shop::{Stack, progress};

/// How many requests are under way at the same time when all that can be done is done.
const PEAK_IN_FLIGHT: usize = 64;

/// How many customers order.
const CUSTOMERS: usize = 256;

/// So many times the peak arrive.
const TIMES: f64 = 10.0;

/// performance.md: what is done then over the peak.
const TARGET: f64 = 0.8;

pub(crate) async fn run(stack: &Stack, args: &Args) -> anyhow::Result<Vec<Row>> {
    let sku = stack.product(0).await?;
    let orders = Posts::of_orders(stack, sku, CUSTOMERS).await?;
    let duration = Duration::from_secs(args.seconds);
    let bar = progress("overload", args.rounds * 2);
    let peak = [orders.take("POST /v1/orders, peak", PEAK_IN_FLIGHT, duration)];
    let peak_runs = in_turn(&peak, args.rounds, &bar).await?;
    let rates: Vec<f64> = peak_runs
        .iter()
        .flatten()
        .map(|run| run.per_second)
        .collect();
    let rate = Spread::of(&rates).median * TIMES;
    ensure!(rate > 0.0, "nothing could be done");

    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let arriving = Take::new("the same, 10× as many arrive", move || {
        let (orders, count) = (orders.clone(), count.clone());
        open_loop(rate, duration, move |number| {
            let orders = orders.clone();
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                let customer = usize::try_from(number)? % CUSTOMERS;
                orders.try_post(customer).await
            }
        })
    });
    let over = [arriving];
    let over_runs = in_turn(&over, args.rounds, &bar).await?;
    bar.finish_and_clear();
    let mut all = rows("overload", PEAK_IN_FLIGHT, &peak, &peak_runs);
    let mut done = rows("overload", WAITING_MAX, &over, &over_runs);
    if let ([peak], [done]) = (all.as_slice(), done.as_mut_slice()) {
        *done = done.clone().beside(peak.ours, Some(TARGET));
    }
    all.extend(done);
    #[allow(
        clippy::cast_precision_loss,
        reason = "a run has fewer than 2^53 things"
    )]
    let (sent, rounds) = (sent.load(Ordering::Relaxed) as f64, args.rounds as f64);
    let part = 100.0 * sent / (rate * duration.as_secs_f64() * rounds);
    let what = format!("sent of what arrived: at most {WAITING_MAX} wait at once");
    all.push(Row::plain("overload", what, "%", Spread::of(&[part])));
    Ok(all)
}
