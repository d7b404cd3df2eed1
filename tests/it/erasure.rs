//! A person is forgotten: when, what is left of them, and that nothing brings them back.

use std::time::Duration;

use async_nats::jetstream::stream::RawMessageErrorKind;
use chrono::Utc;
use devstack::Secrets;
use kernel::{AggregateId, Sealed, UserId, purpose};
use millrace::settings::{POSTGRES_ADMIN, POSTGRES_ADMIN_PASSWORD, Source};
use projections::{Login, VIEWS};
use serde_json::{Value, json};
use streams::bus::{Answer, Ask, Bus};
use streams::keys::{Erasures, Keys};
use streams::topology::StreamSpec;
use streams::{CommandMeta, Connection, Settings};
use tokio::sync::OnceCell;
use user::{User, UserCommand, UserEvent};
use uuid::Uuid;

use crate::app::{App, Customer, Must, PASSWORD, PATIENCE, folder};
use crate::faults::{MANY, each_has_struck, heal, order_fault};
use crate::rebuild::rebuild;
use crate::servers::sql;

static STACK: OnceCell<App> = OnceCell::const_new();

async fn start(name: &str) -> App {
    App::start_with(&folder(name), &["--erasure-grace-ms", "500"]).await
}

async fn stack() -> &'static App {
    STACK.get_or_init(|| start("erasure")).await
}

impl App {
    /// How far the erasure of a user has come, once it is there.
    async fn erasure_is(&self, user_id: &str, status: &str) -> Value {
        let path = format!("/v1/users/{user_id}/erasure");
        let what = format!("erasure {status}");
        let operator = self.operator();
        let found = operator.wait_for(&what, &path, PATIENCE, |erasure| {
            erasure["status"] == status
        });
        found.await.unwrap().body
    }

    async fn admin(&self) -> Connection {
        let admin = millrace::up::admin_connection(&self.data, &self.endpoints);
        admin.await.unwrap()
    }

    fn keys(&self, connection: &Connection) -> Keys {
        let secrets = Secrets::load_or_create(&self.data).unwrap();
        Keys::new(connection, Source::Stack(&secrets).master_keys().unwrap())
    }
}

/// Everything that any stream holds, as text with the place in front.
async fn messages(admin: &Connection) -> Vec<String> {
    let mut found = Vec::new();
    for StreamSpec { name, .. } in millrace::provision::topology().streams {
        let stream = admin.jetstream().get_stream(&name).await.unwrap();
        let state = &stream.cached_info().state;
        for sequence in state.first_sequence.max(1)..=state.last_sequence {
            let message = match stream.get_raw_message(sequence).await {
                Ok(message) => message,
                // It was deleted.
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => continue,
                Err(error) => panic!("{name}:{sequence}: {error}"),
            };
            let body = String::from_utf8_lossy(&message.payload).into_owned();
            let (subject, headers) = (&message.subject, &message.headers);
            found.push(format!("{name}:{sequence} {subject} {headers:?} {body}"));
        }
    }
    found
}

/// Every row of every read model, as text with the view in front.
async fn rows(app: &App) -> Vec<String> {
    let secrets = Secrets::load_or_create(&app.data).unwrap();
    let password = secrets.get(POSTGRES_ADMIN_PASSWORD).unwrap();
    let admin = Login::admin(&app.endpoints.postgres, POSTGRES_ADMIN, password).unwrap();
    let mut found = Vec::new();
    for view in VIEWS {
        let client = sql(&admin.to_database(&format!("millrace_{}", view.context))).await;
        let select = format!("select row::text from {} row", view.name);
        let rows = client.query(&select, &[]).await.unwrap();
        let text = |row: &tokio_postgres::Row| format!("{} {}", view.name, row.get::<_, String>(0));
        found.extend(rows.iter().map(text));
    }
    found
}

