//! Every example of a request in the document does what it is an example of.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use millrace::client::{Answer, Shop};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{App, Must, PATIENCE, becomes, folder};
use crate::faults::webhooks::{signature, webhook_secret};

/// Those that need what no other example leads to: a saga that waits for a person, a mail that failed, a hold whose
/// time is over, a difference at the provider. What they do tests of their own show; here they are understood, and
/// what they are about isn't there.
const OF_NOTHING: [&str; 16] = [
    "/v1/checkouts/{id}/resume",
    "/v1/checkouts/{id}/skip",
    "/v1/checkouts/{id}/resolve",
    "/v1/checkouts/returns/{id}/resume",
    "/v1/checkouts/returns/{id}/skip",
    "/v1/checkouts/returns/{id}/resolve",
    "/v1/checkouts/refunds/{id}/resume",
    "/v1/checkouts/refunds/{id}/skip",
    "/v1/checkouts/refunds/{id}/resolve",
    "/v1/sagas/{saga}/{id}/resume",
    "/v1/sagas/{saga}/{id}/skip",
    "/v1/sagas/{saga}/{id}/resolve",
    "/v1/notifications/{id}/resend",
    "/v1/notifications/{id}/dismiss",
    "/v1/inventory/{sku}/expire",
    "/v1/payments/{id}/reconciliation",
];

/// The document, and which of its examples were sent.
struct Examples {
    document: Value,
    sent: BTreeSet<String>,
}

impl Examples {
    fn body(&self, path: &str) -> Value {
        let call = &self.document["paths"][path]["post"];
        let content = call["requestBody"]["content"].as_object();
        let content = content.unwrap_or_else(|| panic!("no call {path}"));
        content.values().next().unwrap()["example"].clone()
    }

    /// Sends the example of a call as `shop`, with `ids` in the place of the path's names; 2xx.
    async fn sends(&mut self, shop: &Shop, path: &str, ids: &[&str]) -> Answer {
        let body = self.body(path);
        self.sent.insert(path.to_owned());
        let at = with_ids(path, ids);
        if let Some(lines) = body.as_str() {
            let key = Uuid::new_v4().to_string();
            return shop.import(&key, lines.to_owned()).await.must();
        }
        shop.post(&at, &body).await.must()
    }

    /// Sends the example of a call about something that is not there. It is understood: another body isn't.
    async fn is_of_nothing(&mut self, shop: &Shop, path: &str) {
        let body = self.body(path);
        self.sent.insert(path.to_owned());
        let id = Uuid::new_v4().to_string();
        // No table is called so.
        let at = with_ids(&path.replace("{saga}", "gift"), &[&id]);
        let answer = shop.post(&at, &body).await.unwrap();
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
        let mut other = body;
        other["no_such_field"] = json!(1);
        let answer = shop.post(&at, &other).await.unwrap();
        assert_eq!(answer.status, 422, "{path}: {}", answer.body);
    }

    /// The same of several calls about one thing.
    async fn each(&mut self, shop: &Shop, begin: &str, ends: &[&str], ids: &[&str]) {
        for end in ends {
            self.sends(shop, &format!("{begin}/{end}"), ids).await;
        }
    }
}

