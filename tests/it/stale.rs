//! Two command-api processes with warm caches: a refusal decided on stale state never gets out.

use std::time::Duration;

use devstack::launch::Signal;
use serde_json::json;

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