/// Somebody who has told a lot about themselves, and what they told.
async fn known(app: &App) -> (Customer, Vec<String>) {
    let ann = app.customer().await;
    let mark = Uuid::new_v4().simple().to_string();
    let name = format!("Zenobia {}", &mark[..8]);
    let street = format!("Quill Lane {}", &mark[8..16]);
    let digits = ann.email.bytes().take(7).map(|byte| byte % 10);
    let phone: String = digits.map(|digit| digit.to_string()).collect();
    let phone = format!("+4930{phone}");
    let profile = json!({ "name": name, "phone": phone });
    ann.changes("profile", &profile).await.success().unwrap();
    let address = json!({
        "name": name, "line1": street, "city": "Bonn", "postal_code": "53111", "country": "DE",
    });
    ann.changes("addresses", &address).await.success().unwrap();
    let told = vec![ann.email.clone(), name, street, phone];
    (ann, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_an_open_order_is_erased_once_it_is_final_and_nothing_readable_is_left() {
    let app = stack().await;
    let sku = app.product(10).await;
    let (ann, told) = known(app).await;
    let order = ann.orders(&sku, 2, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    app.told(&order, 1).await;

    ann.changes("erasure", &json!({})).await.success().unwrap();
    let refused = ann.tries(&[(&sku, 1)], "pm_card_visa").await;
    assert_eq!(refused.status.as_u16(), 403, "{}", refused.body);
    assert_eq!(refused.body["code"], "user_leaving", "at once");
    let waiting = app.erasure_is(&ann.id, "waiting").await;
    assert!(waiting["erase_by"].is_string(), "{waiting}");

    // Who asked later and has no order is through: that of the first is what is waited for.
    let ben = app.customer().await;
    ben.changes("erasure", &json!({})).await.success().unwrap();
    app.erasure_is(&ben.id, "completed").await;
    app.erasure_is(&ann.id, "waiting").await;

    let operator = app.operator();
    for (act, body) in [
        ("ship", json!({ "tracking": "1Z" })),
        ("deliver", json!({})),
    ] {
        let path = format!("/v1/orders/{order}/{act}");
        operator.post(&path, &body).await.must();
    }
    let receipt = app.erasure_is(&ann.id, "completed").await;
    it_says_what_was_looked_through(&receipt);
    nobody_is_left(app, &ann).await;
    the_order_still_adds_up(app, &order).await;
    none_says(&messages(&app.admin().await).await, &ann, &told);
    none_says(&rows(app).await, &ann, &told);
    for view in VIEWS {
        let (code, report) = rebuild(app, view.name, &["--switch"]).await;
        assert_eq!(code, 0, "{}: {report}", view.name);
    }
    none_says(&rows(app).await, &ann, &told);
}

/// They are about somebody, and tell nothing of what was told.
fn none_says(texts: &[String], of: &Customer, told: &[String]) {
    assert!(texts.iter().any(|text| text.contains(&of.id)), "{texts:?}");
    for text in texts {
        for word in told {
            assert!(!text.contains(word), "{word} in {text}");
        }
    }
}

fn it_says_what_was_looked_through(receipt: &Value) {
    assert_eq!(receipt["readable"], json!([]), "{receipt}");
    assert!(receipt["searched"].as_u64() >= Some(4), "{receipt}");
    let scanned = receipt["scanned"].as_array().unwrap();
    let of = |stream: &str| {
        let mut found = scanned.iter();
        let found = found.find(|of| of["up_to"].as_str().unwrap().starts_with(stream));
        let count = |name: &str| found.unwrap()[name].as_u64().unwrap();
        (count("events"), count("sealed"))
    };
    // Registered, profile, address, leaving, erased; the erasure's own two, and the claim's.
    let (events, sealed) = of("USER:");
    assert!(events >= 7 && sealed >= 6, "{receipt}");
    assert_eq!(of("ORDER:"), (4, 1), "{receipt}");
    for stream in ["PAYMENT:", "NOTIFICATION:", "CHECKOUT:"] {
        let (events, sealed) = of(stream);
        assert!(events > 0 && sealed == 0, "{stream} {receipt}");
    }
}

async fn nobody_is_left(app: &App, customer: &Customer) {
    let path = format!("/v1/users/{}", customer.id);
    let operator = app.operator();
    let page = operator.wait_for("erased", &path, PATIENCE, |page| page["status"] == "erased");
    let page = page.await.unwrap().body;
    for field in ["name", "email", "phone"] {
        assert_eq!(page[field], Value::Null, "{page}");
    }
    assert_eq!(page["addresses"], json!([]), "{page}");
    let session = app.shop().sign_in(&customer.email, PASSWORD).await;
    assert!(
        session
            .unwrap_err()
            .to_string()
            .contains("credentials_wrong")
    );
    let profile = json!({ "name": "Back" });
    let refused = customer.changes("profile", &profile).await;
    assert_eq!(refused.body["code"], "user_erased", "{}", refused.body);
    let again = app.shop().register(&customer.email, "Anew", PASSWORD).await;
    assert_ne!(again.unwrap(), customer.id, "the address is free");
}

async fn the_order_still_adds_up(app: &App, order: &str) {
    let shown = app.order_is(order, "delivered").await;
    assert_eq!(shown["total"]["amount"], 2 * 1_299, "{shown}");
    assert_eq!(shown["shipping_address"], json!({ "erased": true }));
    let (path, kept) = (
        format!("/v1/orders/{order}"),
        format!("\"{}\"", shown["version"]),
    );
    let kept = [("If-None-Match", kept.as_str())];
    let operator = app.operator();
    let events = operator.get(&format!("{path}/events")).await.unwrap().body;
    let last = events["items"].as_array().unwrap().last().unwrap();
    let then = format!("{path}?as_of={}", last["position"].as_str().unwrap());
    for path in [&path, &then] {
        let again = operator.call(reqwest::Method::GET, path, &kept, None);
        let again = again.await.unwrap();
        assert_eq!(again.status, 200, "who has kept it is not told to keep it");
        assert_eq!(again.header("ETag"), None, "{path}");
        assert_eq!(again.body, shown, "{path}");
    }
    let ledger = app.ledger(order).await;
    assert_eq!(ledger[0]["captured"], 2 * 1_299, "{ledger:?}");
    let path = format!("/v1/payments?order_id={order}");
    let payments = app.operator().get(&path).await.must();
    assert_eq!(
        payments.body["items"][0]["captured"], shown["total"],
        "{}",
        payments.body
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_wrote_into_a_reason_stands_on_the_receipt() {
    let app = stack().await;
    let sku = app.product(1).await;
    let (ann, told) = known(app).await;
    let order = ann.orders(&sku, 1, "pm_card_visa").await;
    let cancel = format!("/v1/orders/{order}/cancel");
    let reason = json!({ "reason": format!("{} has moved", told[1]) });
    let canceled = ann.shop.post(&cancel, &reason).await.must();
    ann.changes("erasure", &json!({})).await.success().unwrap();
    let receipt = app.erasure_is(&ann.id, "completed").await;
    let readable = receipt["readable"].as_array().unwrap();
    let position = canceled.header("Consistency-Token").unwrap();
    assert!(readable.contains(&json!(position)), "{receipt}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_time_is_up_open_orders_keep_nobody() {
    let app = stack().await;
    let sku = app.product(1).await;
    let ann = app.customer().await;
    let order = ann.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    let saga = millrace::up::connection(&app.data, &app.endpoints, "saga");
    let request = UserCommand::RequestErasure {
        erase_by: Utc::now(),
    };
    let ask = Ask {
        context: "user".to_owned(),
        kind: None,
        id: ann.id.parse().unwrap(),
        command: serde_json::to_value(&request).unwrap(),
        meta: CommandMeta::new(Uuid::new_v4(), Utc::now(), "system"),
    };
    let bus = Bus::new(&saga.await.unwrap());
    let answer = bus.ask(&ask, Duration::from_secs(5)).await.unwrap();
    assert!(matches!(answer, Answer::Done { .. }), "{answer:?}");
    app.erasure_is(&ann.id, "completed").await;
    app.order_is(&order, "confirmed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_goes_whose_money_is_still_to_go_back() {
    let app = stack().await;
    let sku = app.product(1).await;
    let (ann, ben) = (app.customer().await, app.customer().await);
    let order = ann.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    let provider = &app.endpoints.payments;
    let down = json!({ "operation": "refund", "effect": "reset", "times": MANY });
    order_fault(provider, &down).await;
    let cancel = format!("/v1/orders/{order}/cancel");
    let why = json!({ "reason": "changed my mind" });
    ann.shop.post(&cancel, &why).await.must();
    app.order_is(&order, "canceled").await;
    ann.changes("erasure", &json!({})).await.success().unwrap();
    each_has_struck(provider, 2).await;
    // Who asked later and waits for nothing is through: that of the first is what is waited for.
    ben.changes("erasure", &json!({})).await.success().unwrap();
    app.erasure_is(&ben.id, "completed").await;
    app.erasure_is(&ann.id, "waiting").await;
    heal(provider).await;
    app.erasure_is(&ann.id, "completed").await;
    let path = format!("/v1/checkouts/{order}");
    let checkout = app.operator().get(&path).await.unwrap();
    assert_eq!(checkout.body["status"], "ended", "{}", checkout.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_was_still_to_be_sent_is_not() {
    let app = stack().await;
    let email = format!("{}@example.com", Uuid::new_v4().simple());
    let (faults, http) = (
        format!("{}/faults", app.endpoints.mail),
        reqwest::Client::new(),
    );
    let away = json!({
        "stage": "rcpt_to", "effect": "reject_4xx", "times": 1_000, "recipient": email,
    });
    let ordered = http.post(&faults).json(&away).send().await.unwrap();
    assert!(ordered.status().is_success());
    let id = app.shop().register(&email, "Ann", PASSWORD).await.unwrap();
    let shop = app.shop().sign_in(&email, PASSWORD).await.unwrap();
    let path = format!("/v1/users/{id}/erasure");
    shop.post(&path, &json!({})).await.must();
    app.erasure_is(&id, "completed").await;
    let path = format!("/v1/notifications?user_id={id}");
    let operator = app.operator();
    let given_up = operator.wait_for("the welcome to be given up", &path, PATIENCE, |list| {
        let items = list["items"].as_array().unwrap();
        !items.is_empty() && items.iter().all(|item| item["status"] == "suppressed")
    });
    given_up.await.unwrap();
    let healed = http.delete(&faults).send().await.unwrap();
    assert!(healed.status().is_success());
    assert!(app.mails(&email).await.is_empty());
}

/// The sealed name in a user's first event.
async fn sealed_name(admin: &Connection, id: &AggregateId) -> Sealed {
    let streams = admin.streams(Settings::default());
    let history = streams.history::<User>(id).await.unwrap();
    let UserEvent::UserRegistered { name, .. } = history[0].decode::<User>().unwrap() else {
        panic!("{}", history[0].event_type);
    };
    name
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_came_back_from_a_backup_is_destroyed_before_anything_is_answered() {
    let mut app = start("erasure-restored").await;
    let ann = app.customer().await;
    let user_id: UserId = ann.id.parse().unwrap();
    let admin = app.admin().await;
    let name = sealed_name(&admin, &user_id.into()).await;
    let subject = format!("key.{user_id}");
    let stream = admin.jetstream().get_stream("KEYS").await.unwrap();
    let backup = stream.get_last_raw_message_by_subject(&subject).await;
    let backup = backup.unwrap().payload;

    ann.changes("erasure", &json!({})).await.success().unwrap();
    app.erasure_is(&ann.id, "completed").await;
    let open = async |connection: &Connection| {
        let keys = app.keys(connection);
        keys.open(&name, purpose::USER_NAME).await.unwrap()
    };
    assert_eq!(open(&admin).await, None);
    let restored = admin.jetstream().publish(subject, backup).await;
    restored.unwrap().await.unwrap();
    assert_eq!(open(&admin).await.as_deref(), Some("Grace Hopper"));
    // A role that may not destroy it knows better than to use it.
    let knowing = app.keys(&admin);
    let learnt = Erasures::new(&admin, &knowing).learn().await;
    assert_eq!(learnt.unwrap(), 1);
    let opened = knowing.open(&name, purpose::USER_NAME).await.unwrap();
    assert_eq!(opened, None);

    app.kill().await;
    app.restart().await;
    let admin = app.admin().await;
    let keys = app.keys(&admin);
    let opened = keys.open(&name, purpose::USER_NAME).await.unwrap();
    assert_eq!(opened, None, "it was ready, and the key was there");
    app.adds_up().await;
    app.stop().await;
}
