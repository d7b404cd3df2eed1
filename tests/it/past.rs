//! What was: one resource, lists, and differences, against what was seen when it was so.

use millrace::client::Shop;
use serde_json::{Value, json};

use crate::app::{App, Must, PATIENCE, shared};

/// The events of a resource, each with its position.
async fn events(shop: &Shop, path: &str) -> Vec<Value> {
    let answer = shop.get(&format!("{path}/events?limit=200")).await.unwrap();
    let body = answer.success().unwrap().body;
    assert_eq!(body["next"], Value::Null);
    body["items"].as_array().unwrap().clone()
}

/// The sequence of a position.
fn sequence(position: &Value) -> u64 {
    let text = position.as_str().unwrap();
    text.split_once(':').unwrap().1.parse().unwrap()
}

/// The resource as of a moment; `None` = it was not there.
async fn was(shop: &Shop, path: &str, as_of: &str) -> Option<Value> {
    let answer = shop.get(&format!("{path}?as_of={as_of}")).await.unwrap();
    if answer.status == 404 {
        return None;
    }
    Some(answer.success().unwrap().body)
}

/// Every state of a resource, from its first event on, as its positions give it; checked against
/// the positions before, the stream's times, and what is there now.
async fn states(shop: &Shop, path: &str) -> Vec<(u64, Value)> {
    let events = events(shop, path).await;
    let mut states = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let at = sequence(&event["position"]);
        let full = was(shop, path, event["position"].as_str().unwrap()).await;
        let state = was(shop, path, &at.to_string()).await.unwrap();
        assert_eq!(full.as_ref(), Some(&state));
        assert_eq!(state["version"], event["version"], "{path} {at}");
        let before = was(shop, path, &(at - 1).to_string()).await;
        let known = states.last().map(|(_, state)| state);
        assert_eq!(before.as_ref(), known, "{path} before {at}");
        let time = event["recorded_at"].as_str().unwrap();
        if events
            .get(index + 1)
            .is_none_or(|next| next["recorded_at"] != time)
        {
            assert_eq!(was(shop, path, time).await.as_ref(), Some(&state));
        }
        states.push((at, state));
    }
    states
}

#[tokio::test]
async fn every_resource_can_be_seen_as_it_was() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(5).await);
    let order = customer.orders(&sku, 2, "pm_card_visa").await;
    app.delivers(&order).await;
    app.told(&order, 1).await;
    let operator = app.operator();
    let path = format!("/v1/orders/{order}");
    // Seen when it was so, by its owner, with the address opened.
    let seen = customer.shop.get(&path).await.must();
    let told: Vec<_> = states(&customer.shop, &path).await;
    assert_eq!(told.last().unwrap().1, seen.body);
    let stages: Vec<_> = told
        .iter()
        .map(|(_, state)| state["status"].clone())
        .collect();
    assert_eq!(stages, ["placed", "confirmed", "shipped", "delivered"]);
    assert_eq!(told[0].1["shipping_address"], seen.body["shipping_address"]);

    // Nothing may happen any more while it is read.
    let checkout = format!("/v1/checkouts/{order}");
    let completed = |checkout: &Value| checkout["status"] == "ended";
    let ended = operator.wait_for("its end", &checkout, PATIENCE, completed);
    ended.await.unwrap();
    let payments = format!("/v1/payments?order_id={order}");
    let payments = operator.get(&payments).await.unwrap().body;
    let payment = payments["items"][0]["id"].as_str().unwrap();
    for path in [
        format!("/v1/payments/{payment}"),
        checkout,
        format!("/v1/inventory/{sku}"),
        format!("/v1/products/{sku}"),
        format!("/v1/users/{}", customer.id),
    ] {
        let told = states(&operator, &path).await;
        let last = &told.last().unwrap().1;
        let settled = operator.wait_for("the last state", &path, PATIENCE, |now| {
            now["version"].as_u64() >= last["version"].as_u64()
        });
        assert_eq!(&settled.await.unwrap().body, last, "{path}");
    }
}

