//! Webhook endpoints: how many a customer may have, and what is sent again about one.

use notification::webhook::{DeliveryCommand, WebhookDelivery};
use serde_json::{Value, json};
use streams::{CommandMeta, clock};
use uuid::Uuid;

use crate::app::App;

/// What `--webhook-endpoints-max` is unless somebody says otherwise.
const MAX: usize = 20;

/// Where they are registered.
const PATH: &str = "/v1/webhook-endpoints";

/// An endpoint that wants to hear of orders.
fn registration() -> Value {
    json!({ "url": "https://hooks.example.com/a", "event_types": ["order.*"] })
}

#[tokio::test]
async fn a_customer_has_room_for_so_many_endpoints() {
    let app = App::new();
    let (ada, bob) = (
        app.customer("ada@example.com").await,
        app.customer("bob@example.com").await,
    );
    let (path, body) = (PATH, registration());
    let mut last = String::new();
    for number in 0..MAX {
        let key = format!("endpoint-{number}-of-ada");
        let made = app.post(path).by(&ada).key(&key).send(&body).await;
        last = made.must(201).id().to_owned();
    }
    let refused = app.post(path).by(&ada).send(&body).await;
    refused.refused(409, "too_many_webhook_endpoints", "");
    let again = app.post(path).by(&ada).key("endpoint-7-of-ada");
    again.send(&body).await.must(201);
    app.post(path).by(&bob).send(&body).await.must(201);
    let operator = app.operator();
    app.post(path).by(&operator).send(&body).await.must(201);

    let remove = app.post(&format!("{path}/{last}/remove")).by(&ada);
    remove.send(&json!({})).await.must(200);
    app.post(path).by(&ada).send(&body).await.must(201);
    let refused = app.post(path).by(&ada).send(&body).await;
    refused.refused(409, "too_many_webhook_endpoints", "");
}

#[tokio::test]
async fn a_registration_that_comes_again_after_the_removal_takes_no_room() {
    let app = App::new();
    let ada = app.customer("ada@example.com").await;
    let (path, body) = (PATH, registration());
    for number in 0..=MAX {
        let key = format!("endpoint-{number}");
        let register = || app.post(path).by(&ada).key(&key).send(&body);
        let made = register().await.must(201);
        let remove = app.post(&format!("{path}/{}/remove", made.id())).by(&ada);
        remove.send(&json!({})).await.must(200);
        let again = register().await.must(201);
        assert_eq!(again.header("idempotency-replayed"), "true");
    }
}

#[tokio::test]
async fn what_was_asked_of_an_endpoint_is_answered_again_though_it_is_told_nothing_any_more() {
    let app = App::new();
    let ada = app.customer("ada@example.com").await;
    let (path, body) = (PATH, registration());
    let made = app.post(path).by(&ada).key("k").send(&body).await.must(201);
    let path = format!("{path}/{}", made.id());
    let act = |rest: &str, key: &str| {
        let call = app.post(&format!("{path}/{rest}")).by(&ada).key(key);
        async move { call.send(&json!({})).await }
    };
    let tested = act("test", "k").await.must(201);
    // Until it has been tried, it is not to be tried anew.
    let gone = DeliveryCommand::AbandonWebhookDelivery {
        reason: "it is away".parse().unwrap(),
    };
    let meta = CommandMeta::new(Uuid::new_v4(), clock::now(), "system");
    let id = tested.id().parse().unwrap();
    let gone = app.streams.execute::<WebhookDelivery>(&id, gone, &meta);
    gone.await.unwrap();
    let redeliver = format!("deliveries/{}/redeliver", tested.id());
    let redelivered = act(&redeliver, "k").await.must(200);
    for (then, refused_now) in [
        ("disable", (409, "webhook_endpoint_disabled")),
        ("remove", (404, "webhook_endpoint_unknown")),
    ] {
        act(then, "k").await.must(200);
        for (call, first) in [("test", &tested), (&redeliver, &redelivered)] {
            let again = act(call, "k").await;
            assert_eq!(again.header("idempotency-replayed"), "true", "{again:?}");
            assert_eq!(again.essence(), first.essence());
            let (status, code) = refused_now;
            act(call, "another").await.refused(status, code, "");
        }
    }
}

#[tokio::test]
async fn a_test_is_sent_to_the_version_of_the_endpoint_that_was_seen() {
    let app = App::new();
    let ada = app.customer("ada@example.com").await;
    let (path, body) = (PATH, registration());
    let made = app.post(path).by(&ada).send(&body).await.must(201);
    let act = |rest: &str, tag: String, key: &str| {
        let call = app.post(&format!("{path}/{}/{rest}", made.id()));
        let call = call.by(&ada).key(key).header("if-match", &tag);
        async move { call.send(&json!({})).await }
    };
    let seen = || made.header("etag").to_owned();
    let tested = act("test", seen(), "first").await.must(201);
    act("disable", seen(), "off").await.must(200);
    let enabled = act("enable", "*".to_owned(), "on").await.must(200);
    act("test", seen(), "second")
        .await
        .refused(412, "version_is_stale", "");
    let now = enabled.header("etag").to_owned();
    act("test", now, "second").await.must(201);
    // What was done is done, whatever the version is by now.
    let again = act("test", seen(), "first").await;
    assert_eq!(again.essence(), tested.essence());
}
