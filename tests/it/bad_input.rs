//! Bad input gets a clear answer that names the field, and nothing is appended.

use millrace::client::{Answer, Shop};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{PASSWORD, PATIENCE, shared};

fn body(lines: &Value) -> Value {
    json!({
        "lines": lines,
        "shipping_address": {
            "name": "Grace Hopper", "line1": "1 Navy Yard", "city": "Arlington",
            "postal_code": "22202", "country": "US",
        },
        "payment_method": "pm_card_visa",
    })
}

async fn post(shop: &Shop, path: &str, body: &Value) -> Answer {
    shop.post(path, body).await.unwrap()
}

fn refused(answer: &Answer, status: u16, pointer: Option<&str>) {
    let shown = format!("{} {}", answer.status, answer.body);
    assert_eq!(answer.status.as_u16(), status, "{shown}");
    let kind = answer.header("Content-Type").unwrap_or_default();
    assert_eq!(kind, "application/problem+json", "{shown}");
    assert!(
        answer.body["code"].is_string() && answer.body["title"].is_string(),
        "{shown}"
    );
    if let Some(pointer) = pointer {
        let errors = answer.body["errors"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        assert!(
            errors.iter().any(|e| e["pointer"] == pointer),
            "{pointer}: {shown}"
        );
    }
}

#[tokio::test]
async fn an_order_that_breaks_a_rule_names_the_field() {
    let app = shared().await;
    let customer = app.customer().await;
    let sku = app.product(1).await;
    let line = |quantity: i64| json!([{ "sku": sku, "quantity": quantity }]);
    let many: Vec<Value> = (0..101)
        .map(|i| json!({ "sku": format!("S-{i}"), "quantity": 1 }))
        .collect();
    let cases = [
        (body(&line(0)), 422, "/lines/0/quantity"),
        (body(&line(10_001)), 422, "/lines/0/quantity"),
        (body(&line(-1)), 422, "/lines/0/quantity"),
        (
            body(&json!([{ "sku": "NO-SUCH", "quantity": 1 }])),
            422,
            "/lines/0/sku",
        ),
        (
            body(&json!([{ "sku": "a.b*>", "quantity": 1 }])),
            422,
            "/lines/0/sku",
        ),
        (body(&json!(many)), 422, "/lines"),
        (body(&json!([])), 422, "/lines"),
        (
            body(&json!([{ "sku": sku, "quantity": 1 }, { "sku": sku, "quantity": 1 }])),
            422,
            "/lines/1/sku",
        ),
    ];
    for (order, status, pointer) in cases {
        let answer = post(&customer.shop, "/v1/orders", &order).await;
        refused(&answer, status, Some(pointer));
    }
    let mut unknown = body(&line(1));
    unknown["discount"] = json!(100);
    refused(
        &post(&customer.shop, "/v1/orders", &unknown).await,
        422,
        None,
    );
    let mut stale = body(&line(1));
    stale["lines"][0]["expected_price"] = json!({ "amount": 1, "currency": "EUR" });
    let changed = post(&customer.shop, "/v1/orders", &stale).await;
    refused(&changed, 422, Some("/lines/0/expected_price"));
    assert_eq!(changed.body["code"], "price_changed");

    let orders = format!("/v1/orders?user_id={}", customer.id);
    let list = customer.shop.get(&orders).await.unwrap();
    assert_eq!(list.body["items"], json!([]), "nothing may be appended");
    app.stock_is(&sku, [1, 0, 0]).await;
}

#[tokio::test]
async fn unpublished_products_two_currencies_and_prices_beyond_bounds_are_refused() {
    let app = shared().await;
    let (customer, operator) = (app.customer().await, app.operator());
    let sku = app.product(1).await;
    let draft = format!("DRAFT-{}", Uuid::new_v4().simple());
    let dollars = format!("USD-{}", Uuid::new_v4().simple());
    let product = |sku: &str, currency: &str| {
        json!({
            "sku": sku, "title": "T", "description": "D", "category": "C",
            "price": { "amount": 100, "currency": currency },
        })
    };
    post(&operator, "/v1/products", &product(&draft, "EUR"))
        .await
        .success()
        .unwrap();
    post(&operator, "/v1/products", &product(&dollars, "USD"))
        .await
        .success()
        .unwrap();
    post(
        &operator,
        &format!("/v1/products/{dollars}/publish"),
        &json!({}),
    )
    .await
    .success()
    .unwrap();
    let line = |sku: &str| json!({ "sku": sku, "quantity": 1 });
    let unpublished = post(&customer.shop, "/v1/orders", &body(&json!([line(&draft)]))).await;
    refused(&unpublished, 422, Some("/lines/0/sku"));
    let mixed = post(
        &customer.shop,
        "/v1/orders",
        &body(&json!([line(&sku), line(&dollars)])),
    )
    .await;
    refused(&mixed, 422, Some("/lines/1/sku"));
    assert_eq!(mixed.body["code"], "mixed_currencies");
    let mut dear = product(&format!("DEAR-{}", Uuid::new_v4().simple()), "EUR");
    dear["price"]["amount"] = json!(i64::MAX);
    refused(
        &post(&operator, "/v1/products", &dear).await,
        422,
        Some("/price/amount"),
    );
}

#[tokio::test]
async fn what_is_no_order_at_all_is_refused_before_it_is_read() {
    let app = shared().await;
    let customer = app.customer().await;
    let url = format!("{}/v1/orders", app.endpoints.entry);
    let token = millrace::token::customer(&app.data, &customer.id).unwrap();
    let send = |kind: &'static str, body: Vec<u8>| {
        let request = reqwest::Client::new()
            .post(&url)
            .bearer_auth(&token)
            .header("Content-Type", kind)
            .header("Idempotency-Key", Uuid::new_v4().to_string())
            .body(body);
        async move {
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let kind = answer.headers()["content-type"]
                .to_str()
                .unwrap()
                .to_owned();
            (status, kind)
        }
    };
    let problem = "application/problem+json".to_owned();
    let json = "application/json";
    assert_eq!(send(json, b"{".to_vec()).await, (400, problem.clone()));
    assert_eq!(
        send(json, b"\xff\xfe{}".to_vec()).await,
        (400, problem.clone())
    );
    assert_eq!(
        send(json, "[".repeat(100_000).into_bytes()).await,
        (400, problem.clone())
    );
    assert_eq!(
        send("text/plain", b"{}".to_vec()).await,
        (415, problem.clone())
    );
    assert_eq!(
        send(json, vec![b' '; 2 * 1024 * 1024]).await,
        (413, problem)
    );
}

