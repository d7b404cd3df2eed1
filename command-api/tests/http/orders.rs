//! Orders: placed once, at the price of now, by those who may.

use std::time::Duration;

use kernel::{AggregateId, OrderId, PaymentId, UserId};
use order::{Order, OrderCommand};
use serde_json::json;
use streams::CommandMeta;
use uuid::Uuid;

use crate::app::{App, NOT_FOUND, order};

/// The lines, and what is wrong where.
type Wrong<'a> = (&'a [(&'a str, i64)], &'a str, &'a str);

/// What the saga does to an order.
async fn saga(app: &App, id: &str, command: OrderCommand) {
    let meta = CommandMeta::new(Uuid::now_v7(), chrono::Utc::now(), "saga:checkout");
    let id: AggregateId = id.parse().unwrap();
    let done = app
        .streams
        .execute::<Order>(&id, command, &meta)
        .await
        .unwrap();
    for event in &done.events {
        app.api.outcomes().hear(event);
    }
}

fn confirm() -> OrderCommand {
    OrderCommand::ConfirmOrder {
        payment_id: PaymentId(Uuid::from_u128(9)),
    }
}

#[tokio::test]
async fn an_order_is_placed_at_the_price_of_now() {
    let app = App::new();
    app.product("tea", 500).await;
    app.product("milk", 120).await;
    let ann = app.customer("ann@example.com").await;
    let body = order(&[("tea", 2), ("milk", 1)]);
    let placed = app
        .post("/v1/orders")
        .by(&ann)
        .key("o1")
        .send(&body)
        .await
        .must(201);
    let id = placed.id();
    assert_eq!(
        placed.body,
        json!({
            "id": id, "status": "placed", "total": {"amount": 1120, "currency": "EUR"},
            "checkout": format!("/v1/checkouts/{id}"),
        })
    );
    assert_eq!(placed.header("location"), format!("/v1/orders/{id}"));
    assert_eq!(placed.header("etag"), "\"1\"");
    assert_eq!(placed.header("consistency-token"), "ORDER:1");
    let history = app
        .streams
        .history::<Order>(&id.parse().unwrap())
        .await
        .unwrap();
    let event = history.first().unwrap();
    assert_eq!(event.correlation_id.as_deref(), Some(id));
    assert_eq!(event.actor, format!("user:{}", ann.id));
    assert!(event.request_digest.is_some() && event.traceparent.is_some());
    assert!(
        !String::from_utf8_lossy(&event.data).contains("Main St"),
        "the address is sealed"
    );
}

#[tokio::test]
async fn an_order_needs_a_key_and_one_key_is_one_order() {
    let app = App::new();
    app.product("tea", 500).await;
    let ann = app.customer("ann@example.com").await;
    let body = order(&[("tea", 2)]);
    let keyless = app.post("/v1/orders").by(&ann).send(&body).await;
    keyless.refused(400, "idempotency_key_required", "");
    let first = app
        .post("/v1/orders")
        .by(&ann)
        .key("o1")
        .send(&body)
        .await
        .must(201);
    let operator = app.operator();
    app.post("/v1/products/tea/discontinue")
        .by(&operator)
        .raw("")
        .await
        .must(200);
    let suspend = format!("/v1/users/{}/suspend", ann.id);
    app.post(&suspend)
        .by(&operator)
        .send(&json!({"reason": "x"}))
        .await
        .must(200);
    saga(&app, first.id(), confirm()).await;
    let again = app.post("/v1/orders").by(&ann).key("o1").send(&body).await;
    assert_eq!(
        again.essence(),
        first.essence(),
        "whatever has happened since"
    );
    assert_eq!(again.header("idempotency-replayed"), "true");
    let other = app
        .post("/v1/orders")
        .by(&ann)
        .key("o1")
        .send(&order(&[("tea", 3)]))
        .await;
    other.refused(422, "idempotency_key_reused", "");
}

#[tokio::test]
async fn a_hundred_identical_orders_at_once_are_one() {
    let app = App::new();
    app.product("tea", 500).await;
    let ann = app.customer("ann@example.com").await;
    let body = order(&[("tea", 1)]);
    let posts = (0..100).map(|_| app.post("/v1/orders").by(&ann).key("o1").send(&body));
    let answers = futures::future::join_all(posts).await;
    let first = answers[0].essence();
    assert_eq!(first.0, 201);
    assert!(answers.iter().all(|answer| answer.essence() == first));
    let fresh = answers
        .iter()
        .filter(|a| a.header("idempotency-replayed").is_empty());
    assert_eq!(fresh.count(), 1);
    assert_eq!(app.ends().await["ORDER"], 1);
}

#[tokio::test]
async fn lines_that_are_wrong_are_pointed_at_and_nothing_is_appended() {
    let app = App::new();
    app.product("tea", 500).await;
    app.product_in("sake", 500, "JPY").await;
    let operator = app.operator();
    let draft = crate::app::product("draft", 5, "EUR");
    app.post("/v1/products")
        .by(&operator)
        .send(&draft)
        .await
        .must(201);
    let ann = app.customer("ann@example.com").await;
    let many: Vec<_> = (0..101).map(|_| ("tea", 1)).collect();
    let before = app.ends().await;
    let wrong: [Wrong; 11] = [
        (&[], "no_lines", "/lines"),
        (&many, "too_many_lines", "/lines"),
        (&[("tea", 1), ("nope", 1)], "sku_unknown", "/lines/1/sku"),
        (&[("draft", 1)], "product_not_on_sale", "/lines/0/sku"),
        (&[("tea", 0)], "quantity_out_of_range", "/lines/0/quantity"),
        (
            &[("tea", 10_001)],
            "quantity_out_of_range",
            "/lines/0/quantity",
        ),
        (&[("tea", -1)], "invalid_request", "/lines/0/quantity"),
        (&[("tea", i64::MAX)], "invalid_request", "/lines/0/quantity"),
        (&[("tea", 1), ("tea", 2)], "duplicate_sku", "/lines/1/sku"),
        (
            &[("tea", 1), ("sake", 1)],
            "mixed_currencies",
            "/lines/1/sku",
        ),
        (&[("a.*.>", 1)], "invalid_request", "/lines/0/sku"),
    ];
    for (lines, code, pointer) in wrong {
        let answer = app
            .post("/v1/orders")
            .by(&ann)
            .key("bad")
            .send(&order(lines))
            .await;
        answer.refused(422, code, pointer);
    }
    assert_eq!(app.ends().await, before);
    // A refused key is free again.
    app.post("/v1/orders")
        .by(&ann)
        .key("bad")
        .send(&order(&[("tea", 1)]))
        .await
        .must(201);
}

#[tokio::test]
async fn other_fields_that_are_wrong_are_pointed_at_and_nothing_is_appended() {
    let app = App::new();
    app.product("tea", 500).await;
    let ann = app.customer("ann@example.com").await;
    let before = app.ends().await;
    let euro = |amount: i64| json!({"amount": amount, "currency": "EUR"});
    for (pointer, value, code) in [
        ("/lines/0/expected_price", euro(499), "price_changed"),
        ("/lines/0/unit_price", euro(1), "invalid_request"),
        ("/shipping_address/country", json!("XX"), "invalid_request"),
        (
            "/shipping_address/name",
            json!("Ann\r\nBcc: x"),
            "invalid_request",
        ),
        ("/shipping_address/city", json!(null), "invalid_request"),
        ("/payment_method", json!(""), "invalid_request"),
        ("/user_id", json!("somebody else"), "invalid_request"),
    ] {
        let mut body = order(&[("tea", 1)]);
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[field] = value;
        let answer = app.post("/v1/orders").by(&ann).key("bad").send(&body).await;
        answer.refused(422, code, pointer);
    }
    assert_eq!(app.ends().await, before);
}

#[tokio::test]
async fn who_is_suspended_or_unknown_places_nothing() {
    let app = App::new();
    app.product("tea", 500).await;
    let ann = app.customer("ann@example.com").await;
    let operator = app.operator();
    let body = order(&[("tea", 1)]);
    app.post("/v1/orders")
        .by(&ann)
        .key("o1")
        .send(&body)
        .await
        .must(201);
    let suspend = format!("/v1/users/{}/suspend", ann.id);
    app.post(&suspend)
        .by(&operator)
        .send(&json!({"reason": "fraud"}))
        .await
        .must(200);
    let before = app.ends().await;
    let barred = app.post("/v1/orders").by(&ann).key("o2").send(&body).await;
    barred.refused(403, "user_suspended", "");
    let ghost = app.person(UserId(Uuid::from_u128(77)), &["customer"]);
    let unknown = app
        .post("/v1/orders")
        .by(&ghost)
        .key("o3")
        .send(&body)
        .await;
    unknown.refused(403, "user_unknown", "");
    assert_eq!(app.ends().await, before);
    let lift = format!("/v1/users/{}/reactivate", ann.id);
    app.post(&lift).by(&operator).raw("").await.must(200);
    app.post("/v1/orders")
        .by(&ann)
        .key("o2")
        .send(&body)
        .await
        .must(201);
}

#[tokio::test]
async fn a_price_that_has_just_changed_counts_at_once_here() {
    let app = App::new();
    app.product("tea", 500).await;
    let ann = app.customer("ann@example.com").await;
    let operator = app.operator();
    let mut body = order(&[("tea", 1)]);
    app.post("/v1/orders")
        .by(&ann)
        .key("o1")
        .send(&body)
        .await
        .must(201);
    let price = json!({"amount": 600, "currency": "EUR"});
    let set = json!({"price": price});
    app.post("/v1/products/tea/price")
        .by(&operator)
        .send(&set)
        .await
        .must(200);
    body["lines"][0]["expected_price"] = price.clone();
    let placed = app
        .post("/v1/orders")
        .by(&ann)
        .key("o2")
        .send(&body)
        .await
        .must(201);
    assert_eq!(placed.body["total"], price);
}

#[tokio::test]
async fn only_the_owner_and_operators_act_on_an_order() {
    let app = App::new();
    app.product("tea", 500).await;
    let ann = app.customer("ann@example.com").await;
    let ben = app.customer("ben@example.com").await;
    let operator = app.operator();
    let placed = app
        .post("/v1/orders")
        .by(&ann)
        .key("o1")
        .send(&order(&[("tea", 1)]))
        .await;
    let id = placed.must(201).id().to_owned();
    let cancel = format!("/v1/orders/{id}/cancel");
    let reason = json!({"reason": "changed my mind"});
    let before = app.ends().await;
    let foreign = app.post(&cancel).by(&ben).send(&reason).await;
    foreign.refused(NOT_FOUND, "not_found", "");
    let nowhere = format!("/v1/orders/{}/cancel", Uuid::from_u128(5));
    let nothing = app.post(&nowhere).by(&ben).send(&reason).await;
    nothing.refused(NOT_FOUND, "not_found", "");
    assert_eq!(
        foreign.body["detail"], nothing.body["detail"],
        "one can't tell them apart"
    );
    let ship = format!("/v1/orders/{id}/ship");
    let tracking = json!({"tracking": "T1"});
    app.post(&ship)
        .by(&ann)
        .send(&tracking)
        .await
        .refused(403, "forbidden", "");
    let early = app.post(&ship).by(&operator).send(&tracking).await;
    early.refused(409, "order_not_confirmed", "");
    assert_eq!(app.ends().await, before);

    saga(&app, &id, confirm()).await;
    let shipped = app
        .post(&ship)
        .by(&operator)
        .send(&tracking)
        .await
        .must(200);
    assert_eq!(
        shipped.body,
        json!({"id": id, "status": "shipped", "version": 3})
    );
    let late = app.post(&cancel).by(&ann).send(&reason).await;
    late.refused(409, "order_already_shipped", "");
    let deliver = format!("/v1/orders/{id}/deliver");
    app.post(&deliver).by(&operator).raw("").await.must(200);
}

#[tokio::test]
async fn a_cancellation_is_answered_again_under_its_key() {
    let app = App::new();
    app.product("tea", 500).await;
    let ann = app.customer("ann@example.com").await;
    let placed = app
        .post("/v1/orders")
        .by(&ann)
        .key("o1")
        .send(&order(&[("tea", 1)]))
        .await;
    let cancel = format!("/v1/orders/{}/cancel", placed.must(201).id());
    let reason = json!({"reason": "too slow"});
    let first = app
        .post(&cancel)
        .by(&ann)
        .key("c")
        .send(&reason)
        .await
        .must(200);
    assert_eq!(first.body["status"], "canceled");
    let again = app.post(&cancel).by(&ann).key("c").send(&reason).await;
    assert_eq!(again.essence(), first.essence());
    assert_eq!(again.header("idempotency-replayed"), "true");
    let true_already = app.post(&cancel).by(&ann).send(&reason).await.must(200);
    assert_eq!(true_already.header("etag"), "\"2\"");
    let other = app
        .post(&cancel)
        .by(&ann)
        .key("c")
        .send(&json!({"reason": "other"}))
        .await;
    other.refused(422, "idempotency_key_reused", "");
}

#[tokio::test]
async fn who_likes_to_wait_hears_how_it_ended() {
    let app = App::new();
    app.product("tea", 500).await;
    let ann = app.customer("ann@example.com").await;
    let body = order(&[("tea", 1)]);
    let post = |key: &str, wait: &str| {
        app.post("/v1/orders")
            .by(&ann)
            .key(key)
            .header("prefer", wait)
    };
    let reject = OrderCommand::RejectOrder {
        reason: "card_declined".parse().unwrap(),
    };
    let ending = async {
        while app.ends().await["ORDER"] < 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let first = kernel::Position::new("ORDER", 1);
        let event = app.streams.event_at(&first).await.unwrap().unwrap();
        saga(&app, event.aggregate_id.as_str(), reject).await;
    };
    let (rejected, ()) = tokio::join!(post("o1", "wait=20").send(&body), ending);
    let rejected = rejected.must(201);
    assert_eq!(rejected.body["status"], "rejected");
    assert_eq!(rejected.body["reason"], "card_declined");
    assert_eq!(rejected.header("preference-applied"), "wait=20");
    assert_eq!(rejected.header("consistency-token"), "ORDER:2");
    let again = post("o1", "wait=20").send(&body).await.must(201);
    assert_eq!(
        again.body, rejected.body,
        "it has ended: nothing to wait for"
    );

    let impatient = post("o2", "wait=0").send(&body).await.must(201);
    assert_eq!(impatient.body["status"], "placed");
    assert_eq!(impatient.header("preference-applied"), "wait=0");
    let id: OrderId = impatient.id().parse().unwrap();
    assert_eq!(impatient.header("location"), format!("/v1/orders/{id}"));
}
