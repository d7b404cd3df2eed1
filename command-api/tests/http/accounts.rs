//! What people change of their own account.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use serde_json::{Value, json};
use streams::keys::DigestKey;
use user::{EmailClaim, Standing, User, UserEvent};

use crate::app::{Answer, App, NOT_FOUND, Person, order};

fn path(person: &Person, rest: &str) -> String {
    format!("/v1/users/{}/{rest}", person.id)
}

fn home() -> Value {
    json!({
        "name": "Ann", "line1": "Main St 1", "city": "Köln",
        "postal_code": "50667", "country": "DE",
    })
}

async fn sign_in(app: &App, email: &str, password: &str) -> Answer {
    let body = json!({"email": email, "password": password});
    app.post("/v1/sessions").send(&body).await
}

async fn user(app: &App, person: &Person) -> User {
    let loaded = app.streams.load_current::<User>(&person.id.into()).await;
    User::clone(&loaded.unwrap().state)
}

/// A call for each thing that a person may change, with a body that is good; the first three are
/// those that seal something.
fn calls() -> [(&'static str, Value); 8] {
    [
        (
            "profile",
            json!({"name": "Ann B", "phone": "+49 30 1234567"}),
        ),
        (
            "password",
            json!({"current_password": "correct horse", "new_password": "battery staple"}),
        ),
        ("addresses", home()),
        (
            "addresses/00000000-0000-0000-0000-00000000abcd/remove",
            json!({}),
        ),
        ("email", json!({"email": "ann@example.org"})),
        ("email/verify", json!({"token": "x"})),
        (
            "notification-preferences",
            json!({"topic": "marketing", "allowed": true}),
        ),
        ("erasure", json!({})),
    ]
}

#[tokio::test]
async fn nobody_changes_the_account_of_somebody_else() {
    let app = App::new();
    let (ann, ben) = (
        app.customer("ann@example.com").await,
        app.customer("ben@example.com").await,
    );
    let before = app.ends().await;
    for (rest, body) in calls() {
        let path = path(&ann, rest);
        let by_stranger = app.post(&path).by(&ben).send(&body).await;
        assert_eq!(by_stranger.status, NOT_FOUND, "{rest}");
        let by_operator = app.post(&path).by(&app.operator()).send(&body).await;
        assert_eq!(by_operator.status, 403, "{rest}");
        assert_eq!(app.post(&path).send(&body).await.status, 401, "{rest}");
    }
    assert_eq!(app.ends().await, before);
}

#[tokio::test]
async fn what_is_wrong_is_pointed_at_and_nothing_happens() {
    let app = App::new();
    let ann = app.customer("ann@example.com").await;
    let before = app.ends().await;
    for (rest, body, pointer) in [
        ("profile", json!({"name": " "}), "/name"),
        ("profile", json!({"name": "Ann", "phone": "030"}), "/phone"),
        ("profile", json!({"name": "Ann", "age": 7}), "/age"),
        ("addresses", json!({"name": "Ann"}), "/line1"),
        ("email", json!({"email": "ann"}), "/email"),
        ("email/verify", json!({"token": 7}), "/token"),
        (
            "password",
            json!({"current_password": "x", "new_password": "short"}),
            "/new_password",
        ),
        (
            "notification-preferences",
            json!({"topic": "spam", "allowed": true}),
            "/topic",
        ),
        ("erasure", json!({"now": true}), "/now"),
    ] {
        let answer = app.post(&path(&ann, rest)).by(&ann).send(&body).await;
        answer.refused(422, "invalid_request", pointer);
    }
    assert_eq!(app.ends().await, before);
}

#[tokio::test]
async fn nothing_personal_that_was_changed_is_in_the_log_in_clear() {
    let app = App::new();
    let ann = app.customer("ann@example.com").await;
    for (rest, body) in calls().into_iter().take(3) {
        let call = app.post(&path(&ann, rest)).by(&ann);
        let answer = call.send(&body).await;
        assert!(answer.status < 300, "{rest}: {}", answer.body);
    }
    let history = app.streams.history::<User>(&ann.id.into()).await.unwrap();
    assert_eq!(history.len(), 4);
    for event in history {
        let text = format!("{event:?} {}", String::from_utf8_lossy(&event.data));
        for secret in ["Ann B", "1234567", "battery", "argon2", "Main St", "50667"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[tokio::test]
async fn a_new_password_opens_and_the_old_one_no_longer_does() {
    let app = App::new();
    let ann = app.customer("ann@example.com").await;
    let change = |current: &str| {
        let body = json!({"current_password": current, "new_password": "battery staple"});
        let call = app.post(&path(&ann, "password")).by(&ann).key("k");
        async move { call.send(&body).await }
    };
    let wrong = change("wrong horse").await;
    wrong.refused(422, "password_wrong", "/current_password");
    let changed = change("correct horse").await.must(200);
    let again = change("correct horse").await.must(200);
    for told in ["id", "version"] {
        assert_eq!(again.body[told], changed.body[told]);
    }
    // Who they were then is not who they are: a replay signs nobody in.
    assert!(changed.body["access_token"].is_string());
    assert!(again.body["access_token"].is_null());
    assert_eq!(again.header("idempotency-replayed"), "true");
    let old = sign_in(&app, "ann@example.com", "correct horse").await;
    old.refused(401, "credentials_wrong", "");
    sign_in(&app, "ann@example.com", "battery staple")
        .await
        .must(200);
}

#[tokio::test]
async fn guessing_the_current_password_is_slowed_down() {
    let app = App::new();
    let ann = app.customer("ann@example.com").await;
    let guess = json!({"current_password": "wrong", "new_password": "battery staple"});
    let guess = || app.post(&path(&ann, "password")).by(&ann).send(&guess);
    for _ in 0..10 {
        guess()
            .await
            .refused(422, "password_wrong", "/current_password");
    }
    guess().await.refused(429, "too_many_attempts", "");
}

#[tokio::test]
async fn an_address_book_is_kept_by_ids_that_follow_from_the_key() {
    let app = App::new();
    let ann = app.customer("ann@example.com").await;
    let add = |key: &'static str, body: Value| {
        let call = app.post(&path(&ann, "addresses")).by(&ann).key(key);
        async move { call.send(&body).await }
    };
    let first = add("a", home()).await.must(201);
    let again = add("a", home()).await.must(201);
    assert_eq!(again.essence(), first.essence());
    let mut other = home();
    other["city"] = json!("Bonn");
    let reused = add("a", other.clone()).await;
    reused.refused(422, "idempotency_key_reused", "");
    let second = add("b", other).await.must(201);
    assert_ne!(first.id(), second.id());

    let act = |id: &str, what: &str| {
        let path = path(&ann, &format!("addresses/{id}/{what}"));
        let call = app.post(&path).by(&ann);
        async move { call.send(&json!({})).await }
    };
    act(second.id(), "default").await.must(200);
    act(first.id(), "remove").await.must(200);
    let gone = act(first.id(), "default").await;
    gone.refused(NOT_FOUND, "address_unknown", "");
    let nonsense = act("x", "remove").await;
    nonsense.refused(NOT_FOUND, "not_found", "");
    let user = user(&app, &ann).await;
    let account = user.account().unwrap();
    assert_eq!(account.addresses.len(), 1);
    let default = account.default_address.unwrap();
    assert_eq!(default.to_string(), second.id());
}

#[tokio::test]
async fn a_changed_address_signs_in_and_the_old_one_is_free() {
    let app = App::new();
    let ann = app.customer("ann@example.com").await;
    let change = |email: &str| {
        let body = json!({"email": email});
        let call = app.post(&path(&ann, "email")).by(&ann).key("k");
        async move { call.send(&body).await }
    };
    let changed = change("ann@example.org").await.must(200);
    assert_eq!(changed.header("etag"), "\"2\"");
    assert_eq!(
        changed.header("consistency-token"),
        "USER:5",
        "user and both claims, one batch"
    );
    let again = change("ann@example.org").await.must(200);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.essence(), changed.essence());
    sign_in(&app, "ann@example.org", "correct horse")
        .await
        .must(200);
    let old = sign_in(&app, "ann@example.com", "correct horse").await;
    old.refused(401, "credentials_wrong", "");
    app.customer("ann@example.com").await;
}

#[tokio::test]
async fn an_account_that_was_opened_is_answered_again_though_its_address_is_somebody_elses_by_now()
{
    let app = App::new();
    let open = |password: &str| {
        let body = json!({"email": "ann@example.com", "name": "Ann", "password": password});
        let call = app.post("/v1/users").key("k");
        async move { call.send(&body).await }
    };
    let opened = open("correct horse").await.must(201);
    let ann = app.person(opened.id().parse().unwrap(), &["customer"]);
    let change = app.post(&path(&ann, "email")).by(&ann);
    let elsewhere = json!({"email": "ann@example.org"});
    change.send(&elsewhere).await.must(200);
    app.customer("ann@example.com").await;
    let again = open("correct horse").await.must(201);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.essence(), opened.essence());
    let other = open("another horse").await;
    other.refused(422, "idempotency_key_reused", "");
}

#[tokio::test]
async fn an_address_that_somebody_has_is_not_taken_over() {
    let app = App::new();
    let ann = app.customer("ann@example.com").await;
    app.customer("ben@example.com").await;
    let before = app.ends().await;
    let body = json!({"email": "BEN@example.com"});
    let taken = app.post(&path(&ann, "email")).by(&ann).send(&body).await;
    taken.refused(409, "email_taken", "/email");
    assert_eq!(app.ends().await, before);
    sign_in(&app, "ann@example.com", "correct horse")
        .await
        .must(200);
}

#[tokio::test]
async fn of_two_changes_for_one_version_one_is_made() {
    let app = App::new();
    let ann = app.customer("ann@example.com").await;
    let change = |email: &str| {
        let body = json!({"email": email});
        let call = app.post(&path(&ann, "email")).by(&ann);
        async move { call.header("if-match", "\"1\"").send(&body).await }
    };
    let (one, other) = tokio::join!(change("a@example.org"), change("b@example.org"));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412], "{} {}", one.body, other.body);
}

