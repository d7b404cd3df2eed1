//! The backup of docs/operate.md, restored into an empty folder as it says: the shop is what it was, and
//! nothing is charged or mailed twice, with the durables of the backup and without.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use devstack::Service;
use futures::StreamExt;
use millrace::client::{CartLine, Shop};
use millrace::settings::{POSTGRES_ADMIN, POSTGRES_ADMIN_PASSWORD};
use projections::Login;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::app::{App, Customer, Must, PATIENCE, folder, program};
use crate::documents::{document, typed_in};
use crate::servers::{Servers, sql};

const CHARGED: &str = "pm_card_visa";
const DECLINED: &str = "pm_card_chargeDeclined";
const ASKS_BACK: &str = "pm_card_authenticationRequired";

/// By when what was sent has come to whoever listens.
const HEARING: Duration = Duration::from_millis(500);

/// What of the data folder is no server of ours: the secrets, kept elsewhere, and the outside world,
/// which goes on whatever happens to us.
const KEPT: [&str; 5] = [
    "made-by-millrace",
    "secrets.env",
    "keys",
    "mail",
    "payments",
];

/// Columns that tell of this Postgres and this server, and not of the shop: when a row was written, and
/// when the stream was made.
const OF_NOW: &str = "{updated_at,stream_created_at}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_shop_is_what_it_was_and_charges_and_mails_nothing_again() {
    restored("restore", str::to_owned).await;
}

/// Then every event is handled once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_restored_without_its_durables_charges_and_mails_nothing_again() {
    restored("restore-forgetful", |line| line.replace(" --consumers", "")).await;
}

async fn restored(name: &str, typed: impl Fn(&str) -> String) {
    let app = App::start(&folder(name)).await;
    let before = Bought::all(&app).await;
    let backup = app.data.with_extension("backup");
    std::fs::create_dir_all(&backup).unwrap();
    let nats = Nats::of(&app.data, &app.endpoints.nats).await;
    let lines = typed_in(&document("docs/operate.md"), "Backup");
    let operator = millrace::up::connection(&app.data, &app.endpoints, "operator").await;
    let operator = operator.unwrap();
    let mut heard = operator.client().subscribe("_INBOX.>").await.unwrap();
    operator.client().flush().await.unwrap();
    for line in lines.iter().filter(|line| line.starts_with("nats ")) {
        nats.run(&typed(line), &backup);
    }
    // People see nothing of it, for KEYS and INBOX are among what is saved.
    operator.client().flush().await.unwrap();
    let overheard = tokio::time::timeout(HEARING, heard.next()).await;
    assert!(overheard.is_err(), "{overheard:?}");
    let lost = before.buys_more(&app).await;
    let outside = Outside::look(&app).await;
    app.kill().await;

    let data = folder(&format!("{name}-anew"));
    for kept in KEPT {
        copy(&app.data.join(kept), &data.join(kept));
    }
    from_backup(&data, &backup).await;
    let app = App::start(&data).await;
    settled(&app).await;
    let rows = rows(&app).await;
    for (table, before) in &before.rows {
        let after = &rows[table];
        let lost: Vec<_> = before.iter().filter(|row| !after.contains(row)).collect();
        let new: Vec<_> = after.iter().filter(|row| !before.contains(row)).collect();
        assert!(
            lost.is_empty() && new.is_empty(),
            "{table}: {lost:#?} are {new:#?}"
        );
    }
    assert_eq!(Outside::look(&app).await, outside);
    before.goes_on(&app).await;
    lost.comes_again(&app, &outside).await;
    app.adds_up().await;
    app.stop().await;
}

/// Servers with nothing in them get what the backup has, as the document says.
async fn from_backup(data: &Path, backup: &Path) {
    let name = data.file_name().unwrap().to_str().unwrap();
    let servers = Servers::bare(name, [Service::Nats, Service::Postgres]).await;
    let endpoints = servers.stack.endpoints();
    let nats = Nats::of(data, &endpoints.nats).await;
    for line in typed_in(&document("docs/operate.md"), "Restore") {
        if line.starts_with("nats ") {
            nats.run(&line, backup);
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0], "millrace", "{line}");
        let mut command = Command::new(program());
        command
            .args(&words[1..])
            .env("MILLRACE_NATS", &endpoints.nats)
            .env("MILLRACE_POSTGRES", endpoints.postgres.to_string())
            .env("MILLRACE_JWT_KEYS", data.join(millrace::up::JWT_KEYS))
            .envs(servers.stack.secrets().iter());
        succeeds(&mut command);
    }
    servers.stop().await;
}

