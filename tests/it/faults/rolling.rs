//! Two of every worker, and the first one killed while orders flow; two of every role, and each replaced.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::{Consumer, pull};
use axum::http::Method;
use devstack::launch::{Child, Signal};
use futures::future::join_all;
use millrace::client::{Answer, CartLine, Shop, cart};
use serde_json::{Value, json};
use streams::topology::Acks;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{CONFIRMED, LOOK, PRICE};
use crate::app::{App, PATIENCE, becomes, folder};
use crate::storm::promises::{adds_up, at_rest};
use crate::storm::schedule::Target;
use crate::storm::stage::{Process, Stage};

/// The roles that can be doubled.
const WORKERS: [&str; 3] = ["projector", "saga", "reactor"];

/// More than is bought.
const STOCK: u32 = 1_000;

/// A customer buys one at a time.
const CUSTOMERS: usize = 4;

/// Each of them so often at most.
const ORDERS_MAX: usize = 25;

async fn workers(app: &App, generation: &str) -> Vec<Child> {
    let start = async |role| {
        let log = format!("{role}-{generation}.log");
        app.role(&[role], &log).await
    };
    join_all(WORKERS.map(start)).await
}

/// Waits until so many processes ask for work from each durable, but for those whose handlers may rest.
async fn until_at_work(app: &App, processes: usize) {
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints).await;
    let admin = admin.unwrap();
    let started = Instant::now();
    let durables = sagas::DURABLES.into_iter().chain(reactors::DURABLES);
    for durable in durables.filter(|durable| durable.acks == Acks::Each) {
        loop {
            let js = admin.jetstream();
            let found = js.get_consumer_from_stream(durable.name, durable.stream);
            let mut found: Consumer<pull::Config> = found.await.unwrap();
            if found.info().await.unwrap().num_waiting >= processes {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{durable:?}");
            sleep(LOOK).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_beside_its_successor_loses_no_order() {
    let without = WORKERS.join(",");
    let app = App::start_with(&folder("rolling"), &["--without", &without]).await;
    let first = workers(&app, "first").await;
    until_at_work(&app, 1).await;
    let customers = join_all((0..CUSTOMERS).map(|_| app.customer())).await;
    let sku = app.product(STOCK).await;
    let enough = CancellationToken::new();
    let buying = join_all(customers.iter().map(|customer| async {
        let mut orders = Vec::new();
        while orders.len() < ORDERS_MAX && !enough.is_cancelled() {
            orders.push(customer.orders(&sku, 1, "pm_card_visa").await);
        }
        orders
    }));
    let rolling = async {
        let second = workers(&app, "second").await;
        until_at_work(&app, 2).await;
        // Whatever is placed by then, this one is in the middle of its way.
        let last = customers[0].orders(&sku, 1, "pm_card_visa").await;
        for worker in &first {
            worker.signaller().send(Signal::KILL).unwrap();
            worker.wait().await;
        }
        enough.cancel();
        (second, last)
    };
    let (orders, (second, last)) = tokio::join!(buying, rolling);
    let mut orders: Vec<String> = orders.into_iter().flatten().collect();
    orders.push(last);
    for order in &orders {
        app.order_is(order, "confirmed").await;
        app.told(order, 1).await;
        let ledger = app.ledger(order).await;
        assert_eq!(ledger.len(), 1, "{ledger:?}");
        assert_eq!(ledger[0]["captured"], PRICE, "{ledger:?}");
    }
    let sold = orders.len() as u64;
    app.stock_is(&sku, [STOCK.into(), 0, sold]).await;
    let mut told = 0;
    for customer in &customers {
        let mails = app.mails(&customer.email).await;
        told += mails.iter().filter(|(_, of)| of == CONFIRMED).count();
    }
    assert_eq!(told, orders.len(), "a mail is one Message-ID");
    app.adds_up().await;
    for worker in second {
        assert!(worker.exited().is_none(), "a second worker has ended");
    }
    app.stop().await;
}

/// The order of docs/operate.md.
const ORDER: [Target; 6] = [
    Target::QueryApi,
    Target::Projector,
    Target::Reactor,
    Target::Saga,
    Target::CommandApi,
    Target::Gateway,
];

/// Who buys meanwhile, each a product of their own: what many want at once is looked at elsewhere.
const BUYERS: usize = 2;

/// What a client does after each round: so much is left for the others.
const THINKS: Duration = Duration::from_millis(200);

/// After so many rounds a client forgets its connections.
const ROUNDS: u32 = 7;

/// Rounds of all clients between one replacement and the next.
const BETWEEN: u64 = 4;

/// How long a read waits for what was just written, in milliseconds: on a busy machine longer than the
/// two seconds of the default, until one projector has taken over from the other.
const READ_WAIT_MS: &str = "20000";

/// Nobody is away.
const NOBODY: usize = usize::MAX;

/// Two gateways and what a load balancer in front of them knows: which of them is being replaced.
struct Balancer {
    entries: [String; 2],
    away: AtomicUsize,
    /// How many times one was replaced.
    times: AtomicU64,
    turn: AtomicUsize,
    /// Rounds of all clients.
    rounds: AtomicU64,
}

impl Balancer {
    fn replaces(&self, entry: usize) {
        self.times.fetch_add(1, Ordering::SeqCst);
        self.away.store(entry, Ordering::SeqCst);
    }

    /// A gateway that is not being replaced, each in turn.
    fn picks(&self) -> usize {
        let turn = self.turn.fetch_add(1, Ordering::SeqCst) % 2;
        match self.away.load(Ordering::SeqCst) {
            away if away == turn => 1 - turn,
            _ => turn,
        }
    }

    async fn next_rounds(&self) {
        let wanted = self.rounds.load(Ordering::SeqCst) + BETWEEN;
        becomes("the clients go on", async || {
            self.rounds.load(Ordering::SeqCst) >= wanted
        })
        .await;
    }
}

/// A client of both gateways, with connections that it keeps.
struct Client<'a> {
    balancer: &'a Balancer,
    token: String,
    shops: [Shop; 2],
    rounds: u32,
}

impl<'a> Client<'a> {
    fn new(balancer: &'a Balancer, token: &str) -> Self {
        Self {
            balancer,
            token: token.to_owned(),
            shops: shops(balancer, token),
            rounds: 0,
        }
    }

    async fn thinks(&mut self) {
        sleep(THINKS).await;
        self.balancer.rounds.fetch_add(1, Ordering::SeqCst);
        self.rounds += 1;
        if self.rounds.is_multiple_of(ROUNDS) {
            self.shops = shops(self.balancer, &self.token);
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let key = Uuid::new_v4().to_string();
        let headers = [("Idempotency-Key", key.as_str())];
        self.asks((Method::POST, path), &headers, Some(body)).await
    }

    /// What was just written by `answer`.
    async fn reads(&self, path: &str, answer: &Answer) -> Answer {
        let token = answer.header("Consistency-Token").unwrap();
        let headers = [("Consistency-Token", token)];
        self.asks((Method::GET, path), &headers, None).await
    }

    /// Asks one of the gateways. Only one that is being replaced just then may leave it without an answer:
    /// then the other is asked the same.
    async fn asks(
        &self,
        (method, path): (Method, &str),
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        loop {
            let (times, entry) = (
                self.balancer.times.load(Ordering::SeqCst),
                self.balancer.picks(),
            );
            let answer = self.shops[entry]
                .call(method.clone(), path, headers, body)
                .await;
            match answer {
                Ok(answer) => {
                    let (status, body) = (answer.status, &answer.body);
                    assert!(status.is_success(), "{method} {path}: {status} {body}");
                    return answer;
                }
                Err(error) => {
                    let replaced = self.balancer.times.load(Ordering::SeqCst) != times;
                    let away = self.balancer.away.load(Ordering::SeqCst) == entry;
                    assert!(replaced || away, "{error:?}");
                }
            }
        }
    }
}

fn shops(balancer: &Balancer, token: &str) -> [Shop; 2] {
    let shop = |entry: &String| Shop::new(entry).unwrap().with_token(token);
    balancer.entries.each_ref().map(shop)
}

/// Orders one at a time, and reads it at once.
async fn buys(mut client: Client<'_>, sku: &str, enough: &CancellationToken) -> Vec<String> {
    let line = CartLine {
        sku: sku.to_owned(),
        quantity: 1,
    };
    let cart = cart(&[line], "pm_card_visa");
    let product = format!("/v1/products/{sku}");
    let mut orders = Vec::new();
    while !enough.is_cancelled() {
        let placed = client.post("/v1/orders", &cart).await;
        let order = placed.text("/id").to_owned();
        client.reads(&format!("/v1/orders/{order}"), &placed).await;
        client.asks((Method::GET, &product), &[], None).await;
        orders.push(order);
        client.thinks().await;
    }
    orders
}

/// Receives one at a time, and reads how many there are.
async fn receives(mut client: Client<'_>, sku: &str, enough: &CancellationToken) {
    let path = format!("/v1/inventory/{sku}");
    let mut received = 1;
    while !enough.is_cancelled() {
        let one = json!({ "quantity": 1 });
        let written = client.post(&format!("{path}/receive"), &one).await;
        let stock = client.reads(&path, &written).await;
        received += 1;
        assert_eq!(stock.body["on_hand"], received, "{}", stock.body);
        client.thinks().await;
    }
}

/// Each replica of each role ends in order and begins again, while the other one and the clients go on.
async fn replaces(
    stage: &Stage,
    seconds: &mut [Process],
    balancer: &Balancer,
) -> anyhow::Result<()> {
    for (role, second) in ORDER.into_iter().zip(seconds) {
        let mut first = stage.first(role).await;
        for (number, replica) in [&mut *first, second].into_iter().enumerate() {
            balancer.next_rounds().await;
            if role == Target::Gateway {
                balancer.replaces(number);
            }
            replica.renew(&stage.servers).await?;
            balancer.away.store(NOBODY, Ordering::SeqCst);
        }
    }
    balancer.next_rounds().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_role_is_replaced_under_load_without_a_failed_request() {
    let patient = vec![("MILLRACE_READ_WAIT_MS", READ_WAIT_MS.to_owned())];
    let stage = Stage::start_told("replaced", &[(Target::QueryApi, patient.clone())]).await;
    let seconds = ORDER.map(|role| stage.second_told(role, patient.clone()));
    let mut seconds = join_all(seconds).await;
    for second in &seconds {
        second.is_ready().await.unwrap();
    }
    let second_gateway = seconds.last().unwrap().address();
    let balancer = Balancer {
        entries: [stage.endpoints.entry.clone(), second_gateway],
        away: AtomicUsize::new(NOBODY),
        times: AtomicU64::default(),
        turn: AtomicUsize::default(),
        rounds: AtomicU64::default(),
    };
    let customers = join_all((0..BUYERS).map(|_| stage.customer())).await;
    let skus = join_all((0..BUYERS).map(|_| stage.product(1_000_000))).await;
    let counted = stage.product(1).await;
    stage.stock_is(&counted, [1, 0, 0]).await;
    for sku in &skus {
        let path = format!("/v1/products/{sku}");
        let seen = |product: &Value| product["status"] == "published";
        let operator = stage.operator();
        let seen = operator.wait_for("the product", &path, PATIENCE, seen);
        seen.await.unwrap();
    }
    let enough = CancellationToken::new();
    let buying = join_all(customers.iter().zip(&skus).map(|(customer, sku)| {
        let client = Client::new(&balancer, customer.shop.token().unwrap());
        buys(client, sku, &enough)
    }));
    let operator = millrace::token::operator(&stage.data).unwrap();
    let receiving = receives(Client::new(&balancer, &operator), &counted, &enough);
    let replacing = async {
        let replaced = replaces(&stage, &mut seconds, &balancer).await;
        enough.cancel();
        replaced
    };
    let (orders, (), replaced) = tokio::join!(buying, receiving, replacing);
    replaced.unwrap();
    at_rest(&stage).await.unwrap();
    for order in orders.iter().flatten() {
        stage.order_is(order, "confirmed").await;
    }
    stage.is_sound().await.unwrap();
    adds_up(&stage).unwrap();
    stage.servers.stop().await;
}
