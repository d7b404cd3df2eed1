//! `commands`: POST /v1/orders beside a raw publish and a minimal handler that publishes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use millrace::client::{CartLine, cart};
use uuid::Uuid;

use crate::Args;
use crate::load::{Run, Take, closed_loop, in_turn};
use crate::plain;
use crate::reference::{self, Publisher, Shape};
use crate::report::{Row, rows};
use crate::shop::{Stack, progress};

/// How many requests are under way at the same time.
const IN_FLIGHT: [usize; 4] = [1, 16, 64, 256];

/// performance.md: ours over the minimal handler.
const TARGET: f64 = 0.8;

/// performance.md: ours over the plain cqrs-es app, when a commit waits for the disk and when not.
const OVER_PLAIN_DURABLE: f64 = 2.0;
const OVER_PLAIN_RELAXED: f64 = 10.0;

/// performance.md: ours over the raw publish, where that waits for the disk: of one server, of a cluster.
const OVER_RAW_DURABLE: f64 = 0.9;
const OVER_RAW_CLUSTER: f64 = 0.5;

/// Clients of the one product, and performance.md's target over one publish after another.
const HOT_CLIENTS: usize = 64;
const HOT_TARGET: f64 = 0.8;

/// How many product there are: none is there to sell.
const PRODUCTS: u32 = 0;

pub(crate) async fn run(stack: &Stack, args: &Args) -> anyhow::Result<Vec<Row>> {
    let jetstream = stack.jetstream().await?;
    reference::prepare(&jetstream, args.nats_nodes).await?;
    let callers = IN_FLIGHT.into_iter().max().unwrap_or(1);
    let sku = stack.product(PRODUCTS).await?;
    let ours = Posts::of_orders(stack, sku, callers).await?;
    // One order to see how large its event is: the references publish as much.
    ours.post(0).await?;
    let shape = Shape::of_last(&jetstream, "ORDER").await?;
    let raw = Publisher::new(&jetstream, shape);
    let at = |address| Arc::new(vec![format!("http://{address}/")]);
    let minimal = Posts {
        urls: at(reference::serve(raw.clone()).await?),
        tokens: Arc::default(),
        ..ours.clone()
    };
    let duration = Duration::from_secs(args.seconds);
    let durable = args.sync == "always";
    let plain = Posts {
        urls: at(plain::serve(stack, durable).await?),
        ..minimal.clone()
    };
    let over_plain = if durable {
        OVER_PLAIN_DURABLE
    } else {
        OVER_PLAIN_RELAXED
    };
    let over_raw = durable.then_some(match args.nats_nodes {
        1 => OVER_RAW_DURABLE,
        _ => OVER_RAW_CLUSTER,
    });
    let bar = progress("commands", (IN_FLIGHT.len() * 4 + 2) * args.rounds);

    let mut all = Vec::new();
    for in_flight in IN_FLIGHT {
        let takes = [
            raw.take("raw publish, expectation", in_flight, duration),
            minimal.take("minimal axum + publish", in_flight, duration),
            plain.take("cqrs-es + postgres-es app", in_flight, duration),
            ours.take("POST /v1/orders ÷ minimal axum", in_flight, duration),
        ];
        let runs = in_turn(&takes, args.rounds, &bar).await?;
        let mut figures = rows("commands", in_flight, &takes, &runs);
        if let [raw, minimal, plain, ours] = figures.as_mut_slice() {
            let beside_raw = ours.clone().called("POST /v1/orders ÷ raw publish");
            let beside_raw = beside_raw.beside(raw.ours, over_raw);
            let beside = ours.clone().called("POST /v1/orders ÷ cqrs-es app");
            let beside = beside.beside(plain.ours, Some(over_plain));
            *ours = ours.clone().beside(minimal.ours, Some(TARGET));
            figures.extend([beside_raw, beside]);
        }
        all.extend(figures);
    }
    let skus = [stack.product(1).await?];
    let hot = Posts::of_receipts(stack, stack.command_api(), &skus)?;
    hot.post(0).await?;
    let shape = Shape::of_last(&jetstream, "INVENTORY").await?;
    let chained = Publisher::chained(&jetstream, shape);
    let takes = [
        chained.take("raw publish, one after another", 1, duration),
        hot.take("POST …/receive, one product", HOT_CLIENTS, duration),
    ];
    let runs = in_turn(&takes, args.rounds, &bar).await?;
    let mut figures = rows("commands", HOT_CLIENTS, &takes, &runs);
    if let [raw, hot] = figures.as_mut_slice() {
        *hot = hot.clone().beside(raw.ours, Some(HOT_TARGET));
    }
    all.extend(figures);
    bar.finish_and_clear();
    Ok(all)
}

/// Requests with the same body, each with a key of its own.
#[derive(Clone)]
pub(crate) struct Posts {
    http: reqwest::Client,
    /// Each caller has one; there may be fewer of them.
    urls: Arc<Vec<String>>,
    /// One for each caller; none where nobody asks.
    tokens: Arc<Vec<String>>,
    body: Bytes,
}

impl Posts {
    /// Orders of one unit of `sku`, by so many customers.
    pub(crate) async fn of_orders(
        stack: &Stack,
        sku: String,
        callers: usize,
    ) -> anyhow::Result<Self> {
        let mut tokens = Vec::new();
        for _ in 0..callers {
            tokens.push(stack.customer().await?);
        }
        let body = serde_json::to_vec(&cart(&[CartLine { sku, quantity: 1 }], "pm_card_visa"))?;
        Ok(Self {
            http: reqwest::Client::new(),
            urls: Arc::new(vec![format!("{}/v1/orders", stack.command_api())]),
            tokens: Arc::new(tokens),
            body: body.into(),
        })
    }

    /// Stock comes in, told at `base` by many clients at once.
    pub(crate) fn of_receipts(stack: &Stack, base: &str, skus: &[String]) -> anyhow::Result<Self> {
        let urls = skus
            .iter()
            .map(|sku| format!("{base}/v1/inventory/{sku}/receive"));
        Ok(Self {
            http: reqwest::Client::new(),
            urls: Arc::new(urls.collect()),
            tokens: Arc::new(vec![stack.token()?; HOT_CLIENTS]),
            body: Bytes::from_static(br#"{"quantity":1}"#),
        })
    }

    pub(crate) fn take<'a>(&self, what: &str, in_flight: usize, duration: Duration) -> Take<'a> {
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

    pub(crate) async fn post(&self, caller: usize) -> anyhow::Result<()> {
        let answer = self.send(caller).await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        ensure!(
            status.is_success(),
            "{status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(())
    }

    /// Is it done? What is refused costs its client no more than reading that.
    pub(crate) async fn try_post(&self, caller: usize) -> anyhow::Result<bool> {
        let answer = self.send(caller).await?;
        let status = answer.status();
        answer.bytes().await?;
        Ok(status.is_success())
    }

    async fn send(&self, caller: usize) -> reqwest::Result<reqwest::Response> {
        let url = self.urls.get(caller % self.urls.len().max(1));
        let mut request = self
            .http
            .post(url.map(String::as_str).unwrap_or_default())
            .header("Content-Type", "application/json")
            .header("Idempotency-Key", Uuid::new_v4().to_string())
            .body(self.body.clone());
        if let Some(token) = self.tokens.get(caller) {
            request = request.bearer_auth(token);
        }
        request.send().await
    }
}
