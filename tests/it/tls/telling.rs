//! A shop at work that logs all it can: nothing of that is secret.

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::no_log_tells;
use crate::app::{App, Customer, Must, PASSWORD, PATIENCE, becomes, folder};
use crate::webhooks::TO_OUTSIDE;

const WRONG_PASSWORD: &str = "wrong horse battery staple";
const NEW_PASSWORD: &str = "a new one, and long";

/// A server that is told of events, and the signatures that it has heard.
async fn receiver() -> (String, watch::Receiver<Vec<String>>) {
    let (tells, told) = watch::channel(Vec::new());
    let hear = move |headers: HeaderMap| {
        let signature = headers["webhook-signature"].to_str().unwrap().to_owned();
        tells.send_modify(|all: &mut Vec<String>| all.push(signature));
        async { StatusCode::OK }
    };
    let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(hear)).await });
    (url, told)
}

/// Everything that a customer does in a shop, and an operator for them.
async fn shops(app: &App, customer: &Customer) {
    let sku = app.product(5).await;
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.delivers(&order).await;
    let other = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&other, "confirmed").await;
    let cancel = format!("/v1/orders/{other}/cancel");
    let reason = json!({ "reason": "changed my mind" });
    customer.shop.post(&cancel, &reason).await.must();
    app.order_is(&other, "canceled").await;
    for order in [order, other] {
        app.told(&order, 2).await;
    }
}

/// The code in the mail that welcomes a customer.
async fn code(app: &App) -> String {
    let url = format!("{}/messages", app.endpoints.mail);
    let mails: Vec<Value> = reqwest::get(url).await.unwrap().json().await.unwrap();
    let mut lines = mails
        .iter()
        .flat_map(|mail| mail["text"].as_str().unwrap().lines());
    let code = lines.find(|line| line.trim().len() == 43);
    code.unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_that_sells_and_logs_everything_logs_no_secret() {
    // `up` logs beside its folder.
    let beside = folder("telling");
    let settings = [&["--log", "debug"], &TO_OUTSIDE[..]].concat();
    let app = App::start_with(&beside.join("shop"), &settings).await;
    let customer = app.customer().await;
    let wrong = app.shop().sign_in(&customer.email, WRONG_PASSWORD).await;
    assert!(wrong.is_err());
    let (url, mut told) = receiver().await;
    let endpoint = json!({ "url": url, "event_types": ["order.order_placed"] });
    let endpoint = customer.shop.post("/v1/webhook-endpoints", &endpoint).await;
    let endpoint = endpoint.must().header("location").unwrap().to_owned();
    let secret = customer.shop.get(&format!("{endpoint}/secret")).await;
    let secret = secret.must().text("/secret").to_owned();
    shops(&app, &customer).await;
    becomes("a webhook", async || !told.borrow_and_update().is_empty()).await;
    let change = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
    let path = format!("/v1/users/{}/password", customer.id);
    let changed = customer.shop.post(&path, &change).await.must();
    let wanted = |list: &Value| {
        list["items"]
            .as_array()
            .is_some_and(|items| items.len() > 5)
    };
    let mails = format!("/v1/notifications?status=sent&user_id={}", customer.id);
    let operator = app.operator();
    operator
        .wait_for("the mails", &mails, PATIENCE, wanted)
        .await
        .unwrap();

    let mut secrets: Vec<(String, String)> = [
        ("a password", PASSWORD),
        ("a wrong password", WRONG_PASSWORD),
        ("a new password", NEW_PASSWORD),
        ("an address", &customer.email),
        ("a name", "Grace Hopper"),
        ("who is sent goods", "Ada Lovelace"),
        ("where they live", "St James's Square"),
        ("a token", customer.shop.token().unwrap()),
        ("another token", changed.text("/access_token")),
        ("an operator's token", operator.token().unwrap()),
        ("the code of an address", &code(&app).await),
        (
            "the secret of an endpoint",
            secret.trim_start_matches("whsec_"),
        ),
    ]
    .map(|(name, secret)| (name.to_owned(), secret.to_owned()))
    .to_vec();
    let signatures = told.borrow().clone().into_iter();
    secrets.extend(signatures.map(|signature| ("a signature".to_owned(), signature)));
    let of_stack = devstack::Secrets::load_or_create(&app.data).unwrap();
    let of_stack = of_stack.iter();
    secrets.extend(of_stack.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let data = app.data.clone();
    app.stop().await;
    no_log_tells(&[&beside, &data, &data.join("logs")], &secrets);
    let told = std::fs::read_to_string(beside.join("shop.log")).unwrap();
    assert!(told.contains("DEBUG"), "it was told to log everything");
}
