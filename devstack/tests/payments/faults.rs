//! Faults on order: on either side of the change, for some intents only, a number of times.

use crate::{Provider, SECRET_KEY};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A confirmation by a client that waits 400 ms.
async fn impatient_confirm(provider: &Provider, id: &str) -> Result<u16, reqwest::Error> {
    let path = format!("/v1/payment_intents/{id}/confirm");
    let request = provider.request(&path, &[("payment_method", "pm_card_visa")]);
    let sent = request.timeout(Duration::from_millis(400)).send().await;
    sent.map(|answer| answer.status().as_u16())
}

async fn status(provider: &Provider, id: &str) -> String {
    let intent = provider.retrieve(id).await;
    intent["status"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_timeout_leaves_the_change_undone_before_and_done_after() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    for (when, expected) in [
        ("before", "requires_payment_method"),
        ("after", "requires_capture"),
    ] {
        let id = provider.create("o1").await;
        let fault =
            json!({ "operation": "confirm", "when": when, "effect": "timeout", "times": 1 });
        assert_eq!(provider.fault(fault).await, 201);
        let error = impatient_confirm(&provider, &id).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert_eq!(status(&provider, &id).await, expected);
    }
    provider.stop().await;
}

#[tokio::test]
async fn a_reset_leaves_the_change_undone_before_and_done_after() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    for (when, expected) in [
        ("before", "requires_payment_method"),
        ("after", "requires_capture"),
    ] {
        let id = provider.create("o1").await;
        let fault = json!({ "operation": "confirm", "when": when, "effect": "reset", "times": 1 });
        assert_eq!(provider.fault(fault).await, 201);
        let error = impatient_confirm(&provider, &id).await.unwrap_err();
        assert!(!error.is_timeout(), "{error}");
        assert_eq!(status(&provider, &id).await, expected);
    }
    provider.stop().await;
}

#[tokio::test]
async fn a_late_charge_happens_although_the_client_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let id = provider.create("o1").await;
    let fault = json!({
        "operation": "confirm", "when": "before", "effect": "delay", "delay_ms": 800, "times": 1
    });
    assert_eq!(provider.fault(fault).await, 201);
    let begun = Instant::now();
    let error = impatient_confirm(&provider, &id).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(status(&provider, &id).await, "requires_payment_method");
    while status(&provider, &id).await != "requires_capture" {
        assert!(begun.elapsed() < Duration::from_secs(10), "never charged");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(800));
    provider.stop().await;
}

#[tokio::test]
async fn errors_are_answered_for_each_operation_and_only_as_often_as_ordered() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let id = provider.captured("o1").await;
    let open = provider.create("o2").await;
    let calls = [
        (
            "create",
            "/v1/payment_intents".to_owned(),
            vec![("amount", "5"), ("currency", "eur")],
        ),
        (
            "capture",
            format!("/v1/payment_intents/{id}/capture"),
            vec![],
        ),
        (
            "cancel",
            format!("/v1/payment_intents/{open}/cancel"),
            vec![],
        ),
        (
            "refund",
            "/v1/refunds".to_owned(),
            vec![("payment_intent", id.as_str())],
        ),
    ];
    for (operation, path, form) in &calls {
        for (effect, expected) in [("error_401", 401), ("error_500", 500), ("error_429", 429)] {
            let fault = json!({ "operation": operation, "effect": effect, "times": 2 });
            assert_eq!(provider.fault(fault).await, 201);
            for _ in 0..2 {
                let (status, body) = provider.post(path, form).await;
                assert_eq!(status, expected, "{operation}: {body}");
                assert!(body["error"]["type"].is_string());
            }
        }
        let (status, _) = provider.post(path, form).await;
        assert!(status < 429, "{operation}: {status}");
    }
    for (operation, path) in [
        ("retrieve", format!("/v1/payment_intents/{id}")),
        ("list", "/v1/refunds".to_owned()),
    ] {
        let fault =
            json!({ "operation": operation, "when": "after", "effect": "error_500", "times": 1 });
        assert_eq!(provider.fault(fault).await, 201);
        assert_eq!(provider.get(&path).await.0, 500);
        assert_eq!(provider.get(&path).await.0, 200);
    }
    provider.stop().await;
}

