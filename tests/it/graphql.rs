//! The graph of the read models: it joins what REST shows apart, to the same people, with few
//! statements and within its limits.

use millrace::client::Shop;
use serde_json::{Value, json};

use crate::app::{App, PATIENCE, folder, shared};

/// The usual question of a client that gets to know a schema.
const INTROSPECTION: &str = "query { __schema { queryType { name } types { kind name description \
    fields(includeDeprecated: true) { name args { name type { kind name ofType { kind name ofType \
    { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType \
    { kind name } } } } } } } } defaultValue } type { kind name ofType { kind name } } } } } }";

const WHOLE: &str = "query Whole($id: String!) { order(id: $id) { id status total { amount currency } \
    shippingAddress { city } lines { sku quantity product { title } } payments { status captured { amount } } \
    checkout { status steps { event } } notifications { status template } user { id email } } }";

async fn ask(shop: &Shop, query: &str, variables: Value) -> Value {
    let body = json!({ "query": query, "variables": variables });
    let answer = shop.post("/graphql", &body).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// The code of the first error.
fn code(answer: &Value) -> &str {
    answer["errors"][0]["extensions"]["code"]
        .as_str()
        .unwrap_or_default()
}

#[tokio::test]
async fn an_order_is_joined_for_those_who_may_see_it() {
    let app = shared().await;
    let (customer, stranger) = (app.customer().await, app.customer().await);
    let sku = app.product(5).await;
    let order = customer.orders(&sku, 2, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    app.told(&order, 1).await;
    let id = json!({ "id": order });
    let whole = ask(&customer.shop, WHOLE, id.clone()).await;
    let found = &whole["data"]["order"];
    assert_eq!(found["id"], order.as_str(), "{whole}");
    assert_eq!(found["total"]["amount"], 2 * 1_299);
    assert_eq!(found["lines"][0]["product"]["title"], "Millstone mug");
    assert_eq!(found["payments"][0]["status"], "captured");
    assert_eq!(found["payments"][0]["captured"]["amount"], 2 * 1_299);
    assert_eq!(found["checkout"]["status"], "completed");
    assert_eq!(found["notifications"][0]["status"], "sent");
    assert_eq!(found["user"]["email"], customer.email.as_str());
    assert!(found["shippingAddress"]["city"].is_string(), "{whole}");
    assert_eq!(ask(&app.operator(), WHOLE, id.clone()).await, whole);

    // What isn't yours isn't there, by whichever way.
    let nothing = ask(&stranger.shop, WHOLE, id.clone()).await;
    assert_eq!(nothing["data"], json!({ "order": null }), "{nothing}");
    let user = format!(
        "{{ user(id: \"{}\") {{ email orders {{ id }} }} }}",
        customer.id
    );
    let nothing = ask(&stranger.shop, &user, json!({})).await;
    assert_eq!(nothing["data"], json!({ "user": null }), "{nothing}");
    let theirs = format!(
        "{{ orders(userId: \"{}\") {{ items {{ id }} }} }}",
        customer.id
    );
    let refused = ask(&stranger.shop, &theirs, json!({})).await;
    assert_eq!(
        (code(&refused), &refused["data"]),
        ("not_found", &Value::Null)
    );
    let own = "{ me { id orders { id payments { id } } } orders { items { id } } }";
    let mine = ask(&stranger.shop, own, json!({})).await;
    assert_eq!(mine["data"]["me"]["id"], stranger.id.as_str(), "{mine}");
    assert_eq!(mine["data"]["orders"]["items"], json!([]));
    let mine = ask(&customer.shop, own, json!({})).await;
    assert_eq!(mine["data"]["me"]["orders"][0]["id"], order.as_str());
    let nobody = ask(&app.shop(), WHOLE, id).await;
    assert_eq!(code(&nobody), "token_required", "{nobody}");
    let catalogue =
        format!("{{ me {{ id }} product(sku: \"{sku}\") {{ title price {{ amount }} }} }}");
    let anybody = ask(&app.shop(), &catalogue, json!({})).await;
    assert_eq!(anybody["data"]["me"], Value::Null);
    assert_eq!(
        anybody["data"]["product"]["price"]["amount"], 1_299,
        "{anybody}"
    );
}

/// How often each view was asked for rows that others lead to.
async fn batches(app: &App) -> Vec<(String, u64)> {
    let metrics = app.queries().open("/metrics", &[]).await.unwrap();
    let text = metrics.text().await.unwrap();
    let lines = text.lines().filter_map(|line| {
        let line = line.strip_prefix("graphql_batches_total{view=\"")?;
        let (view, count) = line.split_once("\"} ")?;
        Some((view.to_owned(), count.parse().unwrap()))
    });
    let mut found: Vec<_> = lines.collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_orders_take_no_statement_each() {
    let app = App::start(&folder("graph")).await;
    let (customer, sku) = (app.customer().await, app.product(50).await);
    let mut last = String::new();
    for _ in 0..8 {
        last = customer.orders(&sku, 1, "pm_card_visa").await;
    }
    app.order_is(&last, "confirmed").await;
    let many = |first: u32| {
        format!(
            "{{ orders(first: {first}) {{ items {{ id lines {{ product {{ sku }} }} payments {{ id }} \
             checkout {{ id }} notifications {{ id }} user {{ id }} }} next }} }}"
        )
    };
    let operator = app.operator();
    let eight = |body: &Value| body["items"].as_array().is_some_and(|it| it.len() == 8);
    for path in ["/v1/orders", "/v1/payments", "/v1/checkouts"] {
        let there = operator.wait_for("eight of them", path, PATIENCE, eight);
        there.await.unwrap();
    }
    let answer = ask(&operator, &many(8), json!({})).await;
    let items = answer["data"]["orders"]["items"].as_array().unwrap();
    assert_eq!(items.len(), 8, "{answer}");
    for item in items {
        assert_eq!(item["payments"].as_array().unwrap().len(), 1, "{item}");
        assert_eq!(item["checkout"]["id"], item["id"]);
    }
    let asked = batches(&app).await;
    let views: Vec<_> = asked.iter().map(|(view, _)| view.as_str()).collect();
    let joined = [
        "checkout_timeline",
        "notification_entry",
        "payment_summary",
        "product_card",
        "user_account",
    ];
    assert_eq!(views, joined);
    // A loader waits a moment for more; on a busy machine some come after it. One an order are 8.
    let few = asked.iter().all(|(_, statements)| *statements <= 3);
    assert!(few, "{asked:?}");
    let first = ask(&operator, &many(5), json!({})).await;
    let next = first["data"]["orders"]["next"].as_str().unwrap();
    let rest = format!("{{ orders(first: 5, after: \"{next}\") {{ items {{ id }} next }} }}");
    let rest = ask(&operator, &rest, json!({})).await;
    assert_eq!(rest["data"]["orders"]["items"].as_array().unwrap().len(), 3);
    assert_eq!(rest["data"]["orders"]["next"], Value::Null);
}

#[tokio::test]
async fn an_operation_beyond_the_limits_is_refused_and_told_why() {
    let app = shared().await;
    let operator = app.operator();
    let known = ask(&app.shop(), INTROSPECTION, json!({})).await;
    assert_eq!(
        known["data"]["__schema"]["queryType"]["name"], "Query",
        "{known}"
    );
    let deep = "orders { user { ".repeat(8) + "id" + &" } }".repeat(8);
    let deep = format!("{{ me {{ {deep} }} }}");
    let wide =
        "{ orders(first: 50) { items { user { orders { id status version } } } } }".to_owned();
    let renamed: Vec<_> = (0..21).map(|n| format!("a{n}: me {{ id }}")).collect();
    let renamed = format!("{{ {} }}", renamed.join(" "));
    for (query, expected) in [
        (&deep, "too_deep"),
        (&wide, "too_complex"),
        (&renamed, "too_many_aliases"),
    ] {
        let refused = ask(&operator, query, json!({})).await;
        assert_eq!(code(&refused), expected, "{refused}");
        let told = refused["errors"][0]["message"].as_str().unwrap();
        assert!(told.contains("at most"), "{told}");
        assert!(refused["data"].is_null());
    }
    let long = format!("{{ me {{ id }} }} #{}", "x".repeat(17_000));
    let batch = json!([{ "query": "{ me { id } }" }, { "query": "{ me { id } }" }]);
    for (body, status) in [
        (json!({ "query": long }), 400),
        (batch, 422),
        (json!({}), 422),
    ] {
        let refused = operator.post("/graphql", &body).await.unwrap();
        assert_eq!(refused.status, status, "{}", refused.body);
        assert!(refused.body["detail"].is_string());
    }
    let first = "{ orders(first: 51) { next } }";
    let refused = ask(&operator, first, json!({})).await;
    assert_eq!(code(&refused), "parameter_invalid", "{refused}");
}

#[tokio::test]
async fn the_graph_waits_for_what_was_written() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(5).await);
    let body = json!({ "query": format!("{{ product(sku: \"{sku}\") {{ status }} }}") });
    let late = [
        ("Consistency-Token", "PRODUCT:9999999"),
        ("Prefer", "wait=1"),
    ];
    let url = format!("{}/graphql", app.endpoints.entry);
    let mut request = reqwest::Client::new().post(url).json(&body);
    for (name, value) in late {
        request = request.header(name, value);
    }
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(code(&answer), "view_is_behind", "{answer}");
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
}