#[tokio::test]
async fn a_difference_leads_from_one_state_to_the_other() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(5).await);
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.delivers(&order).await;
    let path = format!("/v1/orders/{order}");
    let states = states(&customer.shop, &path).await;
    let before = (states[0].0 - 1, Value::Null);
    let all: Vec<_> = std::iter::once(&before).chain(&states).collect();
    for (index, (from, old)) in all.iter().enumerate() {
        for (to, new) in all.iter().skip(index.max(1)) {
            let diff = format!("{path}/diff?from={from}&to=ORDER:{to}");
            let diff = customer.shop.get(&diff).await.must().body;
            let steps: json_patch::Patch = serde_json::from_value(diff["patch"].clone()).unwrap();
            assert_eq!(steps.0.is_empty(), old == new);
            let mut made = old.clone();
            json_patch::patch(&mut made, &steps).unwrap();
            assert_eq!(&made, new, "{from} to {to}: {steps}");
        }
    }
    let until_now = format!("{path}/diff?from={}", before.0);
    let until_now = customer.shop.get(&until_now).await.unwrap().body;
    assert_eq!(until_now["to"]["version"], 4);
    assert_eq!(until_now["from"]["position"], Value::Null);
}

#[tokio::test]
async fn a_list_can_be_seen_as_it_was() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(9).await);
    let mut orders = Vec::new();
    for method in [
        "pm_card_visa",
        "pm_card_chargeDeclined",
        "pm_card_visa",
        "pm_card_visa",
    ] {
        orders.push(customer.orders(&sku, 1, method).await);
    }
    app.order_is(&orders[1], "rejected").await;
    for (order, act) in [(&orders[0], true), (&orders[2], false), (&orders[3], true)] {
        app.order_is(order, "confirmed").await;
        if act {
            let path = format!("/v1/orders/{order}/cancel");
            let reason = json!({ "reason": "changed my mind" });
            customer.shop.post(&path, &reason).await.must();
        }
    }
    // Nothing may happen any more while the model is read.
    for order in [&orders[0], &orders[3]] {
        let path = format!("/v1/orders/{order}");
        let settled = |order: &Value| order["payment_status"] == "refunded";
        let shop = &customer.shop;
        shop.wait_for("the money back", &path, PATIENCE, settled)
            .await
            .unwrap();
    }
    // Each order's states are the model of the list.
    let mut model = Vec::new();
    for order in &orders {
        model.push(states(&customer.shop, &format!("/v1/orders/{order}")).await);
    }
    let mut moments: Vec<u64> = model.iter().flatten().map(|(at, _)| *at).collect();
    moments.push(moments.iter().min().unwrap() - 1);
    for at in moments {
        for status in ["placed", "confirmed", "canceled", "rejected", ""] {
            let states = model.iter().filter_map(|states| {
                let was = states.iter().rev().find(|(since, _)| *since <= at)?;
                (status.is_empty() || was.1["status"] == status).then(|| was.1.clone())
            });
            let mut expected: Vec<_> = states.collect();
            let key = |order: &Value| (order["placed_at"].to_string(), order["id"].to_string());
            expected.sort_by_key(|order| std::cmp::Reverse(key(order)));
            assert_eq!(
                listed(&customer.shop, at, status).await,
                expected,
                "{at} {status}"
            );
        }
    }
}

/// All pages of a customer's list as of a position.
async fn listed(shop: &Shop, at: u64, status: &str) -> Vec<Value> {
    let filter = if status.is_empty() {
        String::new()
    } else {
        format!("&status={status}")
    };
    pages(shop, &format!("/v1/orders?limit=2&as_of={at}{filter}")).await
}

/// All pages of a list.
async fn pages(shop: &Shop, list: &str) -> Vec<Value> {
    let (mut page, mut items) = (list.to_owned(), Vec::new());
    loop {
        let body = shop.get(&page).await.must().body;
        items.extend(body["items"].as_array().unwrap().iter().cloned());
        let Some(next) = body["next"].as_str() else {
            return items;
        };
        page = format!("{list}&cursor={next}");
    }
}

