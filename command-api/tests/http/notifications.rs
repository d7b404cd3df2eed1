//! Bounces and suppressions: what operators report, and what is refused.

use kernel::NotificationId;
use notification::{Channel, Details, Notification, NotificationCommand, Template};
use serde_json::json;
use streams::CommandMeta;
use uuid::Uuid;

use crate::app::{App, NOT_FOUND};

const MAIL: NotificationId = NotificationId(Uuid::from_u128(7));

/// Does `commands` to the mail [`MAIL`], as a saga and the mailer would.
async fn given(app: &App, commands: Vec<NotificationCommand>) {
    for command in commands {
        let meta = CommandMeta::new(Uuid::new_v4(), chrono::Utc::now(), "reactor:mailer");
        let id = MAIL.into();
        let done = app.streams.execute::<Notification>(&id, command, &meta);
        done.await.unwrap();
    }
}

fn request(app: &App) -> NotificationCommand {
    NotificationCommand::RequestNotification {
        user_id: app.operator().id,
        template: Template::Welcome,
        channel: Channel::Email,
        details: Details::default(),
    }
}

#[tokio::test]
async fn what_was_sent_comes_back_once() {
    let app = App::new();
    let sent = NotificationCommand::RecordSent {
        message_id: "<7@shop>".to_owned(),
        address: None,
    };
    given(&app, vec![request(&app), sent]).await;
    let path = format!("/v1/notifications/{MAIL}/bounce");
    let report = json!({"reason": "mailbox closed"});
    let customer = app.customer("ann@example.com").await;
    let refused = app.post(&path).by(&customer).send(&report).await;
    refused.refused(403, "forbidden", "");
    let operator = app.operator();
    let done = app.post(&path).by(&operator).send(&report).await.must(200);
    assert_eq!(done.body, json!({"id": MAIL, "version": 3}));
    let again = app.post(&path).by(&operator).send(&report).await.must(200);
    assert_eq!(again.body, done.body);
}

#[tokio::test]
async fn what_never_went_out_does_not_come_back() {
    let app = App::new();
    let operator = app.operator();
    let path = format!("/v1/notifications/{MAIL}/bounce");
    let report = json!({"reason": "mailbox closed"});
    let unknown = app.post(&path).by(&operator).send(&report).await;
    unknown.refused(NOT_FOUND, "notification_unknown", "");
    let failed = NotificationCommand::RecordFailure {
        reason: "554 5.6.0 message refused".to_owned(),
    };
    given(&app, vec![request(&app), failed]).await;
    let refused = app.post(&path).by(&operator).send(&report).await;
    refused.refused(409, "notification_not_sent", "");
}

#[tokio::test]
async fn what_failed_is_tried_again_or_left_at_that_by_an_operator() {
    let app = App::new();
    let operator = app.operator();
    let [resend, dismiss] =
        ["resend", "dismiss"].map(|what| format!("/v1/notifications/{MAIL}/{what}"));
    let reason = json!({"reason": "told by phone"});
    let unknown = app.post(&resend).by(&operator).send(&json!({})).await;
    unknown.refused(NOT_FOUND, "notification_unknown", "");
    given(&app, vec![request(&app)]).await;
    let failed = NotificationCommand::RecordFailure {
        reason: "554 5.6.0 message refused".to_owned(),
    };
    given(&app, vec![failed.clone()]).await;
    let customer = app.customer("ann@example.com").await;
    for (path, body) in [(&resend, json!({})), (&dismiss, reason.clone())] {
        let refused = app.post(path).by(&customer).send(&body).await;
        refused.refused(403, "forbidden", "");
    }
    let again = app
        .post(&resend)
        .by(&operator)
        .send(&json!({}))
        .await
        .must(200);
    assert_eq!(again.body, json!({"id": MAIL, "version": 3}));
    given(&app, vec![failed]).await;
    let left = app
        .post(&dismiss)
        .by(&operator)
        .send(&reason)
        .await
        .must(200);
    assert_eq!(left.body, json!({"id": MAIL, "version": 5}));
    let sent = NotificationCommand::RecordSent {
        message_id: "<1@x>".to_owned(),
        address: None,
    };
    given(&app, vec![sent]).await;
    let sent = app.post(&dismiss).by(&operator).send(&reason).await;
    sent.refused(409, "notification_not_failed", "");
}

#[tokio::test]
async fn one_address_has_one_suppression_however_it_is_written() {
    let app = App::new();
    let operator = app.operator();
    let suppress = async |email: &str| {
        let body = json!({"email": email, "reason": "complained"});
        app.post("/v1/suppressions").by(&operator).send(&body).await
    };
    let first = suppress("ann@example.com").await.must(201);
    let location = format!("/v1/suppressions/{}", first.id());
    assert_eq!(first.header("location"), location);
    let again = suppress(" Ann@Example.com").await.must(201);
    assert_eq!(again.essence(), first.essence(), "already so");
    assert_ne!(suppress("bob@example.com").await.must(201).id(), first.id());

    let lift = json!({"email": "ANN@example.com"});
    let lift = || {
        app.post("/v1/suppressions/remove")
            .by(&operator)
            .send(&lift)
    };
    let lifted = lift().await.must(200);
    assert_eq!(lifted.body, json!({"id": first.id(), "version": 2}));
    assert_eq!(lift().await.must(200).body, lifted.body);
    suppress("ann")
        .await
        .refused(422, "invalid_request", "/email");
    let customer = app.customer("eve@example.com").await;
    let body = json!({"email": "ann@example.com", "reason": "revenge"});
    let refused = app.post("/v1/suppressions").by(&customer).send(&body).await;
    refused.refused(403, "forbidden", "");
}
