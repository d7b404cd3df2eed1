//! `commands`: POST /v1/orders beside a raw publish and a minimal handler that publishes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use millrace::client::{CartLine, cart};
use uuid::Uuid;

use crate::Args;
use crate::load::{Run, Take, closed_loop, in_turn};
use crate::reference::{self, Publisher, Shape};
use crate::report::{Row, rows};
use crate::shop::{Stack, progress};

/// How many requests are under way at the same time.
const IN_FLIGHT: [usize; 4] = [1, 16, 64, 256];

/// performance.md: ours over the minimal handler.
const TARGET: f64 = 0.8;

/// How many product there are: none is there to sell.
const PRODUCTS: u32 = 0;

pub(crate) async fn run(stack: &Stack, args: &Args) -> anyhow::Result<Vec<Row>> {
    let jetstream = stack.jetstream().await?;
    reference::prepare(&jetstream).await?;
    let ours = orders(stack).await?;
    // One order to see how large its event is: the references publish as much.
    ours.post(0).await?;
    let shape = Shape::of_last(&jetstream, "ORDER").await?;
    let raw = Publisher::new(&jetstream, shape);
    let minimal = Posts {
        url: format!("http://{}/", reference::serve(raw.clone()).await?),
        tokens: Arc::default(),
        ..ours.clone()
    };
    let duration = Duration::from_secs(args.seconds);
    let bar = progress("commands", IN_FLIGHT.len() * args.rounds * 3);

    let mut all = Vec::new();
    for in_flight in IN_FLIGHT {
        let takes = [
            raw.take("raw publish, expectation", in_flight, duration),
            minimal.take("minimal axum + publish", in_flight, duration),
            ours.take("POST /v1/orders ÷ minimal axum", in_flight, duration),
        ];
        let runs = in_turn(&takes, args.rounds, &bar).await?;
        let mut figures = rows("commands", in_flight, &takes, &runs);
        if let [raw, minimal, ours] = figures.as_mut_slice() {
            let over_raw = ours.clone().called("POST /v1/orders ÷ raw publish");
            let over_raw = over_raw.beside(raw.ours, None);
            *ours = ours.clone().beside(minimal.ours, Some(TARGET));
            figures.push(over_raw);
        }
        all.extend(figures);
    }
    bar.finish_and_clear();
    Ok(all)
}

/// The saga follows every order: measured is the command alone, so the stock is one that is never
/// there and the flow ends at its first refusal.
async fn orders(stack: &Stack) -> anyhow::Result<Posts> {
    let mut tokens = Vec::new();
    for _ in 0..IN_FLIGHT.into_iter().max().unwrap_or(1) {
        tokens.push(stack.customer().await?);
    }
    let sku = stack.product(PRODUCTS).await?;
    let body = serde_json::to_vec(&cart(&[CartLine { sku, quantity: 1 }], "pm_card_visa"))?;
    Ok(Posts {
        http: reqwest::Client::new(),
        url: format!("{}/v1/orders", stack.command_api()),
        tokens: Arc::new(tokens),
        body: body.into(),
    })
}

/// Requests with the same body, each with a key of its own.
#[derive(Clone)]
struct Posts {
    http: reqwest::Client,
    url: String,
    /// One for each caller; none where nobody asks.
    tokens: Arc<Vec<String>>,
    body: Bytes,
}

impl Posts {
    fn take<'a>(&self, what: &str, in_flight: usize, duration: Duration) -> Take<'a> {
        let posts = self.clone();
        Take::new(what, move || posts.clone().run(in_flight, duration))
    }

    async fn run(self, in_flight: usize, duration: Duration) -> anyhow::Result<Run> {
        let posts = Arc::new(self);
        let work = move |caller, _| {
            let posts = posts.clone();
            async move { posts.post(caller).await }
        };
        closed_loop(in_flight, duration, work).await
    }

    async fn post(&self, caller: usize) -> anyhow::Result<()> {
        let mut request = self
            .http
            .post(&self.url)
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", Uuid::new_v4().to_string())
            .body(self.body.clone());
        if let Some(token) = self.tokens.get(caller) {
            request = request.bearer_auth(token);
        }
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
}
