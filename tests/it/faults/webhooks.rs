//! The payment provider tells by itself: twice, early, late, out of order, forged, about nobody.

use std::fmt::Write;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use devstack::launch::Signal;
use futures::future::join_all;
use kernel::OrderId;
use ring::hmac;
use serde_json::{Value, json};
use streams::inbox::Inbox;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{LOOK, MANY, PRICE, Purchase, beside_others, open_faults};
use crate::app::{App, PATIENCE, folder, program};
use crate::gateway::metric;
use crate::reconcile::behind_our_back;

const WEBHOOK: &str = "/v1/payments/webhook";

/// What the provider calls "the amount is held".
const HELD: &str = "payment_intent.amount_capturable_updated";

pub(crate) fn webhook_secret(app: &App) -> String {
    let secrets = devstack::Secrets::load_or_create(&app.data).unwrap();
    let secret = secrets.get(devstack::secrets::PAYMENT_WEBHOOK_SECRET);
    secret.unwrap().to_owned()
}

/// An event as the provider writes it.
fn event(id: &str, intent_id: &str, payment_id: &str) -> String {
    let object = json!({
        "object": "payment_intent", "id": intent_id, "metadata": { "payment_id": payment_id },
    });
    json!({ "id": id, "type": HELD, "data": { "object": object } }).to_string()
}

/// How the provider signed this some time ago.
pub(crate) fn signature(secret: &str, age: TimeDelta, body: &str) -> String {
    let seconds = (Utc::now() - age).timestamp();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{seconds}.{body}").as_bytes());
    let hex = tag.as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    format!("t={seconds},v1={hex}")
}

/// Sends an event to the entry, signed with `secret` some time ago.
async fn tell(app: &App, secret: &str, age: TimeDelta, body: &str) -> (u16, Value) {
    let sent = reqwest::Client::new()
        .post(format!("{}{WEBHOOK}", app.endpoints.entry))
        .header("stripe-signature", signature(secret, age, body))
        .body(body.to_owned())
        .send();
    let answer = sent.await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap())
}

/// Sends a genuine event; it is new.
async fn tells(app: &App, body: &str) {
    let told = tell(app, &webhook_secret(app), TimeDelta::zero(), body).await;
    assert_eq!(
        (told.0, &told.1["duplicate"]),
        (200, &json!(false)),
        "{told:?}"
    );
}

/// Sends a genuine event about nobody's payment; answers what the provider calls it.
pub(crate) async fn tells_of_nobody(app: &App) -> String {
    let id = format!("evt_{}", Uuid::new_v4().simple());
    let intent = format!("pi_{}", Uuid::new_v4().simple());
    let payment = Uuid::new_v4().to_string();
    tells(app, &event(&id, &intent, &payment)).await;
    id
}

async fn waits(app: &App, letter: &str) -> bool {
    let operator = millrace::up::operator_connection(&app.data, &app.endpoints);
    let waiting = Inbox::new(&operator.await.unwrap()).waiting().await;
    let mut waiting = waiting.unwrap().into_iter();
    waiting.any(|waiting| waiting.id.as_str() == letter)
}

/// Waits until a letter waits, or doesn't any more.
async fn becomes(app: &App, letter: &str, waiting: bool) {
    let started = Instant::now();
    while waits(app, letter).await != waiting {
        assert!(started.elapsed() < PATIENCE, "{letter}: not {waiting}");
        sleep(LOOK).await;
    }
}

