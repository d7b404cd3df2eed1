//! What happens after an order has arrived: goods come back, and money, by hand.

use kernel::{AggregateId, Decider, Money, OrderId, PaymentId};
use order::{Order, OrderCommand};
use payment::{Payment, PaymentCommand};
use serde_json::{Value, json};
use streams::CommandMeta;
use uuid::Uuid;

use crate::app::{Answer, App, NOT_FOUND, Person, order};

/// What the saga or the reactor does.
async fn done<A: Decider>(app: &App, id: impl Into<AggregateId>, command: A::Command) {
    let meta = CommandMeta::new(Uuid::now_v7(), chrono::Utc::now(), "saga:checkout");
    let executed = app.streams.execute::<A>(&id.into(), command, &meta).await;
    executed.unwrap();
}

/// An order of two teas for 5 euros each that was paid.
async fn paid(app: &App, buyer: &Person) -> OrderId {
    app.product("tea", 500).await;
    let placed = app.place(buyer, "o1", &order(&[("tea", 2)])).await;
    let placed = placed.must(201);
    let id: OrderId = placed.id().parse().unwrap();
    let payment_id = payment::payment_id(id);
    let amount = Money::new(1_000, "EUR".parse().unwrap());
    for command in [
        PaymentCommand::RequestPayment {
            order_id: id,
            user_id: buyer.id,
            amount,
            method: "pm_card_visa".parse().unwrap(),
        },
        PaymentCommand::RecordCapture { amount },
    ] {
        done::<Payment>(app, payment_id, command).await;
    }
    done::<Order>(app, id, OrderCommand::ConfirmOrder { payment_id }).await;
    id
}

/// The same, and it has arrived.
async fn arrived(app: &App, buyer: &Person) -> OrderId {
    let id = paid(app, buyer).await;
    let tracking = "1Z".parse().unwrap();
    done::<Order>(app, id, OrderCommand::ShipOrder { tracking }).await;
    done::<Order>(app, id, OrderCommand::DeliverOrder {}).await;
    id
}

fn teas(quantity: i64) -> Value {
    json!({"lines": [{"sku": "tea", "quantity": quantity}], "reason": "too strong"})
}

/// Asks for a return under this key.
async fn back(app: &App, by: &Person, order: OrderId, key: &str, body: &Value) -> Answer {
    let path = format!("/v1/orders/{order}/returns");
    app.post(&path).by(by).key(key).send(body).await
}

#[tokio::test]
async fn a_return_goes_from_request_to_receipt() {
    let app = App::new();
    let (ann, operator) = (app.customer("ann@example.com").await, app.operator());
    let order = arrived(&app, &ann).await;
    let asked = back(&app, &ann, order, "r1", &teas(1)).await.must(201);
    let id = asked.id().to_owned();
    let path = format!("/v1/orders/{order}/returns/{id}");
    assert_eq!(asked.header("location"), path);
    let said = |status: &str, version: u64| {
        json!({
            "id": id, "order_id": order, "status": status, "version": version,
            "amount": {"amount": 500, "currency": "EUR"},
        })
    };
    assert_eq!(asked.body, said("requested", 5));
    for (act, status, version) in [("approve", "approved", 6), ("receive", "received", 7)] {
        let path = format!("{path}/{act}");
        let own = app.post(&path).by(&ann).raw("").await;
        own.refused(403, "forbidden", "");
        for _ in 0..2 {
            let acted = app.post(&path).by(&operator).raw("").await.must(200);
            let mut expected = said(status, version);
            if act == "receive" {
                // What follows from it.
                expected["checkout"] = json!(format!("/v1/checkouts/returns/{id}"));
            }
            assert_eq!(acted.body, expected);
        }
    }
    let again = back(&app, &ann, order, "r1", &teas(1)).await;
    assert_eq!(again.essence(), asked.essence(), "as of the append");
    assert_eq!(again.header("idempotency-replayed"), "true");
    let other = back(&app, &ann, order, "r1", &teas(2)).await;
    other.refused(422, "idempotency_key_reused", "");
    let late = json!({"reason": "it was used"});
    let late = app
        .post(&format!("{path}/refuse"))
        .by(&operator)
        .send(&late);
    late.await.refused(409, "return_already_received", "");
}

