//! Orders once they are placed: answered again, acted on, waited for.

use std::time::Duration;

use checkout::{Checkout, CheckoutFact, Item};
use chrono::Utc;
use kernel::{AggregateId, Decider, Money, OrderId, PaymentId};
use order::{Order, OrderCommand};
use payment::{Payment, PaymentCommand, payment_id};
use serde_json::json;
use streams::{CommandMeta, RecordedEvent};
use uuid::Uuid;

use crate::app::{App, NOT_FOUND, order};

/// What `actor` does to an aggregate, which the API hears of.
async fn does<A: Decider>(
    app: &App,
    (actor, id): (&str, &AggregateId),
    command: A::Command,
) -> Vec<RecordedEvent> {
    let meta = CommandMeta::new(Uuid::now_v7(), Utc::now(), actor);
    let done = app.streams.execute::<A>(id, command, &meta).await;
    let events = done.unwrap().events;
    for event in &events {
        app.api.hear(event);
    }
    events
}

/// What the saga does to an order.
async fn saga(app: &App, id: &str, command: OrderCommand) {
    does::<Order>(app, ("saga:checkout", &id.parse().unwrap()), command).await;
}

/// What the reactor does to the payment of an order.
async fn reactor(app: &App, order_id: OrderId, command: PaymentCommand) -> Vec<RecordedEvent> {
    let id = payment_id(order_id).into();
    does::<Payment>(app, ("reactor:payment", &id), command).await
}

fn confirm() -> OrderCommand {
    OrderCommand::ConfirmOrder {
        payment_id: PaymentId(Uuid::from_u128(9)),
    }
}

#[tokio::test]
async fn an_order_needs_a_key_and_one_key_is_one_order() {
    let app = App::new();
    app.product("tea", 500).await;
    let ann = app.customer("ann@example.com").await;
    let body = order(&[("tea", 2)]);
    let keyless = app.post("/v1/orders").by(&ann).send(&body).await;
    keyless.refused(400, "idempotency_key_required", "");
    let first = app.place(&ann, "o1", &body).await.must(201);
    let operator = app.operator();
    app.post("/v1/products/tea/discontinue")
        .by(&operator)
        .raw("")
        .await
        .must(200);
    app.suspend(&ann).await;
    saga(&app, first.id(), confirm()).await;
    let again = app.place(&ann, "o1", &body).await;
    assert_eq!(
        again.essence(),
        first.essence(),
        "whatever has happened since"
    );
    assert_eq!(again.header("idempotency-replayed"), "true");
    let other = app.place(&ann, "o1", &order(&[("tea", 3)])).await;
    other.refused(422, "idempotency_key_reused", "");
}

