//! What still works while one service is stopped: each role, the host of each context, each server.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use devstack::Service;
use devstack::launch::{Child, Signal};
use millrace::client::{Answer, CartLine, ClientError, Shop};
use rustix::process::kill_process;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::app::{App, Customer, Front, Must, PASSWORD, PATIENCE, folder};
use crate::faults::{MANY, each_has_struck, heal, order_fault};
use crate::separate::{process, says};
use crate::storm::stage::Stage;

/// Between two looks at a level.
const LOOK: Duration = Duration::from_millis(50);

/// How long is waited for what should not happen.
const QUIET: Duration = Duration::from_secs(3);

const CHARGED: &str = "pm_card_visa";
const ASKS_BACK: &str = "pm_card_authenticationRequired";

/// Does it work while the service is stopped?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Works {
    Yes,
    No,
    /// For whom and for what was asked for before.
    Known,
    /// Reads answer with what was known when it stopped.
    Old,
    /// It waits, nothing is lost, and it is done once the service is back.
    Later,
}

impl fmt::Display for Works {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Known => "known people, of known products",
            Self::Old => "yes, as things were",
            Self::Later => "once it is back",
        })
    }
}

use Works::{Known, Later, No, Old, Yes};

/// What is tried.
const COLUMNS: [&str; 7] = [
    "people register, sign in",
    "clients place orders",
    "products change",
    "stock changes",
    "clients read",
    "placed orders are charged",
    "mails go out",
];

type Found = [Works; COLUMNS.len()];

/// The columns that are waited for.
const READ: usize = 4;
const CHARGE: usize = 5;
const MAIL: usize = 6;

/// The one table, which the README shows, in three parts.
type Part<const N: usize> = [(&'static str, Found); N];

const ROLES: Part<6> = [
    (GATEWAY, [No, No, No, No, No, Yes, Yes]),
    ("command-api", [No, No, No, No, Yes, Later, Later]),
    ("query-api", [Yes, Yes, Yes, Yes, No, Yes, Yes]),
    (PROJECTOR, [Yes, Yes, Yes, Yes, Old, Yes, Yes]),
    ("saga", [Yes, Yes, Yes, Yes, Yes, Later, Yes]),
    ("reactor", [Yes, Yes, Yes, Yes, Yes, Later, Later]),
];

const GATEWAY: &str = "gateway";
const PROJECTOR: &str = "projector";

const HOSTS: Part<6> = [
    ("host of user", [No, Known, Yes, Yes, Yes, Yes, Later]),
    ("host of product", [Yes, Known, No, Yes, Yes, Yes, Yes]),
    ("host of inventory", [Yes, Yes, Yes, No, Yes, Later, Yes]),
    ("host of order", [Yes, No, Yes, Yes, Yes, Yes, Yes]),
    ("host of payment", [Yes, Yes, Yes, Yes, Yes, Later, Yes]),
    (
        "host of notification",
        [Yes, Yes, Yes, Yes, Yes, Yes, Later],
    ),
];

const SERVERS: Part<4> = [
    ("NATS", [No, No, No, No, Yes, Later, Later]),
    ("Postgres", [Yes, Yes, Yes, Yes, No, Yes, Yes]),
    (MAIL_SERVER, [Yes, Yes, Yes, Yes, Yes, Yes, Later]),
    (PROVIDER, [Yes, Yes, Yes, Yes, Yes, Later, Yes]),
];

const MAIL_SERVER: &str = "mail server";
const PROVIDER: &str = "payment provider";

fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.collect();
    format!("| {} |\n", cells.join(" | "))
}

#[test]
fn the_readme_shows_the_table_that_is_tested() {
    let head = ["stopped"].into_iter().chain(COLUMNS);
    let mut table = line(head.map(str::to_owned));
    table += "|---|---|---|---|---|---|---|---|\n";
    for (stopped, works) in ROLES.into_iter().chain(HOSTS).chain(SERVERS) {
        let works = works.iter().map(Works::to_string);
        table += &line([stopped.to_owned()].into_iter().chain(works));
    }
    let readme = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    assert!(
        readme.contains(&format!("\n\n{table}\n")),
        "the README lacks this table:\n{table}"
    );
}

/// Waits for `patience` until the provider has the money of an order.
async fn is_charged(shop: &Front, order: &str, patience: Duration) -> bool {
    let has_money = |entry: &Value| entry["captured"].as_i64() > Some(0);
    let started = Instant::now();
    while started.elapsed() < patience {
        if shop.ledger(order).await.iter().any(has_money) {
            return true;
        }
        sleep(LOOK).await;
    }
    false
}

/// Waits for `patience` until an address has a mail.
async fn has_mail(shop: &Front, email: &str, patience: Duration) -> bool {
    let started = Instant::now();
    while started.elapsed() < patience {
        if !shop.mails(email).await.is_empty() {
            return true;
        }
        sleep(LOOK).await;
    }
    false
}

fn address() -> String {
    format!("{}@example.com", Uuid::new_v4().simple())
}

fn yes_if(done: bool) -> Works {
    if done { Yes } else { No }
}

fn is_done(answer: Result<Answer, ClientError>) -> bool {
    answer.is_ok_and(|answer| answer.status.is_success())
}

/// A shop of which one service is stopped.
struct Outage<'a> {
    shop: &'a Front,
    stopped: &'static str,
    expected: Found,
    /// Placed before, and seen.
    known: String,
    /// Placed before, waits for its customer to act at the provider's page.
    waiting: String,
    /// Who has placed them, and what was ordered.
    buyer: Customer,
    sku: String,
    /// Registered before, and nobody has asked for them since; the mail server has not taken the welcome yet.
    stranger: Shop,
    unwelcomed: String,
    /// On sale since before, and never ordered.
    untried: String,
}

