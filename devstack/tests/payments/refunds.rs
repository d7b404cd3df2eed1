//! Refunds: never more than was captured, whoever asks and how often.

use crate::{Provider, assert_error, assert_unexpected_state};
use serde_json::Value;

async fn refund(provider: &Provider, id: &str, amount: &str) -> crate::Answer {
    let form = [
        ("payment_intent", id),
        ("amount", amount),
        ("metadata[refund_id]", "r1"),
    ];
    provider.post("/v1/refunds", &form).await
}

#[tokio::test]
async fn money_is_given_back_up_to_what_was_captured() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let id = provider.captured("o1").await;
    let (status, first) = refund(&provider, &id, "1500").await;
    assert_eq!(status, 200, "{first}");
    assert_eq!(first["object"], "refund");
    assert_eq!(first["amount"], 1500);
    assert_eq!(first["status"], "succeeded");
    assert_eq!(first["payment_intent"], id.as_str());
    assert_eq!(first["metadata"]["refund_id"], "r1");
    let refused = refund(&provider, &id, "501").await;
    assert_error(&refused, 400, "invalid_request_error", "amount_too_large");
    let form = [("payment_intent", id.as_str())];
    let (_, rest) = provider.post("/v1/refunds", &form).await;
    assert_eq!(rest["amount"], 500);
    let refused = refund(&provider, &id, "1").await;
    let code = "charge_already_refunded";
    assert_error(&refused, 400, "invalid_request_error", code);

    let path = format!("/v1/refunds/{}", first["id"].as_str().unwrap());
    assert_eq!(provider.get(&path).await, (200, first.clone()));
    let other = provider.captured("o2").await;
    refund(&provider, &other, "1").await;
    let (_, list) = provider
        .get(&format!("/v1/refunds?payment_intent={id}"))
        .await;
    assert_eq!(list["data"], Value::from(vec![rest, first]));
    provider.stop().await;
}

#[tokio::test]
async fn nothing_is_given_back_that_was_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let id = provider.create("o1").await;
    let refused = refund(&provider, &id, "1").await;
    assert_unexpected_state(&refused, "requires_payment_method");
    provider.confirm(&id, "pm_card_visa").await;
    let refused = refund(&provider, &id, "1").await;
    assert_unexpected_state(&refused, "requires_capture");
    let refused = refund(&provider, "pi_none", "1").await;
    assert_error(&refused, 400, "invalid_request_error", "resource_missing");
    let refused = provider.get("/v1/refunds/re_none").await;
    assert_error(&refused, 404, "invalid_request_error", "resource_missing");
    provider.stop().await;
}

#[tokio::test]
async fn refunds_that_race_never_exceed_the_capture() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let id = provider.captured("o1").await;
    let racers = (0..10).map(|_| refund(&provider, &id, "700"));
    let answers = futures::future::join_all(racers).await;
    let done = answers.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(done, 2);
    assert_eq!(provider.ledger().await[0]["refunded"], 1400);
    provider.stop().await;
}