impl Purchase<'_> {
    fn payment_id(&self) -> String {
        let order_id: OrderId = self.id.parse().unwrap();
        payment::payment_id(order_id).to_string()
    }

    /// The customer finishes the authentication, or fails to.
    async fn authenticates(&self, succeed: bool) {
        let intent = self.one_charge().await["id"].as_str().unwrap().to_owned();
        let provider = &self.app.endpoints.payments;
        let path = format!("{provider}/test/payment_intents/{intent}/complete_action");
        let body = json!({ "succeed": succeed });
        let done = reqwest::Client::new().post(path).json(&body).send().await;
        assert!(done.unwrap().status().is_success());
    }

    /// The names of the payment's events, oldest first.
    async fn payment_events(&self) -> Vec<Value> {
        let path = format!("/v1/payments/{}/events", self.payment_id());
        let shown = self.app.operator().get(&path).await.unwrap();
        let items = shown.success().unwrap().body["items"].clone();
        items.as_array().unwrap().clone()
    }

    /// Authorized and captured, each once.
    async fn is_paid_once(&self, fault: &Value) {
        let events = self.payment_events().await;
        for once in ["payment_authorized", "payment_captured"] {
            let count = events.iter().filter(|event| event["event_type"] == once);
            assert_eq!(count.count(), 1, "{fault}: {events:?}");
        }
    }

    /// Waits until the payment has ignored an event for this reason.
    async fn has_ignored(&self, because: &str) {
        let started = Instant::now();
        loop {
            let events = self.payment_events().await;
            let is = |event: &Value| event["data"]["because"] == because;
            if events.iter().any(is) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{events:?}");
            sleep(LOOK).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_completes_the_action_in_time_has_bought() {
    let (app, _shared) = beside_others().await;
    let purchase = Purchase::prepare(app).await;
    purchase.place("pm_card_authenticationRequired").await;
    purchase.payment_is("action_required").await;
    purchase.authenticates(true).await;
    purchase.comes_right().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_fails_the_action_has_not() {
    let (app, _shared) = beside_others().await;
    let purchase = Purchase::prepare(app).await;
    purchase.place("pm_card_authenticationRequired").await;
    purchase.payment_is("action_required").await;
    purchase.authenticates(false).await;
    purchase
        .comes_to_nothing("rejected", "payment_intent_authentication_failure")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_an_event_comes_it_counts_once() {
    let (app, _shared) = beside_others().await;
    let faults = [
        json!({ "effect": "duplicate", "times": MANY }),
        json!({ "effect": "forged", "times": MANY }),
        json!({ "effect": "delay", "delay_ms": 500, "times": MANY }),
        json!({ "effect": "out_of_order", "delay_ms": 500, "times": 1 }),
    ];
    join_all(faults.map(|mut fault| async move {
        let purchase = Purchase::prepare(app).await;
        fault["operation"] = json!("webhook");
        purchase.provider(fault.clone()).await;
        purchase.place("pm_card_authenticationRequired").await;
        purchase.payment_is("action_required").await;
        purchase.authenticates(true).await;
        purchase.comes_right().await;
        let open = open_faults(&app.endpoints.payments).await;
        let ours = |open: &&Value| open["metadata"]["order_id"] == purchase.id.as_str();
        let left = open.iter().find(ours);
        let left = left.map(|fault| fault["times"].as_u64().unwrap());
        let times = fault["times"].as_u64().unwrap();
        assert_eq!(left.is_none(), times == 1, "{fault}: {left:?} are left");
        assert!(left.is_none_or(|left| left < times), "{fault} never struck");
        purchase.is_paid_once(&fault).await;
        // By hand, without any fault: kept, known when it comes again, and done with.
        let intent = purchase.one_charge().await["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let letter = format!("evt_{}", Uuid::new_v4().simple());
        let again = event(&letter, &intent, &purchase.payment_id());
        tells(app, &again).await;
        let repeated = tell(app, &webhook_secret(app), TimeDelta::zero(), &again).await;
        assert_eq!((repeated.0, &repeated.1["duplicate"]), (200, &json!(true)));
        becomes(app, &letter, false).await;
        purchase.is_paid_once(&fault).await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authorization_that_is_told_after_the_void_is_ignored_for_the_record() {
    let (app, _shared) = beside_others().await;
    let purchase = Purchase::prepare(app).await;
    purchase.place("pm_card_authenticationRequired").await;
    purchase.payment_is("action_required").await;
    let late = json!({
        "operation": "webhook", "effect": "delay", "delay_ms": 10_000, "times": 1,
    });
    purchase.provider(late).await;
    purchase.authenticates(true).await;
    purchase.cancels().await;
    purchase.payment_is("voided").await;
    purchase.has_ignored("stale").await;
    purchase
        .comes_to_nothing("canceled", "changed my mind")
        .await;
    assert_eq!(purchase.one_charge().await["status"], "canceled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_comes_before_its_intent_is_known_waits_for_it() {
    let (app, _shared) = beside_others().await;
    let purchase = Purchase::prepare(app).await;
    // The intent is made, and its id gets lost on the way back, for some seconds.
    let lost = json!({ "operation": "create", "when": "after", "effect": "reset", "times": 6 });
    purchase.provider(lost).await;
    purchase.place("pm_card_visa").await;
    let started = Instant::now();
    while app.ledger(&purchase.id).await.is_empty() {
        assert!(started.elapsed() < PATIENCE, "no intent");
        sleep(LOOK).await;
    }
    let intent = purchase.one_charge().await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let letter = format!("evt_{}", Uuid::new_v4().simple());
    tells(app, &event(&letter, &intent, &purchase.payment_id())).await;
    becomes(app, &letter, true).await;
    purchase.comes_right().await;
    becomes(app, &letter, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_about_a_payment_that_nobody_knows_is_matched_once_it_is_known() {
    let (app, _shared) = beside_others().await;
    let purchase = Purchase::prepare(app).await;
    let letter = format!("evt_{}", Uuid::new_v4().simple());
    let intent = format!("pi_{}", Uuid::new_v4().simple());
    tells(app, &event(&letter, &intent, &purchase.payment_id())).await;
    becomes(app, &letter, true).await;
    let data = app.data.to_str().unwrap();
    let listed = std::process::Command::new(program())
        .args(["inbox", "--data", data, "--json"])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains(&letter) && listed.contains(&intent),
        "{listed}"
    );

    purchase.place("pm_card_visa").await;
    purchase.comes_right().await;
    // It was about another intent than the payment's: that is on record, and the letter is gone.
    purchase.has_ignored("other_intent").await;
    becomes(app, &letter, false).await;
    assert_eq!(purchase.one_charge().await["captured"], PRICE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_about_somebody_elses_intent_does_not_wait() {
    let (app, _shared) = beside_others().await;
    let form = [
        ("amount", "500"),
        ("currency", "eur"),
        ("payment_method_types[]", "card"),
    ];
    let intent = behind_our_back(app, "payment_intents", &form).await;
    let letter = format!("evt_{}", Uuid::new_v4().simple());
    let object = json!({ "object": "payment_intent", "id": intent["id"], "metadata": {} });
    let body = json!({ "id": letter, "type": HELD, "data": { "object": object } });
    tells(app, &body.to_string()).await;
    becomes(app, &letter, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_provider_did_not_sign_just_now_is_refused_and_not_kept() {
    let (app, _shared) = beside_others().await;
    let letter = format!("evt_{}", Uuid::new_v4().simple());
    let body = event(&letter, "pi_1", &Uuid::new_v4().to_string());
    let refused = async || {
        let count = async |reason: &str| {
            let counted = format!("webhooks_refused_total{{reason=\"{reason}\"}}");
            metric(&app.endpoints.command_api, &counted).await
        };
        (count("wrong").await, count("stale").await)
    };
    let before = refused().await;
    let forged = tell(app, "whsec_of_a_forger", TimeDelta::zero(), &body).await;
    assert_eq!(
        (forged.0, &forged.1["code"]),
        (400, &json!("webhook_signature_wrong"))
    );
    let secret = webhook_secret(app);
    let old = tell(app, &secret, TimeDelta::minutes(6), &body).await;
    assert_eq!(
        (old.0, &old.1["code"]),
        (400, &json!("webhook_signature_stale"))
    );
    let after = refused().await;
    assert!(after.0 > before.0 && after.1 > before.1, "{after:?}");
    assert!(!waits(app, &letter).await);
    // The same event, genuine: kept, and known when it comes again.
    tells(app, &body).await;
    let again = tell(app, &secret, TimeDelta::zero(), &body).await;
    assert_eq!((again.0, &again.1["duplicate"]), (200, &json!(true)));
    assert!(waits(app, &letter).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_completes_the_action_is_rejected_at_the_deadline() {
    let app = App::start_with(&folder("patience"), &["--without", "saga"]).await;
    let saga = ["saga", "--authorization-patience-s", "3"];
    let saga = app.role(&saga, "saga.log").await;
    let (customer, sku) = (app.customer().await, app.product(1).await);
    let order = customer
        .orders(&sku, 1, "pm_card_authenticationRequired")
        .await;
    let rejected = app.order_is(&order, "rejected").await;
    assert_eq!(rejected["reason"], "payment_timed_out", "{rejected}");
    app.stock_is(&sku, [1, 0, 0]).await;
    // Acting after that changes nothing: there is nothing left to act on.
    let entry = app.ledger(&order).await.remove(0);
    assert_eq!(entry["status"], "canceled", "{entry}");
    saga.stop(Signal::TERM, Duration::from_secs(30))
        .await
        .unwrap();
    app.stop().await;
}
