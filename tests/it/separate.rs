//! `up --separate`: a whole order through a process for each role, one of which dies; and what still
//! works while each of them is stopped.

use std::fmt;
use std::time::Duration;

use devstack::launch::Child;
use millrace::client::Shop;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::app::{App, Customer, Must, PASSWORD, PATIENCE, folder};
use crate::faults::{MANY, each_has_struck, heal, order_fault};

/// Between two looks at a level.
const LOOK: Duration = Duration::from_millis(50);

/// How long is waited for what should not happen.
const QUIET: Duration = Duration::from_secs(3);

const CHARGED: &str = "pm_card_visa";
const ASKS_BACK: &str = "pm_card_authenticationRequired";

/// The process of a role, as `up --json` says.
pub(crate) fn process(app: &App, role: &str) -> Pid {
    let printed = std::fs::read_to_string(app.data.with_extension("log")).unwrap();
    let mut lines = printed
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let process = lines
        .find_map(|line| line["processes"][role].as_i64())
        .unwrap();
    Pid::from_raw(i32::try_from(process).unwrap()).unwrap()
}

/// Waits until `up` said something.
pub(crate) async fn says(app: &App, what: &str) {
    let started = Instant::now();
    loop {
        let said = std::fs::read_to_string(app.data.with_extension("log")).unwrap();
        if said.contains(what) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{what}: {said}");
        sleep(LOOK).await;
    }
}

/// Waits for `patience` until the provider has the money of an order.
async fn is_charged(app: &App, order: &str, patience: Duration) -> bool {
    let started = Instant::now();
    while started.elapsed() < patience {
        let ledger = app.ledger(order).await;
        if ledger
            .iter()
            .any(|entry| entry["captured"].as_i64() > Some(0))
        {
            return true;
        }
        sleep(LOOK).await;
    }
    false
}

/// Waits for `patience` until an address has a mail.
async fn has_mail(app: &App, email: &str, patience: Duration) -> bool {
    let started = Instant::now();
    while started.elapsed() < patience {
        if !app.mails(email).await.is_empty() {
            return true;
        }
        sleep(LOOK).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_goes_through_a_process_for_each_role_also_when_one_dies() {
    let app = App::start_with(&folder("separate"), &["--separate"]).await;
    let (customer, sku) = (app.customer().await, app.product(9).await);
    let first = customer.orders(&sku, 1, CHARGED).await;
    app.order_is(&first, "confirmed").await;
    app.told(&first, 1).await;
    let saga = process(&app, "saga");
    kill_process(saga, Signal::KILL).unwrap();
    let second = customer.orders(&sku, 1, CHARGED).await;
    app.order_is(&second, "confirmed").await;
    says(
        &app,
        "saga ended (signal: 9 (SIGKILL)) and is started again",
    )
    .await;
    app.stock_is(&sku, [9, 0, 2]).await;
    // No role outlives the whole.
    let reactor = process(&app, "reactor").as_raw_nonzero();
    app.kill().await;
    let started = Instant::now();
    // Ended, and perhaps not yet buried by whoever does that here.
    let state = || std::fs::read_to_string(format!("/proc/{reactor}/stat"));
    while state().is_ok_and(|state| !state.contains(") Z ")) {
        assert!(started.elapsed() < PATIENCE, "the reactor is still there");
        sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_can_not_begin_ends_the_whole_with_the_reason() {
    let app = App::start_with(&folder("hopeless"), &["--separate"]).await;
    std::fs::remove_dir_all(app.data.join(millrace::up::JWT_KEYS)).unwrap();
    kill_process(process(&app, "command-api"), Signal::KILL).unwrap();
    says(&app, "command-api ended 5 times in a row").await;
    let exit = app.ends().await;
    assert!(!exit.success(), "{exit}");
    let log = std::fs::read_to_string(app.data.join("logs/command-api.log")).unwrap();
    assert!(log.contains("keys/jwt"), "{log}");
}

/// Does it work while the service is stopped?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Works {
    Yes,
    No,
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
            Self::Old => "yes, as things were",
            Self::Later => "once it is back",
        })
    }
}

/// The one table; the README shows it.
const TABLE: [(&str, [Works; 4]); 6] = {
    use Works::{Later, No, Old, Yes};
    // The columns of the README: orders, reads, carried, mails.
    [
        ("gateway", [No, No, Yes, Yes]),
        ("command-api", [No, Yes, Later, Later]),
        ("query-api", [Yes, No, Yes, Yes]),
        ("projector", [Yes, Old, Yes, Yes]),
        ("saga", [Yes, Yes, Later, Yes]),
        ("reactor", [Yes, Yes, Later, Later]),
    ]
};

const HEAD: &str = "| stopped | clients place orders | clients read | placed orders are charged | mails go out |\n|---|---|---|---|---|\n";

#[test]
fn the_readme_shows_the_table_that_is_tested() {
    let row = |(stopped, works): &(&str, [Works; 4])| {
        let works = works.map(|works| format!(" {works} |"));
        format!("| {stopped} |{}\n", works.concat())
    };
    let table: String = TABLE.iter().map(row).collect();
    let table = format!("{HEAD}{table}");
    let readme = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    assert!(
        readme.contains(&table),
        "the README lacks this table:\n{table}"
    );
}

/// A shop whose every role is a process, one of which is stopped.
struct Outage<'a> {
    app: &'a App,
    role: &'static str,
    /// Placed before, and seen.
    known: String,
    /// Placed before, waits for its customer to act at the provider's page.
    waiting: String,
    sku: String,
    buyer: Customer,
    /// Registered before; the mail server has not taken the welcome yet.
    unwelcomed: String,
}

