//! An operator settles by hand what waits for a person: a step is skipped, or a saga is resolved.

use inventory::{InventoryCommand, StockItem};
use kernel::{AggregateId, OrderId, ReservationId, Sku};
use millrace::client::{Answer, Shop};
use payment::{Payment, PaymentCommand, payment_id};
use reqwest::Method;
use serde_json::{Value, json};
use streams::{CommandMeta, Settings, Streams};
use uuid::Uuid;

use crate::app::{App, Must, PATIENCE, becomes, shared};
use crate::returns::{PRICE, StuckReturn, order_says};
use crate::stuck::rings;

/// The streams, with admin rights.
async fn streams(app: &App) -> Streams {
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints);
    admin.await.unwrap().streams(Settings::default())
}

/// Gives the hold of a confirmed order back behind everybody's back, with admin rights.
pub(crate) async fn release_behind_its_back(app: &App, order: &str, sku: &str) {
    let streams = streams(app).await;
    let order_id: OrderId = order.parse().unwrap();
    let now = chrono::Utc::now();
    let release = InventoryCommand::ReleaseReservation {
        reservation: ReservationId {
            order_id,
            attempt: 1,
        },
        reason: "a slip of the hand".parse().unwrap(),
        expires_at: now + chrono::TimeDelta::hours(1),
        at: now,
    };
    let meta = CommandMeta::new(Uuid::new_v4(), now, "system").with_correlation(order.to_owned());
    let sku: Sku = sku.parse().unwrap();
    let id = (&sku).into();
    let released = streams.execute::<StockItem>(&id, release, &meta);
    released.await.unwrap();
}

/// An order that was shipped, and whose stock can't be booked out; its checkout waits.
pub(crate) async fn stuck_in_shipping(app: &App) -> (String, String) {
    let (customer, sku) = (app.customer().await, app.product(5).await);
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    // Until its saga knows that the order is confirmed, a lost hold undoes it.
    saga_is(app, &format!("/v1/checkouts/{order}"), "completed").await;
    release_behind_its_back(app, &order, &sku).await;
    let ship = format!("/v1/orders/{order}/ship");
    let tracking = json!({ "tracking": "1Z 999" });
    app.operator().post(&ship, &tracking).await.must();
    saga_is(app, &format!("/v1/checkouts/{order}"), "suspended").await;
    rings(app, "sagas_suspended_total{saga=\"checkout\"}").await;
    (order, sku)
}

/// Waits until a saga stands as said, and answers it.
async fn saga_is(app: &App, path: &str, status: &str) -> Value {
    let operator = app.operator();
    let what = format!("{path} {status}");
    let saga = operator.wait_for(&what, path, PATIENCE, |saga| saga["status"] == status);
    saga.await.unwrap().body
}

/// Settles a saga as `act` says, at the version at which it stands, and answers what that said; at another one it
/// isn't.
async fn settles(operator: &Shop, path: &str, act: &str, body: &Value) -> Answer {
    let at = format!("{path}/{act}");
    let call = async |tag: &str| {
        let condition = [("If-Match", tag)];
        let call = operator.call(Method::POST, &at, &condition, Some(body));
        call.await.unwrap()
    };
    let stale = call("\"1\"").await;
    assert_eq!(stale.status.as_u16(), 412, "{at}: {}", stale.body);
    assert_eq!(stale.body["code"], "version_is_stale");
    let mut done = stale;
    // What it doesn't wait for may still go on.
    becomes("it is settled as it was seen", async || {
        let seen = operator.get(path).await.must();
        done = call(seen.header("ETag").unwrap()).await;
        done.status.as_u16() != 412
    })
    .await;
    assert_eq!(done.status.as_u16(), 200, "{at}: {}", done.body);
    done
}

/// The last thing that happened to a saga.
fn last(saga: &Value) -> &Value {
    saga["steps"].as_array().unwrap().last().unwrap()
}

