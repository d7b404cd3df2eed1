//! The four stories, from POST to mail.

use millrace::client::Shop;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{Must, shared};

#[tokio::test]
async fn an_order_is_paid_confirmed_and_told() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(10).await);
    let order = customer.orders(&sku, 2, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    app.told(&order, 1).await;
    app.stock_is(&sku, [10, 0, 2]).await;

    let ledger = app.ledger(&order).await;
    assert_eq!(ledger.len(), 1, "{ledger:?}");
    assert_eq!(ledger[0]["captured"], 2 * 1_299);
    assert_eq!(ledger[0]["refunded"], 0);
    let subjects: Vec<String> = app
        .mails(&customer.email)
        .await
        .into_iter()
        .map(|(_, s)| s)
        .collect();
    assert!(
        subjects.contains(&"Your order is confirmed".to_owned()),
        "{subjects:?}"
    );

    let checkout = customer
        .shop
        .get(&format!("/v1/checkouts/{order}"))
        .await
        .unwrap();
    assert_eq!(checkout.status.as_u16(), 200, "{}", checkout.body);
    assert_eq!(checkout.body["status"], "completed", "{}", checkout.body);
}

#[tokio::test]
async fn a_declined_card_rejects_the_order_and_frees_the_stock() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(5).await);
    let order = customer
        .orders(&sku, 5, "pm_card_chargeDeclinedInsufficientFunds")
        .await;
    let rejected = app.order_is(&order, "rejected").await;
    assert_eq!(rejected["reason"], "insufficient_funds");
    app.told(&order, 1).await;
    app.stock_is(&sku, [5, 0, 0]).await;
    let ledger = app.ledger(&order).await;
    assert_eq!(ledger[0]["captured"], 0, "{ledger:?}");
}

#[tokio::test]
async fn one_of_three_lines_out_of_stock_rejects_all_of_them() {
    let app = shared().await;
    let customer = app.customer().await;
    let (first, second, none) = (
        app.product(5).await,
        app.product(5).await,
        app.product(0).await,
    );
    let lines = [
        (first.as_str(), 1),
        (none.as_str(), 1),
        (second.as_str(), 5),
    ];
    let placed = customer
        .tries(&lines, "pm_card_visa")
        .await
        .success()
        .unwrap();
    let order = placed.text("/id").to_owned();
    let rejected = app.order_is(&order, "rejected").await;
    assert_eq!(rejected["reason"], "out_of_stock");
    app.stock_is(&first, [5, 0, 0]).await;
    app.stock_is(&second, [5, 0, 0]).await;
    app.stock_is(&none, [0, 0, 0]).await;
    assert!(app.ledger(&order).await.is_empty());
}

#[tokio::test]
async fn a_cancellation_after_confirmation_gives_money_and_stock_back() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(3).await);
    let order = customer.orders(&sku, 3, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    let cancel = format!("/v1/orders/{order}/cancel");
    let reason = json!({ "reason": "changed my mind" });
    customer.shop.post(&cancel, &reason).await.must();
    app.told(&order, 3).await;
    app.stock_is(&sku, [3, 0, 0]).await;
    let ledger = app.ledger(&order).await;
    assert_eq!(ledger[0]["captured"], ledger[0]["refunded"], "{ledger:?}");
    assert_eq!(ledger.len(), 1);
    let canceled = app.order_is(&order, "canceled").await;
    assert_eq!(canceled["reason"], "changed my mind");
}

#[tokio::test]
async fn a_cancellation_at_once_keeps_nothing_whatever_it_meets() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(100).await);
    for pause_ms in [0, 2, 5, 10, 20, 40] {
        let order = customer.orders(&sku, 1, "pm_card_visa").await;
        tokio::time::sleep(std::time::Duration::from_millis(pause_ms)).await;
        let cancel = format!("/v1/orders/{order}/cancel");
        let reason = json!({ "reason": "too slow" });
        customer.shop.post(&cancel, &reason).await.must();
        app.order_is(&order, "canceled").await;
        app.stock_is(&sku, [100, 0, 0]).await;
        let path = format!("/v1/checkouts/{order}");
        customer
            .shop
            .wait_for("the checkout's end", &path, crate::app::PATIENCE, |c| {
                c["status"] == "ended"
            })
            .await
            .unwrap();
        for entry in app.ledger(&order).await {
            assert_eq!(entry["captured"], entry["refunded"], "{entry}");
            assert_ne!(
                entry["status"], "requires_capture",
                "money is still held: {entry}"
            );
        }
    }
}