/// The nats CLI, with the rights of provision.
struct Nats {
    program: PathBuf,
    options: [String; 6],
}

impl Nats {
    async fn of(data: &Path, server: &str) -> Self {
        let sources = devstack::fetch::Sources::from_environment();
        let secrets = devstack::Secrets::load_or_create(data).unwrap();
        let password = secrets.get("MILLRACE_NATS_PROVISION_PASSWORD").unwrap();
        let options = [
            "--server",
            server,
            "--user",
            "provision",
            "--password",
            password,
        ];
        Self {
            program: devstack::fetch::nats_cli(&sources).await.unwrap(),
            options: options.map(str::to_owned),
        }
    }

    fn run(&self, line: &str, folder: &Path) {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[0], "nats", "{line}");
        let mut command = Command::new(&self.program);
        command.args(&self.options).args(&words[1..]);
        succeeds(command.current_dir(folder));
    }
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{command:?}: {said}");
}

/// A file, or a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().flatten() {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
        return;
    }
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(from, to).unwrap();
}

/// What there was when the backup was made: an order of every kind, and the rows that tell of them.
struct Bought {
    customer: Customer,
    sku: String,
    /// It waits for the customer, at the provider's page.
    waiting: String,
    rows: BTreeMap<String, Vec<String>>,
}

impl Bought {
    async fn all(app: &App) -> Self {
        let (customer, sku) = (app.customer().await, app.product(10).await);
        let confirmed = customer.orders(&sku, 1, CHARGED).await;
        let canceled = customer.orders(&sku, 2, CHARGED).await;
        let rejected = customer.orders(&sku, 1, DECLINED).await;
        let waiting = customer.orders(&sku, 1, ASKS_BACK).await;
        app.told(&confirmed, 1).await;
        app.told(&canceled, 1).await;
        let cancel = format!("/v1/orders/{canceled}/cancel");
        let reason = json!({ "reason": "changed my mind" });
        customer.shop.post(&cancel, &reason).await.must();
        app.told(&canceled, 2).await;
        app.told(&rejected, 1).await;
        settled(app).await;
        let rows = rows(app).await;
        assert!(rows.values().map(Vec::len).sum::<usize>() > 20, "{rows:?}");
        Self {
            customer,
            sku,
            waiting,
            rows,
        }
    }

    /// An order that no backup has.
    async fn buys_more(&self, app: &App) -> Lost {
        let lines = vec![CartLine {
            sku: self.sku.clone(),
            quantity: 1,
        }];
        let lost = Lost {
            shop: self.customer.shop.clone(),
            lines,
        };
        let order = lost.order().await;
        app.told(&order, 1).await;
        settled(app).await;
        lost
    }

    /// The customer is still known, by their password too, and finishes what they had begun.
    async fn goes_on(&self, app: &App) {
        let (email, password) = (&self.customer.email, crate::app::PASSWORD);
        app.shop().sign_in(email, password).await.unwrap();
        let charge = app.ledger(&self.waiting).await;
        let intent = charge[0]["id"].as_str().unwrap();
        let provider = Shop::new(&app.endpoints.payments).unwrap();
        let path = format!("/test/payment_intents/{intent}/complete_action");
        let acted = provider.post(&path, &json!({ "succeed": true })).await;
        acted.must();
        app.order_is(&self.waiting, "confirmed").await;
        let charges = app.ledger(&self.waiting).await;
        assert_eq!(charges.len(), 1, "{charges:?}");
        assert_eq!(charges[0]["captured"], charges[0]["amount"]);
    }
}

/// Of whom the provider knows and the log does not.
struct Lost {
    shop: Shop,
    lines: Vec<CartLine>,
}

impl Lost {
    async fn order(&self) -> String {
        let answer = self
            .shop
            .place_order("the-lost-one", &self.lines, CHARGED)
            .await;
        answer.unwrap().success().unwrap().text("/id").to_owned()
    }