#[tokio::test]
async fn two_people_who_want_one_address_get_it_once() {
    let app = App::new();
    let (ann, ben) = (
        app.customer("ann@example.com").await,
        app.customer("ben@example.com").await,
    );
    let take = |person: &Person| {
        let body = json!({"email": "both@example.com"});
        let call = app.post(&path(person, "email")).by(person);
        async move { call.send(&body).await }
    };
    let (one, other) = tokio::join!(take(&ann), take(&ben));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{} {}", one.body, other.body);
}

#[tokio::test]
async fn an_address_is_verified_with_what_was_mailed_to_it() {
    let app = App::new();
    let ann = app.customer("ann@example.com").await;
    let digest = DigestKey::parse(&URL_SAFE_NO_PAD.encode([0; 32])).unwrap();
    let token = |email: &str| digest.verification_token(ann.id, digest.email_claim_id(email));
    let verify = |token: String| {
        let call = app.post(&path(&ann, "email/verify")).by(&ann);
        async move { call.send(&json!({"token": token})).await }
    };
    let under_a_key = |email: &str| {
        let call = app.post(&path(&ann, "email/verify")).by(&ann).key("k");
        let body = json!({"token": token(email)});
        async move { call.send(&body).await }
    };
    let wrong = verify(token("ben@example.com")).await;
    wrong.refused(422, "verification_token_wrong", "/token");
    let first = under_a_key("ann@example.com").await.must(200);
    verify(token("ann@example.com")).await.must(200);
    assert!(user(&app, &ann).await.account().unwrap().email_verified);

    let change = json!({"email": "ann@example.org"});
    let call = app.post(&path(&ann, "email")).by(&ann);
    call.send(&change).await.must(200);
    let old = verify(token("ann@example.com")).await;
    old.refused(422, "verification_token_wrong", "/token");
    let again = under_a_key("ann@example.com").await.must(200);
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.essence(), first.essence());
    let other = under_a_key("ben@example.com").await;
    other.refused(422, "idempotency_key_reused", "");
    verify(token("ann@example.org")).await.must(200);
}

