//! `millrace audit`: silent where all adds up, at work and at rest; and every kind of fault is found, by what
//! does not hold.

use std::collections::BTreeSet;
use std::process::Output;

use millrace::settings::Source;
use projections::Access;
use serde_json::{Value, json};
use streams::Connection;
use tokio::process::Command;
use uuid::Uuid;

use crate::app::{App, Customer, Must, becomes, folder, program};
use crate::projections::login;
use crate::reconcile::behind_our_back;
use crate::servers::sql;
use crate::verify::{headers, put};

async fn audit(app: &App, args: &[&str]) -> Output {
    let data = app.data.to_str().unwrap();
    let args = [&["audit", "--data", data], args].concat();
    Command::new(program()).args(args).output().await.unwrap()
}

/// The report, and whether the command was content.
async fn report(app: &App, args: &[&str]) -> (Value, bool) {
    let output = audit(app, &[&["--json"], args].concat()).await;
    let text = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    (report, output.status.success())
}

/// A cart of one becomes an order of every kind of end.
struct Orders {
    confirmed: String,
    delivered: String,
}

async fn orders_of_every_kind(app: &App, (customer, sku): (&Customer, &str)) -> Orders {
    let confirmed = customer.orders(sku, 2, "pm_card_visa").await;
    let declined = customer.orders(sku, 1, "pm_card_chargeDeclined").await;
    let too_many = customer.orders(sku, 100, "pm_card_visa").await;
    let canceled = customer.orders(sku, 1, "pm_card_visa").await;
    let delivered = customer.orders(sku, 3, "pm_card_visa").await;
    app.order_is(&canceled, "confirmed").await;
    let (path, reason) = (
        format!("/v1/orders/{canceled}/cancel"),
        json!({ "reason": "changed my mind" }),
    );
    customer.shop.post(&path, &reason).await.must();
    app.delivers(&delivered).await;
    let path = format!("/v1/orders/{delivered}/returns");
    let back = json!({ "lines": [{ "sku": sku, "quantity": 1 }], "reason": "too heavy" });
    let asked = customer.shop.post(&path, &back).await.must();
    for step in ["approve", "receive"] {
        let path = format!("{path}/{}/{step}", asked.text("/id"));
        app.operator().post(&path, &json!({})).await.must();
    }
    app.order_is(&confirmed, "confirmed").await;
    app.order_is(&declined, "rejected").await;
    app.order_is(&too_many, "rejected").await;
    Orders {
        confirmed,
        delivered,
    }
}

/// The rules that don't hold, each once.
fn broken(report: &Value) -> BTreeSet<&str> {
    let findings = report["findings"].as_array().unwrap();
    let rules = findings.iter().map(|found| found["rule"].as_str().unwrap());
    rules.collect()
}

