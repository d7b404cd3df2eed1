//! Products and stock: what operators do, and what is refused.

use serde_json::json;

use crate::app::{App, NOT_FOUND, product};

#[tokio::test]
async fn a_product_is_created_priced_and_published() {
    let app = App::new();
    let operator = app.operator();
    let created = app
        .post("/v1/products")
        .by(&operator)
        .send(&product("tea-1", 500, "EUR"))
        .await;
    let created = created.must(201);
    assert_eq!(created.body, json!({"id": "tea-1"}));
    assert_eq!(created.header("location"), "/v1/products/tea-1");
    assert_eq!(created.header("etag"), "\"1\"");
    assert_eq!(created.header("consistency-token"), "PRODUCT:1");

    let price = json!({"price": {"amount": 600, "currency": "EUR"}});
    let set = app
        .post("/v1/products/tea-1/price")
        .by(&operator)
        .send(&price)
        .await
        .must(200);
    assert_eq!(set.body, json!({"id": "tea-1", "version": 2}));
    let again = app
        .post("/v1/products/tea-1/price")
        .by(&operator)
        .send(&price)
        .await
        .must(200);
    assert_eq!(
        again.header("consistency-token"),
        "PRODUCT:2",
        "already true: nothing appended"
    );

    let details = json!({"title": "Tea", "description": "Black.", "category": "Drinks"});
    app.post("/v1/products/tea-1/details")
        .by(&operator)
        .send(&details)
        .await
        .must(200);
    app.post("/v1/products/tea-1/publish")
        .by(&operator)
        .raw("")
        .await
        .must(200);
    let why = json!({"reason": "out of season"});
    app.post("/v1/products/tea-1/unpublish")
        .by(&operator)
        .send(&why)
        .await
        .must(200);
    let gone = app
        .post("/v1/products/tea-1/discontinue")
        .by(&operator)
        .raw("")
        .await
        .must(200);
    assert_eq!(gone.header("etag"), "\"6\"");
    let late = app
        .post("/v1/products/tea-1/publish")
        .by(&operator)
        .raw("")
        .await;
    late.refused(409, "product_discontinued", "");
}

#[tokio::test]
async fn what_is_wrong_with_a_product_is_pointed_at_and_nothing_is_appended() {
    let app = App::new();
    let operator = app.operator();
    app.post("/v1/products")
        .by(&operator)
        .send(&product("tea-1", 500, "EUR"))
        .await
        .must(201);
    let before = app.ends().await;
    for (body, code, pointer) in [
        (
            product("tea-2", 0, "EUR"),
            "price_not_positive",
            "/price/amount",
        ),
        (
            product("tea-2", i64::MAX, "EUR"),
            "price_too_high",
            "/price/amount",
        ),
        (
            product("tea-2", 5, "eur"),
            "invalid_request",
            "/price/currency",
        ),
        (product("a.b.*.>", 5, "EUR"), "invalid_request", "/sku"),
        (product("../etc", 5, "EUR"), "invalid_request", "/sku"),
        (product("", 5, "EUR"), "invalid_request", "/sku"),
        (json!({"sku": "tea-2"}), "invalid_request", "/title"),
    ] {
        let answer = app.post("/v1/products").by(&operator).send(&body).await;
        answer.refused(422, code, pointer);
    }
    let taken = app
        .post("/v1/products")
        .by(&operator)
        .send(&product("tea-1", 5, "EUR"))
        .await;
    taken.refused(409, "product_already_exists", "/sku");
    let nowhere = app
        .post("/v1/products/tea-9/publish")
        .by(&operator)
        .raw("")
        .await;
    nowhere.refused(NOT_FOUND, "product_unknown", "");
    let no_id = app
        .post("/v1/products/a.%3E/publish")
        .by(&operator)
        .raw("")
        .await;
    no_id.refused(NOT_FOUND, "not_found", "");
    assert_eq!(app.ends().await, before);
}

