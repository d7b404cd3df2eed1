//! How far a view is behind is told, whoever is dead.

use std::time::Duration;

use devstack::launch::Signal;
use millrace::client::Shop;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::app::{Must, PATIENCE};
use crate::servers::Servers;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// What the operator is told of the stock's view, once it is as wanted.
async fn told(queries: &Shop, wanted: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let lag = queries.get("/v1/system/lag").await.must();
        let views = lag.body["views"].as_array().unwrap();
        let stock = views
            .iter()
            .find(|view| view["view"] == "stock_level")
            .unwrap();
        if wanted(stock) {
            return stock.clone();
        }
        assert!(started.elapsed() < PATIENCE, "{stock}");
        sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_does_not_move_while_events_arrive_is_told_and_kills_nobody() {
    let servers = Servers::start("lag").await;
    let projector = servers.role(&["projector"]).await;
    let ((writes, _commands), (reads, _queries)) =
        tokio::join!(servers.api("command-api"), servers.api("query-api"));
    writes.stock_product("TEA-1", "Tea", 500, 1).await.unwrap();
    told(&reads, |stock| {
        stock["position"] == 2 && stock["behind"] == 0
    })
    .await;
    projector.stop(Signal::TERM, PATIENCE).await.unwrap();

    for _ in 0..3 {
        let body = json!({ "quantity": 1 });
        let received = writes.post("/v1/inventory/TEA-1/receive", &body).await;
        received.must();
    }
    let behind = told(&reads, |stock| stock["behind"] == 3).await;
    assert_eq!(
        (&behind["end"], &behind["stalled"]),
        (&json!(5), &json!(false))
    );
    let stalled = told(&reads, |stock| stock["stalled"] == true).await;
    assert!(stalled["behind_s"].as_f64().unwrap() >= 10.0, "{stalled}");
    // Shown everywhere, and no reason to take the API out.
    let probe = reads.get("/readyz").await.must().body;
    let views = probe["views"].as_array().unwrap();
    assert!(views.iter().any(|view| view["stalled"] == true), "{probe}");
    let stalls = "view_stalled{view=\"stock_level\"} 1";
    metrics_say(&reads, &[stalls, "view_lag_events{view=\"stock_level\"} 3"]).await;
    let customer = millrace::token::customer(&servers.data, &uuid::Uuid::new_v4().to_string());
    let customer = reads.with_token(&customer.unwrap());
    assert_eq!(customer.get("/v1/system/lag").await.unwrap().status, 403);

    let _projector = servers.role(&["projector"]).await;
    let well = told(&reads, |stock| stock["behind"] == 0).await;
    assert_eq!(well["stalled"], false);
    metrics_say(&reads, &["view_stalled{view=\"stock_level\"} 0"]).await;
}

/// Waits until `/metrics` holds these lines.
pub(super) async fn metrics_say(queries: &Shop, lines: &[&str]) {
    let started = Instant::now();
    loop {
        let page = queries
            .open("/metrics", &[])
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        if lines
            .iter()
            .all(|line| page.lines().any(|said| said == *line))
        {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{page}");
        sleep(LOOK).await;
    }
}
