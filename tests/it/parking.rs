//! An event that nobody can handle: its order waits, others go on, a person decides.

use std::process::Command;
use std::time::{Duration, SystemTime};

use millrace::client::Shop;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{App, Must, PATIENCE, becomes, folder, is_separate, program};
use crate::stuck::rings;

/// In whose trace the event is that nobody can handle.
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Runs `millrace parked` on this stack; what it printed, an object a line.
fn parked(app: &App, args: &[&str]) -> Vec<Value> {
    let output = Command::new(program())
        .arg("parked")
        .args(args)
        .arg("--json")
        .arg("--data")
        .arg(&app.data)
        .output()
        .unwrap();
    let (out, err) = (output.stdout, output.stderr);
    let said = String::from_utf8_lossy(&err);
    assert!(output.status.success(), "{args:?}: {said}");
    let lines = String::from_utf8(out).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Puts an event of a type that nobody knows into the flow of an order, with admin rights.
pub(crate) async fn poison(app: &App, order: &str) {
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints)
        .await
        .unwrap();
    let payment = Uuid::new_v4().to_string();
    let id = Uuid::new_v4().to_string();
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in [
        ("ce-id", id.as_str()),
        ("ce-type", "millrace.payment_teleported.v1"),
        ("ce-version", "1"),
        ("ce-time", "2026-01-01T00:00:00Z"),
        ("ce-commandid", id.as_str()),
        ("ce-actor", "system"),
        ("ce-correlationid", order),
        ("traceparent", TRACE),
    ] {
        headers.insert(name, value);
    }
    let subject = format!("event.payment.{payment}");
    let sent = admin
        .jetstream()
        .publish_with_headers(subject, headers, "{}".into());
    sent.await.unwrap().await.unwrap();
}

/// The same as an operator reads it over HTTP.
async fn parked_over_http(app: &App) -> Value {
    let answer = app.operator().get("/v1/system/parked").await.must();
    assert_eq!(
        answer.body["total"],
        answer.body["items"].as_array().unwrap().len()
    );
    answer.body["items"].clone()
}

/// Waits until `subscription` has `count` events of the order parked.
async fn waits(app: &App, subscription: &str, order: &str, count: u64) {
    let started = std::time::Instant::now();
    let id = format!("{subscription}/{order}");
    loop {
        let all = parked(app, &["list"]);
        let found = all.iter().find(|parked| parked["id"] == id.as_str());
        if found.is_some_and(|parked| parked["waiting"] == count) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{id} #{count}: {all:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn refunded(app: &App, order: &str) -> i64 {
    let ledger = app.ledger(order).await;
    let entries = ledger.iter().filter_map(|entry| entry["refunded"].as_i64());
    entries.sum()
}

/// What `/v1/system/topology` tells before and after a durable is taken away, and what rings for that and for one that
/// is paused.
async fn a_durable_that_is_missing_is_named(app: &App) {
    let compared = async || {
        let answer = app.operator().get("/v1/system/topology").await.must();
        answer.body
    };
    let before = compared().await;
    assert_eq!(before["as_declared"], true, "{before}");
    assert!(before["durables"].as_u64() > Some(5), "{before}");
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints);
    let user = admin.await.unwrap().jetstream().get_stream("USER").await;
    let user = user.unwrap();
    user.delete_consumer("welcome").await.unwrap();
    let after = compared().await;
    assert_eq!(after["as_declared"], false, "{after}");
    assert_eq!(after["missing"], "durable welcome on USER", "{after}");
    let tomorrow = SystemTime::now() + Duration::from_hours(24);
    user.pause_consumer("eraser", tomorrow.into())
        .await
        .unwrap();
    // A command API tells what differs, a reactor how long it has failed; `up` is both.
    let commands = Shop::new(&app.endpoints.command_api).unwrap();
    becomes("what differs rings", async || {
        let page = commands.open("/metrics", &[]).await.unwrap();
        let page = page.text().await.unwrap();
        let tells = |line: &str| page.lines().any(|told| told == line);
        tells(r#"streams_durable_differs{durable="welcome"} 1"#)
            && tells(r#"streams_durable_differs{durable="eraser"} 1"#)
            && tells(r#"streams_durable_differs{durable="mailer"} 0"#)
            && (is_separate() || tells(r#"streams_failing_seconds{durable="mailer"} 0"#))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_order_waits_for_a_person_while_others_go_on() {
    let mut app = App::start(&folder("poisoned")).await;
    let sku = app.product(10).await;
    let customer = app.customer().await;
    let poisoned = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&poisoned, "confirmed").await;

    poison(&app, &poisoned).await;
    waits(&app, "checkout-payment", &poisoned, 1).await;
    waits(&app, "payment-reactor", &poisoned, 1).await;
    rings(&app, "streams_parked_keys").await;
    // What is parked is known after a crash too: the refund must not overtake.
    app.kill().await;
    app.restart().await;
    let customer = crate::app::Customer {
        shop: app
            .shop()
            .sign_in(&customer.email, crate::app::PASSWORD)
            .await
            .unwrap(),
        ..customer
    };
    let cancel = format!("/v1/orders/{poisoned}/cancel");
    let reason = json!({ "reason": "changed my mind" });
    customer.shop.post(&cancel, &reason).await.must();
    waits(&app, "payment-reactor", &poisoned, 2).await;
    let listed = parked(&app, &["list"]);
    assert_eq!(parked_over_http(&app).await, json!(listed));
    let other = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&other, "confirmed").await;
    assert_eq!(refunded(&app, &poisoned).await, 0);

    for subscription in ["payment-reactor", "checkout-payment"] {
        let reason = ["--reason", "published by hand", "--by", "ada"];
        let skip = ["skip", subscription, &poisoned];
        parked(&app, &[&skip[..], &reason[..]].concat());
    }
    let started = std::time::Instant::now();
    while refunded(&app, &poisoned).await != 1_299 {
        assert!(started.elapsed() < PATIENCE, "no refund");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    app.stock_is(&sku, [10, 0, 1]).await;
    assert!(parked(&app, &["list"]).is_empty());
    let id = format!("payment-reactor/{poisoned}");
    let history = parked(&app, &["show", &id]);
    assert_eq!(history[0]["traceparent"], TRACE, "{history:?}");
    let skipped = history.iter().find(|record| record["record"] == "skip");
    let skipped = skipped.unwrap();
    assert_eq!(skipped["by"], "ada");
    assert_eq!(skipped["reason"], "published by hand");
    assert_eq!(parked_over_http(&app).await, json!([]));
    a_durable_that_is_missing_is_named(&app).await;
    app.kill().await;
}
