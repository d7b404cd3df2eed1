//! The payment provider's webhooks: who may send them, and what is kept of them.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use chrono::{TimeDelta, Utc};
use ring::hmac;
use serde_json::json;

use crate::app::{Answer, App};

const PATH: &str = "/v1/payments/webhook";

/// Signed as the provider does.
fn signature(secret: &str, age: TimeDelta, body: &str) -> String {
    let seconds = (Utc::now() - age).timestamp();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    let mut header = format!("t={seconds},v1=");
    for byte in tag.as_ref() {
        write!(header, "{byte:02x}").unwrap();
    }
    header
}

fn event(id: &str) -> String {
    let object =
        json!({ "object": "payment_intent", "id": "pi_1", "receipt_email": "a@b.example" });
    // Not as serde writes it: every byte counts.
    format!("{{ \"id\": \"{id}\",\n \"data\": {{ \"object\": {object} }} }}")
}

async fn send(app: &App, secret: &str, body: &str) -> Answer {
    let signature = signature(secret, TimeDelta::zero(), body);
    let call = app.post(PATH).header("stripe-signature", &signature);
    call.raw(body.to_owned()).await
}

#[tokio::test]
async fn a_webhook_is_kept_byte_for_byte_and_once() {
    let app = App::new();
    let body = event("evt_1");
    let first = send(&app, "whsec_new", &body).await.must(200);
    assert_eq!(first.body, json!({ "id": "evt_1", "duplicate": false }));
    let again = send(&app, "whsec_old", &body).await.must(200);
    assert_eq!(again.body, json!({ "id": "evt_1", "duplicate": true }));
    let letters = app.letters.all();
    assert_eq!(letters.len(), 1, "{letters:?}");
    let (letter, kept) = letters.iter().next().unwrap();
    assert_eq!(*kept, Bytes::from(body));
    assert_eq!(letter.source, "payment");
    assert_eq!((letter.key.as_str(), letter.id.as_str()), ("pi_1", "evt_1"));
}

#[tokio::test]
async fn what_is_told_of_one_intent_is_filed_under_it() {
    let app = App::new();
    for (id, object, key) in [
        (
            "evt_1",
            json!({ "object": "charge", "id": "ch_1", "payment_intent": "pi_7" }),
            "pi_7",
        ),
        (
            "evt_2",
            json!({ "object": "refund", "id": "re_1", "payment_intent": "pi_7" }),
            "pi_7",
        ),
        (
            "evt_3",
            json!({ "object": "payout", "id": "po_1" }),
            "evt_3",
        ),
        (
            "evt_4",
            json!({ "object": "payment_intent", "id": "a.*.>" }),
            "evt_4",
        ),
        ("evt_5", json!("nothing"), "evt_5"),
    ] {
        let body = json!({ "id": id, "data": { "object": object } }).to_string();
        send(&app, "whsec_new", &body).await.must(200);
        let letters = app.letters.all();
        let letter = letters.keys().find(|letter| letter.id.as_str() == id);
        assert_eq!(letter.unwrap().key.as_str(), key, "{id}");
    }
}

#[tokio::test]
async fn what_is_forged_or_stale_is_refused_and_nothing_is_kept() {
    let app = App::new();
    let body = event("evt_1");
    let wrong = (400, "webhook_signature_wrong", "");
    let forged = send(&app, "whsec_of_a_forger", &body).await;
    forged.refused(wrong.0, wrong.1, wrong.2);
    let unsigned = app.post(PATH).raw(body.clone()).await;
    unsigned.refused(wrong.0, wrong.1, wrong.2);
    let genuine = signature("whsec_new", TimeDelta::zero(), &body);
    let changed = app.post(PATH).header("stripe-signature", &genuine);
    let changed = changed.raw(event("evt_2")).await;
    changed.refused(wrong.0, wrong.1, wrong.2);
    for age in [TimeDelta::minutes(6), TimeDelta::minutes(-6)] {
        let old = signature("whsec_new", age, &body);
        let old = app.post(PATH).header("stripe-signature", &old);
        let old = old.raw(body.clone()).await;
        old.refused(400, "webhook_signature_stale", "");
    }
    assert!(app.letters.all().is_empty());
}

#[tokio::test]
async fn what_is_signed_and_no_event_is_refused() {
    let app = App::new();
    for body in [
        "",
        "no json",
        "{}",
        "{\"id\":\"a.b\",\"data\":{\"object\":{}}}",
    ] {
        let answer = send(&app, "whsec_new", body).await;
        answer.refused(400, "malformed_request", "");
    }
    let large = format!("{{\"id\":\"{}\"}}", "x".repeat(256 * 1024));
    let answer = send(&app, "whsec_new", &large).await;
    answer.refused(413, "body_too_large", "");
    assert!(app.letters.all().is_empty());
}

#[tokio::test]
async fn what_could_not_be_kept_is_to_be_sent_again() {
    let app = App::new();
    app.letters.broken.store(true, Ordering::SeqCst);
    let answer = send(&app, "whsec_new", &event("evt_1")).await;
    answer.refused(503, "unavailable", "");
    assert_eq!(answer.body["retryable"], true);
}