#[tokio::test]
async fn bodies_that_are_no_bodies_are_refused() {
    let app = App::new();
    let operator = app.operator();
    let before = app.ends().await;
    let post = || app.post("/v1/products").by(&operator);
    let json = || post().header("content-type", "application/json");
    json().raw("{").await.refused(400, "malformed_request", "");
    json()
        .raw("[".repeat(100_000))
        .await
        .refused(400, "malformed_request", "");
    json()
        .raw(vec![0xff, 0xfe])
        .await
        .refused(400, "malformed_request", "");
    json().raw("[]").await.refused(422, "invalid_request", "");
    post()
        .raw("{}")
        .await
        .refused(415, "unsupported_media_type", "");
    let packed = json().header("content-encoding", "gzip").raw("{}").await;
    packed.refused(415, "content_encoding_refused", "");
    assert_eq!(packed.header("accept-encoding"), "identity");
    let large = format!("{{\"title\":\"{}\"}}", "x".repeat(2 << 20));
    json().raw(large).await.refused(413, "body_too_large", "");
    assert_eq!(app.ends().await, before);
}

#[tokio::test]
async fn only_operators_run_the_shop() {
    let app = App::new();
    let customer = app.customer("ann@example.com").await;
    let before = app.ends().await;
    for path in [
        "/v1/products/tea/publish",
        "/v1/products/tea/discontinue",
        "/v1/users/00000000-0000-0000-0000-000000000001/reactivate",
    ] {
        app.post(path)
            .by(&customer)
            .raw("")
            .await
            .refused(403, "forbidden", "");
        let nobody = app.post(path).raw("").await;
        nobody.refused(401, "token_required", "");
        assert_eq!(nobody.header("www-authenticate"), "Bearer");
        let forged = app
            .post(path)
            .header("authorization", "Bearer a.b.c")
            .raw("")
            .await;
        forged.refused(401, "token_invalid", "");
    }
    assert_eq!(app.ends().await, before);
}

#[tokio::test]
async fn the_same_key_is_answered_the_same() {
    let app = App::new();
    let operator = app.operator();
    let create = |body| async {
        let body: serde_json::Value = body;
        app.post("/v1/products")
            .by(&operator)
            .key("k1")
            .send(&body)
            .await
    };
    let first = create(product("tea", 5, "EUR")).await.must(201);
    assert_eq!(first.header("idempotency-replayed"), "");
    app.post("/v1/products/tea/publish")
        .by(&operator)
        .raw("")
        .await
        .must(200);
    let again = create(product("tea", 5, "EUR")).await;
    assert_eq!(again.essence(), first.essence());
    assert_eq!(again.header("idempotency-replayed"), "true");
    let other = create(product("tea", 6, "EUR")).await;
    other.refused(422, "idempotency_key_reused", "");
    let bad = app
        .post("/v1/products")
        .by(&operator)
        .key("a b")
        .send(&json!({}))
        .await;
    bad.refused(400, "malformed_request", "");
    // The same key on another path is another request.
    app.post("/v1/inventory")
        .by(&operator)
        .key("k1")
        .send(&json!({"sku": "tea"}))
        .await
        .must(201);
}

#[tokio::test]
async fn a_key_is_remembered_once_something_was_changed_under_it() {
    let app = App::new();
    let operator = app.operator();
    app.product("tea", 500).await;
    let price = |cents: i64| {
        let price = json!({"price": {"amount": cents, "currency": "EUR"}});
        let call = app.post("/v1/products/tea/price").by(&operator).key("k");
        async move { call.send(&price).await }
    };
    let nothing_to_do = price(500).await.must(200);
    assert_eq!(nothing_to_do.header("etag"), "\"2\"");
    let changed = price(600).await.must(200);
    assert_eq!(changed.header("etag"), "\"3\"");
    let again = price(600).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    price(500).await.refused(422, "idempotency_key_reused", "");
}

#[tokio::test]
async fn a_stale_version_is_not_written_to() {
    let app = App::new();
    let operator = app.operator();
    app.product("tea", 5).await;
    let price = |amount: i64| json!({"price": {"amount": amount, "currency": "EUR"}});
    let set = |amount, tag: &'static str| {
        let call = app.post("/v1/products/tea/price").by(&operator);
        let call = call.key(&format!("price-{amount}")).header("if-match", tag);
        let body = price(amount);
        async move { call.send(&body).await }
    };
    set(6, "\"1\"").await.refused(412, "version_is_stale", "");
    let first = set(6, "\"2\"").await.must(200);
    assert_eq!(first.header("etag"), "\"3\"");
    let again = set(6, "\"2\"").await;
    assert_eq!(
        again.essence(),
        first.essence(),
        "a repetition is no stale write"
    );
    set(7, "\"2\"").await.refused(412, "version_is_stale", "");
    set(8, "3").await.refused(400, "malformed_request", "");
}

