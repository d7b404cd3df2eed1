//! The payment provider: silent, broken, gone, or waiting for the customer.

use std::time::{Duration, Instant};

use devstack::launch::Signal;
use futures::future::join_all;
use kernel::Money;
use millrace::client::{CartLine, cart};
use reactors::{FAILURES_MAX, LEFT_ALONE, LOCAL_RETURN_URL, Provider, ProviderConfig};
use reqwest::redirect::Policy;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use super::{MANY, Purchase, alone, beside_others, each_has_struck, heal, open_faults};
use crate::app::{Must, PATIENCE, becomes, worked_off};
use crate::stuck::rings;

/// A part of the price.
const SOME: i64 = 400;

/// A fault that strikes once.
fn once(operation: &str, when: &str, effect: &str) -> Value {
    json!({ "operation": operation, "when": when, "effect": effect, "times": 1 })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_call_is_lost_before_or_after_it_took_place_there_is_one_charge() {
    let (app, _shared) = beside_others().await;
    let operations = ["create", "confirm", "capture"];
    let effects = ["timeout", "reset", "error_401", "error_500", "error_429"];
    let faults = operations.into_iter().flat_map(|operation| {
        let both = ["before", "after"].into_iter();
        both.flat_map(move |when| effects.map(|effect| once(operation, when, effect)))
    });
    join_all(faults.map(|fault| async move {
        let purchase = Purchase::prepare(app).await;
        purchase.provider(fault.clone()).await;
        purchase.place("pm_card_visa").await;
        purchase.comes_right().await;
        let entry = purchase.one_charge().await;
        let calls = entry["calls"].as_object().unwrap();
        let tries: u64 = calls.values().filter_map(Value::as_u64).sum();
        // Create, confirm, capture, and at least one of them again: the fault has struck. (A create
        // that never took place names no intent, and is not counted.)
        let counted = if fault["operation"] == "create" && fault["when"] == "before" {
            3
        } else {
            4
        };
        assert!(tries >= counted, "{fault}: {calls:?}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_that_can_not_begin_take_no_place_from_those_that_have_begun() {
    let (app, _alone) = alone().await;
    let begun = Purchase::prepare(app).await;
    begun.place("pm_card_visa").await;
    begun.comes_right().await;
    let waits = Purchase::prepare(app).await;
    let limited = json!({ "operation": "confirm", "effect": "error_429", "times": MANY });
    waits.provider(limited).await;
    waits.place("pm_card_visa").await;
    waits.payment_is("requested").await;
    worked_off(app, "PAYMENT", "payment-reactor").await;
    begun.cancels().await;
    begun.payment_is("refunded").await;
    heal(&app.endpoints.payments).await;
    waits.comes_right().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_that_is_held_is_found_though_the_provider_refuses_for_good() {
    let (app, _shared) = beside_others().await;
    let purchase = Purchase::prepare(app).await;
    purchase
        .provider(once("confirm", "after", "error_400"))
        .await;
    purchase.place("pm_card_visa").await;
    purchase.comes_right().await;
    assert_eq!(purchase.one_charge().await["calls"]["confirm"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_for_good_and_never_took_place_has_failed() {
    let (app, _shared) = beside_others().await;
    let purchase = Purchase::prepare(app).await;
    purchase
        .provider(once("confirm", "before", "error_400"))
        .await;
    purchase.place("pm_card_visa").await;
    purchase
        .comes_to_nothing("rejected", "parameter_unknown")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decline_whose_answer_was_lost_is_a_decline() {
    let (app, _shared) = beside_others().await;
    join_all(["before", "after"].map(|when| async move {
        let purchase = Purchase::prepare(app).await;
        purchase.provider(once("confirm", when, "timeout")).await;
        purchase
            .place("pm_card_chargeDeclinedInsufficientFunds")
            .await;
        purchase
            .comes_to_nothing("rejected", "insufficient_funds")
            .await;
        let entry = purchase.one_charge().await;
        // Confirmed again, or told by a webhook and looked up: the fault has struck.
        let calls = ["confirm", "retrieve"].map(|call| entry["calls"][call].as_u64());
        let asked: u64 = calls.into_iter().flatten().sum();
        assert!(asked > 1, "{entry}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_void_whose_answer_was_lost_holds_nothing() {
    let (app, _shared) = beside_others().await;
    join_all(["before", "after"].map(|when| async move {
        let purchase = Purchase::prepare(app).await;
        purchase.provider(once("cancel", when, "timeout")).await;
        purchase.place("pm_card_authenticationRequired").await;
        purchase.payment_is("action_required").await;
        purchase.cancels().await;
        purchase
            .comes_to_nothing("canceled", "changed my mind")
            .await;
        purchase.payment_is("voided").await;
        assert_eq!(purchase.one_charge().await["status"], "canceled");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_whose_answer_was_lost_takes_place_once() {
    let (app, _shared) = beside_others().await;
    join_all(["before", "after"].map(|when| async move {
        let purchase = Purchase::prepare(app).await;
        purchase.provider(once("refund", when, "timeout")).await;
        purchase.place("pm_card_visa").await;
        purchase.comes_right().await;
        purchase.cancels().await;
        purchase.payment_is("refunded").await;
        purchase.app.order_is(&purchase.id, "canceled").await;
        purchase.app.told(&purchase.id, 3).await;
        let entry = purchase.one_charge().await;
        assert_eq!(entry["captured"], entry["refunded"], "{entry}");
    }))
    .await;
}

/// Gives some of the money back for what was shipped, as an operator, while the provider fails so: once.
async fn some_goes_back_once(faults: &[Value]) {
    let (app, _shared) = beside_others().await;
    let purchase = &Purchase::prepare(app).await;
    purchase.place("pm_card_visa").await;
    purchase.comes_right().await;
    for fault in faults {
        purchase.provider(fault.clone()).await;
    }
    let ship = format!("/v1/orders/{}/ship", purchase.id);
    let tracking = json!({ "tracking": "1Z 999" });
    purchase.app.operator().post(&ship, &tracking).await.must();
    let payment = purchase.payment_is("captured").await;
    let path = format!("/v1/payments/{}/refunds", payment["id"].as_str().unwrap());
    let some = json!({
        "amount": { "amount": SOME, "currency": "EUR" }, "reason": "a scratch",
    });
    let key = Uuid::new_v4().to_string();
    let operator = purchase.app.operator();
    operator.post_with_key(&path, &key, &some).await.must();
    let payment = purchase.payment_is("partially_refunded").await;
    let refunds = payment["refunds"].as_array().unwrap();
    assert_eq!((refunds.len(), &refunds[0]["status"]), (1, &json!("done")));
    assert_eq!(purchase.one_charge().await["refunded"], SOME);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_whose_answer_was_lost_takes_place_once_though_the_key_is_refused_then() {
    let refused = json!({ "operation": "refund", "effect": "error_401", "times": 2 });
    some_goes_back_once(&[once("refund", "after", "reset"), refused]).await;
    let (app, _shared) = beside_others().await;
    rings(app, "payment_keys_refused_total").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refund_whose_key_the_provider_has_forgotten_takes_place_once() {
    some_goes_back_once(&[once("refund", "after", "forget_key")]).await;
}

/// Answers on the page that the payment names, as the customer's browser does; where it is sent then.
async fn answers(purchase: &Purchase<'_>, succeed: &str) -> Url {
    let payment = purchase.payment_is("action_required").await;
    let page = payment["action_url"].as_str().unwrap();
    let browser = reqwest::Client::builder().redirect(Policy::none());
    let browser = browser.build().unwrap();
    let shown = browser.get(page).send().await.unwrap();
    assert!(
        shown
            .text()
            .await
            .unwrap()
            .contains("<form method=\"post\">")
    );
    let answered = browser.post(page).form(&[("succeed", succeed)]).send();
    let headers = answered.await.unwrap().headers().clone();
    headers["location"].to_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_must_act_finds_the_page_and_the_order_goes_on_from_there() {
    let (app, _shared) = beside_others().await;
    let [paid, declined] = [Purchase::prepare(app).await, Purchase::prepare(app).await];
    for (purchase, says) in [(&paid, "true"), (&declined, "false")] {
        purchase.place("pm_card_authenticationRequired").await;
        let path = format!("/v1/orders/{}/overview", purchase.id);
        purchase.payment_is("action_required").await;
        let overview = purchase.customer.shop.get(&path).await.must();
        let page = &overview.body["payments"][0]["action_url"];
        assert!(page.is_string(), "{}", overview.body);
        assert_eq!(&overview.body["order"]["action_url"], page);
        let back = answers(purchase, says).await;
        assert_eq!(back.path(), "/reference");
        let intent = purchase.one_charge().await["id"].clone();
        let told = back
            .query_pairs()
            .find(|(name, _)| name == "payment_intent");
        assert_eq!(json!(told.unwrap().1), intent);
    }
    paid.comes_right().await;
    declined
        .comes_to_nothing("rejected", "payment_intent_authentication_failure")
        .await;
    for purchase in [&paid, &declined] {
        let path = format!("/v1/payments?order_id={}", purchase.id);
        let list = purchase.customer.shop.get(&path).await.must();
        assert_eq!(list.body["items"][0]["action_url"], Value::Null);
    }
}

/// Everywhere that an order is shown as it is now: its payment's status, and where its buyer must act.
async fn told(purchase: &Purchase<'_>) -> Vec<(Value, Value)> {
    let shop = &purchase.customer.shop;
    let one = shop.get(&format!("/v1/orders/{}", purchase.id)).await;
    let list = shop.get("/v1/orders").await.must();
    let ask = json!({ "query": format!(
        "{{ order(id: \"{}\") {{ payment_status: paymentStatus action_url: actionUrl }} }}",
        purchase.id
    ) });
    let graph = shop.post("/graphql", &ask).await.must();
    let orders = [
        one.must().body,
        list.body["items"][0].clone(),
        graph.body["data"]["order"].clone(),
    ];
    let told = |order: &Value| (order["payment_status"].clone(), order["action_url"].clone());
    orders.iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_tells_its_buyer_to_act_wherever_it_is_shown() {
    let (app, _shared) = beside_others().await;
    let purchase = Purchase::prepare(app).await;
    let lines = [CartLine {
        sku: purchase.sku.clone(),
        quantity: 1,
    }];
    let shop = &purchase.customer.shop;
    let body = cart(&lines, "pm_card_authenticationRequired");
    let headers = [
        ("Prefer", "wait=30"),
        ("Idempotency-Key", purchase.key.as_str()),
    ];
    let placed = shop.call(Method::POST, "/v1/orders", &headers, Some(&body));
    let placed = placed.await.must();
    let page = &placed.body["action_url"];
    assert_eq!(placed.body["payment_status"], "action_required");
    assert_eq!(placed.body["status"], "placed");
    let payment = purchase.payment_is("action_required").await;
    assert_eq!(&payment["action_url"], page);
    let asks = (json!("action_required"), page.clone());
    assert_eq!(told(&purchase).await, vec![asks; 3]);
    // Its version is what it was before, so a tag would have a cache keep what is told now.
    let path = format!("/v1/orders/{}", purchase.id);
    let shown = shop.get(&path).await.must();
    assert_eq!(
        (shown.header("etag"), &shown.body["version"]),
        (None, &json!(1))
    );
    answers(&purchase, "true").await;
    purchase.comes_right().await;
    let nothing = (json!("captured"), Value::Null);
    assert_eq!(told(&purchase).await, vec![nothing; 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_must_act_is_told_so_and_may_cancel_instead() {
    let (app, _shared) = beside_others().await;
    let purchase = Purchase::prepare(app).await;
    purchase.place("pm_card_authenticationRequired").await;
    let payment = purchase.payment_is("action_required").await;
    let events = format!("/v1/payments/{}/events", payment["id"].as_str().unwrap());
    let shown = app.operator().get(&events).await.must();
    assert!(
        shown.body.to_string().contains("payment_action_required"),
        "{}",
        shown.body
    );
    app.order_is(&purchase.id, "placed").await;
    app.stock_is(&purchase.sku, [5, 1, 0]).await;
    assert_eq!(purchase.one_charge().await["status"], "requires_action");
    purchase.cancels().await;
    purchase
        .comes_to_nothing("canceled", "changed my mind")
        .await;
    purchase.payment_is("voided").await;
    assert_eq!(purchase.one_charge().await["status"], "canceled");
    let path = format!("/v1/checkouts/{}", purchase.id);
    let ended = |checkout: &Value| checkout["status"] == "ended";
    let waited = purchase
        .customer
        .shop
        .wait_for("its end", &path, PATIENCE, ended);
    waited.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_order_gets_no_answer_the_others_go_on() {
    let (app, _alone) = alone().await;
    let (stuck, silent) = tokio::join!(Purchase::prepare(app), Purchase::prepare(app));
    let broken = json!({ "operation": "any", "effect": "error_500", "times": MANY });
    stuck.provider(broken).await;
    let reset = json!({ "operation": "confirm", "effect": "reset", "times": MANY });
    silent.provider(reset).await;
    tokio::join!(stuck.place("pm_card_visa"), silent.place("pm_card_visa"));
    let provider = &app.endpoints.payments;
    each_has_struck(provider, 3).await;
    let free = Purchase::prepare(app).await;
    free.place("pm_card_visa").await;
    free.comes_right().await;
    for waiting in [&stuck, &silent] {
        app.order_is(&waiting.id, "placed").await;
        app.stock_is(&waiting.sku, [5, 1, 0]).await;
    }
    heal(provider).await;
    tokio::join!(stuck.comes_right(), silent.comes_right());
}

/// Most orders that wait for the provider at once here.
const WAITING: u32 = 12;

/// How long it hangs: long enough for a few looks whether it is back.
const HANGS: Duration = Duration::from_secs(12);

/// How often all of it was called since the fault was ordered.
async fn calls(provider: &str) -> u32 {
    let open = open_faults(provider).await;
    MANY - u32::try_from(open[0]["times"].as_u64().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_provider_hangs_it_is_left_alone_and_then_orders_come_right() {
    let (app, _alone) = alone().await;
    let purchases = join_all((0..WAITING).map(|_| Purchase::prepare(app))).await;
    let provider = &app.endpoints.payments;
    let down = json!({ "operation": "any", "effect": "timeout", "times": MANY });
    super::order_fault(provider, &down).await;
    let begun = Instant::now();
    let places = purchases.iter().map(|order| order.place("pm_card_visa"));
    join_all(places).await;
    // Until it is left alone, each order may have a call on its way.
    let failures = u32::try_from(FAILURES_MAX).unwrap();
    each_has_struck(provider, failures.into()).await;
    sleep(HANGS).await;
    let called = calls(provider).await;
    let looks = begun.elapsed().as_secs() / LEFT_ALONE.as_secs() + 1;
    // Those that begin payments, and the others.
    let bound = 2 * (failures + u32::try_from(looks).unwrap()) + WAITING;
    assert!(called <= bound, "{called} calls, and not {bound}");
    rings(app, "payment_calls_left_out_total").await;
    for purchase in &purchases {
        app.order_is(&purchase.id, "placed").await;
    }
    heal(provider).await;
    join_all(purchases.iter().map(Purchase::comes_right)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_version_asked_in_another_form_is_asked_again() {
    let (app, _shared) = beside_others().await;
    let secrets = devstack::Secrets::load_or_create(&app.data).unwrap();
    let secret_key = secrets.get(devstack::secrets::PAYMENT_SECRET_KEY).unwrap();
    let (key, payment_id) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let url = &app.endpoints.payments;
    let before = [
        ("amount", "1299"),
        ("currency", "eur"),
        ("capture_method", "manual"),
        ("metadata[payment_id]", payment_id.as_str()),
    ];
    let made = reqwest::Client::new()
        .post(format!("{url}/v1/payment_intents"))
        .bearer_auth(secret_key)
        .header("Idempotency-Key", &key)
        .form(&before);
    assert!(made.send().await.unwrap().status().is_success());
    let provider = Provider::new(&ProviderConfig {
        url: url.clone(),
        secret_key: secret_key.to_owned(),
        return_url: LOCAL_RETURN_URL.to_owned(),
        timeout_ms: 10_000,
    });
    let provider = provider.unwrap();
    let amount = Money::new(1_299, "EUR".parse().unwrap());
    let asked = [("payment_id", payment_id)];
    let created = provider.create(&key, amount, &asked).await.unwrap();
    let again = provider.create(&key, amount, &asked).await.unwrap();
    assert_eq!(again.id, created.id);
}

/// The order is placed at a command API of its own, which is told to end while somebody waits there for what comes
/// of it. Answers with the status that they are told.
async fn waits_while_it_ends(
    purchase: &Purchase<'_>,
    drain_s: &str,
    then: impl AsyncFnOnce(),
) -> String {
    let app = purchase.app;
    let held =
        json!({ "operation": "create", "when": "before", "effect": "error_500", "times": MANY });
    purchase.provider(held).await;
    let (own, child) = app.command_api(&["--drain-time-max-s", drain_s]).await;
    let lines = [CartLine {
        sku: purchase.sku.clone(),
        quantity: 1,
    }];
    let body = cart(&lines, "pm_card_visa");
    let headers = [
        ("Prefer", "wait=30"),
        ("Idempotency-Key", purchase.key.as_str()),
    ];
    let shop = own.with_token(purchase.customer.shop.token().unwrap());
    let placed = shop.call(Method::POST, "/v1/orders", &headers, Some(&body));
    let (placed, ()) = tokio::join!(placed, async {
        each_has_struck(&app.endpoints.payments, 1).await;
        child.signaller().send(Signal::TERM).unwrap();
        becomes("it still takes requests", async || {
            own.get("/livez").await.is_err()
        })
        .await;
        then().await;
    });
    heal(&app.endpoints.payments).await;
    placed.must().text("/status").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_an_order_is_answered_by_a_process_that_ends() {
    let (app, _alone) = alone().await;
    let canceled = Purchase::prepare(app).await;
    let told = waits_while_it_ends(&canceled, "60", async || canceled.cancels().await).await;
    assert_eq!(told, "canceled", "it is heard until the last answer");
    let slow = Purchase::prepare(app).await;
    let told = waits_while_it_ends(&slow, "2", async || ()).await;
    assert_eq!(told, "placed", "it is not cut off");
    slow.comes_right().await;
}
