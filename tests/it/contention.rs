//! Many at once.

use futures::future::join_all;
use futures::{StreamExt, stream};
use uuid::Uuid;

use crate::app::{Customer, Must, PATIENCE, shared};
use millrace::client::CartLine;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_buyers_of_the_last_unit_one_gets_it_and_no_other_pays() {
    race(1, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_buyers_of_the_last_ten_units_leave_none_and_no_rejected_one_pays() {
    race(10, 50).await;
}

/// How many open an account at once.
const OPEN_AT_ONCE: usize = 8;

/// So many buyers at once of what is left.
async fn race(units: u32, buyers: usize) {
    let app = shared().await;
    let sku = app.product(units).await;
    let opening = (0..buyers).map(|_| app.customer());
    let opening = stream::iter(opening).buffer_unordered(OPEN_AT_ONCE);
    let buyers: Vec<Customer> = opening.collect().await;
    let buys = async |buyer: Customer| (buyer.orders(&sku, 1, "pm_card_visa").await, buyer);
    let orders = join_all(buyers.into_iter().map(buys)).await;

    let settled = |order: &Value| order["status"] == "confirmed" || order["status"] == "rejected";
    let mut confirmed = 0;
    for (order, buyer) in &orders {
        let path = format!("/v1/orders/{order}");
        let read = buyer
            .shop
            .wait_for("an outcome", &path, PATIENCE, settled)
            .await
            .unwrap();
        let captured: i64 = app
            .ledger(order)
            .await
            .iter()
            .map(|entry| entry["captured"].as_i64().unwrap())
            .sum();
        if read.body["status"] == "confirmed" {
            confirmed += 1;
            assert_eq!(captured, 1_299, "{}", read.body);
        } else {
            assert_eq!(captured, 0, "a rejected order was charged: {}", read.body);
            assert_eq!(read.body["reason"], "out_of_stock");
        }
    }
    let units = u64::from(units);
    assert_eq!(confirmed, units, "of {} orders", orders.len());
    app.stock_is(&sku, [units, 0, units]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identical_posts_at_the_same_time_are_one_order_and_one_answer() {
    let app = shared().await;
    let (sku, customer) = (app.product(10).await, app.customer().await);
    let key = Uuid::new_v4().to_string();
    let lines = [CartLine {
        sku: sku.clone(),
        quantity: 1,
    }];
    let answers =
        join_all((0..20).map(|_| customer.shop.place_order(&key, &lines, "pm_card_visa"))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap()).collect();
    let first = answers.first().unwrap();
    for answer in &answers {
        assert_eq!(answer.status.as_u16(), 201, "{}", answer.body);
        assert_eq!(answer.body["id"], first.body["id"]);
        for name in ["Location", "ETag", "Consistency-Token"] {
            assert_eq!(answer.header(name), first.header(name), "{name}");
        }
    }
    let replayed = |a: &&millrace::client::Answer| a.header("Idempotency-Replayed") == Some("true");
    assert_eq!(answers.iter().filter(replayed).count(), answers.len() - 1);
    let order = first.text("/id");
    app.order_is(order, "confirmed").await;
    assert_eq!(app.ledger(order).await.len(), 1);
    app.stock_is(&sku, [10, 0, 1]).await;
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused() {
    let app = shared().await;
    let (sku, customer) = (app.product(10).await, app.customer().await);
    let key = Uuid::new_v4().to_string();
    let one = [CartLine {
        sku: sku.clone(),
        quantity: 1,
    }];
    let two = [CartLine { sku, quantity: 2 }];
    customer
        .shop
        .place_order(&key, &one, "pm_card_visa")
        .await
        .must();
    let other = customer
        .shop
        .place_order(&key, &two, "pm_card_visa")
        .await
        .unwrap();
    assert_eq!(other.status.as_u16(), 422, "{}", other.body);
    assert_eq!(other.body["code"], "idempotency_key_reused");
}