#[tokio::test]
async fn of_many_writes_to_one_version_one_is_done() {
    let app = App::new();
    let operator = app.operator();
    app.product("tea", 5).await;
    let writes = (0..8).map(|n| {
        let call = app.post("/v1/products/tea/price").by(&operator);
        let call = call.header("if-match", "\"2\"");
        let body = json!({"price": {"amount": 100 + n, "currency": "EUR"}});
        async move { call.send(&body).await }
    });
    let mut done = 0;
    for answer in futures::future::join_all(writes).await {
        if answer.status == 200 {
            assert_eq!(answer.header("etag"), "\"3\"");
            done += 1;
        } else {
            answer.refused(412, "version_is_stale", "");
        }
    }
    assert_eq!(done, 1);
}

#[tokio::test]
async fn stock_is_received_corrected_and_watched() {
    let app = App::new();
    let operator = app.operator();
    let act = |path: &'static str, body: serde_json::Value| {
        let call = app.post(path).by(&operator);
        async move { call.send(&body).await }
    };
    let created = act("/v1/inventory", json!({"sku": "tea"})).await.must(201);
    assert_eq!(created.header("location"), "/v1/inventory/tea");
    act("/v1/inventory/tea/receive", json!({"quantity": 10}))
        .await
        .must(200);
    let adjusted = act(
        "/v1/inventory/tea/adjust",
        json!({"delta": -3, "reason": "broken"}),
    )
    .await;
    assert_eq!(
        adjusted.must(200).header("consistency-token"),
        "INVENTORY:3"
    );
    for _ in 0..2 {
        let watched = act("/v1/inventory/tea/threshold", json!({"threshold": 5})).await;
        assert_eq!(
            watched.must(200).header("consistency-token"),
            "INVENTORY:4",
            "the second time it is already true"
        );
    }
}

#[tokio::test]
async fn too_much_stock_is_pointed_at_by_the_name_that_its_call_has_for_it() {
    let app = App::new();
    let operator = app.operator();
    let act = |path: &str, body: serde_json::Value| {
        let call = app.post(&format!("/v1/inventory{path}")).by(&operator);
        async move { call.send(&body).await }
    };
    act("", json!({"sku": "tea"})).await.must(201);
    let adjust = |delta: i64| act("/tea/adjust", json!({"delta": delta, "reason": "x"}));
    let over = adjust(10_000_000_000_000).await;
    over.refused(422, "stock_too_large", "/delta");
    adjust(1_000_000_000_000).await.must(200);
    let over = act("/tea/receive", json!({"quantity": 1})).await;
    over.refused(422, "stock_too_large", "/quantity");
}

#[tokio::test]
async fn what_is_wrong_with_stock_is_pointed_at_and_nothing_is_appended() {
    let app = App::new();
    let operator = app.operator();
    let act = |path: &str, body: serde_json::Value| {
        let call = app.post(&format!("/v1/inventory{path}")).by(&operator);
        async move { call.send(&body).await }
    };
    act("", json!({"sku": "tea"})).await.must(201);
    act("/tea/receive", json!({"quantity": 7})).await.must(200);
    let before = app.ends().await;
    for (path, body, status, code, pointer) in [
        (
            "",
            json!({"sku": "tea"}),
            409,
            "stock_item_already_exists",
            "/sku",
        ),
        (
            "/tea/receive",
            json!({"quantity": 0}),
            422,
            "quantity_not_positive",
            "/quantity",
        ),
        (
            "/tea/receive",
            json!({"quantity": -1}),
            422,
            "invalid_request",
            "/quantity",
        ),
        (
            "/tea/receive",
            json!({"quantity": 1e99}),
            422,
            "invalid_request",
            "/quantity",
        ),
        (
            "/tea/threshold",
            json!({"threshold": -1}),
            422,
            "invalid_request",
            "/threshold",
        ),
        (
            "/milk/receive",
            json!({"quantity": 1}),
            404,
            "stock_item_unknown",
            "",
        ),
    ] {
        act(path, body).await.refused(status, code, pointer);
    }
    for (delta, reason, status, code, pointer) in [
        (0, "x", 422, "adjustment_of_zero", "/delta"),
        (-8, "x", 409, "adjustment_too_large", ""),
        (1, "a\r\nb", 422, "invalid_request", "/reason"),
    ] {
        let answer = act("/tea/adjust", json!({"delta": delta, "reason": reason})).await;
        answer.refused(status, code, pointer);
    }
    assert_eq!(app.ends().await, before);
}
