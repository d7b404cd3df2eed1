//! Placing an order: at the price of now, by those who may.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use command_api::{Local, NoAnswer, Questions};
use kernel::{Sku, UserId};
use order::Order;
use product::Offer;
use serde_json::json;
use streams::memory::MemoryLog;
use streams::{Settings, Streams};
use user::Standing;
use uuid::Uuid;

use crate::app::{App, order};

/// The lines, and what is wrong where.
type Wrong<'a> = (&'a [(&'a str, i64)], &'a str, &'a str);

#[tokio::test]
async fn an_order_is_placed_at_the_price_of_now() {
    let app = App::new();
    app.product("tea", 500).await;
    app.product("milk", 120).await;
    let ann = app.customer("ann@example.com").await;
    let body = order(&[("tea", 2), ("milk", 1)]);
    let placed = app.place(&ann, "o1", &body).await.must(201);
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
        let answer = app.place(&ann, "bad", &order(lines)).await;
        answer.refused(422, code, pointer);
    }
    assert_eq!(app.ends().await, before);
    // A refused key is free again.
    app.place(&ann, "bad", &order(&[("tea", 1)]))
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
        let answer = app.place(&ann, "bad", &body).await;
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
    app.place(&ann, "o1", &body).await.must(201);
    app.suspend(&ann).await;
    let before = app.ends().await;
    let barred = app.place(&ann, "o2", &body).await;
    barred.refused(403, "user_suspended", "");
    let ghost = app.person(UserId(Uuid::from_u128(77)), &["customer"]);
    let unknown = app.place(&ghost, "o3", &body).await;
    unknown.refused(403, "user_unknown", "");
    assert_eq!(app.ends().await, before);
    let lift = format!("/v1/users/{}/reactivate", ann.id);
    app.post(&lift).by(&operator).raw("").await.must(200);
    app.place(&ann, "o2", &body).await.must(201);
}

#[tokio::test]
async fn a_price_that_has_just_changed_counts_at_once_here() {
    let app = App::new();
    app.product("tea", 500).await;
    let ann = app.customer("ann@example.com").await;
    let operator = app.operator();
    let mut body = order(&[("tea", 1)]);
    app.place(&ann, "o1", &body).await.must(201);
    let price = json!({"amount": 600, "currency": "EUR"});
    let set = json!({"price": price});
    app.post("/v1/products/tea/price")
        .by(&operator)
        .send(&set)
        .await
        .must(200);
    body["lines"][0]["expected_price"] = price.clone();
    let placed = app.place(&ann, "o2", &body).await.must(201);
    assert_eq!(placed.body["total"], price);
}

#[tokio::test]
async fn what_was_seen_at_another_process_counts_before_this_one_hears_of_it() {
    let here = App::new();
    here.product("tea", 500).await;
    let ann = here.customer("ann@example.com").await;
    let there = App::asking(here.streams.clone(), Arc::new(Local(here.streams.clone())));
    let buyer = there.person(ann.id, &["customer"]);
    let body = order(&[("tea", 1)]);
    // It remembers both answers, and hears nothing.
    there.place(&buyer, "o1", &body).await.must(201);

    let price = json!({"price": {"amount": 600, "currency": "EUR"}});
    let set = here.post("/v1/products/tea/price").by(&here.operator());
    let set = set.send(&price).await.must(200);
    let after = |token: &str, key| {
        let call = there.post("/v1/orders").by(&buyer).key(key);
        call.header("consistency-token", token)
    };
    let mut shown = body.clone();
    shown["lines"][0]["expected_price"] = json!({"amount": 500, "currency": "EUR"});
    let seen = set.header("consistency-token");
    let refused = after(seen, "o2").send(&shown).await;
    refused.refused(422, "price_changed", "/lines/0/expected_price");
    let placed = after(seen, "o3").send(&body).await.must(201);
    assert_eq!(placed.body["total"]["amount"], 600);

    let suspend = format!("/v1/users/{}/suspend", ann.id);
    let suspended = here.post(&suspend).by(&here.operator());
    let suspended = suspended.send(&json!({"reason": "fraud"})).await.must(200);
    let refused = after(suspended.header("consistency-token"), "o4");
    refused.send(&body).await.refused(403, "user_suspended", "");
}

#[tokio::test]
async fn a_key_is_its_owners() {
    let app = App::new();
    app.product("tea", 500).await;
    let (ann, ben) = (
        app.customer("ann@example.com").await,
        app.customer("ben@example.com").await,
    );
    let body = order(&[("tea", 1)]);
    let one = app.place(&ann, "k", &body).await.must(201);
    let other = app.place(&ben, "k", &body).await.must(201);
    assert_ne!(one.id(), other.id());
    assert_eq!(other.header("idempotency-replayed"), "");
}

/// The other contexts are down.
struct Nobody;

#[async_trait]
impl Questions for Nobody {
    async fn standing(&self, _: UserId) -> Result<Standing, NoAnswer> {
        Err(NoAnswer::of("user", "no responders"))
    }

    async fn offers(&self, _: &[Sku]) -> Result<BTreeMap<Sku, Offer>, NoAnswer> {
        Err(NoAnswer::of("product", "no responders"))
    }
}

#[tokio::test]
async fn without_an_answer_from_the_others_nothing_is_placed() {
    let streams = Streams::in_memory();
    let app = App::asking(streams, Arc::new(Nobody));
    let ann = app.customer("ann@example.com").await;
    let before = app.ends().await;
    let answer = app.place(&ann, "k", &order(&[("tea", 1)])).await;
    answer.refused(503, "unavailable", "");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.body["retryable"], true);
    assert_eq!(app.ends().await, before);
}

#[tokio::test]
async fn what_another_process_has_placed_is_answered_also_where_nothing_can_be_asked() {
    let log = Arc::new(MemoryLog::default());
    let streams = || Streams::new(log.clone(), Settings::default());
    let (here, there) = (streams(), streams());
    let cut_off = App::asking(here, Arc::new(Nobody));
    let whole = App::asking(there.clone(), Arc::new(Local(there)));
    whole.product("tea", 500).await;
    let ann = whole.customer("ann@example.com").await;
    let body = order(&[("tea", 1)]);
    let place = async |app: &App| {
        let ann = app.person(ann.id, &["customer"]);
        app.place(&ann, "k", &body).await
    };
    place(&cut_off).await.refused(503, "unavailable", "");
    let placed = place(&whole).await.must(201);
    let again = place(&cut_off).await.must(201);
    assert_eq!(again.id(), placed.id());
    assert_eq!(again.header("idempotency-replayed"), "true");
}
