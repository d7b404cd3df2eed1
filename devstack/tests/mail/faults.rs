//! Faults on order: at every stage of a session, for some recipients only, a number of times.

use crate::{Sink, mail};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test]
async fn refusals_for_now_and_for_good_come_at_every_stage() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path()).await;
    for stage in ["connect", "mail_from", "rcpt_to", "data", "after_data"] {
        for (effect, transient) in [("reject_4xx", true), ("reject_5xx", false)] {
            let fault = json!({ "stage": stage, "effect": effect, "times": 1 });
            assert_eq!(sink.order(fault).await, 201);
            let error = sink.send(mail("a@x.test", "1@m")).await.unwrap_err();
            assert_eq!(error.is_transient(), transient, "{stage} {effect}: {error}");
            assert_eq!(
                error.is_permanent(),
                !transient,
                "{stage} {effect}: {error}"
            );
        }
    }
    assert_eq!(sink.messages("").await, Vec::<Value>::new());
    sink.send(mail("a@x.test", "2@m")).await.unwrap();
    assert_eq!(sink.messages("").await.len(), 1);
    sink.stop().await;
}

#[tokio::test]
async fn a_dropped_connection_stores_the_mail_only_after_the_content() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path()).await;
    for (stage, stored) in [
        ("connect", 0),
        ("mail_from", 0),
        ("rcpt_to", 0),
        ("data", 0),
        ("after_data", 1),
    ] {
        let fault = json!({ "stage": stage, "effect": "drop", "times": 1 });
        assert_eq!(sink.order(fault).await, 201);
        let error = sink.send(mail("a@x.test", "same@m")).await.unwrap_err();
        let answered = error.is_transient() || error.is_permanent();
        assert!(!answered, "{stage}: {error}");
        assert_eq!(sink.messages("").await.len(), stored, "{stage}");
    }
    sink.send(mail("a@x.test", "same@m")).await.unwrap();
    assert_eq!(sink.messages("?message_id=same@m").await.len(), 2);
    sink.stop().await;
}

#[tokio::test]
async fn a_delayed_answer_comes_late_at_every_stage() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path()).await;
    for stage in ["connect", "mail_from", "rcpt_to", "data", "after_data"] {
        let fault = json!({ "stage": stage, "effect": "delay", "delay_ms": 300, "times": 1 });
        assert_eq!(sink.order(fault).await, 201);
        let begun = Instant::now();
        sink.send(mail("a@x.test", "1@m")).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(300), "{stage}");
    }
    sink.stop().await;
}

#[tokio::test]
async fn a_fault_strikes_only_its_recipient_and_until_it_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path()).await;
    let fault = json!({ "stage": "rcpt_to", "effect": "reject_5xx", "recipient": "bad@x.test" });
    assert_eq!(sink.order(fault).await, 201);
    sink.send(mail("good@x.test", "1@m")).await.unwrap();
    for _ in 0..3 {
        sink.send(mail("bad@x.test", "2@m")).await.unwrap_err();
    }
    let open: Vec<Value> = sink.get("/faults").await.json().await.unwrap();
    assert_eq!(open[0]["effect"], "reject_5xx");
    sink.delete("/faults").await;
    sink.send(mail("bad@x.test", "3@m")).await.unwrap();
    sink.stop().await;
}

#[tokio::test]
async fn a_fault_that_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start(folder.path()).await;
    for fault in [
        json!({ "stage": "data", "effect": "delay" }),
        json!({ "stage": "data", "effect": "delay", "delay_ms": 1_000_000 }),
        json!({ "stage": "data", "effect": "drop", "delay_ms": 5 }),
        json!({ "stage": "data", "effect": "drop", "times": 0 }),
        json!({ "stage": "connect", "effect": "drop", "recipient": "a@x.test" }),
        json!({ "stage": "data", "effect": "explode" }),
        json!({ "stage": "data", "effect": "drop", "tims": 1 }),
    ] {
        assert_eq!(sink.order(fault.clone()).await, 422, "{fault}");
    }
    sink.stop().await;
}