#[tokio::test]
async fn the_past_is_for_those_who_may_see_the_present() {
    let app = shared().await;
    let (customer, other, sku) = (
        app.customer().await,
        app.customer().await,
        app.product(5).await,
    );
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    let path = format!("/v1/orders/{order}");
    let events = events(&customer.shop, &path).await;
    let [at, later] = [0, 1].map(|index: usize| sequence(&events[index]["position"]));
    let status = async |shop: &Shop, path: String| shop.get(&path).await.unwrap().status.as_u16();
    for tail in [
        format!("?as_of={at}"),
        "/events".into(),
        format!("/diff?from={at}"),
    ] {
        assert_eq!(
            status(&customer.shop, format!("{path}{tail}")).await,
            200,
            "{tail}"
        );
        assert_eq!(
            status(&other.shop, format!("{path}{tail}")).await,
            404,
            "{tail}"
        );
        assert_eq!(
            status(&app.shop(), format!("{path}{tail}")).await,
            401,
            "{tail}"
        );
        let product = format!("/v1/products/{sku}{}", tail.replace(&at.to_string(), "1"));
        assert_eq!(status(&customer.shop, product.clone()).await, 403, "{tail}");
        assert_eq!(status(&app.shop(), product).await, 401, "{tail}");
    }
    let theirs = format!("/v1/orders?as_of={at}&user_id={}", customer.id);
    assert_eq!(status(&other.shop, theirs).await, 404);
    assert_eq!(
        status(&app.shop(), "/v1/products?as_of=1".into()).await,
        401
    );
    refused(app, &path, (at, later)).await;
}

/// Moments that are none; `at` is that of the first event, `later` that of the second.
async fn refused(app: &App, path: &str, (at, later): (u64, u64)) {
    let operator = app.operator();
    for bad in [
        "?as_of=yesterday".to_owned(),
        "?as_of=PAYMENT:1".to_owned(),
        "?as_of=99999999999".to_owned(),
        "?as_of=2999-01-01T00:00:00Z".to_owned(),
        "?as_off=1".to_owned(),
        format!("/diff?to={at}"),
        format!("/diff?from={at}&to=x"),
        format!("/diff?from={later}&to={at}"),
        "?as_of=".to_owned(),
    ] {
        let answer = operator.get(&format!("{path}{bad}")).await.unwrap();
        assert_eq!(answer.status, 400, "{bad}");
        assert_eq!(answer.text("/code"), "parameter_invalid", "{bad}");
    }
    let never = format!("{path}?as_of={}", at - 1);
    assert_eq!(operator.get(&never).await.unwrap().status, 404);
}

#[tokio::test]
async fn a_list_can_be_turned_round_and_cut_by_time() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(9).await);
    let mut orders = Vec::new();
    for _ in 0..4 {
        let order = customer.orders(&sku, 1, "pm_card_visa").await;
        orders.push(app.order_is(&order, "confirmed").await);
    }
    let ids = |orders: &[Value]| -> Vec<String> {
        orders.iter().map(|order| order["id"].to_string()).collect()
    };
    let time = |index: usize| orders[index]["placed_at"].as_str().unwrap();
    let oldest = pages(&customer.shop, "/v1/orders?sort=oldest&limit=1").await;
    assert_eq!(ids(&oldest), ids(&orders));
    let mut latest = pages(&customer.shop, "/v1/orders?sort=latest&limit=3").await;
    latest.reverse();
    assert_eq!(ids(&latest), ids(&orders));
    let cut = format!(
        "/v1/orders?sort=oldest&limit=1&from={}&before={}",
        time(1),
        time(3)
    );
    let cut = pages(&customer.shop, &cut).await;
    assert_eq!(ids(&cut), ids(&orders[1..3]));
    let first = customer
        .shop
        .get("/v1/orders?sort=oldest&limit=1")
        .await
        .unwrap()
        .body;
    let other = format!(
        "/v1/orders?limit=1&cursor={}",
        first["next"].as_str().unwrap()
    );
    for bad in [
        &other,
        "/v1/orders?sort=newest",
        "/v1/orders?from=yesterday",
        "/v1/inventory?from=x",
    ] {
        let refused = app.operator().get(bad).await.unwrap();
        assert_eq!(refused.status, 400, "{bad} {}", refused.body);
    }
}
