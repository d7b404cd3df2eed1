//! What people change of their own account, from the call to the mail and the account page.

use millrace::client::Shop;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::app::{App, Customer, Must, PASSWORD, PATIENCE, becomes, folder, shared};

/// Rounds of two people who want the same address.
const ROUNDS: usize = 5;

/// Between two looks at the mailbox.
const LOOK: std::time::Duration = std::time::Duration::from_millis(25);

fn fresh_email() -> String {
    format!("{}@example.com", Uuid::new_v4().simple())
}

impl Customer {
    /// Changes something of the own account; whatever the answer is.
    pub(crate) async fn changes(&self, what: &str, body: &Value) -> millrace::client::Answer {
        let path = format!("/v1/users/{}/{what}", self.id);
        self.shop.post(&path, body).await.unwrap()
    }

    /// The account page with everything up to `token`.
    async fn page(&self, token: &str) -> Value {
        let path = format!("/v1/users/{}", self.id);
        let read = self.shop.get_after(&path, token).await.unwrap();
        read.success().unwrap().body
    }
}

/// The code in the mail of this subject, once it is there.
async fn code_in(app: &App, email: &str, subject: &str) -> String {
    let url = format!("{}/messages?to={email}", app.endpoints.mail);
    let started = Instant::now();
    loop {
        let mails: Vec<Value> = reqwest::get(&url).await.unwrap().json().await.unwrap();
        let mail = mails.iter().find(|mail| mail["subject"] == subject);
        let text = mail.and_then(|mail| mail["text"].as_str());
        let code = text.and_then(|text| text.lines().find(|line| line.trim().len() == 43));
        if let Some(code) = code {
            return code.trim().to_owned();
        }
        assert!(started.elapsed() < PATIENCE, "{mails:?}");
        sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_want_one_address_one_gets_it() {
    let app = shared().await;
    let (ann, ben) = (app.customer().await, app.customer().await);
    let (mut annes, mut bens) = (ann.email.clone(), ben.email.clone());
    for round in 0..ROUNDS {
        let wanted = fresh_email();
        let body = json!({ "email": wanted });
        let (one, other) = tokio::join!(ann.changes("email", &body), ben.changes("email", &body));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        let shown = format!("round {round}: {} {}", one.body, other.body);
        if statuses[0] == 200 {
            annes = wanted;
        } else {
            bens = wanted;
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{shown}");
        assert!(shown.contains("email_taken"), "{shown}");
        for (customer, email) in [(&ann, &annes), (&ben, &bens)] {
            let session = app.shop().sign_in(email, PASSWORD).await.unwrap();
            let own = format!("/v1/users/{}", customer.id);
            session.get(&own).await.must();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_address_is_verified_by_its_mail_and_the_old_one_is_free() {
    let app = shared().await;
    let ann = app.customer().await;
    let first = code_in(app, &ann.email, "Welcome to the shop").await;
    let verify = |code: &str| json!({ "token": code });
    let verified = ann.changes("email/verify", &verify(&first)).await;
    let verified = verified.success().unwrap();
    let page = ann
        .page(verified.header("Consistency-Token").unwrap())
        .await;
    assert_eq!(page["email_verified"], true, "{page}");

    let wanted = fresh_email();
    let changed = ann.changes("email", &json!({ "email": wanted })).await;
    let changed = changed.success().unwrap();
    let page = ann.page(changed.header("Consistency-Token").unwrap()).await;
    assert_eq!(
        (&page["email"], &page["email_verified"]),
        (&json!(wanted), &json!(false))
    );
    let old = ann.changes("email/verify", &verify(&first)).await;
    assert_eq!(old.status.as_u16(), 422, "{}", old.body);
    let second = code_in(app, &wanted, "Please confirm your mail address").await;
    let verified = ann.changes("email/verify", &verify(&second)).await;
    let verified = verified.success().unwrap();
    let page = ann
        .page(verified.header("Consistency-Token").unwrap())
        .await;
    assert_eq!(page["email_verified"], true, "{page}");

    let stranger = app.shop().register(&ann.email, "Ben", PASSWORD).await;
    assert_ne!(stranger.unwrap(), ann.id);
}

#[tokio::test]
async fn a_changed_password_opens_and_the_old_one_no_longer_does() {
    let app = shared().await;
    let ann = app.customer().await;
    let change = |current: &str| json!({ "current_password": current, "new_password": "a new one, and long" });
    let wrong = ann.changes("password", &change("not the password")).await;
    assert_eq!(wrong.status.as_u16(), 422, "{}", wrong.body);
    assert_eq!(wrong.body["code"], "password_wrong");
    let changed = ann.changes("password", &change(PASSWORD)).await;
    changed.success().unwrap();
    let old = app.shop().sign_in(&ann.email, PASSWORD).await;
    assert!(old.unwrap_err().to_string().contains("credentials_wrong"));
    let new = app.shop().sign_in(&ann.email, "a new one, and long").await;
    new.unwrap();
}

/// No password is in the digest of a request, so it is compared with what was set.
#[tokio::test]
async fn a_key_that_is_used_again_with_another_password_is_refused() {
    let app = shared().await;
    let ann = app.customer().await;
    let path = format!("/v1/users/{}/password", ann.id);
    let key = Uuid::now_v7().to_string();
    let set = async |shop: &Shop, current: &str, new: &str| {
        let body = json!({ "current_password": current, "new_password": new });
        shop.post_with_key(&path, &key, &body).await.unwrap()
    };
    let (second, third) = ("the second, and long", "the third, and long");
    let changed = set(&ann.shop, PASSWORD, second).await.success().unwrap();
    let shop = ann.shop.with_token(changed.text("/access_token"));
    let again = set(&shop, PASSWORD, second).await.success().unwrap();
    assert_eq!(again.header("Idempotency-Replayed"), Some("true"));
    assert_eq!(again.body["access_token"], Value::Null);
    let other = set(&shop, second, third).await;
    assert_eq!(other.status.as_u16(), 422, "{}", other.body);
    assert_eq!(other.body["code"], "idempotency_key_reused");
    app.shop().sign_in(&ann.email, second).await.unwrap();

    let key = Uuid::now_v7().to_string();
    let email = format!("{}@example.org", Uuid::now_v7().simple());
    let register = async |password: &str| {
        let body = json!({ "email": email, "name": "Ben", "password": password });
        app.shop()
            .post_with_key("/v1/users", &key, &body)
            .await
            .unwrap()
    };
    register(second).await.success().unwrap();
    register(second).await.success().unwrap();
    let other = register(third).await;
    assert_eq!(
        other.body["code"], "idempotency_key_reused",
        "{}",
        other.body
    );
}

/// On every API, and for who signed in a moment before as for who did long ago; the session that changed it
/// goes on.
#[tokio::test]
async fn who_changes_their_password_ends_every_other_session() {
    let app = shared().await;
    let ann = app.customer().await;
    let path = format!("/v1/users/{}/password", ann.id);
    let other = app.shop().sign_in(&ann.email, PASSWORD).await.unwrap();
    let new = "a new one, and long";
    let body = json!({ "current_password": PASSWORD, "new_password": new });
    let changed = ann.shop.post(&path, &body).await.unwrap();
    let changed = changed.success().unwrap();
    assert_eq!(changed.header("cache-control"), Some("no-store"));
    // In the same second, most likely.
    let signed_in = app.shop().sign_in(&ann.email, new).await.unwrap();
    let goes_on = ann.shop.with_token(changed.text("/access_token"));
    for shop in [&other, &ann.shop] {
        becomes("a token of before counts no longer", async || {
            let page = shop.get("/v1/orders").await.unwrap();
            let written = shop.post("/v1/orders", &json!({})).await.unwrap();
            let both = [&page, &written].map(|answer| answer.body["code"] == "token_invalid");
            both == [true, true]
        })
        .await;
    }
    for shop in [&signed_in, &goes_on] {
        shop.get("/v1/orders").await.unwrap().success().unwrap();
        let written = shop.post("/v1/orders", &json!({})).await.unwrap();
        assert_eq!(written.body["code"], "invalid_request");
    }
}

#[tokio::test]
async fn an_account_page_shows_what_its_owner_said_and_nobody_else_sees_it() {
    let app = shared().await;
    let (ann, ben) = (app.customer().await, app.customer().await);
    let home = json!({
        "name": "Ann B", "line1": "Main St 1", "city": "Köln", "postal_code": "50667",
        "country": "DE",
    });
    let profile = json!({ "name": "Ann B", "phone": "+49 221 123456" });
    ann.changes("profile", &profile).await.success().unwrap();
    let first = ann.changes("addresses", &home).await.success().unwrap();
    let mut work = home.clone();
    work["line1"] = json!("Harbor 2");
    let second = ann.changes("addresses", &work).await.success().unwrap();
    let default = format!("addresses/{}/default", second.text("/id"));
    ann.changes(&default, &json!({})).await.success().unwrap();
    let preference = json!({ "topic": "marketing", "allowed": true });
    let last = ann.changes("notification-preferences", &preference).await;
    let last = last.success().unwrap();

    let page = ann.page(last.header("Consistency-Token").unwrap()).await;
    assert_eq!(page["name"], "Ann B", "{page}");
    assert_eq!(page["phone"], "+49221123456");
    assert_eq!(page["notification_preferences"], json!(["marketing"]));
    let saved = |of: &millrace::client::Answer, address: &Value, default: bool| json!({ "id": of.text("/id"), "address": address, "default": default });
    let book = json!([saved(&first, &home, false), saved(&second, &work, true)]);
    assert_eq!(page["addresses"], book);

    let path = format!("/v1/users/{}", ann.id);
    let stranger = ben.shop.get(&path).await.unwrap();
    assert_eq!(stranger.status.as_u16(), 404, "{}", stranger.body);
    let stale = [("If-Match", "\"1\"")];
    let path = format!("{path}/profile");
    let refused = ann.shop.call(Method::POST, &path, &stale, Some(&profile));
    let refused = refused.await.unwrap();
    assert_eq!(refused.status.as_u16(), 412, "{}", refused.body);
}

/// Both sides: a stock item that isn't there is 404 for an operator, and 403 for others.
async fn answers(shop: &Shop) -> (u16, u16) {
    let read = shop.get("/v1/inventory/nowhere").await.unwrap().status;
    let adjust = json!({ "quantity": 1 });
    let write = shop.post("/v1/inventory/nowhere/receive", &adjust).await;
    (read.as_u16(), write.unwrap().status.as_u16())
}

async fn answers_become(shop: &Shop, expected: (u16, u16)) {
    let heard = async || answers(shop).await == expected;
    becomes(&format!("not {expected:?}"), heard).await;
}

/// A token is good for 15 minutes; what it is worth is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_a_role_or_was_suspended_loses_it_at_once() {
    let app = shared().await;
    let person = app.customer().await;
    let operator = app.operator();
    let of = |what: &str| format!("/v1/users/{}/{what}", person.id);
    let done = async |what: &str, body: Value| {
        operator.post(&of(what), &body).await.must();
    };
    let role = |action: &str| json!({ "role": "operator", "action": action });
    let sign_in = async || {
        let body = json!({ "email": person.email, "password": PASSWORD });
        let token = app.shop().post("/v1/sessions", &body).await.unwrap();
        app.shop()
            .with_token(token.success().unwrap().text("/access_token"))
    };
    done("roles", role("grant")).await;
    let shop = sign_in().await;
    assert_eq!(answers(&shop).await, (404, 404));
    done("roles", role("revoke")).await;
    answers_become(&shop, (403, 403)).await;
    done("suspend", json!({ "reason": "a test" })).await;
    answers_become(&shop, (401, 401)).await;
    done("reactivate", json!({})).await;
    // The token of then stays withdrawn; a new one is made in a later second.
    assert_eq!(answers(&shop).await, (401, 401));
    sleep(std::time::Duration::from_millis(1_100)).await;
    assert_eq!(answers(&sign_in().await).await, (403, 403));
}

/// Who is suspended, by an operator of `app`.
async fn suspend(app: &App, person: &Customer) {
    let path = format!("/v1/users/{}/suspend", person.id);
    let reason = json!({ "reason": "a test" });
    app.operator().post(&path, &reason).await.must();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_withdrawn_stays_so_after_a_restart_and_behind_what_nobody_can_read() {
    let mut app = App::start(&folder("withdrawn")).await;
    let (ann, ben) = (app.customer().await, app.customer().await);
    suspend(&app, &ann).await;
    answers_become(&ann.shop, (401, 401)).await;
    app.kill().await;
    app.restart().await;
    let again = |person: &Customer| app.shop().with_token(person.shop.token().unwrap());
    assert_eq!(answers(&again(&ann)).await, (401, 401));
    assert_eq!(answers(&again(&ben)).await, (403, 403));

    let admin = millrace::up::admin_connection(&app.data, &app.endpoints);
    let admin = admin.await.unwrap();
    let subject = format!("event.user.{}", Uuid::new_v4());
    let bare = admin.jetstream().publish(subject, "bare".into()).await;
    bare.unwrap().await.unwrap();
    suspend(&app, &ben).await;
    answers_become(&again(&ben), (401, 401)).await;
    app.stop().await;
}
