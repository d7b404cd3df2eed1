//! Two command APIs that host the same contexts act as one.

use futures::future::join_all;
use millrace::client::{Answer, CartLine, Shop};
use serde_json::json;
use uuid::Uuid;

use crate::app::{App, becomes, folder};

/// How many wrong passwords an account takes within five minutes.
const TRIES: usize = 10;

/// A wrong password for somebody.
async fn guess(shop: &Shop, email: &str) -> u16 {
    let body = json!({ "email": email, "password": "not the password" });
    let answer = shop.post("/v1/sessions", &body).await.unwrap();
    answer.status.as_u16()
}

/// How many wrong passwords somebody may try.
async fn guesses(shop: &Shop) -> usize {
    let email = format!("{}@example.com", Uuid::new_v4().simple());
    let mut tries = 0;
    while guess(shop, &email).await != 429 {
        tries += 1;
    }
    tries
}

/// How often Argon2 has run there for somebody who says that they know a password.
async fn checked(shop: &Shop) -> u64 {
    let metrics = shop.open("/metrics", &[]).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let mut lines = metrics.lines();
    let count = lines.find_map(|line| line.strip_prefix("passwords_checked_total "));
    count.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_command_apis_act_as_one() {
    // The contexts are named so that no variant of the tests spreads them.
    let contexts = domains::NAMES.join(",");
    let contexts = ["--contexts", &contexts];
    let app = App::start_with(&folder("replicas"), &contexts).await;
    let one = Shop::new(&app.endpoints.command_api).unwrap();
    let customer = app.customer().await;

    // Whether somebody is known or not, Argon2 runs once.
    for email in [&customer.email, "nobody@example.com"] {
        let before = checked(&one).await;
        assert_eq!(guess(&one, email).await, 401);
        assert_eq!(checked(&one).await, before + 1, "{email}");
    }
    assert_eq!(guesses(&one).await, TRIES);

    // This one can't say where it is reached.
    let (two, child) = app.command_api_on("0.0.0.0", &contexts).await;
    for shop in [&one, &two] {
        becomes("the limit on passwords is shared", async || {
            guesses(shop).await == TRIES / 2
        })
        .await;
    }
    let sku = app.product(10).await;
    let lines = [CartLine { sku, quantity: 1 }];
    let key = Uuid::new_v4().to_string();
    let token = customer.shop.token().unwrap();
    let shops = [one.with_token(token), two.with_token(token)];
    let orders = shops.iter().cycle().take(100);
    let orders = orders.map(|shop| shop.place_order(&key, &lines, "pm_card_visa"));
    are_one(
        &join_all(orders)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect::<Vec<_>>(),
    );
    let order = customer.order_id(&key);
    app.order_is(&order, "confirmed").await;
    let events = customer
        .shop
        .get(&format!("/v1/orders/{order}/events"))
        .await;
    let events = events.unwrap().body.to_string();
    assert_eq!(events.matches("order_placed").count(), 1, "{events}");
    assert_eq!(app.ledger(&order).await.len(), 1);
    drop(child);
    app.stop().await;
}

/// They are the same answer, but that all but the first say so.
fn are_one(answers: &[Answer]) {
    let first = answers.first().unwrap();
    for answer in answers {
        assert_eq!(answer.status.as_u16(), 201, "{}", answer.body);
        assert_eq!(answer.body["id"], first.body["id"]);
        for name in ["Location", "ETag", "Consistency-Token"] {
            assert_eq!(answer.header(name), first.header(name), "{name}");
        }
    }
    let replayed = |a: &&Answer| a.header("Idempotency-Replayed") == Some("true");
    assert_eq!(answers.iter().filter(replayed).count(), answers.len() - 1);
}
