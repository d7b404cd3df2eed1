//! The graph of the read models: it joins what REST shows apart, to the same people, with few
//! statements and within its limits.

use std::time::Duration;

use devstack::launch::Signal;
use millrace::client::Shop;
use reqwest::Method;
use serde_json::{Value, json};

use crate::app::{App, Must, PATIENCE, folder, shared};

/// The usual question of a client that gets to know a schema.
const INTROSPECTION: &str = "query { __schema { queryType { name } types { kind name description \
    fields(includeDeprecated: true) { name args { name type { kind name ofType { kind name ofType \
    { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType \
    { kind name } } } } } } } } defaultValue } type { kind name ofType { kind name } } } } } }";

const WHOLE: &str = "query Whole($id: String!) { order(id: $id) { id status total { amount currency } \
    shippingAddress { city } lines { sku quantity product { title } } payments { status captured { amount } } \
    checkout { status steps { event step { name sku } } } notifications { status template channel } \
    user { id email status roles } } }";

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
    let step = |event: &str, step: Option<&str>, sku: Option<&str>| json!({ "event": event, "step": step.map(|name| json!({ "name": name, "sku": sku })) });
    let about = Some(sku.as_str());
    let steps = [
        step("checkout_started", None, None),
        step("step_succeeded", Some("reserve_stock"), about),
        step("step_succeeded", Some("authorize_payment"), None),
        step("step_succeeded", Some("commit_stock"), about),
        step("step_succeeded", Some("capture_payment"), None),
        step("checkout_completed", None, None),
    ];
    let expected = json!({
        "id": order,
        "status": "confirmed",
        "total": { "amount": 2 * 1_299, "currency": "EUR" },
        "shippingAddress": { "city": "London" },
        "lines": [{ "sku": sku, "quantity": 2, "product": { "title": "Millstone mug" } }],
        "payments": [{ "status": "captured", "captured": { "amount": 2 * 1_299 } }],
        "checkout": { "status": "completed", "steps": steps },
        "notifications": [{ "status": "sent", "template": "order_confirmed", "channel": "email" }],
        "user": {
            "id": customer.id,
            "email": customer.email,
            "status": "active",
            "roles": ["customer"],
        },
    });
    assert_eq!(whole, json!({ "data": { "order": expected } }));
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
async fn many_orders_take_as_many_statements_as_one() {
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
    let once = |view: &str| (view.to_owned(), 1);
    let one_each = [
        "checkout_timeline",
        "notification_entry",
        "payment_summary",
        "product_card",
        "user_account",
    ];
    assert_eq!(batches(&app).await, one_each.map(once));
    let confirmed = "{ orders(status: confirmed, first: 1) { items { status } } }";
    let confirmed = ask(&operator, confirmed, json!({})).await;
    assert_eq!(
        confirmed["data"]["orders"]["items"],
        json!([{ "status": "confirmed" }])
    );
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
    let wide = "{ orders(first: 50) { items { lines { product { description } } } } }".to_owned();
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

/// What is a closed set in the code is an enum in the graph, and takes nothing else.
#[tokio::test]
async fn the_graph_knows_its_words() {
    let app = shared().await;
    let customer = app.customer().await;
    let words = "{ __type(name: \"OrderStatus\") { kind enumValues { name description } } }";
    let words = ask(&customer.shop, words, json!({})).await;
    let word = |name: &str, description: &str| json!({ "name": name, "description": description });
    let expected = json!({ "kind": "ENUM", "enumValues": [
        word("placed", "Bought, the checkout goes on."),
        word("confirmed", "Paid, and the stock is committed."),
        word("rejected", "It could not be fulfilled."),
        word("canceled", "It was called off."),
        word("shipped", "It left the house."),
        word("delivered", "It arrived."),
    ] });
    assert_eq!(words["data"]["__type"], expected, "{words}");

    let some = "query ($status: OrderStatus) { orders(status: $status) { items { id } } }";
    let none = ask(&customer.shop, some, json!({ "status": "shipped" })).await;
    assert_eq!(none, json!({ "data": { "orders": { "items": [] } } }));
    let literal = "{ orders(status: lost) { items { id } } }";
    let variable = json!({ "status": "lost" });
    for (query, variables) in [(literal, json!({})), (some, variable)] {
        let refused = ask(&customer.shop, query, variables).await;
        assert_eq!(refused["data"], Value::Null, "{refused}");
        let told = refused["errors"][0]["message"].as_str().unwrap();
        assert!(
            told.contains("OrderStatus") || told.contains("\"status\""),
            "{told}"
        );
    }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_graph_waits_for_a_view_that_is_behind() {
    let app = App::start_with(&folder("graph-behind"), &["--without", "projector"]).await;
    let projector = app.role(&["projector"], "projector.log").await;
    let (operator, anybody) = (app.operator(), app.shop());
    let sku = app.product(1).await;
    let path = format!("/v1/products/{sku}");
    let there = anybody.wait_for("the product", &path, PATIENCE, |_| true);
    there.await.unwrap();
    projector.signaller().send(Signal::STOP).unwrap();
    let price = json!({ "price": { "amount": 777, "currency": "EUR" } });
    let written = operator.post(&format!("{path}/price"), &price).await;
    let written = written.must();
    let token = written.header("Consistency-Token").unwrap();
    let body =
        json!({ "query": format!("{{ product(sku: \"{sku}\") {{ price {{ amount }} }} }}") });
    let old = ask(&anybody, body["query"].as_str().unwrap(), json!({})).await;
    assert_eq!(old["data"]["product"]["price"]["amount"], 1_299, "{old}");
    let headers = [("Consistency-Token", token), ("Prefer", "wait=10")];
    let read = anybody.call(Method::POST, "/graphql", &headers, Some(&body));
    let goes_on = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        projector.signaller().send(Signal::CONT).unwrap();
    };
    let (read, ()) = tokio::join!(read, goes_on);
    let read = read.unwrap().body;
    assert_eq!(read["data"]["product"]["price"]["amount"], 777, "{read}");
    projector.stop(Signal::TERM, PATIENCE).await.unwrap();
    app.stop().await;
}