#[tokio::test]
async fn a_step_done_by_hand_is_skipped_with_a_name_and_a_reason() {
    let app = shared().await;
    let (order, sku) = stuck_in_shipping(app).await;
    let (path, step) = (
        format!("/v1/checkouts/{order}"),
        format!("ship_stock-{sku}"),
    );
    let body = json!({ "step": step, "reason": "counted out by hand" });
    let skip = format!("{path}/skip");
    let customer = app.customer().await.shop.post(&skip, &body).await.unwrap();
    assert_eq!(customer.status.as_u16(), 403, "{}", customer.body);
    let operator = app.operator();
    let other = json!({ "step": "capture_payment", "reason": "a mistake" });
    let other = operator.post(&skip, &other).await.unwrap();
    assert_eq!(other.status.as_u16(), 409, "{}", other.body);
    assert_eq!(other.body["code"], "not_suspended");
    let why = json!({ "step": step });
    let why = operator.post(&skip, &why).await.unwrap();
    assert_eq!(why.status.as_u16(), 422, "{}", why.body);

    let key = Uuid::new_v4().to_string();
    for replayed in [None, Some("true")] {
        let done = operator.post_with_key(&skip, &key, &body).await.unwrap();
        assert_eq!(done.status.as_u16(), 200, "{}", done.body);
        assert_eq!(done.header("Idempotency-Replayed"), replayed);
    }
    let saga = saga_is(app, &path, "ended").await;
    assert_eq!(saga["outcome"]["name"], "shipped", "{saga}");
    let skipped = last(&saga);
    assert_eq!(skipped["event"], "step_skipped", "{saga}");
    assert_eq!(skipped["reason"], "counted out by hand");
    assert!(
        skipped["by"].as_str().unwrap().starts_with("operator"),
        "{saga}"
    );
    let late = operator.post(&skip, &body).await.unwrap();
    assert_eq!(late.status.as_u16(), 409, "{}", late.body);
    // The customer is told of what they see: it is confirmed, and on its way.
    app.told(&order, 2).await;
}

#[tokio::test]
async fn what_is_resolved_by_hand_waits_for_nobody() {
    let app = shared().await;
    let (order, _) = stuck_in_shipping(app).await;
    let path = format!("/v1/checkouts/{order}");
    let resolve = format!("{path}/resolve");
    let body = json!({ "reason": "settled on the phone" });
    let done = settles(&app.operator(), &path, "resolve", &body).await;
    let token = done.header("Consistency-Token").unwrap();
    let saga = app.operator().get_after(&path, token).await.unwrap().body;
    assert_eq!(saga["status"], "resolved", "{saga}");
    assert_eq!(last(&saga)["reason"], "settled on the phone", "{saga}");
    assert!(saga["suspended"].is_null(), "{saga}");
    let again = app.operator().post(&resolve, &body).await.unwrap();
    assert_eq!(again.status.as_u16(), 409, "{}", again.body);
    let nobody = format!("/v1/checkouts/{}/resolve", Uuid::new_v4());
    let nobody = app.operator().post(&nobody, &body).await.unwrap();
    assert_eq!(nobody.status.as_u16(), 404, "{}", nobody.body);
}

/// The events of a kind in a saga's history.
fn those<'a>(saga: &'a Value, event: &str) -> Vec<&'a Value> {
    let steps = saga["steps"].as_array().unwrap().iter();
    steps.filter(|step| step["event"] == event).collect()
}

#[tokio::test]
async fn goods_booked_in_by_hand_end_a_return() {
    let app = shared().await;
    let stuck = StuckReturn::new(app).await;
    let path = format!("/v1/checkouts/returns/{}", stuck.back);
    let skip = format!("{path}/skip");
    let step = format!("restock_return-{}", stuck.sku);
    let operator = app.operator();
    // That is done, or on its way.
    let other = json!({ "step": "refund_payment", "reason": "a mistake" });
    let other = operator.post(&skip, &other).await.unwrap();
    assert_eq!(other.status.as_u16(), 409, "{}", other.body);
    let body = json!({ "step": step, "reason": "it went straight to the sale" });
    let key = Uuid::new_v4().to_string();
    for replayed in [None, Some("true")] {
        let done = operator.post_with_key(&skip, &key, &body).await.unwrap();
        assert_eq!(done.status.as_u16(), 200, "{}", done.body);
        assert_eq!(done.header("Idempotency-Replayed"), replayed);
    }
    let saga = saga_is(app, &path, "ended").await;
    let skipped = those(&saga, "returning_step_skipped");
    assert_eq!(skipped.len(), 1, "{saga}");
    assert_eq!(skipped[0]["reason"], "it went straight to the sale");
    let by = skipped[0]["by"].as_str().unwrap();
    assert!(by.starts_with("operator"), "{saga}");
    order_says(
        app,
        &stuck.order,
        "partially_refunded",
        "partially_returned",
    )
    .await;
    assert_eq!(app.ledger(&stuck.order).await[0]["refunded"], PRICE);
    app.stock_is(&stuck.sku, [inventory::ON_HAND_MAX, 0, 0])
        .await;
}

