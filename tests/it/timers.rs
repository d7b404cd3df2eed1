//! A checkout whose timer got lost is woken all the same.

use std::time::{Duration, Instant};

use crate::app::{App, PATIENCE, folder};

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