/// What must come right in the end.
struct Open {
    orders: Vec<String>,
    emails: Vec<String>,
}

impl<'a> Outage<'a> {
    /// Has all done that must have been done before.
    async fn prepare(shop: &'a Front, (stopped, expected): (&'static str, Found)) -> Self {
        let (customer, sku, untried) =
            tokio::join!(shop.customer(), shop.product(9), shop.product(9));
        let known = customer.orders(&sku, 1, CHARGED).await;
        shop.order_is(&known, "confirmed").await;
        let waiting = customer.orders(&sku, 1, ASKS_BACK).await;
        shop.stock_is(&sku, [9, 1, 1]).await;
        let unwelcomed = address();
        let fault = json!({ "stage": "rcpt_to", "effect": "reject_4xx", "times": MANY, "recipient": unwelcomed });
        order_fault(&shop.endpoints.mail, &fault).await;
        let entry = shop.shop();
        let registered = entry.register(&unwelcomed, "Ada Lovelace", PASSWORD);
        let stranger = shop.seen_by(&registered.await.unwrap());
        each_has_struck(&shop.endpoints.mail, 1).await;
        Self {
            shop,
            stopped,
            expected,
            known,
            waiting,
            buyer: customer,
            sku,
            stranger,
            unwelcomed,
            untried,
        }
    }

    /// The write side, past a gateway that is not there.
    fn writes(&self) -> Shop {
        match self.stopped {
            GATEWAY => Shop::new(&self.shop.endpoints.command_api).unwrap(),
            _ => self.shop.shop(),
        }
    }

    /// Somebody new, if anybody can register and sign in.
    async fn joins(&self, shop: Shop) -> Option<(String, Shop)> {
        let email = address();
        let registered = shop.register(&email, "Ada Lovelace", PASSWORD).await;
        registered.ok()?;
        let signed_in = shop.sign_in(&email, PASSWORD).await;
        Some((email, signed_in.ok()?))
    }

    async fn order(&self, shop: &Shop, sku: &str) -> Option<String> {
        let line = CartLine {
            sku: sku.to_owned(),
            quantity: 1,
        };
        let key = Uuid::new_v4().to_string();
        let answer = shop.place_order(&key, &[line], CHARGED).await.ok()?;
        (answer.status == 201).then(|| answer.text("/id").to_owned())
    }

    /// Does the operator get something done?
    async fn changes(&self, path: &str, body: &Value) -> Works {
        yes_if(is_done(self.shop.operator().post(path, body).await))
    }

    /// How patient to be with something that is expected to be so.
    fn patience(&self, column: usize) -> Duration {
        if self.expected[column] == Yes {
            PATIENCE
        } else {
            QUIET
        }
    }

    async fn reads(&self, placed: Option<&String>) -> Works {
        let (operator, of) = (self.shop.operator(), |order: &str| {
            format!("/v1/orders/{order}")
        });
        if !is_done(operator.get(&of(&self.known)).await) {
            return No;
        }
        let Some(placed) = placed else {
            return Yes;
        };
        let (placed, patience) = (of(placed), self.patience(READ));
        let seen = operator.wait_for("the new order", &placed, patience, |_| true);
        if seen.await.is_ok() { Yes } else { Old }
    }

    /// The customer acts at the provider's page.
    async fn act(&self) {
        let ledger = self.shop.ledger(&self.waiting).await;
        let intent = ledger[0]["id"].as_str().unwrap();
        let path = format!("/test/payment_intents/{intent}/complete_action");
        let provider = Shop::new(&self.shop.endpoints.payments).unwrap();
        provider
            .post(&path, &json!({ "succeed": true }))
            .await
            .must();
    }

    /// What works, and what is open.
    async fn works(&self) -> (Found, Open) {
        let mut new = self.joins(self.shop.shop()).await;
        let people = yes_if(new.is_some());
        let (price, receive) = (
            format!("/v1/products/{}/price", self.untried),
            format!("/v1/inventory/{}/receive", self.untried),
        );
        let (at_entry, strangers) = tokio::join!(
            self.order(&self.buyer.shop, &self.sku),
            self.order(&self.stranger, &self.untried),
        );
        let orders = match (&at_entry, &strangers) {
            (Some(_), Some(_)) => Yes,
            (Some(_), None) => Known,
            (None, _) => No,
        };
        let (price_is, one) = (
            json!({ "price": { "amount": 777, "currency": "EUR" } }),
            json!({ "quantity": 1 }),
        );
        let (products, stock) = tokio::join!(
            self.changes(&price, &price_is),
            self.changes(&receive, &one)
        );
        if new.is_none() && self.stopped == GATEWAY {
            new = self.joins(self.writes()).await;
        }
        let placed = match &new {
            Some((_, shop)) => self.order(shop, &self.sku).await,
            None => None,
        };
        let placed = placed.or(at_entry.clone());
        let reads = self.reads(placed.as_ref()).await;
        let charged = self.charges(placed.as_ref().unwrap_or(&self.waiting)).await;
        let email = new.map_or(self.unwelcomed.clone(), |(email, _)| email);
        let mails = self.mails(&email).await;
        let orders_open = [Some(self.waiting.clone()), at_entry, strangers, placed];
        let open = Open {
            orders: orders_open.into_iter().flatten().collect(),
            emails: vec![self.unwelcomed.clone(), email],
        };
        (
            [people, orders, products, stock, reads, charged, mails],
            open,
        )
    }

    async fn charges(&self, order: &str) -> Works {
        if self.stopped == PROVIDER {
            return Later;
        }
        self.act().await;
        let charged = is_charged(self.shop, order, self.patience(CHARGE)).await;
        if charged { Yes } else { Later }
    }

    async fn mails(&self, email: &str) -> Works {
        if self.stopped == MAIL_SERVER {
            return Later;
        }
        heal(&self.shop.endpoints.mail).await;
        let mailed = has_mail(self.shop, email, self.patience(MAIL)).await;
        if mailed { Yes } else { Later }
    }

    /// It is back: what waited is done.
    async fn comes_right(&self, open: Open) {
        let stopped = self.stopped;
        if stopped == PROVIDER {
            self.act().await;
        }
        for order in open.orders {
            let charged = is_charged(self.shop, &order, PATIENCE).await;
            assert!(charged, "{stopped}: {order}");
            self.shop.order_is(&order, "confirmed").await;
        }
        for email in open.emails {
            let mailed = has_mail(self.shop, &email, PATIENCE).await;
            assert!(mailed, "{stopped}: {email}");
        }
    }

    /// Tries all while it is stopped: that is the row of the table.
    async fn is_as_told(&self) -> Open {
        let (works, open) = self.works().await;
        assert_eq!(works, self.expected, "{}: {COLUMNS:?}", self.stopped);
        open
    }
}