    /// The provider's record names it; and the customer who repeats it is not charged again.
    async fn comes_again(&self, app: &App, outside: &Outside) {
        let mut reconcile = Command::new(program());
        reconcile
            .args(["reconcile", "--json", "--data"])
            .arg(&app.data);
        let report = reconcile.output().unwrap();
        assert!(!report.status.success(), "{report:?}");
        let report: Value = serde_json::from_slice(&report.stdout).unwrap();
        assert_eq!(
            report["mismatches"].as_array().map(Vec::len),
            Some(1),
            "{report}"
        );

        let shop = Shop::new(&app.endpoints.entry).unwrap();
        let shop = shop.with_token(self.shop.token().unwrap());
        let again = Self {
            shop,
            lines: self.lines.clone(),
        };
        let order = again.order().await;
        app.order_is(&order, "confirmed").await;
        app.told(&order, 1).await;
        settled(app).await;
        let charges = app.ledger(&order).await;
        assert_eq!(charges.len(), 1, "{charges:?}");
        assert_eq!(
            Money::of(&charges[0]),
            outside.charges[charges[0]["id"].as_str().unwrap()]
        );
    }
}

/// What the world outside has of us.
#[derive(Debug, PartialEq)]
struct Outside {
    /// By the provider's id.
    charges: BTreeMap<String, Money>,
    /// To whom, and what about.
    mails: Vec<[String; 2]>,
}

#[derive(Debug, PartialEq)]
struct Money([Option<i64>; 2], String);

impl Money {
    fn of(charge: &Value) -> Self {
        let moved = ["captured", "refunded"].map(|name| charge[name].as_i64());
        Self(moved, charge["status"].to_string())
    }
}

impl Outside {
    async fn look(app: &App) -> Self {
        let read = async |url: String| -> Vec<Value> {
            reqwest::get(url).await.unwrap().json().await.unwrap()
        };
        let charges = read(format!("{}/ledger", app.endpoints.payments)).await;
        let mails = read(format!("{}/messages", app.endpoints.mail)).await;
        let id = |charge: &Value| charge["id"].as_str().unwrap().to_owned();
        let told = |mail: &Value| ["to", "subject"].map(|name| mail[name].to_string());
        let mut mails: Vec<_> = mails.iter().map(told).collect();
        mails.sort();
        Self {
            charges: charges
                .iter()
                .map(|charge| (id(charge), Money::of(charge)))
                .collect(),
            mails,
        }
    }
}

/// Waits until every event was handled by whoever has to, and every view has it.
async fn settled(app: &App) {
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints)
        .await
        .unwrap();
    let started = Instant::now();
    for spec in sagas::DURABLES.iter().chain(&reactors::DURABLES) {
        let stream = admin.jetstream().get_stream(spec.stream).await.unwrap();
        loop {
            let durable = stream.consumer_info(spec.name).await.unwrap();
            if durable.num_pending == 0 && durable.num_ack_pending == 0 {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{durable:?}");
            sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    let none_behind = |ready: &Value| {
        let views = ready["views"].as_array().unwrap();
        views.iter().all(|view| view["behind"] == 0)
    };
    let ready = app.queries();
    let ready = ready.wait_for("the views", "/readyz", PATIENCE, none_behind);
    ready.await.unwrap();
}

/// Every row of every table of every context, but for when it was written.
async fn rows(app: &App) -> BTreeMap<String, Vec<String>> {
    let secrets = devstack::Secrets::load_or_create(&app.data).unwrap();
    let password = secrets.get(POSTGRES_ADMIN_PASSWORD).unwrap();
    let admin = Login::admin(&app.endpoints.postgres, POSTGRES_ADMIN, password).unwrap();
    let mut all = BTreeMap::new();
    for context in projections::contexts() {
        let client = sql(&admin.to_database(&format!("millrace_{context}"))).await;
        let named =
            "select tablename from pg_tables where schemaname = 'public' and tablename !~ '^_sqlx'";
        for table in client.query(named, &[]).await.unwrap() {
            let table: String = table.get(0);
            let shown = format!(
                "select (to_jsonb(t) - '{OF_NOW}'::text[])::text from {table} t order by 1"
            );
            let found = client.query(&shown, &[]).await.unwrap();
            let found = found.iter().map(|row| row.get(0)).collect();
            all.insert(format!("{context}.{table}"), found);
        }
    }
    all
}
