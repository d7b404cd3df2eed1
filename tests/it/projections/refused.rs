//! Postgres that lets nobody of one context in: reads of it wait, and nothing else does.

use projections::Access;
use serde_json::json;
use tokio_postgres::Client;

use crate::app::{Must, PATIENCE, becomes};
use crate::servers::Servers;

const CONTEXT: &str = "inventory";

/// How many connections the writer and the reader of [`CONTEXT`] may have; none of those that they had is left.
async fn allow(admin: &Client, connections: i32) {
    for access in Access::ALL {
        let role = access.role(CONTEXT);
        let limit = format!("alter role {role} connection limit {connections}");
        admin.batch_execute(&limit).await.unwrap();
        let ends = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1";
        admin.query(ends, &[&role]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_context_without_a_connection_left_refuses_its_reads_alone_and_then_catches_up() {
    let servers = Servers::start("postgres-full").await;
    let projector = servers.role(&["projector"]).await;
    let ((writes, _commands), (reads, _queries)) =
        tokio::join!(servers.api("command-api"), servers.api("query-api"));
    let (entry, _gateway) = servers.api("gateway").await;
    writes.stock_product("TEA-1", "Tea", 500, 1).await.unwrap();
    let (stock, product) = ("/v1/inventory/TEA-1", "/v1/products/TEA-1");
    for path in [stock, product] {
        let shown = reads.wait_for("a row", path, PATIENCE, |row| row["version"] == 2);
        shown.await.unwrap();
    }

    let admin = servers.sql("postgres").await;
    allow(&admin, 0).await;
    let receive = format!("{stock}/receive");
    let mut token = String::new();
    for _ in 0..3 {
        let written = entry.post(&receive, &json!({ "quantity": 1 })).await.must();
        token = written.header("Consistency-Token").unwrap().to_owned();
        for shop in [&reads, &entry] {
            let refused = shop.get(stock).await.unwrap();
            assert_eq!(refused.status, 503, "{}", refused.body);
            assert_eq!(refused.text("/code"), "unavailable");
            assert!(refused.header("Retry-After").is_some());
        }
    }
    // The others' views take in what is new, and it is read.
    let price = json!({ "price": { "amount": 600, "currency": "EUR" } });
    let set = entry.post(&format!("{product}/price"), &price).await.must();
    let set = set.header("Consistency-Token").unwrap();
    for shop in [&reads, &entry] {
        let read = shop.get_after(product, set).await.must();
        assert_eq!(read.body["price"]["amount"], 600, "{}", read.body);
    }
    assert!(projector.exited().is_none());

    allow(&admin, -1).await;
    becomes("the stock, caught up", async || {
        let read = reads.get_after(stock, &token).await.unwrap();
        assert!([200, 503].contains(&read.status.as_u16()), "{}", read.body);
        read.status == 200 && read.body["on_hand"] == 4
    })
    .await;
    assert!(projector.exited().is_none());
}
