//! Our payments held against the provider's list: silent where they agree, and every kind of
//! difference is found, by the command line and by the reactor.

use std::ffi::OsStr;
use std::process::{Command, Output};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use devstack::launch::Signal;
use kernel::{AggregateId, Money, OrderId, UserId};
use payment::{Payment, PaymentCommand, payment_id};
use serde_json::{Value, json};
use streams::{CommandMeta, Settings, Streams, verify};
use uuid::Uuid;

use crate::app::{App, Must, PATIENCE, becomes, folder, program};
use crate::stuck::{action, counts, does, goes, shows};
use crate::verify::{headers, put};

/// Of every injected payment.
const AMOUNT: i64 = 2_500;

/// A reactor that compares every second.
const REACTOR: [&str; 3] = ["reactor", "--reconcile-every-s", "1"];

fn reconcile(app: &App, args: &[&str]) -> Output {
    let data = app.data.to_str().unwrap();
    let args = [&["reconcile", "--data", data], args].concat();
    Command::new(program()).args(args).output().unwrap()
}

/// The report, and whether the command was content.
fn report(app: &App) -> (Value, bool) {
    let output = reconcile(app, &["--json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    (report, output.status.success())
}

/// A call of the provider that the shop knows nothing of.
pub(crate) async fn behind_our_back(app: &App, path: &str, form: &[(&str, &str)]) -> Value {
    let secrets = devstack::Secrets::load_or_create(&app.data).unwrap();
    let key = secrets.get(devstack::secrets::PAYMENT_SECRET_KEY).unwrap();
    let sent = reqwest::Client::new()
        .post(format!("{}/v1/{path}", app.endpoints.payments))
        .bearer_auth(key)
        .form(form)
        .send();
    let answer = sent.await.unwrap();
    assert!(
        answer.status().is_success(),
        "{}",
        answer.text().await.unwrap()
    );
    answer.json().await.unwrap()
}

/// An intent whose money is held, for this payment or for nobody's.
async fn held_intent(app: &App, payment: Option<&AggregateId>) -> String {
    let amount = AMOUNT.to_string();
    let mut form = vec![
        ("amount", amount.as_str()),
        ("currency", "eur"),
        ("capture_method", "manual"),
        ("payment_method_types[]", "card"),
        ("payment_method", "pm_card_visa"),
        ("confirm", "true"),
    ];
    if let Some(id) = payment {
        form.push(("metadata[payment_id]", id.as_str()));
    }
    let intent = behind_our_back(app, "payment_intents", &form).await;
    intent["id"].as_str().unwrap().to_owned()
}

/// A payment that stands in our log as to be captured under this intent, whatever the provider says; and what
/// more is known of it.
async fn stands(
    streams: &Streams,
    order_id: OrderId,
    (intent_id, at): (&str, DateTime<Utc>),
    more: Option<PaymentCommand>,
) {
    let id: AggregateId = payment_id(order_id).into();
    let amount = price();
    let told = [
        PaymentCommand::RequestPayment {
            order_id,
            user_id: UserId(Uuid::new_v4()),
            amount,
            method: "pm_card_visa".parse().unwrap(),
        },
        PaymentCommand::RecordIntent {
            intent_id: intent_id.to_owned(),
        },
        PaymentCommand::RecordAuthorization { amount },
        PaymentCommand::CapturePayment {},
    ];
    for command in told.into_iter().chain(more) {
        let meta =
            CommandMeta::new(Uuid::new_v4(), at, "system").with_correlation(order_id.to_string());
        let done = streams.execute::<Payment>(&id, command, &meta).await;
        done.unwrap();
    }
}

fn price() -> Money {
    Money::new(AMOUNT, "EUR".parse().unwrap())
}

/// The same as captured.
async fn captured(streams: &Streams, order_id: OrderId, intent_id: &str) {
    let all = PaymentCommand::RecordCapture { amount: price() };
    stands(streams, order_id, (intent_id, Utc::now()), Some(all)).await;
}

async fn mismatch_is(app: &App, payment: &str, differences: &Value) {
    let path = format!("/v1/payments/{payment}");
    let is = |row: &Value| row["mismatch"] == *differences;
    let shop = app.operator();
    let found = shop.wait_for("the mismatch", &path, PATIENCE, is).await;
    found.unwrap();
}

/// A person knows why a payment differs, and it is no mismatch any more: neither on the record nor
/// for the tool.
async fn somebody_explains(app: &App, gone: &str) {
    let path = format!("/v1/payments/{gone}/reconciliation");
    let reason = json!({ "reason": "the provider's test data was reset" });
    app.operator().post(&path, &reason).await.must();
    mismatch_is(app, gone, &Value::Null).await;
    let again = app.operator().post(&path, &reason).await.unwrap();
    assert_eq!(again.status.as_u16(), 409, "{}", again.body);
    assert_eq!(again.body["code"], "no_mismatch");
    let words = reconcile(app, &[]);
    let words = String::from_utf8_lossy(&words.stdout).into_owned();
    assert!(
        !words.contains("pi_gone") && words.contains("3 mismatches"),
        "{words}"
    );
}

/// The intent that has no payment's record to stand on.
async fn nobodys_intent_is_counted(reactor: &str) {
    becomes("nobody's intent is counted", async || {
        let Ok(metrics) = reqwest::get(format!("http://{reactor}/metrics")).await else {
            return false; // It has only just been started.
        };
        let metrics = metrics.text().await.unwrap();
        metrics.contains("\npayment_intents_unknown_total ")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_shop_is_silent_and_every_kind_of_mismatch_is_found() {
    let app = App::start_with(&folder("reconcile"), &["--without", "reactor"]).await;
    let reactor = app.role(&REACTOR, "reactor-1.log").await;
    let (customer, sku) = (app.customer().await, app.product(5).await);
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    let declined = customer.orders(&sku, 1, "pm_card_chargeDeclined").await;
    app.order_is(&order, "confirmed").await;
    app.order_is(&declined, "rejected").await;
    let (clean, content) = report(&app);
    assert_eq!(clean["mismatches"], json!([]), "{clean:#}");
    assert!(content && clean["ok"] == true, "{clean:#}");
    assert_eq!(
        (&clean["intents"], &clean["payments"]),
        (&json!(2), &json!(2))
    );

    reactor
        .stop(Signal::TERM, Duration::from_secs(30))
        .await
        .unwrap();
    let refunded = app.ledger(&order).await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let refund = [("payment_intent", refunded.as_str()), ("amount", "100")];
    behind_our_back(&app, "refunds", &refund).await;
    let unknown = held_intent(&app, None).await;
    let streams = millrace::up::connection(&app.data, &app.endpoints, "command-api").await;
    let streams = streams.unwrap().streams(Settings::default());
    let (gone, uncaptured) = (OrderId(Uuid::new_v4()), OrderId(Uuid::new_v4()));
    captured(&streams, gone, "pi_gone").await;
    let held = held_intent(&app, Some(&payment_id(uncaptured).into())).await;
    captured(&streams, uncaptured, &held).await;

    let (report, content) = report(&app);
    assert!(!content && report["ok"] == false, "{report:#}");
    let mismatches = report["mismatches"].as_array().unwrap();
    let of = |intent: &str| {
        let found = mismatches.iter().find(|m| m["intent_id"] == intent);
        found.unwrap_or_else(|| panic!("{intent}: {report:#}"))["differences"].clone()
    };
    assert_eq!(of(&refunded), json!(["refunded"]));
    assert_eq!(of(&unknown), json!(["unknown_intent"]));
    assert_eq!(of("pi_gone"), json!(["missing_at_provider"]));
    assert_eq!(of(&held), json!(["held", "captured"]));
    assert_eq!(mismatches.len(), 4, "{report:#}");
    let words = reconcile(&app, &[]);
    let words = String::from_utf8_lossy(&words.stdout).into_owned();
    assert!(
        words.contains("pi_gone") && words.contains("4 mismatches"),
        "{words}"
    );

    // The reactor finds the same, and puts it on the payments' records.
    let order_id: OrderId = order.parse().unwrap();
    let payment = payment_id(order_id).to_string();
    let health = devstack::Reserved::choose(0).unwrap().address().to_string();
    let listen: [(&str, &OsStr); 1] = [("MILLRACE_HEALTH_LISTEN", health.as_ref())];
    let reactor = app.role_with(&REACTOR, "reactor-2.log", &listen).await;
    mismatch_is(&app, &payment, &json!(["refunded"])).await;
    let gone = payment_id(gone).to_string();
    mismatch_is(&app, &gone, &json!(["missing_at_provider"])).await;

    let stuck = shows(&app, "payment_mismatch", &gone).await;
    let cause = stuck["cause"].as_str().unwrap();
    assert!(cause.contains("missing_at_provider"), "{stuck}");

    counts(&app, "payment_mismatch", 3).await;
    nobodys_intent_is_counted(&health).await;
    somebody_explains(&app, &gone).await;
    counts(&app, "payment_mismatch", 2).await;
    reactor
        .stop(Signal::TERM, Duration::from_secs(30))
        .await
        .unwrap();
    app.stop().await;
}

/// A payment that has been to be captured for long, of which somebody took a part on the provider's page.
async fn captured_in_part(app: &App, streams: &Streams) -> (OrderId, String) {
    let order_id = OrderId(Uuid::new_v4());
    let id: AggregateId = payment_id(order_id).into();
    let intent_id = held_intent(app, Some(&id)).await;
    let take = format!("payment_intents/{intent_id}/capture");
    behind_our_back(app, &take, &[("amount_to_capture", "1000")]).await;
    let long_ago = Utc::now() - TimeDelta::hours(1);
    stands(streams, order_id, (&intent_id, long_ago), None).await;
    (order_id, id.as_str().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_was_taken_in_part_by_hand_is_off_the_radar_once_somebody_says_why() {
    let app = App::start_with(&folder("in-part"), &["--without", "reactor"]).await;
    let streams = millrace::up::connection(&app.data, &app.endpoints, "command-api").await;
    let streams = streams.unwrap().streams(Settings::default());
    let (order_id, id) = captured_in_part(&app, &streams).await;
    // It names a payment, but one that nobody has requested.
    let unrequested = payment_id(OrderId(Uuid::new_v4())).into();
    held_intent(&app, Some(&unrequested)).await;
    let health = devstack::Reserved::choose(0).unwrap().address().to_string();
    let listen: [(&str, &OsStr); 1] = [("MILLRACE_HEALTH_LISTEN", health.as_ref())];
    let reactor = app.role_with(&REACTOR, "reactor.log", &listen).await;
    nobodys_intent_is_counted(&health).await;
    shows(&app, "late_payment", &id).await;
    let parked = format!("payment-reactor/{order_id}");
    shows(&app, "parked_message", &parked).await;
    let differs = shows(&app, "payment_mismatch", &id).await;
    does(&app, action(&differs, "accept")).await;
    goes(&app, "payment_mismatch", &id).await;
    goes(&app, "late_payment", &id).await;
    let key = order_id.to_string();
    let skip = [
        "parked",
        "skip",
        "payment-reactor",
        &key,
        "--reason",
        "by hand",
    ];
    // The capture is due behind each of its events, so each was set aside, what was found later too.
    for _ in 0..8 {
        let mut skipped = Command::new(program());
        skipped.args(skip).arg("--data").arg(&app.data);
        skipped.output().unwrap();
    }
    goes(&app, "parked_message", &parked).await;
    reactor
        .stop(Signal::TERM, Duration::from_secs(30))
        .await
        .unwrap();
    app.stop().await;
}

async fn streams_of(app: &App) -> Streams {
    let log = millrace::up::connection(&app.data, &app.endpoints, "command-api").await;
    log.unwrap().streams(Settings::default())
}

/// What the comparisons have put on the payment's record.
async fn compared(app: &App, id: &AggregateId) -> Vec<String> {
    let log = millrace::up::admin_connection(&app.data, &app.endpoints).await;
    let log = log.unwrap();
    let last = verify::ends(&log, "PAYMENT").await.unwrap().last;
    let mut told = Vec::new();
    let scanned = verify::scan(&log, "PAYMENT", last, |message| {
        let event = message.event().unwrap();
        if event.aggregate_id == *id && event.event_type.starts_with("reconciliation") {
            told.push(event.event_type);
        }
    });
    scanned.await.unwrap();
    told
}

/// Waits until the reactor has compared so many times more.
async fn comparisons(app: &App, more: usize) {
    let told = || {
        let log = std::fs::read_to_string(app.data.join("reactor.log")).unwrap();
        log.matches("held the payments against").count()
    };
    let enough = told() + more;
    becomes("it was compared again", async || told() >= enough).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_charge_is_one_mismatch_for_as_long_as_it_keeps_money() {
    let app = App::start_with(&folder("second-charge"), &["--without", "reactor"]).await;
    let _reactor = app.role(&REACTOR, "reactor.log").await;
    let (customer, sku) = (app.customer().await, app.product(5).await);
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    let id: AggregateId = payment_id(order.parse().unwrap()).into();
    let second = held_intent(&app, Some(&id)).await;
    mismatch_is(&app, id.as_str(), &json!(["unknown_intent"])).await;
    comparisons(&app, 2).await;
    assert_eq!(compared(&app, &id).await, ["reconciliation_mismatched"]);
    let cancel = format!("payment_intents/{second}/cancel");
    behind_our_back(&app, &cancel, &[]).await;
    mismatch_is(&app, id.as_str(), &Value::Null).await;
    let all = ["reconciliation_mismatched", "reconciliation_matched"];
    assert_eq!(compared(&app, &id).await, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mismatch_that_was_put_right_ends() {
    let app = App::start_with(&folder("old-mismatch"), &["--without", "reactor"]).await;
    let streams = streams_of(&app).await;
    let order_id = OrderId(Uuid::new_v4());
    let id: AggregateId = payment_id(order_id).into();
    let intent_id = held_intent(&app, Some(&id)).await;
    let take = format!("payment_intents/{intent_id}/capture");
    behind_our_back(&app, &take, &[]).await;
    let at = Utc::now();
    let all = PaymentCommand::RecordCapture { amount: price() };
    stands(&streams, order_id, (&intent_id, at), Some(all)).await;
    let missed = PaymentCommand::ReconcilePayment { seen: None };
    let meta = CommandMeta::new(Uuid::new_v4(), at, "system");
    let done = streams.execute::<Payment>(&id, missed, &meta).await;
    done.unwrap();
    mismatch_is(&app, id.as_str(), &json!(["missing_at_provider"])).await;
    let _reactor = app.role(&REACTOR, "reactor.log").await;
    mismatch_is(&app, id.as_str(), &Value::Null).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_can_not_be_read_hides_no_other_mismatch() {
    let app = App::start_with(&folder("unreadable"), &["--without", "reactor"]).await;
    let streams = streams_of(&app).await;
    // The provider's list begins with the newest: the one that can't be read.
    let orders = [OrderId(Uuid::new_v4()), OrderId(Uuid::new_v4())];
    let mut payments = Vec::new();
    for order_id in orders {
        let id: AggregateId = payment_id(order_id).into();
        let intent_id = held_intent(&app, Some(&id)).await;
        captured(&streams, order_id, &intent_id).await;
        payments.push((id, intent_id));
        // Its times are whole seconds.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let (unreadable, _) = &payments[1];
    let loaded = streams.load_current::<Payment>(unreadable).await;
    let next = loaded.unwrap().version + 1;
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints).await;
    let subject = format!("event.payment.{unreadable}");
    let unknown = headers("payment_teleported.v1", next, Uuid::new_v4());
    put(&admin.unwrap(), &subject, unknown, "{}").await;

    let (report, _) = report(&app);
    for (id, intent_id) in &payments {
        let mut found = report["mismatches"].as_array().unwrap().iter();
        let found = found.find(|it| it["intent_id"] == *intent_id);
        let found = found.unwrap_or_else(|| panic!("{id}: {report:#}"));
        assert_eq!(found["differences"], json!(["held", "captured"]), "{found}");
    }
    let _reactor = app.role(&REACTOR, "reactor.log").await;
    becomes("the other's is on its record", async || {
        let payment = streams.load_current::<Payment>(&payments[0].0).await;
        let payment = payment.unwrap().state;
        payment.charge().is_some_and(|it| it.mismatch.is_some())
    })
    .await;
}
