//! Idempotency keys: one execution, its first answer again, and no answer for another request.

use crate::{Answer, Provider, assert_error, parts};
use futures::future::join_all;

const FORM: [(&str, &str); 3] = [
    ("amount", "2000"),
    ("currency", "eur"),
    ("capture_method", "manual"),
];

async fn keyed(
    provider: &Provider,
    path: &str,
    form: &[(&str, &str)],
    key: &str,
) -> (Answer, bool) {
    let request = provider.request(path, form).header("Idempotency-Key", key);
    let answer = request.send().await.unwrap();
    let replayed = answer.headers().get("Idempotent-Replayed");
    let replayed = replayed.is_some_and(|value| value == "true");
    (parts(answer).await, replayed)
}

#[tokio::test]
async fn the_same_request_gets_the_first_answer_again() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let path = "/v1/payment_intents";
    let (first, replayed) = keyed(&provider, path, &FORM, "k1").await;
    assert!(!replayed);
    let id = first.1["id"].as_str().unwrap();
    provider.confirm(id, "pm_card_visa").await;
    let (again, replayed) = keyed(&provider, path, &FORM, "k1").await;
    assert!(replayed);
    assert_eq!(again, first);
    assert_eq!(again.1["status"], "requires_payment_method");
    let ledger = provider.ledger().await;
    assert_eq!(ledger.len(), 1);
    assert_eq!(ledger[0]["calls"]["create"], 2);
    let (other, _) = keyed(&provider, path, &FORM, "k2").await;
    assert_ne!(other.1["id"], first.1["id"]);
    provider.stop().await;
}

#[tokio::test]
async fn the_same_key_with_other_parameters_or_path_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let (first, _) = keyed(&provider, "/v1/payment_intents", &FORM, "k1").await;
    let id = first.1["id"].as_str().unwrap();
    let more = [("amount", "2001"), ("currency", "eur")];
    let confirm = format!("/v1/payment_intents/{id}/confirm");
    for (path, form) in [
        ("/v1/payment_intents", &more[..]),
        (&confirm, &[("payment_method", "pm_card_visa")]),
    ] {
        let ((status, body), _) = keyed(&provider, path, form, "k1").await;
        assert_eq!(status, 400);
        assert_eq!(body["error"]["type"], "idempotency_error", "{body}");
    }
    assert_eq!(provider.ledger().await.len(), 1);
    provider.stop().await;
}

#[tokio::test]
async fn an_error_of_an_execution_is_replayed_and_a_refused_parameter_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let id = provider.create("o1").await;
    let confirm = format!("/v1/payment_intents/{id}/confirm");
    let declining = [("payment_method", "pm_card_chargeDeclined")];
    let (first, _) = keyed(&provider, &confirm, &declining, "k1").await;
    assert_error(&first, 402, "card_error", "card_declined");
    provider.confirm(&id, "pm_card_visa").await;
    let (again, replayed) = keyed(&provider, &confirm, &declining, "k1").await;
    assert!(replayed);
    assert_eq!(again, first);
    let (refused, _) = keyed(&provider, "/v1/payment_intents", &FORM[1..], "k2").await;
    assert_error(&refused, 400, "invalid_request_error", "parameter_missing");
    let (repaired, replayed) = keyed(&provider, "/v1/payment_intents", &FORM, "k2").await;
    assert_eq!(repaired.0, 200);
    assert!(!replayed);
    provider.stop().await;
}

#[tokio::test]
async fn of_many_concurrent_requests_with_one_key_one_runs() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let racers = (0..20).map(|_| keyed(&provider, "/v1/payment_intents", &FORM, "k1"));
    let answers = join_all(racers).await;
    assert_eq!(provider.ledger().await.len(), 1);
    let firsts = answers
        .iter()
        .filter(|((status, _), replayed)| *status == 200 && !replayed);
    assert_eq!(firsts.count(), 1);
    for ((status, body), replayed) in answers {
        assert!(status == 200 || status == 409, "{status} {replayed} {body}");
    }
    provider.stop().await;
}

#[tokio::test]
async fn a_key_whose_first_request_still_runs_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::start(folder.path()).await;
    let fault = serde_json::json!({
        "operation": "create", "when": "before", "effect": "delay", "delay_ms": 600, "times": 1
    });
    assert_eq!(provider.fault(fault).await, 201);
    let path = "/v1/payment_intents";
    let first = keyed(&provider, path, &FORM, "k1");
    let second = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        keyed(&provider, path, &FORM, "k1").await
    };
    let ((first, _), (second, _)) = tokio::join!(first, second);
    assert_eq!(first.0, 200);
    let code = "idempotency_key_in_use";
    assert_error(&second, 409, "idempotency_error", code);
    let (third, replayed) = keyed(&provider, path, &FORM, "k1").await;
    assert!(replayed);
    assert_eq!(third, first);
    provider.stop().await;
}
