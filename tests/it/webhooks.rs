//! Outgoing webhooks, told to real servers: signed, tried again, given up, and kept from going inside.
//!
//! The servers listen on 127.0.0.2, the only address that the stack may reach besides public ones; so
//! `localhost`, which is 127.0.0.1, is a name that leads inside.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::AppendHeaders;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use devstack::launch::Signal;
use millrace::client::Shop;
use serde_json::{Value, json};
use streams::timers::{TimerId, Timers};
use tokio::sync::{OnceCell, watch};
use tokio::time::timeout;
use uuid::Uuid;

use crate::app::{App, Must, PATIENCE, folder};

/// Where the tests' servers listen.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What opens a stack to them.
pub(crate) const TO_OUTSIDE: [&str; 6] = [
    "--webhook-http",
    "true",
    "--webhook-ports",
    "0",
    "--webhook-networks",
    "127.0.0.2",
];

/// The pauses are as short as the tests need, and the time limit is longer than any test.
const SETTINGS: [&str; 8] = [
    "--webhook-retry-ms",
    "100,500,1000,1000,1000,1000,1000,1000,1000,1000",
    "--webhook-patience-s",
    "2",
    "--webhook-timeout-ms",
    "120000",
    "--webhook-retry-after-max-s",
    "1800",
];

/// What a busy server asks for, in seconds: more than the stack grants.
const RETRY_AFTER: &str = "3600";

/// As many attempts at one endpoint as are under way at once, by default.
const AT_ONCE: usize = 4;

static STACK: OnceCell<App> = OnceCell::const_new();

async fn stack() -> &'static App {
    let settings = [&TO_OUTSIDE[..], &SETTINGS].concat();
    let start = async || App::start_with(&folder("webhooks"), &settings).await;
    STACK.get_or_init(start).await
}

/// What a server was told.
#[derive(Debug, Clone)]
struct Told {
    id: String,
    timestamp: String,
    signatures: Vec<String>,
    bytes: Bytes,
}

impl Told {
    fn body(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }

    /// As a receiver does it: any of the signatures must be the one of its secret.
    fn is_signed_with(&self, secret: &str) -> bool {
        let secret = secret.strip_prefix("whsec_").unwrap();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &STANDARD.decode(secret).unwrap());
        let head = format!("{}.{}.", self.id, self.timestamp);
        let signed = [head.as_bytes(), &self.bytes].concat();
        self.signatures.iter().any(|signature| {
            let tag = signature.strip_prefix("v1,").unwrap();
            let tag = STANDARD.decode(tag).unwrap();
            ring::hmac::verify(&key, &signed, &tag).is_ok()
        })
    }

    /// Is it about this order?
    fn is_of(&self, order: &str) -> bool {
        self.body()["id"] == order
    }
}

/// A server that is told of events.
struct Receiver {
    url: String,
    told: watch::Receiver<Vec<Told>>,
    /// Until it is open, nobody is answered.
    gate: watch::Sender<bool>,
}