#[tokio::test]
async fn a_shipped_order_takes_its_stock_along_and_ends_the_checkout() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(4).await);
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    let ship = format!("/v1/orders/{order}/ship");
    let tracking = json!({ "tracking": "1Z 999" });
    let refused = customer.shop.post(&ship, &tracking).await.unwrap();
    assert_eq!(refused.status.as_u16(), 403, "{}", refused.body);
    app.operator().post(&ship, &tracking).await.must();
    app.stock_is(&sku, [3, 0, 0]).await;
    app.told(&order, 2).await;
    let cancel = format!("/v1/orders/{order}/cancel");
    let late = customer
        .shop
        .post(&cancel, &json!({ "reason": "late" }))
        .await
        .unwrap();
    assert_eq!(late.status.as_u16(), 409, "{}", late.body);
    assert_eq!(late.body["code"], "order_already_shipped");
}

#[tokio::test]
async fn who_prefers_to_wait_hears_how_what_follows_ended() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(10).await);
    let operator = app.operator();
    let waits = async |shop: &Shop, path: &str, body: &Value| {
        let key = Uuid::new_v4().to_string();
        let headers = [("Prefer", "wait=30"), ("Idempotency-Key", key.as_str())];
        let first = shop.call(Method::POST, path, &headers, Some(body));
        let first = first.await.must();
        assert_eq!(first.header("Preference-Applied"), Some("wait=30"));
        assert_eq!(first.body["checkout_status"], "ended", "{}", first.body);
        // It is over already then.
        let again = shop.call(Method::POST, path, &headers, Some(body));
        let again = again.await.must();
        assert_eq!(again.header("Idempotency-Replayed"), Some("true"));
        assert_eq!(again.body, first.body);
        let saga = app.operator().get(first.text("/checkout")).await.must();
        assert_eq!(saga.body["status"], "ended", "{}", saga.body);
        first
    };
    let canceled = customer.orders(&sku, 2, "pm_card_visa").await;
    app.order_is(&canceled, "confirmed").await;
    let path = format!("/v1/orders/{canceled}/cancel");
    let reason = json!({ "reason": "changed my mind" });
    waits(&customer.shop, &path, &reason).await;
    assert_eq!(app.ledger(&canceled).await[0]["refunded"], 2 * 1_299);

    let order = customer.orders(&sku, 2, "pm_card_visa").await;
    app.delivers(&order).await;
    let returns = format!("/v1/orders/{order}/returns");
    let back = json!({ "lines": [{ "sku": sku, "quantity": 1 }], "reason": "it leaks" });
    let back = customer.shop.post(&returns, &back).await.must();
    let back = format!("{returns}/{}", back.text("/id"));
    let approve = format!("{back}/approve");
    let approved = operator.post(&approve, &json!({})).await.must();
    assert_eq!(
        approved.body.get("checkout"),
        None,
        "nothing follows from it"
    );
    let received = waits(&operator, &format!("{back}/receive"), &json!({})).await;
    assert_eq!(received.body["status"], "received");
    assert_eq!(app.ledger(&order).await[0]["refunded"], 1_299);

    let payment = operator
        .get(&format!("/v1/payments?order_id={order}"))
        .await
        .must();
    let path = format!("/v1/payments/{}/refunds", payment.text("/items/0/id"));
    let some = json!({ "amount": { "amount": 500, "currency": "EUR" }, "reason": "a scratch" });
    waits(&operator, &path, &some).await;
    assert_eq!(app.ledger(&order).await[0]["refunded"], 1_299 + 500);
    let plain = operator.post(&path, &some).await.must();
    assert_eq!(plain.header("Preference-Applied"), None);
    assert!(
        plain
            .text("/checkout")
            .starts_with("/v1/checkouts/refunds/")
    );
}
