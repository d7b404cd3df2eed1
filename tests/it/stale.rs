//! Two command-api processes with warm caches: a refusal decided on stale state never gets out, and what
//! the client has seen at one holds at the other.

use std::time::Duration;

use devstack::launch::Signal;
use millrace::client::{CartLine, cart};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{Must, shared};

#[tokio::test]
async fn neither_a_refusal_nor_an_already_true_is_answered_from_a_stale_cache() {
    let app = shared().await;
    let (second, child) = app.command_api(&[]).await;
    let second = second.with_token(&millrace::token::operator(&app.data).unwrap());
    let first = app.operator();
    let sku = app.product(0).await;
    let adjust = format!("/v1/inventory/{sku}/adjust");
    let receive = format!("/v1/inventory/{sku}/receive");
    for round in 0..20 {
        // The first process has just seen that nothing is there …
        let refused = first
            .post(&adjust, &json!({ "delta": -1, "reason": "broken" }))
            .await
            .unwrap();
        assert_eq!(
            refused.status.as_u16(),
            409,
            "round {round}: {}",
            refused.body
        );
        // … then the second one receives, and the first must notice before it refuses again.
        second
            .post(&receive, &json!({ "quantity": 1 }))
            .await
            .must();
        first
            .post(&adjust, &json!({ "delta": -1, "reason": "broken" }))
            .await
            .must();
        // "Already published" is as stale as a refusal when the other one unpublished.
        let unpublish = format!("/v1/products/{sku}/unpublish");
        let publish = format!("/v1/products/{sku}/publish");
        second.post(&unpublish, &json!({})).await.must();
        let published = first.post(&publish, &json!({})).await.must();
        let token = published.header("Consistency-Token").unwrap().to_owned();
        let product = app
            .shop()
            .get_after(&format!("/v1/products/{sku}"), &token)
            .await
            .unwrap();
        assert_eq!(
            product.status.as_u16(),
            200,
            "round {round}: {}",
            product.body
        );
    }
    child
        .stop(Signal::TERM, Duration::from_secs(30))
        .await
        .unwrap();
}

/// Writes at one process that are followed at once by an order at the other: some of them before it has
/// heard.
const ROUNDS: i64 = 20;

#[tokio::test]
async fn an_order_costs_what_its_buyer_has_seen_and_who_was_seen_suspended_places_none() {
    let app = shared().await;
    let (second, child) = app.command_api(&[]).await;
    let (customer, sku) = (app.customer().await, app.product(100).await);
    let buyer = second.with_token(customer.shop.token().unwrap());
    let body = cart(
        &[CartLine {
            sku: sku.clone(),
            quantity: 1,
        }],
        "pm_card_visa",
    );
    let order = async |seen: &str| {
        let key = Uuid::new_v4().to_string();
        let headers = [
            ("idempotency-key", key.as_str()),
            ("consistency-token", seen),
        ];
        let call = buyer.call(Method::POST, "/v1/orders", &headers, Some(&body));
        call.await.unwrap()
    };
    let written = async |path: &str, body: Value| {
        let done = app.operator().post(path, &body).await.must();
        done.header("Consistency-Token").unwrap().to_owned()
    };
    for price in 1..=ROUNDS {
        let amount = json!({ "price": { "amount": price, "currency": "EUR" } });
        let seen = written(&format!("/v1/products/{sku}/price"), amount).await;
        let placed = order(&seen).await;
        assert_eq!(placed.status, 201, "{}", placed.body);
        assert_eq!(placed.body["total"]["amount"], price, "{}", placed.body);
    }
    let suspend = format!("/v1/users/{}/suspend", customer.id);
    let seen = written(&suspend, json!({ "reason": "fraud" })).await;
    let refused = order(&seen).await;
    // Who has heard of it already takes no token of theirs any more.
    let told = (refused.status.as_u16(), refused.text("/code"));
    let known = [(403, "user_suspended"), (401, "token_invalid")];
    assert!(known.contains(&told), "{}", refused.body);
    child
        .stop(Signal::TERM, Duration::from_secs(30))
        .await
        .unwrap();
}
