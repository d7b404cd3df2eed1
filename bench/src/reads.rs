//! `query`: a read by id beside a minimal handler that does one select on the same table; and how
//! long a read waits for a write.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use millrace::client::Shop;
use projections::{Access, Login};
use serde_json::json;
use tokio_postgres::{Client, NoTls, Statement};

use crate::Args;
use crate::load::{Run, Take, closed_loop, in_turn};
use crate::report::{Row, rows};
use crate::shop::{Stack, progress};

/// How many requests are under way at the same time.
const IN_FLIGHT: [usize; 3] = [16, 64, 256];

/// performance.md: ours over the minimal handler.
const TARGET: f64 = 0.85;

/// Connections of the minimal handler: pipelined, between two and four are fastest (performance.md).
const CONNECTIONS: usize = 3;

/// How many products are read in turn.
const PRODUCTS: usize = 16;

/// The context that is read.
const CONTEXT: &str = "product";

pub(crate) async fn run(stack: &Stack, args: &Args) -> anyhow::Result<Vec<Row>> {
    let mut skus = Vec::new();
    for _ in 0..PRODUCTS {
        skus.push(stack.product(1).await?);
    }
    let minimal = serve(&stack.login(CONTEXT, Access::Reader)?).await?;
    let minimal = Gets::new(&format!("http://{minimal}/"), &skus);
    let ours = Gets::new(&format!("{}/v1/products/", stack.query_api()), &skus);
    settled(&ours).await?;
    let duration = Duration::from_secs(args.seconds);
    let bar = progress("query", IN_FLIGHT.len() * args.rounds * 2 + args.rounds);

    let mut all = Vec::new();
    for in_flight in IN_FLIGHT {
        let takes = [
            minimal.take("minimal axum + select", in_flight, duration),
            ours.take("GET /v1/products/{sku}", in_flight, duration),
        ];
        let runs = in_turn(&takes, args.rounds, &bar).await?;
        let mut figures = rows("query", in_flight, &takes, &runs);
        if let [minimal, ours] = figures.as_mut_slice() {
            *ours = ours.clone().beside(minimal.ours, Some(TARGET));
        }
        all.extend(figures);
    }
    let takes = [own_writes(stack, &skus, duration)];
    let runs = in_turn(&takes, args.rounds, &bar).await?;
    all.extend(rows("query", 1, &takes, &runs));
    bar.finish_and_clear();
    Ok(all)
}

/// Waits until every product can be read.
async fn settled(gets: &Gets) -> anyhow::Result<()> {
    for number in 0..PRODUCTS {
        let mut tries = 0;
        while let Err(error) = gets.get(number).await {
            tries += 1;
            ensure!(tries < 100, "product {number} can't be read: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

/// A price is changed, and the latency is that of the read that waits for it, from the write's
/// answer on.
fn own_writes<'a>(stack: &'a Stack, skus: &[String], duration: Duration) -> Take<'a> {
    let sku = skus.first().cloned().unwrap_or_default();
    Take::new("read that waits for its write", move || {
        let writer = stack.operator().clone();
        let reader = Shop::new(stack.query_api());
        let sku = sku.clone();
        async move { waits(writer, reader?, sku, duration).await }
    })
}

async fn waits(writer: Shop, reader: Shop, sku: String, duration: Duration) -> anyhow::Result<Run> {
    let mut latency = hdrhistogram::Histogram::new_with_bounds(1, 60_000_000, 3)?;
    let before = crate::usage::now();
    let started = std::time::Instant::now();
    let read_path = format!("/v1/products/{sku}");
    let price_path = format!("{read_path}/price");
    let mut amount = 1_000;
    while started.elapsed() < duration {
        amount += 1;
        let price = json!({ "price": { "amount": amount, "currency": "EUR" } });
        let written = writer.post(&price_path, &price).await?.success()?;
        let token = written.header("consistency-token").context("no token")?;
        let began = std::time::Instant::now();
        let read = reader.get_after(&read_path, token).await?;
        let body: serde_json::Value = read.success()?.json()?;
        latency.saturating_record(u64::try_from(began.elapsed().as_micros())?.max(1));
        ensure!(
            body.pointer("/price/amount") == Some(&amount.into()),
            "it read an older price: {body}"
        );
    }
    Ok(Run::of(latency, started.elapsed(), &before))
}

/// Reads of one product after another.
#[derive(Clone)]
struct Gets {
    http: reqwest::Client,
    urls: Arc<Vec<String>>,
}

impl Gets {
    fn new(before: &str, skus: &[String]) -> Self {
        let urls = skus.iter().map(|sku| format!("{before}{sku}"));
        Self {
            http: reqwest::Client::new(),
            urls: Arc::new(urls.collect()),
        }
    }

    fn take<'a>(&self, what: &str, in_flight: usize, duration: Duration) -> Take<'a> {
        let gets = self.clone();
        Take::new(what, move || {
            let gets = gets.clone();
            closed_loop(in_flight, duration, move |caller, turn| {
                let gets = gets.clone();
                async move { gets.get(caller + usize::try_from(turn)?).await }
            })
        })
    }

    async fn get(&self, number: usize) -> anyhow::Result<()> {
        let url = self.urls.get(number % self.urls.len());
        let answer = self
            .http
            .get(url.context("nothing to read")?)
            .send()
            .await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        ensure!(status.as_u16() == 200, "{status}: {body:?}");
        Ok(())
    }
}

/// A few connections that requests share, and nothing else.
struct Minimal {
    connections: Vec<(Client, Statement)>,
    next: AtomicUsize,
}

/// A minimal axum server whose one handler does one select.
async fn serve(login: &Login) -> anyhow::Result<SocketAddr> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let (client, connection) = login.config("bench").connect(NoTls).await?;
        tokio::spawn(connection);
        let select = "select payload::text from product_card where view_id = $1";
        let statement = client.prepare(select).await?;
        connections.push((client, statement));
    }
    let minimal = Arc::new(Minimal {
        connections,
        next: AtomicUsize::new(0),
    });
    let router = Router::new()
        .route("/{id}", get(handle))
        .with_state(minimal);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn handle(State(minimal): State<Arc<Minimal>>, Path(id): Path<String>) -> Response {
    let turn = minimal.next.fetch_add(1, Ordering::Relaxed);
    let Some((client, select)) = minimal.connections.get(turn % CONNECTIONS) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    match client.query_opt(select, &[&id]).await {
        Ok(Some(row)) => {
            let body: String = row.get(0);
            ([(CONTENT_TYPE, "application/json")], body).into_response()
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