impl Receiver {
    /// Answers the `n`th request, from 0, with what `answer` says.
    async fn answering(answer: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Self {
        Self::listening(OUTSIDE, true, answer).await
    }

    async fn listening(
        address: Ipv4Addr,
        open: bool,
        answer: impl Fn(usize) -> u16 + Send + Sync + 'static,
    ) -> Self {
        let (tells, told) = watch::channel(Vec::new());
        let (tells, answer) = (Arc::new(tells), Arc::new(answer));
        let (gate, opened) = watch::channel(open);
        let hear = move |headers: HeaderMap, bytes: Bytes| {
            let (tells, answer, mut opened) = (tells.clone(), answer.clone(), opened.clone());
            async move {
                let header = |name: &str| headers[name].to_str().unwrap().to_owned();
                let signatures = header("webhook-signature");
                let mut before = 0;
                tells.send_modify(|all: &mut Vec<Told>| {
                    before = all.len();
                    all.push(Told {
                        id: header("webhook-id"),
                        timestamp: header("webhook-timestamp"),
                        signatures: signatures.split(' ').map(str::to_owned).collect(),
                        bytes,
                    });
                });
                opened.wait_for(|open| *open).await.unwrap();
                let status = StatusCode::from_u16(answer(before)).unwrap();
                let busy = status == StatusCode::TOO_MANY_REQUESTS;
                let headers = busy.then_some([("retry-after", RETRY_AFTER)]);
                (
                    status,
                    headers.map(AppendHeaders),
                    format!("answer {before}"),
                )
            }
        };
        let listener = tokio::net::TcpListener::bind((address, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().fallback(hear);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url: format!("http://{address}:{port}/hook"),
            told,
            gate,
        }
    }

    /// Waits until it was told `count` things of this kind.
    async fn hears(&self, count: usize, of: impl Fn(&Told) -> bool) -> Vec<Told> {
        let mut told = self.told.clone();
        let enough = told.wait_for(|all| all.iter().filter(|told| of(told)).count() >= count);
        let Ok(all) = timeout(PATIENCE, enough).await else {
            panic!("not told in time; but of {:?}", self.told.borrow());
        };
        all.unwrap()
            .iter()
            .filter(|told| of(told))
            .cloned()
            .collect()
    }

    async fn hears_of(&self, order: &str) -> Told {
        self.hears(1, |told| told.is_of(order)).await.remove(0)
    }
}

/// An endpoint as its owner sees it.
struct Endpoint {
    path: String,
    owner: Shop,
}

impl Endpoint {
    async fn registered(owner: Shop, receiver: &Receiver, event_types: &[&str]) -> Self {
        let body = json!({ "url": receiver.url, "event_types": event_types });
        let made = owner.post("/v1/webhook-endpoints", &body).await.unwrap();
        assert_eq!(made.status.as_u16(), 201, "{}", made.body);
        let path = made.header("location").unwrap().to_owned();
        Self { path, owner }
    }

    async fn secret(&self) -> String {
        let path = format!("{}/secret", self.path);
        let answer = self.owner.get(&path).await.must();
        answer.text("/secret").to_owned()
    }

    /// Does `act`, and answers what that said.
    async fn asked(&self, act: &str, body: Value) -> Value {
        let path = format!("{}/{act}", self.path);
        let answer = self.owner.post(&path, &body).await.unwrap();
        answer.success().unwrap().body
    }

    /// Has it told that nothing has happened; the path of that delivery.
    async fn tested(&self) -> String {
        let delivery = self.asked("test", json!({})).await;
        format!(
            "{}/deliveries/{}",
            self.path,
            delivery["id"].as_str().unwrap()
        )
    }

    /// Waits until it is so.
    async fn becomes(&self, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        let row = self.owner.wait_for(what, &self.path, PATIENCE, so).await;
        row.unwrap().body
    }

    async fn delivery_is(&self, delivery: &str, status: &str) -> Value {
        let so = |row: &Value| row["status"] == status;
        let row = self.owner.wait_for(status, delivery, PATIENCE, so).await;
        row.unwrap().body
    }
}

/// Somebody buys something.
async fn an_order(app: &App) -> String {
    let sku = app.product(5).await;
    app.customer().await.orders(&sku, 1, "pm_card_visa").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_told_signed_and_the_log_says_how_that_went() {
    let app = stack().await;
    let receiver = Receiver::answering(|_| 200).await;
    let operator = app.operator();
    let endpoint = Endpoint::registered(operator, &receiver, &["order.order_placed"]).await;
    let secret = endpoint.secret().await;
    let order = an_order(app).await;
    let told = receiver.hears_of(&order).await;
    assert!(told.is_signed_with(&secret), "{told:?}");
    assert!(!told.is_signed_with("whsec_AAAA"), "{told:?}");
    let body = told.body();
    assert_eq!(body["type"], "order.order_placed", "{body}");
    assert_eq!(body["version"], 1, "{body}");
    assert_eq!(body["data"]["shipping_address"], Value::Null, "{body}");
    assert!(body["data"]["user_id"].is_string(), "{body}");

    let list = format!(
        "{}/deliveries?status=delivered&event_type=order.order_placed",
        endpoint.path
    );
    let is_told = |list: &Value| {
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .any(|item| item["event_id"] == told.id.as_str())
    };
    let list = endpoint
        .owner
        .wait_for("the delivery", &list, PATIENCE, is_told)
        .await;
    let list = list.unwrap().body;
    let items = list["items"].as_array().unwrap();
    let item = items
        .iter()
        .find(|item| item["event_id"] == told.id.as_str())
        .unwrap();
    let outcome = &item["attempts"][0]["outcome"];
    assert_eq!(outcome["result"], "accepted", "{item}");
    assert!(
        outcome["excerpt"].as_str().unwrap().starts_with("answer"),
        "{item}"
    );

    let test = endpoint.tested().await;
    receiver
        .hears(1, |told| told.body()["type"] == "webhook.test")
        .await;
    endpoint.delivery_is(&test, "delivered").await;
    let printed = std::fs::read_to_string(app.data.with_extension("log")).unwrap();
    assert!(!printed.contains(secret.trim_start_matches("whsec_")));
    let stored = endpoint
        .owner
        .get(&format!("{}/events", endpoint.path))
        .await
        .unwrap();
    assert!(
        !stored.body.to_string().contains("whsec_"),
        "{}",
        stored.body
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_taken_is_told_again_under_the_same_id() {
    let app = stack().await;
    let receiver = Receiver::answering(|before| if before == 0 { 503 } else { 204 }).await;
    let endpoint = Endpoint::registered(app.operator(), &receiver, &["user.user_erased"]).await;
    let delivery = endpoint.tested().await;
    let row = endpoint.delivery_is(&delivery, "delivered").await;
    let told = receiver.hears(2, |_| true).await;
    assert_eq!((&told[0].id, &told[0].bytes), (&told[1].id, &told[1].bytes));
    let results: Vec<_> = (0..2)
        .map(|n| &row["attempts"][n]["outcome"]["result"])
        .collect();
    assert_eq!(results, ["rejected", "accepted"], "{row}");
    endpoint
        .becomes("recovered", |row| {
            row["version"] == 3 && row["in_trouble"] == false
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_endpoint_is_left_alone_for_as_long_as_it_asks_within_a_bound() {
    let app = stack().await;
    let receiver = Receiver::answering(|before| if before == 0 { 429 } else { 200 }).await;
    let endpoint = Endpoint::registered(app.operator(), &receiver, &["user.user_erased"]).await;
    let delivery = endpoint.tested().await;
    let tried = |row: &Value| row["attempt_count"] == 1;
    let row = endpoint
        .owner
        .wait_for("an attempt", &delivery, PATIENCE, tried);
    let row = row.await.unwrap().body;
    let time =
        |at: &Value| -> chrono::DateTime<chrono::Utc> { at.as_str().unwrap().parse().unwrap() };
    let pause = time(&row["next_attempt_at"]) - time(&row["attempts"][0]["at"]);
    // A fifth longer at most, and what the attempt itself took.
    assert!((1_800..2_400).contains(&pause.num_seconds()), "{row}");
    let redeliver = format!("{delivery}/redeliver");
    endpoint.owner.post(&redeliver, &json!({})).await.must();
    endpoint.delivery_is(&delivery, "delivered").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_has_so_many_endpoints_and_no_more() {
    let app = stack().await;
    let customer = app.customer().await;
    let body = json!({ "url": "https://hooks.example.com/a", "event_types": ["order.*"] });
    let path = "/v1/webhook-endpoints";
    let first = customer.shop.post(path, &body).await;
    let first = first.must().text("/id").to_owned();
    // Another process hears of it.
    let (strict, child) = app.command_api(&["--webhook-endpoints-max", "1"]).await;
    let strict = strict.sign_in(&customer.email, crate::app::PASSWORD).await;
    let strict = strict.unwrap();
    let refused = strict.post(path, &body).await.unwrap();
    assert_eq!(refused.status.as_u16(), 409, "{}", refused.body);
    assert_eq!(refused.text("/code"), "too_many_webhook_endpoints");
    app.operator().post(path, &body).await.must();
    let remove = format!("{path}/{first}/remove");
    strict.post(&remove, &json!({})).await.must();
    let key = Uuid::new_v4().to_string();
    for _ in 0..2 {
        let made = strict.post_with_key(path, &key, &body).await.unwrap();
        assert_eq!(made.status.as_u16(), 201, "{}", made.body);
    }
    child.stop(Signal::TERM, PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_timer_is_set_again_and_a_broken_endpoint_holds_up_no_other() {
    let sweeping = [
        "--webhook-retry-ms",
        "5000",
        "--webhook-timeout-ms",
        "1000",
        "--webhook-sweep-s",
        "1",
    ];
    let args = [&TO_OUTSIDE[..], &sweeping].concat();
    let app = App::start_with(&folder("webhooks-lost"), &args).await;
    let receiver = Receiver::answering(|before| if before == 0 { 503 } else { 200 }).await;
    let types = ["order.order_placed"];
    let endpoint = Endpoint::registered(app.operator(), &receiver, &types).await;
    let delivery = endpoint.tested().await;
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints).await;
    let admin = admin.unwrap();
    let timer = TimerId {
        saga: "webhook".to_owned(),
        id: delivery.rsplit('/').next().unwrap().parse().unwrap(),
    };
    let timers = Timers::new(&admin);
    let is_set = timeout(PATIENCE, async {
        while !timers.is_pending(&timer).await.unwrap() {
            tokio::task::yield_now().await;
        }
    });
    is_set.await.unwrap();
    let stream = admin
        .jetstream()
        .get_stream_no_info("TIMERS")
        .await
        .unwrap();
    let lost = stream.purge().filter("timer.sched.webhook.>").await;
    assert_eq!(lost.unwrap().purged, 1, "the timer");
    endpoint.delivery_is(&delivery, "delivered").await;

    let subject = format!("event.notification.webhook_endpoint.{}", Uuid::new_v4());
    let junk = admin.jetstream().publish(subject, "junk".into()).await;
    let junk = junk.unwrap().await.unwrap().sequence;
    let order = an_order(&app).await;
    receiver.hears_of(&order).await;
    let stuck = || async {
        let stuck = app.operator().get("/v1/system/stuck?limit=200").await;
        let items = stuck.unwrap().body["items"].as_array().unwrap().clone();
        let view = |item: &&Value| item["kind"] == "stalled_view";
        items.iter().find(view).cloned()
    };
    let found = timeout(PATIENCE, async {
        loop {
            if let Some(found) = stuck().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    });
    let found = found.await.unwrap();
    let at = format!("NOTIFICATION:{junk}");
    assert!(found["cause"].as_str().unwrap().contains(&at), "{found}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_is_gone_is_told_nothing_more() {
    let app = stack().await;
    let receiver = Receiver::answering(|_| 410).await;
    let endpoint = Endpoint::registered(app.operator(), &receiver, &["user.user_erased"]).await;
    let delivery = endpoint.tested().await;
    let row = endpoint.delivery_is(&delivery, "failed").await;
    assert_eq!(row["attempt_count"], 1, "{row}");
    let row = endpoint
        .becomes("disabled", |row| row["status"] == "disabled")
        .await;
    assert_eq!(row["disabled_because"], "gone", "{row}");
    let test = format!("{}/test", endpoint.path);
    let refused = endpoint.owner.post(&test, &json!({})).await.unwrap();
    assert_eq!(refused.status.as_u16(), 409, "{}", refused.body);
    assert_eq!(refused.text("/code"), "webhook_endpoint_disabled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_old_url_of_an_endpoint_answers_disables_it_no_more() {
    let app = stack().await;
    let old = Receiver::listening(OUTSIDE, false, |_| 410).await;
    let endpoint = Endpoint::registered(app.operator(), &old, &["user.user_erased"]).await;
    let delivery = endpoint.tested().await;
    old.hears(1, |_| true).await;
    let new = Receiver::answering(|_| 200).await;
    let change = json!({ "url": new.url, "event_types": ["user.user_erased"] });
    endpoint.asked("details", change).await;
    old.gate.send_replace(true);
    endpoint.delivery_is(&delivery, "delivered").await;
    new.hears(1, |_| true).await;
    let row = endpoint.owner.get(&endpoint.path).await.must().body;
    assert_eq!(row["status"], "enabled", "{row}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_fails_for_too_long_is_disabled_until_somebody_mends_it() {
    let app = stack().await;
    let (mended, is_mended) = watch::channel(false);
    let receiver = Receiver::answering(move |_| if *is_mended.borrow() { 200 } else { 500 }).await;
    let endpoint = Endpoint::registered(app.operator(), &receiver, &["user.user_erased"]).await;
    let delivery = endpoint.tested().await;
    let row = endpoint
        .becomes("disabled", |row| row["status"] == "disabled")
        .await;
    assert_eq!(row["disabled_because"], "failing", "{row}");
    let row = endpoint.delivery_is(&delivery, "failed").await;
    assert_eq!(row["reason"], "the webhook endpoint is disabled", "{row}");

    let id = endpoint.path.rsplit('/').next().unwrap();
    let stuck = app
        .operator()
        .get("/v1/system/stuck?limit=200")
        .await
        .unwrap()
        .body;
    let items = stuck["items"].as_array().unwrap();
    let item = items.iter().find(|item| item["id"] == id).unwrap();
    assert_eq!(item["kind"], "failing_endpoint", "{item}");
    assert_eq!(
        item["actions"][0]["call"],
        format!("POST {}/enable", endpoint.path)
    );

    mended.send_replace(true);
    endpoint.asked("enable", json!({})).await;
    let redeliver = format!("{delivery}/redeliver");
    endpoint.owner.post(&redeliver, &json!({})).await.must();
    endpoint.delivery_is(&delivery, "delivered").await;
    let told = receiver.hears(2, |_| true).await;
    assert!(told.iter().all(|other| other.id == told[0].id), "{told:?}");
    endpoint
        .becomes("well", |row| row["in_trouble"] == false)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_does_not_answer_holds_up_no_other() {
    let app = stack().await;
    let slow = Receiver::listening(OUTSIDE, false, |_| 200).await;
    let slow_endpoint = Endpoint::registered(app.operator(), &slow, &["user.user_erased"]).await;
    let mut waiting = Vec::new();
    for _ in 0..3 * AT_ONCE {
        waiting.push(slow_endpoint.tested().await);
    }
    slow.hears(AT_ONCE, |_| true).await;
    let quick = Receiver::answering(|_| 200).await;
    let endpoint = Endpoint::registered(app.operator(), &quick, &["user.user_erased"]).await;
    let delivery = endpoint.tested().await;
    endpoint.delivery_is(&delivery, "delivered").await;
    assert_eq!(
        slow.told.borrow().len(),
        AT_ONCE,
        "the others wait for their turn"
    );

    slow.gate.send_replace(true);
    for delivery in &waiting {
        slow_endpoint.delivery_is(delivery, "delivered").await;
    }
    assert_eq!(slow.told.borrow().len(), waiting.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_inside() {
    let app = stack().await;
    let operator = app.operator();
    for url in [
        "http://10.0.0.1/",
        "http://[::1]/",
        "http://127.1:80/",
        "http://169.254.169.254/",
    ] {
        let body = json!({ "url": url, "event_types": ["*"] });
        let refused = operator.post("/v1/webhook-endpoints", &body).await.unwrap();
        assert_eq!(refused.status.as_u16(), 422, "{url}: {}", refused.body);
        assert_eq!(refused.text("/code"), "webhook_url_not_allowed");
        assert_eq!(refused.text("/errors/0/pointer"), "/url");
    }
    // A name is looked at when it is connected to: it may lead elsewhere by then.
    let mut inside = Receiver::listening(Ipv4Addr::LOCALHOST, true, |_| 200).await;
    inside.url = inside.url.replace("127.0.0.1", "localhost");
    let endpoint = Endpoint::registered(operator, &inside, &["user.user_erased"]).await;
    let delivery = endpoint.tested().await;
    let tried = |row: &Value| row["attempt_count"].as_u64() >= Some(1);
    let row = endpoint
        .owner
        .wait_for("an attempt", &delivery, PATIENCE, tried)
        .await;
    let row = row.unwrap().body;
    let error = row["attempts"][0]["outcome"]["error"].as_str().unwrap();
    assert!(error.contains("is not public: loopback"), "{row}");
    assert!(inside.told.borrow().is_empty());
    endpoint.asked("remove", json!({})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_hears_of_what_is_theirs_and_sees_no_other_endpoint() {
    let app = stack().await;
    let (theirs, all) = (
        Receiver::answering(|_| 200).await,
        Receiver::answering(|_| 200).await,
    );
    let customer = app.customer().await;
    let endpoint = Endpoint::registered(customer.shop.clone(), &theirs, &["*"]).await;
    let operators = Endpoint::registered(app.operator(), &all, &["order.*"]).await;
    let foreign = an_order(app).await;
    all.hears_of(&foreign).await;
    app.order_is(&foreign, "confirmed").await;
    let sku = app.product(5).await;
    let own = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&own, "confirmed").await;
    let payment_of = |order: &str| payment::payment_id(order.parse().unwrap()).to_string();
    let paid = payment_of(&own);
    for (kind, id) in [
        ("order.order_placed", &own),
        ("payment.payment_captured", &paid),
        ("checkout.checkout_completed", &own),
    ] {
        let is = |body: Value| body["type"] == kind && body["id"] == id.as_str();
        theirs.hears(1, |told| is(told.body())).await;
    }
    let of_others = [payment_of(&foreign), foreign];
    for told in theirs.told.borrow().iter() {
        let body = told.body();
        let text = body.to_string();
        assert!(!of_others.iter().any(|id| text.contains(id)), "{body}");
        let kind = body["type"].as_str().unwrap();
        assert!(
            !kind.starts_with("product.") && !kind.starts_with("inventory."),
            "{body}"
        );
        assert!(!body.to_string().contains("sealed.v1."), "{body}");
    }

    for path in ["", "/secret", "/deliveries", "/events"] {
        let path = format!("{}{path}", operators.path);
        let hidden = customer.shop.get(&path).await.unwrap();
        assert_eq!(hidden.status.as_u16(), 404, "{path}: {}", hidden.body);
    }
    let disable = format!("{}/disable", operators.path);
    let hidden = customer.shop.post(&disable, &json!({})).await.unwrap();
    assert_eq!(hidden.status.as_u16(), 404, "{}", hidden.body);
    let own = customer
        .shop
        .get("/v1/webhook-endpoints")
        .await
        .unwrap()
        .body;
    assert_eq!(own["items"].as_array().unwrap().len(), 1, "{own}");
    let body = json!({ "url": theirs.url, "event_types": ["order.*", "product.*"] });
    let refused = customer
        .shop
        .post("/v1/webhook-endpoints", &body)
        .await
        .unwrap();
    assert_eq!(
        refused.text("/code"),
        "event_type_unknown",
        "{}",
        refused.body
    );
    assert_eq!(refused.text("/errors/0/pointer"), "/event_types/1");
    endpoint.asked("remove", json!({})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_secret_is_replaced_both_sign() {
    let app = stack().await;
    let receiver = Receiver::answering(|_| 200).await;
    let endpoint = Endpoint::registered(app.operator(), &receiver, &["user.user_erased"]).await;
    let old = endpoint.secret().await;
    endpoint.asked("rotate-secret", json!({})).await;
    let new = endpoint.secret().await;
    assert_ne!(old, new);
    endpoint.tested().await;
    let told = receiver.hears(1, |_| true).await;
    assert!(
        told[0].is_signed_with(&old) && told[0].is_signed_with(&new),
        "{told:?}"
    );

    endpoint
        .asked("rotate-secret", json!({ "keep_previous_s": 0 }))
        .await;
    endpoint.tested().await;
    let told = receiver.hears(2, |_| true).await;
    assert!(told[1].is_signed_with(&endpoint.secret().await), "{told:?}");
    assert!(
        !told[1].is_signed_with(&old) && !told[1].is_signed_with(&new),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_registers_one_endpoint_and_a_removed_one_is_gone() {
    let app = stack().await;
    let (operator, key) = (app.operator(), Uuid::new_v4().to_string());
    let url = "https://hooks.example.com/a";
    let body = json!({ "url": url, "event_types": ["order.*"], "description": "books" });
    let path = "/v1/webhook-endpoints";
    let [first, again] = [
        operator.post_with_key(path, &key, &body).await.unwrap(),
        operator.post_with_key(path, &key, &body).await.unwrap(),
    ];
    assert_eq!(first.body, again.body);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    let path = format!("{path}/{}", first.text("/id"));
    let changed = json!({ "url": url, "event_types": ["payment.*"] });
    operator
        .post(&format!("{path}/details"), &changed)
        .await
        .must();
    let row = |row: &Value| row["event_types"] == json!(["payment.*"]);
    operator
        .wait_for("changed", &path, PATIENCE, row)
        .await
        .unwrap();
    let remove = format!("{path}/remove");
    for _ in 0..2 {
        operator.post(&remove, &json!({})).await.must();
    }
    let gone = operator
        .post(&format!("{path}/enable"), &json!({}))
        .await
        .unwrap();
    assert_eq!(gone.status.as_u16(), 404, "{}", gone.body);
    let gone = operator.get(&format!("{path}/secret")).await.unwrap();
    assert_eq!(gone.status.as_u16(), 404, "{}", gone.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_survives_the_death_of_its_sender() {
    let without = [&["--without", "reactor"], &TO_OUTSIDE[..], &SETTINGS].concat();
    let app = App::start_with(&folder("webhooks-kill"), &without).await;
    let busy_once = |before| if before < 2 { 503 } else { 200 };
    let receiver = Receiver::listening(OUTSIDE, false, busy_once).await;
    let endpoint = Endpoint::registered(app.operator(), &receiver, &["order.order_placed"]).await;
    let order = an_order(&app).await;
    let unhurried = ["--webhook-retry-ms", "5000", "--webhook-patience-s", "600"];
    let reactor = [&["reactor"], &TO_OUTSIDE[..], &unhurried].concat();
    // It dies while its first attempt is under way: nothing is noted of that.
    let first = app.role(&reactor, "reactor-1.log").await;
    receiver.hears(1, |_| true).await;
    first.signaller().send(Signal::KILL).unwrap();
    first.wait().await;
    receiver.gate.send_replace(true);
    // The next one dies between two attempts.
    let second = app.role(&reactor, "reactor-2.log").await;
    let deliveries = format!("{}/deliveries", endpoint.path);
    let tried = |list: &Value| list["items"][0]["attempt_count"] == 1;
    let tried = endpoint
        .owner
        .wait_for("an attempt", &deliveries, PATIENCE, tried);
    tried.await.unwrap();
    second.signaller().send(Signal::KILL).unwrap();
    second.wait().await;
    let third = app.role(&reactor, "reactor-3.log").await;
    let done = |list: &Value| list["items"][0]["status"] == "delivered";
    let done = endpoint
        .owner
        .wait_for("the delivery", &deliveries, PATIENCE, done)
        .await;
    let list = done.unwrap().body;
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    let told = receiver.hears(3, |told| told.is_of(&order)).await;
    for again in &told {
        assert_eq!((&again.id, &again.bytes), (&told[0].id, &told[0].bytes));
    }
    app.adds_up().await;
    third.stop(Signal::TERM, PATIENCE).await.unwrap();
    app.stop().await;
}
