//! What was answered survives a crash.

use crate::{Provider, as_after_a_crash, parts};
use devstack::payments;
use reqwest::Response;
use serde_json::json;

async fn create(provider: &Provider, key: &str) -> Response {
    let form = [("amount", "900"), ("currency", "eur")];
    let request = provider.request("/v1/payment_intents", &form);
    let request = request.header("Idempotency-Key", key);
    request.send().await.unwrap()
}

#[tokio::test]
async fn intents_refunds_keys_and_counts_are_there_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("payments");
    let provider = Provider::start(&data).await;
    let id = provider.captured("o1").await;
    let form = [("payment_intent", id.as_str()), ("amount", "300")];
    let (_, refund) = provider.post("/v1/refunds", &form).await;
    let first = parts(create(&provider, "k1").await).await;
    let intent = provider.retrieve(&id).await;
    let ledger = provider.ledger().await;
    let crashed = as_after_a_crash(&data, folder.path());
    provider.stop().await;

    for data in [crashed, data] {
        let provider = Provider::start(&data).await;
        assert_eq!(provider.ledger().await, ledger);
        assert_eq!(provider.retrieve(&id).await, intent);
        let path = format!("/v1/refunds/{}", refund["id"].as_str().unwrap());
        assert_eq!(provider.get(&path).await, (200, refund.clone()));
        let again = create(&provider, "k1").await;
        assert_eq!(again.headers()["Idempotent-Replayed"], "true");
        assert_eq!(parts(again).await, first);
        let form = [("payment_intent", id.as_str()), ("amount", "1701")];
        assert_eq!(provider.post("/v1/refunds", &form).await.0, 400);
        provider.stop().await;
    }
}

#[tokio::test]
async fn a_torn_line_is_forgotten_and_a_damaged_one_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let id = provider.create("o1").await;
    provider.stop().await;
    let path = folder.path().join("ledger.jsonl");
    let written = std::fs::read(&path).unwrap();

    let torn = [&written[..], b"{\"at\":1,\"intent\":{\"id"].concat();
    std::fs::write(&path, torn).unwrap();
    let provider = Provider::start(folder.path()).await;
    assert_eq!(json!(provider.ledger().await[0]["id"]), id.as_str());
    provider.stop().await;

    let damaged = [b"not a record\n", &written[..]].concat();
    std::fs::write(&path, damaged).unwrap();
    let provider = Provider::start(folder.path()).await;
    let error = provider.running.await.unwrap().unwrap_err();
    assert!(matches!(
        error,
        payments::Error::Ledger(payments::JournalError::Corrupt { line: 1, .. })
    ));
}
