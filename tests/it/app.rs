//! The application under test, with verbs.

use std::ffi::OsStr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::http::HeaderMap;
use devstack::launch::{Child, Launcher, Signal, Spawner, Spec};
use edge::IdempotencyKey;
use millrace::client::{Answer, CartLine, ClientError, Shop};
use millrace::up::Endpoints;
use serde_json::Value;
use telemetry::Metrics;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::storm::promises;

/// Longest wait for an outcome, a mail, or a stack that starts on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// How long a stack may take to start: servers may have to be fetched first.
const START_PATIENCE: Duration = Duration::from_mins(10);

/// Pause before something is looked at again.
const LOOK: Duration = Duration::from_millis(50);

/// Good enough for the API.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

static SHARED: OnceCell<App> = OnceCell::const_new();

/// The stack that tests share: they keep apart by ids of their own.
pub(crate) async fn shared() -> &'static App {
    SHARED
        .get_or_init(|| async {
            // Beside the tests: a disk can take minutes to forget a gigabyte.
            std::thread::spawn(remove_leftovers);
            App::start(&folder("shared")).await
        })
        .await
}

/// A folder for one stack, under one that tells which process made it.
pub(crate) fn folder(name: &str) -> PathBuf {
    std::env::temp_dir()
        .join(format!("millrace-it-{}", std::process::id()))
        .join(name)
}

/// Removes what earlier runs of this binary left: a static is never dropped.
fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("millrace-it-") else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            // Another run may be removing it too; what stays is removed next time.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Has `up` run every role as a process of its own.
const SEPARATE: &str = "--separate";

/// Says which contexts a command API hosts.
const CONTEXTS: &str = "--contexts";

/// The only one that `up` hosts where each has a process of its own.
const ENTRYS_CONTEXT: &str = "order";

/// Where a role of a test says how it is: several run at once.
pub(crate) const ANYWHERE: &str = "127.0.0.1:0";

/// A shop, whoever runs it, with verbs.
pub(crate) struct Front {
    pub(crate) data: PathBuf,
    pub(crate) endpoints: Endpoints,
}

/// A running `millrace up`, a process of its own.
pub(crate) struct App {
    front: Front,
    /// What `millrace up` was told besides the data folder.
    args: Vec<String>,
    child: Child,
    /// Who hosts the contexts that `millrace up` doesn't: they end with the spawner.
    others: Vec<Child>,
    spawner: Spawner,
}

impl Deref for App {
    type Target = Front;

    fn deref(&self) -> &Front {
        &self.front
    }
}

impl Front {
    /// The shop without a token.
    pub(crate) fn shop(&self) -> Shop {
        Shop::new(&self.endpoints.entry).unwrap()
    }

    /// The shop as an operator sees it.
    pub(crate) fn operator(&self) -> Shop {
        let token = millrace::token::operator(&self.data).unwrap();
        self.shop().with_token(&token)
    }

    /// The shop as somebody sees it who has an account, with a token that lasts for one story.
    pub(crate) fn seen_by(&self, user_id: &str) -> Shop {
        let token = millrace::token::customer(&self.data, user_id).unwrap();
        self.shop().with_token(&token)
    }

    /// The read side alone, whose `/readyz` tells about the read models.
    pub(crate) fn queries(&self) -> Shop {
        Shop::new(&self.endpoints.query_api).unwrap()
    }

    /// A new customer, signed in.
    pub(crate) async fn customer(&self) -> Customer {
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        let id = self
            .shop()
            .register(&email, "Grace Hopper", PASSWORD)
            .await
            .unwrap();
        let shop = self.shop().sign_in(&email, PASSWORD).await.unwrap();
        Customer { id, email, shop }
    }

    /// A product of its own on sale, with `quantity` in stock.
    pub(crate) async fn product(&self, quantity: u32) -> String {
        let sku = format!("SKU-{}", Uuid::new_v4().simple());
        self.operator()
            .stock_product(&sku, "Millstone mug", 1_299, quantity)
            .await
            .unwrap();
        sku
    }