#[tokio::test]
async fn a_return_resolved_by_hand_moves_no_goods() {
    let app = shared().await;
    let stuck = StuckReturn::new(app).await;
    let path = format!("/v1/checkouts/returns/{}", stuck.back);
    let body = json!({ "reason": "a voucher was sent" });
    let done = settles(&app.operator(), &path, "resolve", &body).await;
    let token = done.header("Consistency-Token").unwrap();
    let saga = app.operator().get_after(&path, token).await.unwrap().body;
    assert_eq!(saga["status"], "resolved", "{saga}");
    assert_eq!(last(&saga)["reason"], "a voucher was sent", "{saga}");
    assert!(saga["suspended"].is_null(), "{saga}");
    // The money does not wait for the goods.
    order_says(
        app,
        &stuck.order,
        "partially_refunded",
        "partially_returned",
    )
    .await;
    app.stock_is(&stuck.sku, [inventory::ON_HAND_MAX, 0, 0])
        .await;
    let resume = format!("{path}/resume");
    let over = app.operator().post(&resume, &json!({})).await.unwrap();
    assert_eq!(over.status.as_u16(), 409, "{}", over.body);
}

/// Money that went back, and then came back from the bank: its refund's saga waits.
pub(crate) async fn stuck_in_refunding(app: &App) -> String {
    let (customer, sku) = (app.customer().await, app.product(1).await);
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.delivers(&order).await;
    let order_id: OrderId = order.parse().unwrap();
    let id: AggregateId = payment_id(order_id).into();
    let refund = json!({
        "amount": { "amount": PRICE, "currency": "EUR" }, "reason": "a scratch",
    });
    let path = format!("/v1/payments/{id}/refunds");
    let refund = app.operator().post(&path, &refund).await;
    let refund = refund.must().text("/id").to_owned();
    saga_is(app, &refund_path(&refund), "ended").await;
    let failure = PaymentCommand::RecordRefundFailure {
        refund_id: refund.parse().unwrap(),
        code: "lost_or_stolen_card".to_owned(),
    };
    let meta =
        CommandMeta::new(Uuid::new_v4(), chrono::Utc::now(), "system").with_correlation(order);
    let streams = streams(app).await;
    let failed = streams.execute::<Payment>(&id, failure, &meta).await;
    failed.unwrap();
    saga_is(app, &refund_path(&refund), "suspended").await;
    refund
}

fn refund_path(refund: &str) -> String {
    format!("/v1/checkouts/refunds/{refund}")
}

#[tokio::test]
async fn a_refund_paid_by_hand_is_skipped_and_one_that_nobody_needs_is_resolved() {
    let app = shared().await;
    let operator = app.operator();
    let path = refund_path(&stuck_in_refunding(app).await);
    let skip = format!("{path}/skip");
    let other = json!({ "step": "notify", "reason": "a mistake" });
    let other = operator.post(&skip, &other).await.unwrap();
    assert_eq!(other.status.as_u16(), 409, "{}", other.body);
    let body = json!({ "step": "record_refund", "reason": "paid out in cash" });
    settles(&operator, &path, "skip", &body).await;
    let saga = saga_is(app, &path, "ended").await;
    let skipped = those(&saga, "refunding_skipped");
    assert_eq!(skipped[0]["reason"], "paid out in cash", "{saga}");

    let path = refund_path(&stuck_in_refunding(app).await);
    let resolve = format!("{path}/resolve");
    let body = json!({ "reason": "it was a test" });
    operator.post(&resolve, &body).await.must();
    let saga = saga_is(app, &path, "resolved").await;
    assert_eq!(last(&saga)["reason"], "it was a test", "{saga}");
    let again = operator.post(&resolve, &body).await.unwrap();
    assert_eq!(again.status.as_u16(), 409, "{}", again.body);
}
