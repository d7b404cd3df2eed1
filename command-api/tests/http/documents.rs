//! What the API says about itself: its keys, and the pages behind problem types.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::app::{Answer, App, DOCUMENT, NOT_FOUND, order, product};

async fn get(app: &App, path: &str) -> Answer {
    app.request(Request::get(path).body(Body::empty()).unwrap())
        .await
}

#[tokio::test]
async fn tokens_name_a_published_key() {
    let app = App::new();
    let keys = get(&app, "/.well-known/jwks.json").await.must(200).body;
    let token = app.operator().token;
    let header = URL_SAFE_NO_PAD
        .decode(token.split('.').next().unwrap())
        .unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header["alg"], "EdDSA");
    assert_eq!(keys["keys"][0]["kid"], header["kid"]);
    assert_eq!(keys["keys"][0]["crv"], "Ed25519");
    assert!(
        keys["keys"][0].get("d").is_none(),
        "the private half stays here"
    );
}

#[tokio::test]
async fn a_command_with_parameters_is_refused_and_not_done_without_them() {
    let app = App::new();
    let operator = app.operator();
    app.customer("ann@example.com").await;
    app.product("tea", 500).await;
    let before = app.ends().await;
    let ann = json!({"email": "ann@example.com", "name": "Ann", "password": "correct horse"});
    let session = json!({"email": "ann@example.com", "password": "correct horse"});
    for (path, body) in [
        ("/v1/orders", order(&[("tea", 1)])),
        ("/v1/products", product("mug", 500, "EUR")),
        ("/v1/products/tea/unpublish", json!({"reason": "none"})),
        ("/v1/users", ann),
        ("/v1/sessions", session.clone()),
    ] {
        let asked = app.post(&format!("{path}?dry_run=true")).by(&operator);
        let asked = asked.key("k").send(&body).await;
        asked.refused(400, "parameter_invalid", "");
    }
    assert_eq!(app.ends().await, before);
    app.post("/v1/sessions?").send(&session).await.must(200);
}

/// Whoever sends a registration again when the account is erased.
#[test]
fn a_registration_may_be_of_somebody_who_was_erased() {
    let known = DOCUMENT.must_know(
        ("post", "/v1/users"),
        StatusCode::CONFLICT,
        Some("user_erased"),
    );
    known.unwrap();
}

#[tokio::test]
async fn a_problems_type_can_be_looked_up() {
    let app = App::new();
    let operator = app.operator();
    for (path, body) in [
        ("/v1/nowhere", "{}"),
        ("/v1/products", "{"),
        ("/v1/products", ""),
        ("/v1/products/tea/publish", "{}"),
        (
            "/v1/sessions",
            r#"{"email": "ann@example.com", "password": "wrong"}"#,
        ),
    ] {
        let problem = app
            .post(path)
            .by(&operator)
            .header("content-type", "application/json")
            .raw(body)
            .await;
        let page = get(&app, problem.body["type"].as_str().unwrap())
            .await
            .must(200);
        let title = problem.body["title"].as_str().unwrap();
        assert!(page.body.as_str().unwrap().contains(title), "{}", page.body);
        assert_eq!(problem.body["instance"], path);
        let type_of = problem.body["type"].as_str().unwrap();
        let browser = Request::get(type_of).header("accept", "text/html,*/*");
        let page = app.request(browser.body(Body::empty()).unwrap()).await;
        assert!(page.header("content-type").starts_with("text/html"));
        assert!(page.body.as_str().unwrap().contains("<h2>What to do</h2>"));
    }
    get(&app, "/problems/nonsense")
        .await
        .refused(NOT_FOUND, "not_found", "");
    let method = get(&app, "/v1/products").await;
    method.refused(405, "method_not_allowed", "");
    assert_eq!(method.header("allow"), "POST");
}

#[tokio::test]
async fn every_route_is_in_the_document_and_the_other_way_round() {
    let app = App::new();
    let pages = ["/problems/{code}", "/openapi.json", "/reference"];
    let mut described = command_api::document(&[]).paths();
    described.extend(pages.map(str::to_owned));
    assert_eq!(app.paths(), described);
}

#[tokio::test]
async fn people_can_read_the_document() {
    let app = App::new();
    let page = get(&app, "/reference").await.must(200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(
        page.header("content-security-policy")
            .contains("default-src 'none'")
    );
    let text = page.body.as_str().unwrap().replace("&#x2f;", "/");
    for shown in [
        "Place an order",
        "/v1/orders/{id}/cancel",
        "order_already_shipped",
        "id=\"schema-PlaceOrder\"",
        "Idempotency-Key",
    ] {
        assert!(text.contains(shown), "{shown}");
    }
}