#[tokio::test]
async fn a_return_that_breaks_a_rule_names_the_field_and_appends_nothing() {
    let app = App::new();
    let ann = app.customer("ann@example.com").await;
    let order = arrived(&app, &ann).await;
    let before = app.ends().await;
    let keyless = format!("/v1/orders/{order}/returns");
    let keyless = app.post(&keyless).by(&ann).send(&teas(1)).await;
    keyless.refused(400, "idempotency_key_required", "");
    let line = |sku: &str| json!({"sku": sku, "quantity": 1});
    let lines = |lines: Vec<Value>| json!({"lines": lines, "reason": "too strong"});
    for (body, code, pointer) in [
        (teas(0), "quantity_out_of_range", "/lines/0/quantity"),
        (teas(3), "return_exceeds_ordered", "/lines/0/quantity"),
        (lines(vec![]), "no_lines", "/lines"),
        (lines(vec![line("milk")]), "sku_not_ordered", "/lines/0/sku"),
        (
            lines(vec![line("tea"), line("tea")]),
            "duplicate_sku",
            "/lines/1/sku",
        ),
    ] {
        let refused = back(&app, &ann, order, "r1", &body).await;
        refused.refused(422, code, pointer);
    }
    let ben = app.customer("ben@example.com").await;
    let foreign = back(&app, &ben, order, "r1", &teas(1)).await;
    foreign.refused(NOT_FOUND, "not_found", "");
    for path in [
        format!("/v1/orders/{order}/returns/{}/approve", Uuid::from_u128(5)),
        format!("/v1/orders/{}/returns/x/approve", Uuid::from_u128(5)),
    ] {
        let unknown = app.post(&path).by(&app.operator()).raw("").await;
        assert_eq!(unknown.status, NOT_FOUND, "{}", unknown.body);
    }
    assert_eq!(app.ends().await["ORDER"], before["ORDER"]);
}

#[tokio::test]
async fn money_goes_back_by_hand_once_the_order_has_left() {
    let app = App::new();
    let (ann, operator) = (app.customer("ann@example.com").await, app.operator());
    let order = paid(&app, &ann).await;
    let payment_id = payment::payment_id(order);
    let refund = |payment_id: PaymentId, key: &'static str, amount: i64| {
        let path = format!("/v1/payments/{payment_id}/refunds");
        let amount = json!({"amount": amount, "currency": "EUR"});
        let body = json!({"amount": amount, "reason": "a scratch"});
        let (app, operator) = (&app, &operator);
        async move { app.post(&path).by(operator).key(key).send(&body).await }
    };
    let early = refund(payment_id, "f1", 400).await;
    early.refused(409, "order_not_shipped", "");
    let nowhere = refund(PaymentId(Uuid::from_u128(5)), "f1", 400).await;
    nowhere.refused(NOT_FOUND, "not_found", "");
    let tracking = "1Z".parse().unwrap();
    done::<Order>(&app, order, OrderCommand::ShipOrder { tracking }).await;
    let first = refund(payment_id, "f1", 400).await.must(201);
    assert_eq!(first.body["status"], "requested", "{}", first.body);
    assert_eq!(first.body["order_id"], json!(order));
    assert_eq!(
        first.header("location"),
        format!("/v1/payments/{payment_id}")
    );
    let again = refund(payment_id, "f1", 400).await;
    assert_eq!(again.essence(), first.essence());
    let other = refund(payment_id, "f1", 401).await;
    other.refused(422, "idempotency_key_reused", "");
    let above = refund(payment_id, "f2", 601).await;
    above.refused(422, "refund_exceeds_captured", "/amount");
    let nothing = refund(payment_id, "f2", 0).await;
    nothing.refused(422, "amount_not_positive", "/amount");
    refund(payment_id, "f2", 600).await.must(201);
    let path = format!("/v1/payments/{payment_id}/refunds");
    let own = app.post(&path).by(&ann).key("f3").raw("{}").await;
    own.refused(403, "forbidden", "");
}