#[tokio::test]
async fn who_asked_to_be_erased_orders_nothing_more_and_may_still_sign_in() {
    let app = App::new();
    app.product("tea", 5).await;
    let ann = app.customer("ann@example.com").await;
    let tea = order(&[("tea", 1)]);
    let place = |key: &'static str| app.place(&ann, key, &tea);
    place("1").await.must(201);
    let nothing = json!({});
    let erase = || app.post(&path(&ann, "erasure")).by(&ann).send(&nothing);
    erase().await.must(200);
    let before = app.ends().await;
    place("2").await.refused(403, "user_leaving", "");
    erase().await.must(200);
    let profile = app.post(&path(&ann, "profile")).by(&ann);
    let refused = profile.send(&json!({"name": "Ann B"})).await;
    refused.refused(409, "user_leaving", "");
    assert_eq!(app.ends().await, before);
    sign_in(&app, "ann@example.com", "correct horse")
        .await
        .must(200);
    let history = app.streams.history::<User>(&ann.id.into()).await.unwrap();
    let last = history.last().unwrap();
    let UserEvent::ErasureRequested { erase_by } = last.decode::<User>().unwrap() else {
        panic!("{}", last.event_type);
    };
    let early = last.time - TimeDelta::minutes(1);
    assert_eq!((erase_by - early).num_days(), 30);
    assert_eq!(user(&app, &ann).await.standing(), Standing::Leaving);
}

#[tokio::test]
async fn nothing_is_sealed_for_who_is_not_there() {
    let app = App::new();
    let nobody = app.person("00000000-0000-0000-0000-00000000abcd".parse().unwrap(), &[]);
    for (rest, body) in calls() {
        let answer = app.post(&path(&nobody, rest)).by(&nobody).send(&body).await;
        answer.refused(NOT_FOUND, "user_unknown", "");
    }
    let claim = DigestKey::parse(&URL_SAFE_NO_PAD.encode([0; 32]))
        .unwrap()
        .email_claim_id("ann@example.org");
    let claim = app.streams.load::<EmailClaim>(&claim.into()).await.unwrap();
    assert_eq!(claim.version, 0);
}
