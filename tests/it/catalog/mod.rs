//! The catalogue over HTTP: shelves, prices, and products in any number at once.

mod imports;

use millrace::client::{Answer, Shop};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{Must, PATIENCE, shared};

/// What stands at `path` once the read model has seen what `token` names: thousands of lines take it
/// longer than one request waits.
async fn read_after(shop: &Shop, path: &str, token: &str) -> Answer {
    let started = tokio::time::Instant::now();
    loop {
        let answer = shop.get_after(path, token).await.unwrap();
        if answer.body["code"] != "view_is_behind" {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "{}", answer.body);
    }
}

#[tokio::test]
async fn a_product_is_found_on_its_shelf() {
    let app = shared().await;
    let (operator, sku) = (app.operator(), app.product(1).await);
    let shelf = format!("Shelf-{}", Uuid::new_v4().simple());
    let path = format!("/v1/products/{sku}/category");
    let body = json!({ "category": shelf });
    let refused = app.customer().await.shop.post(&path, &body).await.unwrap();
    assert_eq!(refused.status.as_u16(), 403, "{}", refused.body);
    let assigned = operator.post(&path, &body).await.must();
    let again = operator.post(&path, &body).await.unwrap();
    assert_eq!(again.header("etag"), assigned.header("etag"));
    let token = assigned.header("consistency-token").unwrap();
    let found = format!("/v1/products?category={shelf}");
    let found = read_after(&app.shop(), &found, token).await.body;
    assert_eq!(found["items"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["items"][0]["sku"], json!(sku));
}

#[tokio::test]
async fn a_price_history_shows_everybody_what_was_offered() {
    let app = shared().await;
    let (operator, anyone) = (app.operator(), app.shop());
    let sku = format!("SKU-{}", Uuid::new_v4().simple());
    let product = json!({
        "sku": sku, "title": "Mug", "description": "Holds tea.", "category": "Mugs",
        "price": { "amount": 900, "currency": "EUR" },
    });
    operator.post("/v1/products", &product).await.must();
    let act = async |what: &str, body: Value| {
        let path = format!("/v1/products/{sku}/{what}");
        let done = operator.post(&path, &body).await.must();
        done.header("consistency-token").unwrap().to_owned()
    };
    let price = |cents: i64| json!({ "price": { "amount": cents, "currency": "EUR" } });
    let path = format!("/v1/products/{sku}/prices");
    let amounts = async |shop: &Shop, token: &str| {
        let answer = read_after(shop, &path, token).await;
        let prices = answer.body["prices"].as_array().cloned();
        let amounts = prices.unwrap_or_default();
        let amounts = amounts
            .iter()
            .map(|entry| entry["price"]["amount"].as_i64());
        (
            answer.status.as_u16(),
            amounts.flatten().collect::<Vec<_>>(),
        )
    };

    let token = act("price", price(800)).await;
    assert_eq!(amounts(&operator, &token).await, (200, vec![800, 900]));
    assert_eq!(amounts(&anyone, &token).await.0, 404, "a draft");
    act("publish", json!({})).await;
    let token = act("price", price(700)).await;
    assert_eq!(amounts(&anyone, &token).await, (200, vec![700, 800]));
    act("unpublish", json!({})).await;
    act("price", price(600)).await;
    act("price", price(650)).await;
    let token = act("publish", json!({})).await;
    assert_eq!(amounts(&anyone, &token).await, (200, vec![650, 700, 800]));
    let all = vec![650, 600, 700, 800, 900];
    assert_eq!(amounts(&operator, &token).await, (200, all));

    let shown = read_after(&anyone, &path, &token).await.body;
    assert_eq!(shown["prices"][0]["until"], Value::Null);
    assert!(shown["prices"][1]["until"].is_string(), "{shown}");
    assert_eq!(shown["prices"][1].get("offered"), None, "{shown}");

    // What is shown in two forms has two tags: an operator has not had the shop's own prices yet.
    let public = anyone.get(&path).await.must();
    let tag = [("If-None-Match", public.header("ETag").unwrap())];
    for (shop, answered) in [(&anyone, 304), (&operator, 200)] {
        let again = shop.call(Method::GET, &path, &tag, None).await.unwrap();
        assert_eq!(again.status.as_u16(), answered, "{}", again.body);
    }
}

#[tokio::test]
async fn products_are_found_by_their_words() {
    let app = shared().await;
    let (operator, word) = (app.operator(), format!("w{}", Uuid::new_v4().simple()));
    let mut skus = Vec::new();
    for (title, description) in [("Green tea", "In bags."), ("Green mug", "Holds tea.")] {
        let sku = app.product(0).await;
        let path = format!("/v1/products/{sku}/details");
        let title = format!("{title} {word}");
        let body = json!({ "title": title, "description": description, "category": "Mill shop" });
        let told = operator.post(&path, &body).await.must();
        skus.push((sku, told.header("Consistency-Token").unwrap().to_owned()));
    }
    let found = async |words: &str| {
        let path = format!("/v1/products?q={words}");
        let list = app.shop().get_after(&path, &skus[1].1).await.must();
        let items = list.body["items"].as_array().unwrap();
        let found = |sku: &String| items.iter().any(|item| item["sku"] == sku.as_str());
        (found(&skus[0].0), found(&skus[1].0))
    };
    assert_eq!(found(&format!("{word}+GREEN")).await, (true, true));
    assert_eq!(found(&format!("{word}+tea+-mug")).await, (true, false));
    assert_eq!(
        found(&format!("{word}+%22holds+tea%22")).await,
        (false, true)
    );
    assert_eq!(found(&format!("{word}+coffee")).await, (false, false));
    assert_eq!(found(&skus[1].0).await, (false, true));
    // Nothing that somebody types is an error of ours.
    assert_eq!(found("'%22%26|!():*<->%5C").await, (false, false));
    let past = operator.get("/v1/products?q=tea&as_of=1").await.unwrap();
    assert_eq!(past.status, 400, "{}", past.body);
    let empty = operator.get("/v1/products?q=%00").await.unwrap();
    assert_eq!(empty.status, 400, "{}", empty.body);
}
