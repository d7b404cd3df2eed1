//! kill −9 of the whole process between any two steps: after a restart the order is finished,
//! charged once and told once.

use std::time::Duration;

use streams::Connection;

use crate::app::{App, Must, PATIENCE, folder};

/// After which event the process is killed: every one of a confirmed one-line order's.
const STEPS: [(&str, &str, usize); 16] = [
    ("ORDER", "order_placed", 1),
    ("CHECKOUT", "checkout_started", 1),
    ("INVENTORY", "stock_reserved", 1),
    ("CHECKOUT", "step_succeeded", 1),
    ("PAYMENT", "payment_requested", 1),
    ("PAYMENT", "provider_intent_created", 1),
    ("PAYMENT", "payment_authorized", 1),
    ("CHECKOUT", "step_succeeded", 2),
    ("INVENTORY", "reservation_committed", 1),
    ("CHECKOUT", "step_succeeded", 3),
    ("PAYMENT", "capture_requested", 1),
    ("PAYMENT", "payment_captured", 1),
    ("CHECKOUT", "step_succeeded", 4),
    ("ORDER", "order_confirmed", 1),
    ("CHECKOUT", "checkout_completed", 1),
    ("NOTIFICATION", "notification_requested", 1),
];

/// Longest wait for the event to kill at: it comes within milliseconds.
pub(crate) const WATCH_LIMIT: Duration = Duration::from_secs(30);

/// Follows `stream` behind `after` until the `nth` event of `event_type` in the flow of `order`.
pub(crate) async fn seen(
    connection: &Connection,
    (stream, after): (&str, u64),
    order: &str,
    (event_type, nth): (&str, usize),
) {
    let mut subscription = connection.ordered(stream, after);
    let mut count = 0;
    while count < nth {
        let event = subscription.next().await.unwrap();
        let of_order = event.correlation_id.as_deref() == Some(order);
        if of_order && event.event_type == event_type {
            count += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_survives_a_kill_after_each_of_its_events() {
    let mut app = App::start(&folder("kill")).await;
    let sku = app.product(100).await;
    let mut orders = Vec::new();
    for (stream, event_type, nth) in STEPS {
        let connection = millrace::up::operator_connection(&app.data, &app.endpoints)
            .await
            .unwrap();
        let streams = connection.streams(streams::Settings::default());
        let after = streams.stream_state(stream).await.unwrap().last;
        // The answer may be lost with the process: the key finds the order again.
        let customer = app.customer().await;
        let key = uuid::Uuid::new_v4().to_string();
        let order = customer.order_id(&key);
        let watch = seen(&connection, (stream, after), &order, (event_type, nth));
        let lines = [millrace::client::CartLine {
            sku: sku.clone(),
            quantity: 1,
        }];
        let post = customer.shop.place_order(&key, &lines, "pm_card_visa");
        let (watched, _) = tokio::join!(tokio::time::timeout(WATCH_LIMIT, watch), post);
        watched.unwrap_or_else(|_| panic!("{event_type} #{nth} did not come"));
        app.kill().await;
        app.restart().await;
        let shop = app
            .shop()
            .sign_in(&customer.email, crate::app::PASSWORD)
            .await
            .unwrap();
        let again = shop.place_order(&key, &lines, "pm_card_visa").await.must();
        assert_eq!(again.text("/id"), order, "an id follows from its key");
        // What comes next is the next order's.
        app.order_is(&order, "confirmed").await;
        app.told(&order, 1).await;
        orders.push((order, customer.email, event_type));
    }
    for (order, email, event_type) in &orders {
        let ledger = app.ledger(order).await;
        let captured: Vec<_> = ledger.iter().filter(|e| e["captured"] != 0).collect();
        assert_eq!(captured.len(), 1, "killed after {event_type}: {ledger:?}");
        assert_eq!(captured[0]["captured"], 1_299);
        let told: Vec<_> = app.mails(email).await;
        let confirmed = told
            .iter()
            .filter(|(_, s)| s == "Your order is confirmed")
            .count();
        assert_eq!(confirmed, 1, "killed after {event_type}: {told:?}");
    }
    let sold = orders.len() as u64;
    app.stock_is(&sku, [100, 0, sold]).await;
    app.adds_up().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_up_on_the_same_data_says_who_holds_it() {
    let app = crate::app::shared().await;
    let output = std::process::Command::new(crate::app::program())
        .args(["up", "--port", "0", "--data"])
        .arg(&app.data)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(&app.endpoints.entry) && said.contains("process"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_end_with_a_killed_process() {
    let app = App::start(&folder("orphans")).await;
    let nats = app.endpoints.nats.trim_start_matches("nats://").to_owned();
    let postgres = app.endpoints.postgres.clone();
    app.kill().await;
    let started = std::time::Instant::now();
    for address in [nats, postgres] {
        while std::net::TcpStream::connect(&address).is_ok() {
            assert!(started.elapsed() < PATIENCE, "{address} still listens");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
