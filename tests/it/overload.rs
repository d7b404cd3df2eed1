//! More than the shop can take: whoever isn't served is told when to come back, nothing that was acknowledged
//! is lost, and afterwards all is as before.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use futures::future::join_all;
use millrace::client::{Answer, CartLine, Shop};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::{Customer, becomes};
use crate::storm::promises::{adds_up, at_rest};
use crate::storm::schedule::Target;
use crate::storm::stage::{Process, Settings, Stage};

/// What each API works on at once, so that a test can ask for more.
const APIS: [(&str, &str); 3] = [
    ("MILLRACE_REQUESTS_IN_FLIGHT_MAX", "8"),
    ("MILLRACE_REQUESTS_WAITING_MAX", "16"),
    ("MILLRACE_LINE_TIME_MAX_MS", "200"),
];

/// The gateway lets more through than they take, and from one user so many a second.
const GATEWAY: [(&str, &str); 4] = [
    ("MILLRACE_REQUESTS_IN_FLIGHT_MAX", "48"),
    ("MILLRACE_REQUESTS_WAITING_MAX", "48"),
    ("MILLRACE_LINE_TIME_MAX_MS", "200"),
    ("MILLRACE_USER_RATE", "2"),
];

const CUSTOMERS: usize = 8;

/// Requests of each customer at once: twenty times what an API takes, from all.
const AT_ONCE: usize = 25;

/// So many answers are looked at, at least.
const ANSWERS: usize = 2_000;

/// Before the next request of who was refused.
const PAUSE: Duration = Duration::from_millis(20);

/// Between two looks at who is alive.
const LOOK: Duration = Duration::from_millis(200);

/// The most that a flood may add to a process: what is in flight and in line, and each connection's buffers.
const MEMORY_KIB_MAX: u64 = 128 * 1024;

fn settings(of: &[(&'static str, &str)]) -> Settings {
    of.iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect()
}

/// What came of the flood.
#[derive(Default)]
struct Answers {
    /// How many of each status.
    counts: Mutex<BTreeMap<u16, usize>>,
    /// The orders that were acknowledged.
    orders: Mutex<Vec<String>>,
}

impl Answers {
    /// Takes note of a proper answer; was it served?
    fn take(&self, answer: &Answer) -> bool {
        let status = answer.status.as_u16();
        *self.counts.lock().unwrap().entry(status).or_default() += 1;
        match status {
            200 => true,
            201 => {
                let order = answer.text("/id").to_owned();
                self.orders.lock().unwrap().push(order);
                true
            }
            429 | 503 => {
                let body = &answer.body;
                let media = answer.header("Content-Type");
                assert_eq!(media, Some("application/problem+json"), "{status} {body}");
                assert!(answer.header("Retry-After").is_some(), "{status} {body}");
                assert_eq!(body["status"], status, "{body}");
                false
            }
            _ => panic!("{status} {}", answer.body),
        }
    }

    /// Was there enough of everything?
    fn are_enough(&self) -> bool {
        let counts = self.counts.lock().unwrap();
        let all_kinds = [200, 201, 429, 503]
            .iter()
            .all(|kind| counts.contains_key(kind));
        all_kinds && counts.values().sum::<usize>() >= ANSWERS
    }
}

/// One of many windows of a customer, who neither waits nor stops.
async fn floods(shop: Shop, sku: &str, answers: &Answers, enough: &CancellationToken) {
    let lines = [CartLine {
        sku: sku.to_owned(),
        quantity: 1,
    }];
    while !enough.is_cancelled() {
        let key = Uuid::new_v4().to_string();
        let placed = shop.place_order(&key, &lines, "pm_card_visa").await;
        let read = shop.get("/v1/orders?limit=5").await;
        for answer in [placed, read] {
            if !answers.take(&answer.unwrap()) {
                sleep(PAUSE).await;
            }
        }
    }
}

/// Meanwhile each says that it is alive.
async fn lives(addresses: &[String], enough: &CancellationToken) {
    let shops: Vec<Shop> = addresses
        .iter()
        .map(|address| Shop::new(address).unwrap())
        .collect();
    while !enough.is_cancelled() {
        for shop in &shops {
            let alive = shop.get("/livez").await.unwrap();
            assert_eq!(alive.status, 200, "{}", alive.body);
        }
        sleep(LOOK).await;
    }
}

/// A line of `/proc/<process>/status`, in KiB: proc(5).
pub(crate) fn memory_kib(process: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let mut lines = status.lines();
    let found = lines.find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let number = found.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

/// Each process's memory before; afterwards, how much more it ever was.
struct Memory(Vec<(String, u32, u64)>);

impl Memory {
    fn of(processes: &[&Process]) -> Self {
        let before = processes.iter().map(|process| {
            let (address, pid) = (process.address(), process.pid());
            (address, pid, memory_kib(pid, "VmRSS"))
        });
        Self(before.collect())
    }

    fn is_bounded(&self) {
        for (address, pid, before) in &self.0 {
            let most = memory_kib(*pid, "VmHWM");
            let grown = most.saturating_sub(*before);
            assert!(grown < MEMORY_KIB_MAX, "{address}: {before} to {most} KiB");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_can_be_taken_is_refused_and_what_is_taken_is_done() {
    let apis = [Target::CommandApi, Target::QueryApi].map(|api| (api, settings(&APIS)));
    let stage = Stage::start_told("overload", &apis).await;
    let gateway = stage.second_told(Target::Gateway, settings(&GATEWAY)).await;
    gateway.is_ready().await.unwrap();
    let customers: Vec<Customer> = join_all((0..CUSTOMERS).map(|_| stage.customer())).await;
    let sku = stage.product(1_000_000).await;
    // What is new is in memory once.
    stage
        .order_is(
            &customers[0].orders(&sku, 1, "pm_card_visa").await,
            "confirmed",
        )
        .await;

    let (answers, enough) = (Answers::default(), CancellationToken::new());
    let entry = Shop::new(&gateway.address()).unwrap();
    let (commands, queries) = (
        stage.first(Target::CommandApi).await,
        stage.first(Target::QueryApi).await,
    );
    let flooded = [&gateway, &*commands, &*queries];
    let memory = Memory::of(&flooded);
    let addresses = flooded.map(Process::address);
    let windows = customers.iter().flat_map(|customer| {
        let shop = entry.with_token(customer.shop.token().unwrap());
        std::iter::repeat_n(shop, AT_ONCE)
    });
    let flood = join_all(windows.map(|shop| floods(shop, &sku, &answers, &enough)));
    let ends = async {
        becomes("all kinds of answers", async || answers.are_enough()).await;
        enough.cancel();
    };
    tokio::join!(flood, lives(&addresses, &enough), ends);
    memory.is_bounded();
    println!("overload: {:?}", answers.counts.lock().unwrap());
    drop((commands, queries));

    // It is as before, also for who was refused.
    becomes("the entry is ready", async || {
        gateway.is_ready().await.is_ok()
    })
    .await;
    let last = customers[0].orders(&sku, 1, "pm_card_visa").await;
    at_rest(&stage).await.unwrap();
    let mut orders = answers.orders.into_inner().unwrap();
    orders.push(last);
    for order in &orders {
        stage.order_is(order, "confirmed").await;
    }
    stage.is_sound().await.unwrap();
    adds_up(&stage).unwrap();
    stage.servers.stop().await;
}
