//! The mail server: greylisting, hanging up, down, refusing for good.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{CONFIRMED, MANY, Purchase, alone, beside_others, each_has_struck, heal, order_fault};
use crate::app::PATIENCE;

/// How often a fault strikes before it is over.
const STRIKES: usize = 3;

impl Purchase<'_> {
    /// The Message-ID of every mail of this subject, repeated ones too.
    async fn message_ids(&self, subject: &str) -> Vec<String> {
        let (sink, to) = (&self.app.endpoints.mail, &self.customer.email);
        let mails = reqwest::get(format!("{sink}/messages?to={to}"))
            .await
            .unwrap();
        let mails: Vec<Value> = mails.json().await.unwrap();
        let of_subject = mails.iter().filter(|mail| mail["subject"] == subject);
        let ids = of_subject.map(|mail| mail["message_id"].as_str().unwrap().to_owned());
        ids.collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_is_refused_for_now_is_sent_later_once() {
    let (app, _shared) = beside_others().await;
    let faults = ["rcpt_to", "data", "after_data"]
        .into_iter()
        .flat_map(|stage| {
            let effects = ["reject_4xx", "drop"].into_iter();
            effects.map(move |effect| (stage, effect))
        });
    join_all(faults.map(|(stage, effect)| async move {
        let purchase = Purchase::prepare(app).await;
        let fault = json!({ "stage": stage, "effect": effect, "times": STRIKES });
        purchase.mail_server(fault).await;
        purchase.place("pm_card_visa").await;
        purchase.comes_right().await;
        purchase.mails_are(2).await;
        let mut ids = purchase.message_ids(CONFIRMED).await;
        // Taken in, but the answer was lost: only then it came more than once, as the same mail.
        let came = if (stage, effect) == ("after_data", "drop") {
            1 + STRIKES
        } else {
            1
        };
        assert_eq!(ids.len(), came, "{stage} {effect}: {ids:?}");
        ids.dedup();
        assert_eq!(ids.len(), 1, "{stage} {effect}: {ids:?}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_a_mail_server_refuses_for_now_stands_in_no_log() {
    let (app, _shared) = beside_others().await;
    let purchase = Purchase::prepare(app).await;
    let fault = json!({ "stage": "rcpt_to", "effect": "reject_4xx", "times": STRIKES });
    purchase.mail_server(fault).await;
    purchase.place("pm_card_visa").await;
    purchase.comes_right().await;
    purchase.mails_are(2).await;
    // With roles of their own, the reactor's log is one of theirs.
    let mut log = std::fs::read_to_string(app.data.with_extension("log")).unwrap();
    if let Ok(own) = std::fs::read_to_string(app.data.join("logs/reactor.log")) {
        log.push_str(&own);
    }
    // What it said does, and what stands in the log of a failure is what is parked with it.
    assert!(log.contains("the mail server answered 4"), "{log}");
    assert!(!log.contains(&purchase.customer.email));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_mail_server_is_down_orders_are_confirmed_and_told_later() {
    let (app, _alone) = alone().await;
    let purchases = join_all((0..3).map(|_| Purchase::prepare(app))).await;
    let server = &app.endpoints.mail;
    // Whoever is connected is cut off, whoever is not gets no greeting.
    for stage in ["mail_from", "connect"] {
        let down = json!({ "stage": stage, "effect": "drop", "times": MANY });
        order_fault(server, &down).await;
    }
    for purchase in &purchases {
        purchase.place("pm_card_visa").await;
        app.order_is(&purchase.id, "confirmed").await;
    }
    each_has_struck(server, 1).await;
    for purchase in &purchases {
        assert_eq!(purchase.told_of(CONFIRMED).await, 0);
    }
    heal(server).await;
    join_all(purchases.iter().map(Purchase::comes_right)).await;
    for purchase in &purchases {
        assert_eq!(purchase.message_ids(CONFIRMED).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_server_that_went_silent_is_asked_anew() {
    let (app, _alone) = alone().await;
    let purchases = join_all((0..3).map(|_| Purchase::prepare(app))).await;
    let server = &app.endpoints.mail;
    // Whoever is connected is cut off, whoever is not waits longer for a greeting than any test for a mail.
    let cut = json!({ "stage": "mail_from", "effect": "drop", "times": MANY });
    order_fault(server, &cut).await;
    let silent = json!({
        "stage": "connect", "effect": "delay", "delay_ms": 120_000, "times": MANY,
    });
    order_fault(server, &silent).await;
    for purchase in &purchases {
        purchase.place("pm_card_visa").await;
        app.order_is(&purchase.id, "confirmed").await;
    }
    each_has_struck(server, 1).await;
    heal(server).await;
    join_all(purchases.iter().map(Purchase::comes_right)).await;
    for purchase in &purchases {
        assert_eq!(purchase.message_ids(CONFIRMED).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_whose_answer_did_not_come_in_time_is_sent_again_as_the_same() {
    let (app, _shared) = beside_others().await;
    let [late, next] = [Purchase::prepare(app).await, Purchase::prepare(app).await];
    let fault = json!({
        "stage": "after_data", "effect": "delay", "delay_ms": 120_000, "times": 1,
    });
    late.mail_server(fault).await;
    for purchase in [&late, &next] {
        purchase.place("pm_card_visa").await;
        purchase.comes_right().await;
        purchase.mails_are(2).await;
    }
    let path = format!("/v1/notifications?order_id={}", late.id);
    let sent = |list: &Value| list["items"][0]["status"] == "sent";
    let operator = app.operator();
    operator
        .wait_for("sent", &path, PATIENCE, sent)
        .await
        .unwrap();
    let mut ids = late.message_ids(CONFIRMED).await;
    assert_eq!(ids.len(), 2, "{ids:?}");
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_nothing_from_anybody_for_a_while_loses_no_mail() {
    let (app, _alone) = alone().await;
    let purchase = Purchase::prepare(app).await;
    let server = &app.endpoints.mail;
    // Whoever is connected is cut off, whoever is not is told to go.
    let cut = json!({ "stage": "mail_from", "effect": "drop", "times": MANY });
    order_fault(server, &cut).await;
    let gone = json!({ "stage": "connect", "effect": "reject_5xx", "times": MANY });
    order_fault(server, &gone).await;
    purchase.place("pm_card_visa").await;
    app.order_is(&purchase.id, "confirmed").await;
    each_has_struck(server, 1).await;
    heal(server).await;
    purchase.comes_right().await;
    assert_eq!(purchase.message_ids(CONFIRMED).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_is_refused_for_good_undoes_no_order() {
    let (app, _shared) = beside_others().await;
    let purchase = Purchase::prepare(app).await;
    let fault = json!({ "stage": "rcpt_to", "effect": "reject_5xx", "times": 1 });
    purchase.mail_server(fault).await;
    purchase.place("pm_card_visa").await;
    let path = format!("/v1/notifications?order_id={}", purchase.id);
    let bounced = |list: &Value| list["items"][0]["status"] == "bounced";
    let operator = app.operator();
    let told = operator.wait_for("a bounced mail", &path, PATIENCE, bounced);
    told.await.unwrap();
    app.order_is(&purchase.id, "confirmed").await;
    app.stock_is(&purchase.sku, [5, 0, 1]).await;
    assert_eq!(purchase.told_of(CONFIRMED).await, 0);
}