#[tokio::test]
async fn a_key_gives_the_true_answer_after_a_lost_one() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let fault =
        json!({ "operation": "create", "when": "after", "effect": "error_500", "times": 1 });
    assert_eq!(provider.fault(fault).await, 201);
    let form = [("amount", "5"), ("currency", "eur")];
    let request = || {
        let request = provider.request("/v1/payment_intents", &form);
        request.header("Idempotency-Key", "k1").send()
    };
    assert_eq!(request().await.unwrap().status(), 500);
    let again = request().await.unwrap();
    assert_eq!(again.status(), 200);
    assert_eq!(again.headers()["Idempotent-Replayed"], "true");
    assert_eq!(provider.ledger().await.len(), 1);
    provider.stop().await;
}

#[tokio::test]
async fn a_forgotten_key_runs_again() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let id = provider.captured("o1").await;
    let fault =
        json!({ "operation": "refund", "when": "after", "effect": "forget_key", "times": 1 });
    assert_eq!(provider.fault(fault).await, 201);
    let form = [("payment_intent", id.as_str()), ("amount", "5")];
    let request = || {
        let request = provider.request("/v1/refunds", &form);
        request.header("Idempotency-Key", "k1").send()
    };
    assert!(request().await.is_err());
    for replayed in [false, true] {
        let again = request().await.unwrap();
        assert_eq!(again.status(), 200);
        let told = again.headers().contains_key("Idempotent-Replayed");
        assert_eq!(told, replayed);
    }
    assert_eq!(provider.ledger().await[0]["refunded"], 10);
    provider.stop().await;
}

#[tokio::test]
async fn a_fault_strikes_only_intents_with_its_metadata_until_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let fault =
        json!({ "operation": "any", "effect": "error_500", "metadata": { "order_id": "bad" } });
    let bad = provider.create("bad").await;
    assert_eq!(provider.fault(fault).await, 201);
    let good = provider.create("good").await;
    for _ in 0..3 {
        assert_eq!(provider.confirm(&bad, "pm_card_visa").await.0, 500);
    }
    assert_eq!(provider.confirm(&good, "pm_card_visa").await.0, 200);
    let url = format!("{}/faults", provider.http);
    let open = provider.client.get(&url).send().await.unwrap();
    let open: Vec<Value> = open.json().await.unwrap();
    assert_eq!(open[0]["metadata"]["order_id"], "bad");
    assert_eq!(
        provider.client.delete(&url).send().await.unwrap().status(),
        204
    );
    assert_eq!(provider.confirm(&bad, "pm_card_visa").await.0, 200);
    provider.stop().await;
}

#[tokio::test]
async fn a_fault_that_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    for fault in [
        json!({ "operation": "create", "effect": "forged" }),
        json!({ "operation": "webhook", "effect": "timeout" }),
        json!({ "operation": "webhook", "effect": "drop", "when": "after" }),
        json!({ "operation": "create", "effect": "delay" }),
        json!({ "operation": "create", "effect": "reset", "delay_ms": 1 }),
        json!({ "operation": "create", "effect": "reset", "times": 0 }),
        json!({ "operation": "charge", "effect": "reset" }),
        json!({ "operation": "capture", "effect": "forget_key", "when": "after" }),
        json!({ "operation": "refund", "effect": "forget_key" }),
        json!({ "operation": "create", "effect": "reset", "wen": "after" }),
    ] {
        assert_eq!(provider.fault(fault.clone()).await, 422, "{fault}");
    }
    provider.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_held_connection() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let fault = json!({ "operation": "list", "effect": "timeout" });
    assert_eq!(provider.fault(fault).await, 201);
    let url = format!("{}/v1/refunds", provider.http);
    let held = provider.client.get(url).bearer_auth(SECRET_KEY).send();
    let held = tokio::spawn(held);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    provider.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    held.abort();
}