#[tokio::test]
async fn an_order_without_a_key_or_a_token_is_refused() {
    let app = shared().await;
    let customer = app.customer().await;
    let sku = app.product(1).await;
    let order = body(&json!([{ "sku": sku, "quantity": 1 }]));
    let keyless = customer
        .shop
        .call(Method::POST, "/v1/orders", &[], Some(&order))
        .await
        .unwrap();
    refused(&keyless, 400, None);
    assert_eq!(keyless.body["code"], "idempotency_key_required");
    refused(&post(&app.shop(), "/v1/orders", &order).await, 401, None);
    let forged = app.shop().with_token("eyJhbGciOiJub25lIn0.e30.");
    refused(&post(&forged, "/v1/orders", &order).await, 401, None);
    refused(
        &post(&customer.shop, "/v1/products", &json!({})).await,
        403,
        None,
    );
    let missing = app.shop().get("/v1/nothing").await.unwrap();
    refused(&missing, 404, None);
}

#[tokio::test]
async fn somebody_elses_order_does_not_exist() {
    let app = shared().await;
    let (owner, other) = (app.customer().await, app.customer().await);
    let sku = app.product(1).await;
    let order = owner.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    let cancel = format!("/v1/orders/{order}/cancel");
    refused(
        &post(&other.shop, &cancel, &json!({ "reason": "mine" })).await,
        404,
        None,
    );
    for path in [
        format!("/v1/orders/{order}"),
        format!("/v1/checkouts/{order}"),
        format!("/v1/users/{}", owner.id),
    ] {
        refused(&other.shop.get(&path).await.unwrap(), 404, None);
        assert_eq!(
            owner.shop.get(&path).await.unwrap().status.as_u16(),
            200,
            "{path}"
        );
    }
    app.order_is(&order, "confirmed").await;
}

#[tokio::test]
async fn a_suspended_user_can_neither_order_nor_sign_in() {
    let app = shared().await;
    let customer = app.customer().await;
    let sku = app.product(1).await;
    let suspend = format!("/v1/users/{}/suspend", customer.id);
    let reason = json!({ "reason": "chargebacks" });
    post(&app.operator(), &suspend, &reason)
        .await
        .success()
        .unwrap();
    let session = json!({ "email": customer.email, "password": PASSWORD });
    refused(
        &post(&app.shop(), "/v1/sessions", &session).await,
        403,
        None,
    );
    let order = body(&json!([{ "sku": sku, "quantity": 1 }]));
    // The answer "active" may be remembered for a moment; once the token is withdrawn, nothing else is said.
    let started = std::time::Instant::now();
    let end = loop {
        let answer = post(&customer.shop, "/v1/orders", &order).await;
        if answer.status == 401 {
            break answer;
        }
        let code = answer.text("/code");
        let early = answer.status == 201 || code == "user_suspended";
        assert!(early, "{}", answer.body);
        assert!(
            started.elapsed() < PATIENCE,
            "a suspended user still orders"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(end.text("/code"), "token_invalid", "{}", end.body);
    refused(&end, 401, None);
}

#[tokio::test]
async fn one_address_has_one_account_however_it_is_written_and_raced() {
    let app = shared().await;
    let email = format!("{}@example.com", Uuid::new_v4().simple());
    let register = |email: String| {
        let shop = app.shop();
        async move {
            let body = json!({ "email": email, "name": "N", "password": PASSWORD });
            shop.post("/v1/users", &body).await.unwrap()
        }
    };
    let spellings = [
        email.clone(),
        email.to_uppercase(),
        format!(" {email} "),
        email.clone(),
    ];
    let answers = futures::future::join_all(spellings.map(register)).await;
    let created = answers.iter().filter(|a| a.status.as_u16() == 201).count();
    assert_eq!(created, 1, "{answers:?}");
    for answer in answers.iter().filter(|a| a.status.as_u16() != 201) {
        refused(answer, 409, Some("/email"));
        assert_eq!(answer.body["code"], "email_taken");
    }
}
