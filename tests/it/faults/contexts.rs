//! A context goes down: who and what is known goes on, the rest is told to come back.

use std::process::Command;
use std::time::Duration;

use devstack::launch::Signal;
use futures::StreamExt;
use millrace::client::{CartLine, Shop};
use serde_json::json;
use streams::bus::Answer;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::app::{App, Must, PASSWORD, PATIENCE, becomes, folder, program, worked_off};

/// Longer than an answer is kept whose changes nobody hears.
const LONG: Duration = Duration::from_secs(3);

/// Somebody who registers with `users`: their id, and the shop as they see it.
async fn customer(app: &App, users: &Shop) -> (String, Shop) {
    let email = format!("{}@example.com", Uuid::new_v4().simple());
    let id = users
        .register(&email, "Grace Hopper", PASSWORD)
        .await
        .unwrap();
    let token = millrace::token::customer(&app.data, &id).unwrap();
    (id, app.shop().with_token(&token))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_user_context_orders_of_known_people_go_on() {
    let all_but_user = "product,inventory,order,payment,notification,checkout";
    let data = folder("contexts");
    let app = App::start_with(&data, &["--contexts", all_but_user]).await;
    let (users, child) = app.command_api(&["--contexts", "user"]).await;
    let sku = app.product(1_000).await;
    let (_, known) = customer(&app, &users).await;
    let (_, unknown) = customer(&app, &users).await;
    let (suspended_id, suspended) = customer(&app, &users).await;
    let cart = [CartLine {
        sku: sku.clone(),
        quantity: 1,
    }];
    let orders = async |shop: &Shop| {
        let key = Uuid::new_v4().to_string();
        shop.place_order(&key, &cart, "pm_card_visa").await.unwrap()
    };
    assert_eq!(orders(&known).await.status, 201);
    assert_eq!(orders(&suspended).await.status, 201);
    // The other process suspends; this one hears of it, and forgets what it knew.
    let operator = millrace::token::operator(&app.data).unwrap();
    let suspend = format!("/v1/users/{suspended_id}/suspend");
    let reason = json!({ "reason": "a test" });
    let answer = users.with_token(&operator).post(&suspend, &reason).await;
    answer.must();
    // What is heard of is kept for an hour: nothing but the news ends that.
    let started = Instant::now();
    let refused = loop {
        let answer = orders(&suspended).await;
        if answer.status != 201 {
            break answer;
        }
        assert!(started.elapsed() < PATIENCE, "the suspension is not heard");
    };
    // Whichever is heard of first: that their token is withdrawn, or how they stand.
    let told = (refused.status.as_u16(), refused.text("/code"));
    let expected = [(401, "token_invalid"), (403, "user_suspended")];
    assert!(expected.contains(&told), "{}", refused.body);

    child.signaller().send(Signal::KILL).unwrap();
    child.wait().await;
    let started = Instant::now();
    while started.elapsed() < LONG {
        assert_eq!(orders(&known).await.status, 201);
    }
    let answer = orders(&unknown).await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.header("Retry-After").is_some());
    // What they got before they were suspended counts no longer.
    let answer = orders(&suspended).await;
    assert_eq!(answer.status, 401, "{}", answer.body);
    let (_, back) = app.command_api(&["--contexts", "user"]).await;
    app.adds_up().await;
    drop(back);
    app.stop().await;
}

/// A host of mails that reads none of what it is asked: an older one in an upgrade. Until it is dropped.
async fn reads_no_mail(app: &App) -> JoinSet<()> {
    let host = millrace::up::connection(&app.data, &app.endpoints, "command-api").await;
    let client = host.unwrap().client().clone();
    let mut asks = client.subscribe("command.notification").await.unwrap();
    let unread = Answer::Failed {
        message: "the command can't be read".to_owned(),
        retryable: false,
    };
    let unread = serde_json::to_vec(&unread).unwrap();
    let mut host = JoinSet::new();
    host.spawn(async move {
        while let Some(ask) = asks.next().await {
            let answered = client.publish(ask.reply.unwrap(), unread.clone().into());
            answered.await.unwrap();
        }
    });
    host
}

/// A person has everything tried again that is parked: a welcome is, which nobody could read.
async fn has_tried_again(app: &App) {
    becomes("nothing is parked", async || {
        let (radar, nothing) = app.tool(&["stuck"]).unwrap();
        for parked in radar["items"].as_array().unwrap() {
            assert_eq!(parked["kind"], "parked_message", "{radar:#}");
            let (durable, key) = parked["id"].as_str().unwrap().split_once('/').unwrap();
            let retry = Command::new(program())
                .args(["parked", "retry", durable, key, "--data"])
                .arg(&app.data)
                .output();
            let retry = retry.unwrap();
            assert!(retry.status.success(), "{retry:?}");
        }
        nothing
    })
    .await;
}

/// No order is held while mails can't be asked for, whatever is `answered`, and they come later.
async fn no_order_waits_for_its_mails(name: &str, answered: impl AsyncFnOnce(&App) -> JoinSet<()>) {
    let all_but_mails = "user,product,inventory,order,payment,checkout";
    let args = ["--contexts", all_but_mails, "--without", "saga"];
    let app = App::start_with(&folder(name), &args).await;
    let sagas = app.role(&["saga", "--late-pause-s", "2"], "saga.log").await;
    let (customer, sku) = (app.customer().await, app.product(1).await);
    let host = answered(&app).await;
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    // What held the mail would be held up to a bound, and everything behind it then.
    worked_off(&app, "ORDER", "checkout-order").await;
    drop(host);
    let (_, mails) = app.command_api(&["--contexts", "notification"]).await;
    app.told(&order, 1).await;
    has_tried_again(&app).await;
    app.adds_up().await;
    for role in [sagas, mails] {
        let stopped = role.stop(Signal::TERM, PATIENCE);
        stopped.await.unwrap();
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_notification_context_no_order_is_held_and_its_mails_come_later() {
    no_order_waits_for_its_mails("no-mails", async |_| JoinSet::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_can_not_read_what_mail_is_asked_for_holds_no_order_either() {
    no_order_waits_for_its_mails("unread-mails", reads_no_mail).await;
}
