//! `commands`: POST /v1/orders beside a raw publish and a minimal handler that publishes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use millrace::client::{CartLine, cart};
use uuid::Uuid;

use crate::Args;
use crate::load::{Run, closed_loop};
use crate::reference::{self, Publisher};
use crate::report::Row;
use crate::shop::Stack;

/// How many requests are under way at the same time.
const IN_FLIGHT: [usize; 3] = [1, 16, 64];

/// performance.md: ours over the minimal handler.
const TARGET: f64 = 0.8;

pub(crate) async fn run(stack: &Stack, args: &Args) -> anyhow::Result<Vec<Row>> {
    let jetstream = stack.jetstream().await?;
    reference::prepare(&jetstream).await?;
    let minimal = format!("http://{}/", reference::serve(jetstream.clone()).await?);
    let mut customers = Vec::new();
    for _ in 0..*IN_FLIGHT.last().unwrap_or(&1) {
        customers.push(stack.customer().await?);
    }
    let customers = Arc::new(customers);
    // The saga follows every order: measured is the command alone, so the stock is one that is
    // never there and the flow ends at its first refusal.
    let sku = stack.product(0).await?;
    let body = serde_json::to_vec(&cart(&[CartLine { sku, quantity: 1 }], "pm_card_visa"))?;
    let http = reqwest::Client::new();
    let duration = Duration::from_secs(args.seconds);
    let progress = crate::shop::progress("commands", IN_FLIGHT.len() * args.rounds * 3);

    let mut rows = Vec::new();
    for in_flight in IN_FLIGHT {
        let (mut raw, mut plain, mut ours) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..args.rounds {
            let publisher = Publisher::new(jetstream.clone());
            raw.push(
                closed_loop(in_flight, duration, move |_, _| {
                    let publisher = publisher.clone();
                    async move { publisher.publish().await }
                })
                .await?,
            );
            progress.inc(1);
            plain.push(posts(&http, &minimal, None, &body, in_flight, duration).await?);
            progress.inc(1);
            let url = format!("{}/v1/orders", stack.command_api());
            ours.push(
                posts(
                    &http,
                    &url,
                    Some(customers.clone()),
                    &body,
                    in_flight,
                    duration,
                )
                .await?,
            );
            progress.inc(1);
        }
        let raw = Row::new("commands", "raw publish, expectation", in_flight, &raw);
        let plain = Row::new("commands", "minimal axum + publish", in_flight, &plain);
        let ours = Row::new(
            "commands",
            "POST /v1/orders ÷ minimal axum",
            in_flight,
            &ours,
        );
        let plain_rate = plain.ours;
        let raw_rate = raw.ours;
        rows.push(raw);
        rows.push(plain);
        rows.push(ours.clone().beside(plain_rate, Some(TARGET)));
        let mut over_raw = ours.beside(raw_rate, None);
        "POST /v1/orders ÷ raw publish".clone_into(&mut over_raw.what);
        rows.push(over_raw);
    }
    progress.finish_and_clear();
    Ok(rows)
}

async fn posts(
    http: &reqwest::Client,
    url: &str,
    tokens: Option<Arc<Vec<String>>>,
    body: &[u8],
    in_flight: usize,
    duration: Duration,
) -> anyhow::Result<Run> {
    let (http, url, body) = (
        http.clone(),
        url.to_owned(),
        bytes::Bytes::copy_from_slice(body),
    );
    closed_loop(in_flight, duration, move |caller, _| {
        let mut request = http
            .post(&url)
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", Uuid::new_v4().to_string())
            .body(body.clone());
        if let Some(token) = tokens.as_ref().and_then(|tokens| tokens.get(caller)) {
            request = request.bearer_auth(token);
        }
        async move {
            let answer = request.send().await?;
            let status = answer.status();
            let body = answer.bytes().await?;
            ensure!(
                status.as_u16() == 201,
                "{status}: {}",
                String::from_utf8_lossy(&body)
            );
            Ok(())
        }
    })
    .await
}