    /// The provider's entries of an order.
    pub(crate) async fn ledger(&self, order_id: &str) -> Vec<Value> {
        let url = format!("{}/ledger", self.endpoints.payments);
        let entries: Vec<Value> = reqwest::get(url).await.unwrap().json().await.unwrap();
        entries
            .into_iter()
            .filter(|entry| entry["metadata"]["order_id"] == order_id)
            .collect()
    }

    /// What a command of ours prints about this shop, as JSON; whether it was content.
    pub(crate) fn tool(&self, args: &[&str]) -> anyhow::Result<(Value, bool)> {
        let output = Command::new(program())
            .args(args)
            .args(["--json", "--data"])
            .arg(&self.data)
            .output()?;
        let said = || String::from_utf8_lossy(&output.stderr).into_owned();
        let printed = serde_json::from_slice(&output.stdout).with_context(said)?;
        Ok((printed, output.status.success()))
    }

    /// Waits until nothing is under way; then all that was sold, charged, given back and told adds up.
    pub(crate) async fn adds_up(&self) {
        promises::at_rest(self).await.unwrap();
        promises::adds_up(self).unwrap();
    }

    /// The distinct (Message-ID, subject) pairs sent to an address.
    pub(crate) async fn mails(&self, email: &str) -> Vec<(String, String)> {
        let url = format!("{}/messages", self.endpoints.mail);
        let mails: Vec<Value> = reqwest::get(url).await.unwrap().json().await.unwrap();
        let mut found: Vec<(String, String)> = mails
            .iter()
            .filter(|mail| mail["to"].to_string().contains(email))
            .map(|mail| {
                let text = |name: &str| mail[name].as_str().unwrap_or_default().to_owned();
                (text("message_id"), text("subject"))
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// Waits until an order's read model has `status`.
    pub(crate) async fn order_is(&self, order_id: &str, status: &str) -> Value {
        let path = format!("/v1/orders/{order_id}");
        self.operator()
            .wait_for(
                &format!("order {order_id} {status}"),
                &path,
                PATIENCE,
                |order| order["status"] == status,
            )
            .await
            .unwrap()
            .body
    }

    /// Ships a confirmed order and has it arrive.
    pub(crate) async fn delivers(&self, order_id: &str) {
        self.order_is(order_id, "confirmed").await;
        let tracking = serde_json::json!({ "tracking": "1Z 999" });
        for (act, body) in [("ship", tracking), ("deliver", serde_json::json!({}))] {
            let path = format!("/v1/orders/{order_id}/{act}");
            self.operator().post(&path, &body).await.must();
        }
    }

    /// Waits until `count` notifications of an order are sent.
    pub(crate) async fn told(&self, order_id: &str, count: usize) {
        self.told_within(PATIENCE, order_id, count).await;
    }

    /// The same, within so long.
    pub(crate) async fn told_within(&self, patience: Duration, order_id: &str, count: usize) {
        let path = format!("/v1/notifications?order_id={order_id}");
        self.operator()
            .wait_for("the mails", &path, patience, |list| {
                let items = list["items"].as_array();
                items.is_some_and(|items| {
                    items.iter().filter(|item| item["status"] == "sent").count() >= count
                })
            })
            .await
            .unwrap();
    }

    /// Waits until the stock of a SKU is as said: on hand, reserved, committed.
    pub(crate) async fn stock_is(&self, sku: &str, counts: [u64; 3]) {
        let path = format!("/v1/inventory/{sku}");
        self.operator()
            .wait_for(&format!("stock {counts:?}"), &path, PATIENCE, |stock| {
                [
                    stock["on_hand"].as_u64(),
                    stock["reserved"].as_u64(),
                    stock["committed"].as_u64(),
                ] == counts.map(Some)
            })
            .await
            .unwrap();
    }
}

impl App {
    /// Starts `millrace up` on `data` and waits until it is ready.
    pub(crate) async fn start(data: &Path) -> Self {
        Self::start_with(data, &[]).await
    }

    /// The same, with more arguments.
    pub(crate) async fn start_with(data: &Path, args: &[&str]) -> Self {
        // For HTTP clients that tests make themselves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        // Made by `up` itself; what it prints goes beside it.
        std::fs::create_dir_all(data.parent().unwrap()).unwrap();
        let spawner = Spawner::start().unwrap();
        let log = data.with_extension("log");
        let child = spawn_up(&spawner, data, &args, &log).await;
        let endpoints = ready(&child, &log).await;
        let data = data.to_owned();
        let mut app = Self {
            front: Front { data, endpoints },
            args,
            child,
            others: Vec::new(),
            spawner,
        };
        app.host_the_rest().await;
        app
    }

    /// Where each context is to have a process of its own, the other contexts' begin here.
    async fn host_the_rest(&mut self) {
        for gone in self.others.drain(..) {
            gone.signaller().send(Signal::KILL).unwrap();
            gone.wait().await;
        }
        if is_apart(&self.args) {
            let names = domains::NAMES
                .iter()
                .filter(|name| **name != ENTRYS_CONTEXT);
            for context in names {
                let (_, child) = self.command_api(&[CONTEXTS, context]).await;
                self.others.push(child);
            }
        }
    }

    /// Ends the whole process the hard way; its servers end with it.
    pub(crate) async fn kill(&self) {
        self.child.signaller().send(Signal::KILL).unwrap();
        self.child.wait().await;
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ends(&self) -> devstack::launch::Exit {
        self.child.wait().await
    }

    /// Starts again on the same data, after [`App::kill`].
    pub(crate) async fn restart(&mut self) {
        let log = self.data.with_extension("log");
        self.child = spawn_up(&self.spawner, &self.data, &self.args, &log).await;
        self.front.endpoints = ready(&self.child, &log).await;
        self.host_the_rest().await;
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) {
        self.child
            .stop(Signal::TERM, Duration::from_secs(30))
            .await
            .unwrap();
    }

    /// A command API of its own beside the one inside `millrace up`, once it is ready.
    pub(crate) async fn command_api(&self, args: &[&str]) -> (Shop, Child) {
        self.command_api_on("127.0.0.1", args).await
    }

    /// The same, where it is told to listen.
    pub(crate) async fn command_api_on(&self, ip: &str, args: &[&str]) -> (Shop, Child) {
        let port = devstack::Reserved::choose(0).unwrap().address().port();
        let listen = format!("{ip}:{port}");
        let args = [&["command-api", "--listen", &listen], args].concat();
        let child = self.role(&args, &format!("command-api-{port}.log")).await;
        let shop = Shop::new(&format!("http://127.0.0.1:{port}")).unwrap();
        let ready = shop.wait_for("a command API", "/readyz", PATIENCE, |_| true);
        ready.await.unwrap();
        (shop, child)
    }

    /// Another role process against this stack's servers, with the stack's own secrets.
    pub(crate) async fn role(&self, args: &[&str], log: &str) -> Child {
        self.role_with(args, log, &[]).await
    }

    /// The same, with more in its environment.
    pub(crate) async fn role_with(
        &self,
        args: &[&str],
        log: &str,
        env: &[(&str, &OsStr)],
    ) -> Child {
        let secrets = devstack::Secrets::load_or_create(&self.data).unwrap();
        let mut spec = Spec::new(program())
            .args(args.iter().copied())
            .env("MILLRACE_HEALTH_LISTEN", ANYWHERE)
            .env("MILLRACE_NATS", &self.endpoints.nats)
            .env("MILLRACE_POSTGRES", &self.endpoints.postgres)
            .env("MILLRACE_SMTP", &self.endpoints.smtp)
            .env("MILLRACE_PAYMENTS", &self.endpoints.payments)
            .env("MILLRACE_JWT_KEYS", self.data.join("keys/jwt"));
        for (name, value) in secrets.iter() {
            spec = spec.env(name, value);
        }
        for (name, value) in env {
            spec = spec.env(name, value);
        }
        spec.log = Some(self.data.join(log));
        self.spawner
            .spawn(&Launcher::new(program()), &spec)
            .await
            .unwrap()
    }
}

/// What came of a call, in a test that minds only that it succeeded.
pub(crate) trait Must {
    /// The answer; the test fails with the body of any that is no success.
    fn must(self) -> Answer;
}

impl Must for Result<Answer, ClientError> {
    #[track_caller]
    fn must(self) -> Answer {
        self.and_then(Answer::success).unwrap()
    }
}

/// A signed-in customer.
pub(crate) struct Customer {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) shop: Shop,
}

impl Customer {
    /// Orders `quantity` of `sku`; 201 or the test fails.
    pub(crate) async fn orders(&self, sku: &str, quantity: u32, method: &str) -> String {
        let answer = self.tries(&[(sku, quantity)], method).await;
        assert_eq!(answer.status.as_u16(), 201, "{}", answer.body);
        answer.text("/id").to_owned()
    }

    /// The id that an order of theirs gets which is placed with `key`.
    pub(crate) fn order_id(&self, key: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", key.parse().unwrap());
        let key = IdempotencyKey::parse(&headers).unwrap().unwrap();
        let who = format!("user:{}", self.id);
        edge::idempotency::derive_id("order", &who, "/v1/orders", &key).to_string()
    }

    /// Tries to order; whatever the answer is.
    pub(crate) async fn tries(&self, lines: &[(&str, u32)], method: &str) -> Answer {
        let lines: Vec<CartLine> = lines
            .iter()
            .map(|(sku, quantity)| CartLine {
                sku: (*sku).to_owned(),
                quantity: *quantity,
            })
            .collect();
        let key = Uuid::new_v4().to_string();
        self.shop.place_order(&key, &lines, method).await.unwrap()
    }
}

/// The binary under test.
pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_millrace")
}

async fn spawn_up(spawner: &Spawner, data: &Path, args: &[String], log: &Path) -> Child {
    // What an earlier start printed is no news.
    let _ = std::fs::remove_file(log);
    let mut spec = Spec::new(program())
        .args(["up", "--json", "--free-ports", "--port", "0", "--data"])
        .args([data])
        .args(args);
    if is_separate() && !args.iter().any(|arg| arg == SEPARATE) {
        spec = spec.args([SEPARATE]);
    }
    if is_apart(args) {
        spec = spec.args([CONTEXTS, ENTRYS_CONTEXT]);
    }
    spec.log = Some(log.to_owned());
    spawner
        .spawn(&Launcher::new(program()), &spec)
        .await
        .unwrap()
}

/// Is every role of every stack to be a process of its own? The same tests hold either way.
pub(crate) fn is_separate() -> bool {
    std::env::var_os("MILLRACE_TEST_SEPARATE").is_some_and(|value| value == "1")
}

/// Is every context of a stack to be hosted by a process of its own? The same tests hold either way.
fn is_apart(args: &[String]) -> bool {
    let told = args.iter().any(|arg| arg == CONTEXTS);
    !told && std::env::var_os("MILLRACE_TEST_APART").is_some_and(|value| value == "1")
}

/// Waits for the one line that `up --json` prints when it is ready.
async fn ready(child: &Child, log: &Path) -> Endpoints {
    let started = std::time::Instant::now();
    loop {
        let printed = std::fs::read_to_string(log).unwrap_or_default();
        if let Some(mut endpoints) = printed
            .lines()
            .find_map(|line| serde_json::from_str::<Endpoints>(line).ok())
        {
            // What the roles are told is an address.
            let address = endpoints.postgres.strip_prefix("postgres://");
            endpoints.postgres = address.unwrap().to_owned();
            return endpoints;
        }
        assert!(child.exited().is_none(), "`millrace up` ended:\n{printed}");
        assert!(
            started.elapsed() < START_PATIENCE,
            "`millrace up` is not ready:\n{printed}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a durable has nothing more to take and nothing in its hands.
pub(crate) async fn worked_off(app: &App, stream: &str, durable: &str) {
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints);
    let admin = admin.await.unwrap();
    let stream = admin.jetstream().get_stream(stream).await.unwrap();
    let started = Instant::now();
    loop {
        let info = stream.consumer_info(durable).await.unwrap();
        if info.num_pending == 0 && info.num_ack_pending == 0 {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{info:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// What parts of the shop that run in this process count from the first call on: a process has one recorder.
pub(crate) fn counted() -> &'static Metrics {
    static COUNTED: LazyLock<Metrics> = LazyLock::new(|| Metrics::install().unwrap());
    &COUNTED
}

/// Waits until `what` is so.
pub(crate) async fn becomes(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(LOOK).await;
    }
}