/// Starts a role of `up` again, as anybody would start another replica.
async fn start_again(app: &App, role: &str) -> Child {
    let at = |address: &str| address.trim_start_matches("http://").to_owned();
    let listen = match role {
        GATEWAY => Some(at(&app.endpoints.entry)),
        "command-api" => Some(at(&app.endpoints.command_api)),
        "query-api" => Some(at(&app.endpoints.query_api)),
        _ => None,
    };
    let mut args = vec![role];
    if let Some(listen) = &listen {
        args.extend(["--listen", listen]);
    }
    app.role(&args, &format!("{role}-back.log")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_role_down_stops_only_what_it_does_itself() {
    let args = ["--separate", "--mail-pause-max-ms", "1000"];
    let app = App::start_with(&folder("isolation"), &args).await;
    let mut back = Vec::new();
    for row in ROLES {
        let (role, _) = row;
        let outage = Outage::prepare(&app, row).await;
        kill_process(process(&app, role), Signal::TERM).unwrap();
        says(&app, &format!("{role} was told to end")).await;
        let open = outage.is_as_told().await;
        back.push(start_again(&app, role).await);
        outage.comes_right(open).await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_context_down_stops_only_what_is_its_own() {
    let args = ["--contexts", "checkout", "--mail-pause-max-ms", "1000"];
    let app = App::start_with(&folder("isolation-contexts"), &args).await;
    let mut hosts = BTreeMap::new();
    for (name, _) in HOSTS {
        hosts.insert(name, host(&app, name).await);
    }
    for row in HOSTS {
        let (name, _) = row;
        let outage = Outage::prepare(&app, row).await;
        let stopped = hosts[name].stop(Signal::TERM, PATIENCE).await;
        assert!(stopped.unwrap(), "{name} did not end in order");
        let open = outage.is_as_told().await;
        hosts.insert(name, host(&app, name).await);
        outage.comes_right(open).await;
    }
    app.stop().await;
}

/// A command API that hosts one context alone.
async fn host(app: &App, name: &str) -> Child {
    let context = name.trim_start_matches("host of ");
    let (_, child) = app.command_api(&["--contexts", context]).await;
    child
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_down_stops_only_what_needs_it() {
    let stage = Stage::start("isolation-servers").await;
    let services = [
        Service::Nats,
        Service::Postgres,
        Service::Mail,
        Service::Payments,
    ];
    for (row, service) in SERVERS.into_iter().zip(services) {
        let outage = Outage::prepare(&stage, row).await;
        let server = stage.servers.stack.server(service).unwrap();
        server.stop().await.unwrap();
        let open = outage.is_as_told().await;
        server.restart().await.unwrap();
        outage.comes_right(open).await;
    }
    stage.servers.stop().await;
}