#[tokio::test]
async fn a_hundred_identical_orders_at_once_are_one() {
    let app = App::new();
    app.product("tea", 500).await;
    let ann = app.customer("ann@example.com").await;
    let body = order(&[("tea", 1)]);
    let posts = (0..100).map(|_| app.place(&ann, "o1", &body));
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
async fn only_the_owner_and_operators_act_on_an_order() {
    let app = App::new();
    app.product("tea", 500).await;
    let ann = app.customer("ann@example.com").await;
    let ben = app.customer("ben@example.com").await;
    let operator = app.operator();
    let placed = app.place(&ann, "o1", &order(&[("tea", 1)])).await;
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
    assert_eq!(early.body["retryable"], true, "its checkout goes on");
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
    let placed = app.place(&ann, "o1", &order(&[("tea", 1)])).await;
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

#[tokio::test]
async fn who_waits_in_vain_hears_how_far_it_had_come_by_then() {
    let app = App::new();
    app.product("tea", 500).await;
    let ann = app.customer("ann@example.com").await;
    let placed = app.place(&ann, "o1", &order(&[("tea", 1)])).await;
    let order_id: OrderId = placed.must(201).id().parse().unwrap();
    let now = Utc::now();
    let takes_in = async |fact: CheckoutFact| {
        let meta = CommandMeta::new(Uuid::new_v4(), now, "saga:checkout");
        let id = order_id.into();
        let done = app.streams.execute::<Checkout>(&id, fact, &meta);
        done.await.unwrap();
    };
    takes_in(CheckoutFact::OrderPlaced {
        order_id,
        user_id: ann.id,
        items: vec![Item {
            sku: "tea".parse().unwrap(),
            quantity: 1,
        }],
        total: Money::new(500, "EUR".parse().unwrap()),
        payment_method: "pm_card_visa".parse().unwrap(),
        started_at: now,
        reserved_until: now,
        deadline: now,
    })
    .await;
    // It takes a moment to hear of the cancellation, and gets no further than that.
    let undoing = async {
        while app.ends().await["ORDER"] < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let reason = "too slow".parse().unwrap();
        takes_in(CheckoutFact::OrderCanceled { reason }).await;
    };
    let cancel = format!("/v1/orders/{order_id}/cancel");
    let reason = json!({"reason": "too slow"});
    let cancel = app.post(&cancel).by(&ann).header("prefer", "wait=1");
    let (canceled, ()) = tokio::join!(cancel.send(&reason), undoing);
    assert_eq!(canceled.must(200).body["checkout_status"], "undoing");
}

/// What saga and reactor do to the payment of an order that asks for an action.
async fn must_act(app: &App, order_id: OrderId, action_url: &str) -> Vec<RecordedEvent> {
    let request = PaymentCommand::RequestPayment {
        order_id,
        user_id: kernel::UserId(Uuid::nil()),
        amount: Money::new(500, "EUR".parse().unwrap()),
        method: "pm_card_authenticationRequired".parse().unwrap(),
    };
    let asks = PaymentCommand::RecordActionRequired {
        action_url: Some(action_url.to_owned()),
    };
    let mut heard = reactor(app, order_id, request).await;
    heard.extend(reactor(app, order_id, asks).await);
    heard
}

#[tokio::test]
async fn who_waits_hears_at_once_that_they_must_act() {
    let app = App::new();
    app.product("tea", 500).await;
    let ann = app.customer("ann@example.com").await;
    let body = order(&[("tea", 1)]);
    let post = || {
        let post = app.post("/v1/orders").by(&ann).key("o1");
        post.header("prefer", "wait=30").send(&body)
    };
    let page = "https://bank.example/3ds";
    let asked = async {
        while app.ends().await["ORDER"] < 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let first = kernel::Position::new("ORDER", 1);
        let event = app.streams.event_at(&first).await.unwrap().unwrap();
        must_act(&app, event.aggregate_id.as_str().parse().unwrap(), page).await;
    };
    let (placed, ()) = tokio::join!(post(), asked);
    let placed = placed.must(201);
    assert_eq!(placed.body["status"], "placed");
    assert_eq!(placed.body["payment_status"], "action_required");
    assert_eq!(placed.body["action_url"], page);
    assert_eq!(placed.header("preference-applied"), "wait=30");
    let again = post().await.must(201);
    assert_eq!(again.body, placed.body, "also who comes later is told");
}

#[tokio::test]
async fn who_has_acted_is_not_sent_to_their_bank_again() {
    let app = App::new();
    app.product("tea", 500).await;
    let ann = app.customer("ann@example.com").await;
    let body = order(&[("tea", 1)]);
    let post = |wait: &'static str| {
        let post = app.post("/v1/orders").by(&ann).key("o1");
        post.header("prefer", wait).send(&body)
    };
    let placed = post("respond-async").await.must(201);
    let order_id: OrderId = placed.id().parse().unwrap();
    let heard = must_act(&app, order_id, "https://bank.example/3ds").await;
    let authorized = PaymentCommand::RecordAuthorization {
        amount: Money::new(500, "EUR".parse().unwrap()),
    };
    reactor(&app, order_id, authorized).await;
    // The first who waits in a process hears what came in the minute before, too.
    let late = async {
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            for event in &heard {
                app.api.hear(event);
            }
        }
    };
    let (again, ()) = tokio::join!(post("wait=1"), late);
    let again = again.must(201);
    assert_eq!(again.body["status"], "placed");
    assert_eq!(again.body["action_url"], json!(null), "{:?}", again.body);
}
