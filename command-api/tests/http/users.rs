//! Accounts and sessions.

use serde_json::{Value, json};

use crate::app::{App, NOT_FOUND};

fn register(email: &str) -> Value {
    json!({"email": email, "name": "Ann", "password": "correct horse"})
}

fn sign_in(email: &str, password: &str) -> Value {
    json!({"email": email, "password": password})
}

#[tokio::test]
async fn one_address_has_one_account() {
    let app = App::new();
    let first = app
        .post("/v1/users")
        .send(&register("Ann@Example.com"))
        .await
        .must(201);
    assert_eq!(
        first.header("location"),
        format!("/v1/users/{}", first.id())
    );
    assert_eq!(first.header("etag"), "\"1\"");
    assert_eq!(
        first.header("consistency-token"),
        "USER:2",
        "user and claim, one batch"
    );
    let before = (app.ends().await, app.sealed());
    let second = app
        .post("/v1/users")
        .send(&register("ann@example.COM"))
        .await;
    second.refused(409, "email_taken", "/email");
    assert_eq!((app.ends().await, app.sealed()), before);
}

#[tokio::test]
async fn registering_twice_under_one_key_is_one_account() {
    let app = App::new();
    let body = register("ann@example.com");
    let first = app.post("/v1/users").key("k").send(&body).await.must(201);
    let again = app.post("/v1/users").key("k").send(&body).await;
    assert_eq!(again.essence(), first.essence());
    assert_eq!(again.header("idempotency-replayed"), "true");
    let mut other = body.clone();
    other["name"] = json!("Ben");
    let reused = app.post("/v1/users").key("k").send(&other).await;
    reused.refused(422, "idempotency_key_reused", "");
    // The key's scope is the address: somebody else's key may be the same text.
    app.post("/v1/users")
        .key("k")
        .send(&register("ben@example.com"))
        .await
        .must(201);
}

#[tokio::test]
async fn nothing_personal_is_in_the_log_in_clear() {
    let app = App::new();
    let customer = app.customer("ann@example.com").await;
    let id = customer.id.into();
    let history = app.streams.history::<user::User>(&id).await.unwrap();
    for event in history {
        let text = format!("{event:?} {}", String::from_utf8_lossy(&event.data));
        for secret in ["ann@", "\"Ann\"", "correct horse", "argon2"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_registration_is_pointed_at() {
    let app = App::new();
    let before = app.ends().await;
    for (field, value, pointer) in [
        ("email", json!("ann"), "/email"),
        ("email", json!("a@b.com\r\nBcc: c@d.com"), "/email"),
        ("name", json!(" "), "/name"),
        ("name", json!("a\u{0}"), "/name"),
        ("name", json!("Ann\r\nBcc: c@d.com"), "/name"),
        ("password", json!("short"), "/password"),
        ("password", json!("a".repeat(129)), "/password"),
        ("role", json!("operator"), "/role"),
    ] {
        let mut body = register("ann@example.com");
        body[field] = value;
        let answer = app.post("/v1/users").send(&body).await;
        answer.refused(422, "invalid_request", pointer);
    }
    assert_eq!(app.ends().await, before);
}

#[tokio::test]
async fn a_session_is_opened_with_the_right_password_alone() {
    let app = App::new();
    let customer = app.customer("ann@example.com").await;
    let session = app
        .post("/v1/sessions")
        .send(&sign_in("ANN@example.com", "correct horse"))
        .await;
    let session = session.must(200);
    assert_eq!(session.body["token_type"], "Bearer");
    assert_eq!(session.body["expires_in"], 900);
    assert_eq!(session.header("cache-control"), "no-store");

    let wrong = app
        .post("/v1/sessions")
        .send(&sign_in("ann@example.com", "wrong horse"))
        .await;
    wrong.refused(401, "credentials_wrong", "");
    let unknown = app
        .post("/v1/sessions")
        .send(&sign_in("ben@example.com", "correct horse"))
        .await;
    let known_but = |mut body: Value| {
        body.as_object_mut().unwrap().remove("trace_id");
        body
    };
    assert_eq!(
        known_but(unknown.body),
        known_but(wrong.body),
        "the answers are the same"
    );

    app.suspend(&customer).await;
    let barred = app
        .post("/v1/sessions")
        .send(&sign_in("ann@example.com", "correct horse"))
        .await;
    barred.refused(403, "user_suspended", "");
    let wrong = app
        .post("/v1/sessions")
        .send(&sign_in("ann@example.com", "wrong horse"))
        .await;
    wrong.refused(401, "credentials_wrong", "");
}

#[tokio::test]
async fn guessing_is_slowed_down() {
    let app = App::new();
    app.customer("ann@example.com").await;
    for _ in 0..10 {
        let wrong = app
            .post("/v1/sessions")
            .send(&sign_in("ann@example.com", "wrong"))
            .await;
        wrong.refused(401, "credentials_wrong", "");
    }
    let enough = app
        .post("/v1/sessions")
        .send(&sign_in("ann@example.com", "correct horse"))
        .await;
    enough.refused(429, "too_many_attempts", "");
    assert!(enough.header("retry-after").parse::<u64>().unwrap() > 0);
    let ben = app
        .post("/v1/sessions")
        .send(&sign_in("ben@example.com", "wrong"))
        .await;
    ben.refused(401, "credentials_wrong", "");
}

#[tokio::test]
async fn a_role_that_was_given_stands_in_the_next_token() {
    let app = App::new();
    let customer = app.customer("ann@example.com").await;
    let operator = app.operator();
    let roles = format!("/v1/users/{}/roles", customer.id);
    let act = |role: &str, action: &str| {
        let body = json!({"role": role, "action": action});
        let call = app.post(&roles).by(&operator);
        async move { call.send(&body).await }
    };
    act("operator", "grant").await.must(200);
    let session = app
        .post("/v1/sessions")
        .send(&sign_in("ann@example.com", "correct horse"))
        .await;
    let token = session.must(200).body["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let ann = crate::app::Person {
        id: customer.id,
        token,
    };
    app.post("/v1/inventory")
        .by(&ann)
        .send(&json!({"sku": "tea"}))
        .await
        .must(201);
    act("customer", "revoke")
        .await
        .refused(422, "customer_role_implied", "/role");
    act("king", "grant")
        .await
        .refused(422, "invalid_request", "/role");
    act("operator", "revoke").await.must(200);
    let nobody = "/v1/users/00000000-0000-0000-0000-00000000abcd/suspend";
    let unknown = app
        .post(nobody)
        .by(&operator)
        .send(&json!({"reason": "x"}))
        .await;
    unknown.refused(NOT_FOUND, "user_unknown", "");
}