/// Whatever an audit finds at a shop at work is a mistake of the audit's.
async fn at_work_it_is_silent(app: &App, (customer, sku): (&Customer, &str)) {
    let shopping = async {
        for _ in 0..10 {
            customer.orders(sku, 1, "pm_card_visa").await;
        }
    };
    let looking = async {
        for _ in 0..3 {
            let (report, content) = report(app, &[]).await;
            assert!(content && report["ok"] == true, "{report:#}");
        }
    };
    tokio::join!(shopping, looking);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_adds_up_is_silent_and_every_kind_of_fault_is_found() {
    let app = App::start(&folder("audit")).await;
    let (customer, sku) = (app.customer().await, app.product(50).await);
    let orders = orders_of_every_kind(&app, (&customer, &sku)).await;
    at_work_it_is_silent(&app, (&customer, &sku)).await;
    becomes("the shop is at rest", async || {
        audit(&app, &["--at-rest"]).await.status.success()
    })
    .await;
    let (clean, _) = report(&app, &["--at-rest"]).await;
    let statuses = json!({ "confirmed": 11, "rejected": 2, "canceled": 1, "delivered": 1 });
    assert_eq!(clean["orders"]["by_status"], statuses, "{clean:#}");
    assert_eq!(clean["orders"]["settled"], 15, "{clean:#}");
    // Two, three, one canceled and ten of one, at the same price; one of the canceled and one of the returned
    // went back.
    let price = clean["money"]["EUR"]["kept"].as_i64().unwrap() / 14;
    let money = json!({ "captured": 16 * price, "refunded": 2 * price, "kept": 14 * price });
    assert_eq!(clean["money"]["EUR"], money);
    assert_eq!(clean["provider"]["captured"], money["captured"]);
    assert_eq!(clean["stock"]["on_hand"], 50 - 3 + 1);
    assert_eq!(clean["stock"]["committed"], 12);
    assert_eq!(clean["mails"]["taken"], clean["mails"]["asked"]);
    assert_eq!(clean["rows"][0]["same"], 15);

    let words = audit(&app, &["--at-rest"]).await;
    let words = String::from_utf8_lossy(&words.stdout).into_owned();
    assert!(words.contains("Everything adds up"), "{words}");
    every_kind_of_fault_is_found(&app, &orders, &sku).await;
    app.stop().await;
}

async fn every_kind_of_fault_is_found(app: &App, orders: &Orders, sku: &str) {
    begun_at_the_provider(app, &orders.delivered, &[]).await;
    let (seen, content) = report(app, &["--at-rest"]).await;
    assert!(content && seen["provider"]["bare"] == 1, "{seen:#}");
    let held = [("capture_method", "manual"), ("confirm", "true")];
    begun_at_the_provider(app, &orders.delivered, &held).await;
    let found = finds(app, &["no money stays held"]).await;
    assert!(found.contains("which holds 1299"), "{found}");

    begun_at_the_provider(app, &orders.confirmed, &[("confirm", "true")]).await;
    let found = finds(app, &["one charge an order", "the ledgers agree"]).await;
    assert!(
        found.contains(&format!("order {}", orders.confirmed)),
        "{found}"
    );

    let connection = as_command_api(app).await;
    let refund = format!(
        r#"{{"refund_id":"{}","amount":{{"amount":1,"currency":"EUR"}}}}"#,
        Uuid::new_v4()
    );
    let order = format!("event.order.{}", orders.delivered);
    forged(&connection, &order, ("order_refunded.v1", &refund)).await;
    finds(app, &["the order knows what went back"]).await;

    let received = r#"{"quantity":1,"stock":{"on_hand":7,"reserved":0,"committed":0}}"#;
    let stock = format!("event.inventory.{sku}");
    forged(&connection, &stock, ("stock_received.v1", received)).await;
    finds(app, &["stock adds up", "every row is what the log says"]).await;

    let writer = login(app, "order", Access::Writer);
    let told =
        "update order_summary set payload = (payload::jsonb || '{\"status\":\"shipped\"}')::json
        where view_id = $1";
    let changed = sql(&writer).await.execute(told, &[&orders.confirmed]).await;
    assert_eq!(changed.unwrap(), 1);
    let found = finds(app, &["every row is what the log says"]).await;
    assert!(found.contains("/status is"), "{found}");

    let sink = format!("{}/messages", app.endpoints.mail);
    let cleared = reqwest::Client::new().delete(sink).send().await.unwrap();
    assert!(cleared.status().is_success());
    finds(app, &["what is sent arrives"]).await;

    let words = audit(app, &[]).await;
    assert!(!words.status.success());
    let words = String::from_utf8_lossy(&words.stdout).into_owned();
    assert!(words.contains("equations do not hold"), "{words}");
}

/// What the audit finds; these rules among it.
async fn finds(app: &App, rules: &[&str]) -> String {
    let (report, content) = report(app, &[]).await;
    let broken = broken(&report);
    assert!(!content && report["ok"] == false, "{report:#}");
    assert!(
        rules.iter().all(|rule| broken.contains(rule)),
        "{rules:?}: {report:#}"
    );
    report.to_string()
}

/// An intent for an order that no payment knows; `more` says what becomes of it.
async fn begun_at_the_provider(app: &App, order_id: &str, more: &[(&str, &str)]) {
    let form = [
        ("amount", "1299"),
        ("currency", "eur"),
        ("payment_method", "pm_card_visa"),
        ("payment_method_types[]", "card"),
        ("metadata[order_id]", order_id),
    ];
    behind_our_back(app, "payment_intents", &[&form, more].concat()).await;
}

async fn as_command_api(app: &App) -> Connection {
    let secrets = devstack::Secrets::load_or_create(&app.data).unwrap();
    let source = Source::Stack(&secrets);
    source
        .connect(&app.endpoints.nats, "command-api")
        .await
        .unwrap()
}

/// An event that nobody's code has made, as the next of its aggregate.
async fn forged(connection: &Connection, subject: &str, (event_type, data): (&str, &str)) {
    let stream = subject.split('.').nth(1).unwrap().to_uppercase();
    let stream = connection.jetstream().get_stream(stream).await.unwrap();
    let last = stream
        .get_last_raw_message_by_subject(subject)
        .await
        .unwrap();
    let version: u64 = last
        .headers
        .get("ce-version")
        .unwrap()
        .as_str()
        .parse()
        .unwrap();
    let headers = headers(event_type, version + 1, Uuid::new_v4());
    put(connection, subject, headers, data.to_owned()).await;
}
