//! Webhooks: what is told, signed how, in which order, and how often.

use crate::Provider;
use crate::shop::Shop;
use devstack::payments::{self, Webhook};
use serde_json::json;
use std::time::{Duration, Instant};

const CAPTURABLE: &str = "payment_intent.amount_capturable_updated";
const SUCCEEDED: &str = "payment_intent.succeeded";

#[tokio::test]
async fn every_change_is_told_signed_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (shop, webhook) = Shop::open(0).await;
    let provider = Provider::start_with(folder.path(), Some(webhook)).await;
    let id = provider.create("o1").await;
    provider.confirm(&id, "pm_card_chargeDeclined").await;
    provider
        .confirm(&id, "pm_card_authenticationRequired")
        .await;
    provider.complete_action(&id, true).await;
    provider.act(&id, "capture", &[]).await;
    provider.act(&id, "capture", &[]).await;
    let form = [("payment_intent", id.as_str()), ("amount", "5")];
    provider.post("/v1/refunds", &form).await;
    shop.received(5).await;
    let expected = [
        "payment_intent.payment_failed",
        "payment_intent.requires_action",
        CAPTURABLE,
        SUCCEEDED,
        "charge.refunded",
    ];
    assert_eq!(shop.types(), expected);
    let events = shop.seen();
    assert!(events.iter().all(|delivery| delivery.genuine));
    let succeeded = &events[3].event;
    assert!(succeeded["id"].as_str().unwrap().starts_with("evt_"));
    assert_eq!(succeeded["object"], "event");
    let object = &succeeded["data"]["object"];
    assert_eq!(object["id"], id.as_str());
    assert_eq!(object["amount_received"], 2000);
    let charge = &events[4].event["data"]["object"];
    assert_eq!(charge["payment_intent"], id.as_str());
    assert_eq!(charge["amount_refunded"], 5);

    let id = provider.create("o2").await;
    provider.act(&id, "cancel", &[]).await;
    let events = shop.received(6).await;
    assert_eq!(events[5].event["type"], "payment_intent.canceled");
    provider.stop().await;
}

#[tokio::test]
async fn an_event_that_is_not_taken_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let (shop, webhook) = Shop::open(2).await;
    let provider = Provider::start_with(folder.path(), Some(webhook)).await;
    let id = provider.create("o1").await;
    provider.confirm(&id, "pm_card_visa").await;
    shop.received(1).await;
    assert_eq!(shop.types(), [CAPTURABLE]);
    provider.stop().await;
}

#[tokio::test]
async fn an_event_that_was_not_taken_comes_after_a_restart_and_a_taken_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (shop, webhook) = Shop::open(0).await;
    let secret = webhook.secret.clone();
    let nobody = Webhook {
        url: "http://127.0.0.1:1/webhook".to_owned(),
        secret,
    };
    let provider = Provider::start_with(folder.path(), Some(nobody)).await;
    let id = provider.create("o1").await;
    provider.confirm(&id, "pm_card_visa").await;
    provider.stop().await;
    let provider = Provider::start_with(folder.path(), Some(webhook.clone())).await;
    shop.received(1).await;
    provider.act(&id, "capture", &[]).await;
    shop.received(2).await;
    provider.stop().await;
    let provider = Provider::start_with(folder.path(), Some(webhook)).await;
    let form = [("payment_intent", id.as_str())];
    provider.post("/v1/refunds", &form).await;
    shop.received(3).await;
    assert_eq!(shop.types(), [CAPTURABLE, SUCCEEDED, "charge.refunded"]);
    provider.stop().await;
}

#[tokio::test]
async fn an_event_can_come_twice_or_never_or_forged() {
    let folder = tempfile::tempdir().unwrap();
    let (shop, webhook) = Shop::open(0).await;
    let provider = Provider::start_with(folder.path(), Some(webhook)).await;
    let id = provider.create("o1").await;
    let order = |effect: &str| {
        let fault = json!({ "operation": "webhook", "effect": effect, "times": 1 });
        provider.fault(fault)
    };
    assert_eq!(order("duplicate").await, 201);
    provider.confirm(&id, "pm_card_visa").await;
    let events = shop.received(2).await;
    assert_eq!(events[0].event, events[1].event);
    assert_eq!(order("forged").await, 201);
    provider.act(&id, "capture", &[]).await;
    let events = shop.received(4).await;
    let genuine: Vec<_> = events.iter().map(|delivery| delivery.genuine).collect();
    assert_eq!(genuine, [true, true, false, true]);
    assert_eq!(order("drop").await, 201);
    for amount in ["1", "2"] {
        let form = [("payment_intent", id.as_str()), ("amount", amount)];
        provider.post("/v1/refunds", &form).await;
    }
    let events = shop.received(5).await;
    assert_eq!(events[4].event["data"]["object"]["amount_refunded"], 3);
    provider.stop().await;
}

#[tokio::test]
async fn an_event_can_come_late_or_after_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let (shop, webhook) = Shop::open(0).await;
    let provider = Provider::start_with(folder.path(), Some(webhook)).await;
    let fault =
        json!({ "operation": "webhook", "effect": "out_of_order", "delay_ms": 60_000, "times": 1 });
    assert_eq!(provider.fault(fault).await, 201);
    let id = provider.create("o1").await;
    provider.confirm(&id, "pm_card_visa").await;
    provider.act(&id, "capture", &[]).await;
    shop.received(2).await;
    assert_eq!(shop.types(), [SUCCEEDED, CAPTURABLE]);

    let fault = json!({ "operation": "webhook", "effect": "delay", "delay_ms": 300, "times": 1 });
    assert_eq!(provider.fault(fault).await, 201);
    let begun = Instant::now();
    let form = [("payment_intent", id.as_str())];
    provider.post("/v1/refunds", &form).await;
    shop.received(3).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    provider.stop().await;
}

#[tokio::test]
async fn an_event_can_come_before_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (shop, webhook) = Shop::open(0).await;
    let provider = Provider::start_with(folder.path(), Some(webhook)).await;
    let id = provider.create("o1").await;
    let fault = json!({
        "operation": "confirm", "when": "after", "effect": "delay", "delay_ms": 5_000, "times": 1
    });
    assert_eq!(provider.fault(fault).await, 201);
    tokio::select! {
        _ = provider.confirm(&id, "pm_card_visa") => panic!("the answer came first"),
        _ = shop.received(1) => {}
    }
    assert_eq!(shop.types(), [CAPTURABLE]);
    provider.stop().await;
}

#[tokio::test]
async fn a_webhook_that_is_not_plain_http_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    for url in ["https://shop.test/webhook", "nonsense"] {
        let webhook = Webhook {
            url: url.to_owned(),
            secret: "whsec_x".to_owned(),
        };
        let provider = Provider::start_with(folder.path(), Some(webhook)).await;
        let error = provider.running.await.unwrap().unwrap_err();
        assert!(matches!(error, payments::Error::Webhook(_)), "{error}");
    }
}