/// A path with `ids` in the place of its names.
fn with_ids(path: &str, ids: &[&str]) -> String {
    let mut ids = ids.iter();
    let parts = path.split('/').map(|part| {
        if part.starts_with('{') {
            ids.next().unwrap()
        } else {
            part
        }
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Waits for the first row of a list, and answers its id.
async fn first(shop: &Shop, path: &str, status: &str) -> String {
    let found = shop.wait_for(path, path, PATIENCE, |list| {
        list["items"][0]["status"] == status
    });
    found.await.unwrap().text("/items/0/id").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_of_a_request_does_what_it_says() {
    let app = App::start(&folder("examples")).await;
    let mut examples = Examples {
        document: millrace::entry::document().json().clone(),
        sent: BTreeSet::new(),
    };
    let (anyone, operator) = (app.shop(), app.operator());
    let ann = examples.sends(&anyone, "/v1/users", &[]).await;
    let ann = ann.text("/id").to_owned();
    let session = examples.sends(&anyone, "/v1/sessions", &[]).await;
    let hers = anyone.with_token(session.text("/access_token"));
    the_shop(&mut examples, &operator).await;
    examples.sends(&anyone, "/graphql", &[]).await;
    her_orders(&app, &mut examples, &hers).await;
    mails(&mut examples, &operator).await;
    webhooks(&mut examples, &hers).await;
    herself(&mut examples, &hers, &operator, &ann).await;
    examples
        .sends(&operator, "/v1/products/{sku}/discontinue", &["MUG"])
        .await;

    for path in OF_NOTHING {
        examples.is_of_nothing(&operator, path).await;
    }
    told_by_the_provider(&app, &mut examples).await;

    let paths = examples.document["paths"].as_object().unwrap().iter();
    let posts = paths.filter(|(_, calls)| calls.get("post").is_some());
    let posts: BTreeSet<String> = posts.map(|(path, _)| path.clone()).collect();
    assert_eq!(posts, examples.sent);
    app.stop().await;
}

/// Something to buy.
async fn the_shop(examples: &mut Examples, operator: &Shop) {
    examples.sends(operator, "/v1/products", &[]).await;
    let acts = [
        "price",
        "details",
        "category",
        "publish",
        "unpublish",
        "publish",
    ];
    examples
        .each(operator, "/v1/products/{sku}", &acts, &["MUG"])
        .await;
    examples.sends(operator, "/v1/inventory", &[]).await;
    let acts = ["receive", "adjust", "threshold"];
    examples
        .each(operator, "/v1/inventory/{sku}", &acts, &["MUG"])
        .await;
    examples.sends(operator, "/v1/products/import", &[]).await;
}

/// One that is called off, and one of which a piece comes back and another doesn't.
async fn her_orders(app: &App, examples: &mut Examples, hers: &Shop) {
    let operator = &app.operator();
    let canceled = examples.sends(hers, "/v1/orders", &[]).await;
    examples
        .sends(hers, "/v1/orders/{id}/cancel", &[canceled.text("/id")])
        .await;
    let order = examples.sends(hers, "/v1/orders", &[]).await;
    let order = order.text("/id");
    app.order_is(order, "confirmed").await;
    examples
        .each(operator, "/v1/orders/{id}", &["ship", "deliver"], &[order])
        .await;
    let returns = "/v1/orders/{id}/returns";
    let back = examples.sends(hers, returns, &[order]).await;
    let one = format!("{returns}/{{return_id}}");
    let acts = ["approve", "receive"];
    examples
        .each(operator, &one, &acts, &[order, back.text("/id")])
        .await;
    let worn = examples.sends(hers, returns, &[order]).await;
    examples
        .each(operator, &one, &["refuse"], &[order, worn.text("/id")])
        .await;
    let payments = hers
        .get(&format!("/v1/payments?order_id={order}"))
        .await
        .must();
    let payment = payments.text("/items/0/id");
    examples
        .sends(operator, "/v1/payments/{id}/refunds", &[payment])
        .await;
}

/// Who is written to no more, and who can't be.
async fn mails(examples: &mut Examples, operator: &Shop) {
    examples.sends(operator, "/v1/suppressions", &[]).await;
    examples
        .sends(operator, "/v1/suppressions/remove", &[])
        .await;
    let sent = first(operator, "/v1/notifications?status=sent", "sent").await;
    examples
        .sends(operator, "/v1/notifications/{id}/bounce", &[&sent])
        .await;
}

/// An endpoint that is nowhere.
async fn webhooks(examples: &mut Examples, hers: &Shop) {
    let endpoint = examples.sends(hers, "/v1/webhook-endpoints", &[]).await;
    let endpoint = endpoint.text("/id");
    let one = "/v1/webhook-endpoints/{id}";
    let acts = ["details", "rotate-secret"];
    examples.each(hers, one, &acts, &[endpoint]).await;
    let delivery = examples
        .sends(hers, &format!("{one}/test"), &[endpoint])
        .await;
    let delivery = delivery.text("/id");
    let path = format!("/v1/webhook-endpoints/{endpoint}/deliveries/{delivery}");
    let tried = hers.wait_for("an attempt", &path, PATIENCE, |row| {
        row["attempts"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    });
    tried.await.unwrap();
    let again = format!("{one}/deliveries/{{delivery_id}}/redeliver");
    examples.sends(hers, &again, &[endpoint, delivery]).await;
    examples
        .each(hers, one, &["disable", "enable", "remove"], &[endpoint])
        .await;
}

/// As the provider signs it; what it is about nobody knows.
async fn told_by_the_provider(app: &App, examples: &mut Examples) {
    let path = "/v1/payments/webhook";
    let body = examples.body(path).to_string();
    examples.sent.insert(path.to_owned());
    let signature = signature(&webhook_secret(app), TimeDelta::zero(), &body);
    let sent = reqwest::Client::new()
        .post(format!("{}{path}", app.endpoints.entry))
        .header("stripe-signature", signature)
        .body(body)
        .send();
    assert_eq!(sent.await.unwrap().status(), 200);
}

/// All about herself, until she goes.
async fn herself(examples: &mut Examples, hers: &Shop, operator: &Shop, ann: &str) {
    let one = "/v1/users/{id}";
    let address = examples
        .sends(hers, &format!("{one}/addresses"), &[ann])
        .await;
    let ids = [ann, address.text("/id")];
    let addresses = format!("{one}/addresses/{{address_id}}");
    examples
        .each(hers, &addresses, &["default", "remove"], &ids)
        .await;
    // The code is in her mail, and this isn't it.
    let verify = "/v1/users/{id}/email/verify";
    examples.sent.insert(verify.to_owned());
    let (at, code) = (with_ids(verify, &[ann]), examples.body(verify));
    let wrong = hers.post(&at, &code).await.unwrap();
    assert_eq!(
        wrong.text("/code"),
        "verification_token_wrong",
        "{}",
        wrong.body
    );
    let acts = ["profile", "notification-preferences", "email", "password"];
    examples.each(hers, one, &acts, &[ann]).await;
    examples
        .each(operator, one, &["suspend", "reactivate", "roles"], &[ann])
        .await;
    // What she had was withdrawn with her suspension.
    let (email, password) = (
        examples.body("/v1/users/{id}/email"),
        examples.body("/v1/users/{id}/password"),
    );
    let body = json!({ "email": email["email"], "password": password["new_password"] });
    let mut back = hers.clone();
    // A token of the same second counts as one of before.
    becomes("she is back", async || {
        let session = operator.post("/v1/sessions", &body).await.must();
        back = hers.with_token(session.text("/access_token"));
        let read = back.get("/v1/orders").await.unwrap();
        read.status.is_success()
    })
    .await;
    examples
        .sends(&back, &format!("{one}/erasure"), &[ann])
        .await;
}