impl<'a> Outage<'a> {
    /// Has two orders placed, then stops `role`.
    async fn begin(app: &'a App, role: &'static str) -> Self {
        let (customer, sku) = (app.customer().await, app.product(9).await);
        let known = customer.orders(&sku, 1, CHARGED).await;
        app.order_is(&known, "confirmed").await;
        let waiting = customer.orders(&sku, 1, ASKS_BACK).await;
        app.stock_is(&sku, [9, 1, 1]).await;
        let unwelcomed = format!("{}@example.com", Uuid::new_v4().simple());
        let fault = json!({ "stage": "rcpt_to", "effect": "reject_4xx", "times": MANY, "recipient": unwelcomed });
        order_fault(&app.endpoints.mail, &fault).await;
        app.shop()
            .register(&unwelcomed, "Ada Lovelace", PASSWORD)
            .await
            .unwrap();
        each_has_struck(&app.endpoints.mail, 1).await;
        kill_process(process(app, role), Signal::TERM).unwrap();
        says(app, &format!("{role} was told to end")).await;
        Self {
            app,
            role,
            known,
            waiting,
            sku,
            buyer: customer,
            unwelcomed,
        }
    }

    fn entry(&self) -> Shop {
        self.app.operator()
    }

    /// The write side, past a gateway that is not there.
    fn writes(&self) -> Shop {
        match self.role {
            "gateway" => Shop::new(&self.app.endpoints.command_api).unwrap(),
            _ => self.app.shop(),
        }
    }

    async fn order(&self, shop: &Shop) -> Option<String> {
        let line = millrace::client::CartLine {
            sku: self.sku.clone(),
            quantity: 1,
        };
        let key = Uuid::new_v4().to_string();
        let answer = shop.place_order(&key, &[line], CHARGED).await.ok()?;
        (answer.status == 201).then(|| answer.text("/id").to_owned())
    }

    async fn reads(&self, placed: Option<&str>) -> Works {
        let of = |order: &str| format!("/v1/orders/{order}");
        match self.entry().get(&of(&self.known)).await {
            Ok(answer) if answer.status == 200 => {}
            _ => return Works::No,
        }
        let Some(placed) = placed else {
            return Works::Yes;
        };
        let seen = self.entry();
        let patience = if self.role == "projector" {
            QUIET
        } else {
            PATIENCE
        };
        let seen = seen
            .wait_for("the new order", &of(placed), patience, |_| true)
            .await;
        if seen.is_ok() { Works::Yes } else { Works::Old }
    }

    /// The customer acts at the provider's page.
    async fn act(&self) {
        let ledger = self.app.ledger(&self.waiting).await;
        let intent = ledger[0]["id"].as_str().unwrap();
        let path = format!("/test/payment_intents/{intent}/complete_action");
        let provider = Shop::new(&self.app.endpoints.payments).unwrap();
        provider
            .post(&path, &json!({ "succeed": true }))
            .await
            .must();
    }

    /// What works, and the orders that must come right in the end.
    async fn works(&self, expected: [Works; 4]) -> ([Works; 4], Vec<String>) {
        let mut to_charge = vec![self.waiting.clone()];
        let at_entry = self.order(&self.buyer.shop).await;
        let orders = at_entry.as_ref().map_or(Works::No, |_| Works::Yes);
        let email = self.mail_for().await;
        let placed = match &email {
            Some(new) => {
                self.order(&self.writes().sign_in(new, PASSWORD).await.unwrap())
                    .await
            }
            None => None,
        };
        to_charge.extend(at_entry);
        to_charge.extend(placed.clone());
        let reads = self.reads(placed.as_deref()).await;
        self.act().await;
        heal(&self.app.endpoints.mail).await;
        let asked = placed.as_ref().unwrap_or(&self.waiting);
        let works = |done| if done { Works::Yes } else { Works::Later };
        let patience = |works| if works == Works::Yes { PATIENCE } else { QUIET };
        let carried = works(is_charged(self.app, asked, patience(expected[2])).await);
        let email = email.as_deref().unwrap_or(&self.unwelcomed);
        let mails = works(has_mail(self.app, email, patience(expected[3])).await);
        ([orders, reads, carried, mails], to_charge)
    }

    /// Somebody new whom a mail is for, if anybody can register.
    async fn mail_for(&self) -> Option<String> {
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        let registered = self
            .writes()
            .register(&email, "Ada Lovelace", PASSWORD)
            .await;
        registered.is_ok().then_some(email)
    }

    /// Starts the role again, as anybody would start another replica.
    async fn ends(&self) -> Child {
        let app = self.app;
        let at = |address: &str| address.trim_start_matches("http://").to_owned();
        let listen = match self.role {
            "gateway" => Some(at(&app.endpoints.entry)),
            "command-api" => Some(at(&app.endpoints.command_api)),
            "query-api" => Some(at(&app.endpoints.query_api)),
            _ => None,
        };
        let mut args = vec![self.role];
        if let Some(listen) = &listen {
            args.extend(["--listen", listen]);
        }
        app.role(&args, &format!("{}-back.log", self.role)).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_service_down_stops_only_what_it_does_itself() {
    let args = ["--separate", "--mail-pause-max-ms", "1000"];
    let app = App::start_with(&folder("isolation"), &args).await;
    let mut back = Vec::new();
    for (role, expected) in TABLE {
        let outage = Outage::begin(&app, role).await;
        let (works, to_charge) = outage.works(expected).await;
        assert_eq!(works, expected, "{role}: orders, reads, carried, mails");
        back.push(outage.ends().await);
        for order in to_charge {
            assert!(is_charged(&app, &order, PATIENCE).await, "{role}: {order}");
            app.order_is(&order, "confirmed").await;
        }
        assert!(has_mail(&app, &outage.unwelcomed, PATIENCE).await, "{role}");
    }
    app.stop().await;
}
