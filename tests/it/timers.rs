//! When a checkout is woken, and how long it waits: a timer that got lost, one that rings before its time,
//! one whose trace goes on, and an order that nobody saw to for long.

use std::time::{Duration, Instant};

use async_nats::header::NATS_SCHEDULE_TARGET;
use checkout::{Checkout, CheckoutFact, Item, Stage};
use chrono::{TimeDelta, Utc};
use kernel::{Money, OrderId, UserId};
use rustix::process::Signal;
use serde_json::json;
use streams::RecordedEvent;
use streams::timers::{TimerId, Timers};
use uuid::Uuid;

use crate::app::{App, Must, PATIENCE, becomes, folder};
use crate::revisions::Shop;

/// The order's pending timer.
async fn is_set(app: &App, order: &str) -> bool {
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints)
        .await
        .unwrap();
    let timers = streams::timers::Timers::new(&admin);
    let timer = streams::timers::TimerId {
        saga: "checkout".to_owned(),
        id: order.parse().unwrap(),
    };
    timers.is_pending(&timer).await.unwrap()
}

async fn becomes_set(app: &App, order: &str) {
    let started = Instant::now();
    while !is_set(app, order).await {
        assert!(started.elapsed() < PATIENCE, "no timer");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_timer_is_set_again_at_the_next_start() {
    let mut app = App::start(&folder("lost-timer")).await;
    let sku = app.product(1).await;
    let customer = app.customer().await;
    // It waits for the customer's bank, and no longer than its deadline.
    let order = customer
        .orders(&sku, 1, "pm_card_authenticationRequired")
        .await;
    becomes_set(&app, &order).await;
    app.stock_is(&sku, [1, 1, 0]).await;
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints)
        .await
        .unwrap();
    let stream = admin.jetstream().get_stream("TIMERS").await.unwrap();
    stream.purge().await.unwrap();
    assert!(!is_set(&app, &order).await);
    app.kill().await;
    app.restart().await;
    becomes_set(&app, &order).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_timer_is_set_again_while_the_role_runs() {
    let shop = Shop::open("swept-timer").await;
    let others = sagas::Others::default();
    let role = shop
        .role_with::<checkout::Shop>(others, &["--saga-sweep-s", "1"])
        .await;
    let order = shop.orders().await;
    shop.asks_for_money(order).await;
    let timers = Timers::new(&shop.connection);
    let timer = TimerId {
        saga: "checkout".to_owned(),
        id: order.into(),
    };
    let is_set = async || timers.is_pending(&timer).await.unwrap();
    becomes("the timer is set", is_set).await;
    let stream = shop.connection.jetstream().get_stream("TIMERS").await;
    stream.unwrap().purge().await.unwrap();
    becomes("the timer is set again", is_set).await;
    role.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_nobody_saw_to_for_an_hour_is_confirmed() {
    let shop = Shop::open("long-down").await;
    // Longer ago than stock is held, and than a customer may take at their bank.
    let order = shop.ordered(Utc::now() - TimeDelta::hours(1)).await;
    let role = shop.role::<checkout::Shop>().await;
    shop.authorizes(order).await;
    shop.captures(order).await;
    role.ends().await;
}

/// The first fact of `order`, whose checkout is to wait until long after what a timer can be set to.
fn patient(order_id: OrderId) -> CheckoutFact {
    let now = Utc::now();
    CheckoutFact::OrderPlaced {
        order_id,
        user_id: UserId(Uuid::new_v4()),
        items: vec![Item {
            sku: "MUG".parse().unwrap(),
            quantity: 1,
        }],
        total: Money::new(1_299, "EUR".parse().unwrap()),
        payment_method: "pm_card_visa".parse().unwrap(),
        started_at: now,
        reserved_until: now + TimeDelta::days(60),
        deadline: now + TimeDelta::days(45),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_that_rings_before_its_time_asks_nothing_and_is_set_again() {
    let shop = Shop::open("far-timer").await;
    let order = shop.orders().await;
    let id = order.to_string();
    shop.does::<Checkout>(&id, patient(order), Some(order))
        .await;
    let role = shop.role::<checkout::Shop>().await;
    shop.asks_for_money(order).await;
    let timers = Timers::new(&shop.connection);
    let timer = TimerId {
        saga: "checkout".to_owned(),
        id: id.parse().unwrap(),
    };
    let is_set = async || timers.is_pending(&timer).await.unwrap();
    becomes("the timer is set", is_set).await;
    // Nobody waits 29 days here: it rings as the server would have it ring, and is gone.
    let jetstream = shop.connection.jetstream();
    let stream = jetstream.get_stream("TIMERS").await.unwrap();
    let scheduled = format!("timer.sched.checkout.{id}");
    let scheduled = stream.get_last_raw_message_by_subject(&scheduled).await;
    let headers = scheduled.unwrap().headers;
    let rings = headers.get(NATS_SCHEDULE_TARGET).unwrap().to_string();
    let mut fired = async_nats::HeaderMap::new();
    fired.insert("Millrace-Due", headers.get("Millrace-Due").unwrap().clone());
    timers.cancel(&timer).await.unwrap();
    let ringing = jetstream.publish_with_headers(rings, fired, Vec::new().into());
    ringing.await.unwrap().await.unwrap();
    becomes("the timer is set again", is_set).await;
    shop.is::<Checkout>("still waits", &id, |checkout| {
        checkout.stage() == Some(Stage::Authorizing)
    })
    .await;
    shop.authorizes(order).await;
    shop.captures(order).await;
    role.ends().await;
}

/// Everything that was written about an order.
async fn written(app: &App, order: &str) -> Vec<RecordedEvent> {
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints)
        .await
        .unwrap();
    let mut all = Vec::new();
    for stream in ["ORDER", "INVENTORY", "PAYMENT", "CHECKOUT", "NOTIFICATION"] {
        let mut events = admin.ordered(stream, 0);
        events.start().await.unwrap();
        while !events.caught_up() {
            all.push(events.next().await.unwrap());
        }
    }
    all.retain(|event| event.correlation_id.as_deref() == Some(order));
    all
}

/// The trace that an event belongs to.
fn trace(event: &RecordedEvent) -> Option<&str> {
    event.traceparent.as_deref()?.split('-').nth(1)
}

/// The customer acts at the provider's page, once it is there.
async fn acts(app: &App, order: &str) {
    let provider = millrace::client::Shop::new(&app.endpoints.payments).unwrap();
    becomes("the page", async || {
        let ledger = app.ledger(order).await;
        ledger
            .iter()
            .any(|entry| entry["status"] == "requires_action")
    })
    .await;
    let intent = app.ledger(order).await.remove(0);
    let id = intent["id"].as_str().unwrap();
    let path = format!("/test/payment_intents/{id}/complete_action");
    provider
        .post(&path, &json!({ "succeed": true }))
        .await
        .must();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_an_order_belongs_to_the_trace_of_its_post_also_what_a_timer_or_a_webhook_brings() {
    let app = App::start_with(&folder("traces"), &["--without", "saga"]).await;
    // As long as an order may take to be charged on a busy machine.
    let saga = ["saga", "--authorization-patience-s", "15"];
    let saga = app.role(&saga, "saga.log").await;
    let (customer, sku) = (app.customer().await, app.product(9).await);
    let asks_back = "pm_card_authenticationRequired";
    let charged = customer.orders(&sku, 1, "pm_card_visa").await;
    let acted = customer.orders(&sku, 1, asks_back).await;
    acts(&app, &acted).await;
    let waits = customer.orders(&sku, 1, asks_back).await;
    for (order, status) in [
        (charged, "confirmed"),
        (acted, "confirmed"),
        (waits, "rejected"),
    ] {
        app.order_is(&order, status).await;
        app.told(&order, 1).await;
        let events = written(&app, &order).await;
        let is = |name: &str| events.iter().find(|event| event.event_type == name);
        let posted = is("order_placed").and_then(trace);
        assert!(posted.is_some());
        for event in &events {
            assert_eq!(trace(event), posted, "{status}: {event:?}");
        }
        let timed_out = is("step_timed_out").is_some();
        assert_eq!(timed_out, status == "rejected", "{events:?}");
    }
    saga.stop(Signal::TERM, PATIENCE).await.unwrap();
    app.stop().await;
}
