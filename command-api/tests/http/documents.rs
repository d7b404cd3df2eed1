//! What the API says about itself: its keys, and the pages behind problem types.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::app::{Answer, App, NOT_FOUND};

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

/// All operations of the document: method, path, and what is said.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, calls)| {
        let calls = calls.as_object().unwrap().iter();
        calls.map(move |(method, call)| (method.as_str(), path.as_str(), call))
    });
    all.collect()
}

#[tokio::test]
async fn the_document_is_whole() {
    let app = App::new();
    let document = get(&app, "/openapi.json").await.must(200).body;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document.get("x-named-twice"), None, "two types, one name");
    let mut names = BTreeSet::new();
    for (method, path, call) in operations(&document) {
        let at = format!("{method} {path}");
        assert!(names.insert(call["operationId"].as_str().unwrap()), "{at}");
        let content = &call["requestBody"]["content"];
        assert!(content.is_object(), "{at} has no body");
        for media in content.as_object().unwrap().values() {
            assert!(media.get("example").is_some(), "{at} has no example");
        }
        let in_braces = path.matches('{').count();
        let parameters = call["parameters"].as_array().into_iter().flatten();
        let in_path = parameters.filter(|it| it["in"] == "path").count();
        assert_eq!(in_path, in_braces, "{at}");
    }
    assert!(names.len() > 40, "only {} calls", names.len());
    let mut refs = Vec::new();
    collect_refs(&document, &mut refs);
    for target in refs {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target} is missing");
    }
}

fn collect_refs(value: &Value, refs: &mut Vec<String>) {
    if let Some(target) = value.get("$ref").and_then(Value::as_str) {
        refs.push(target.to_owned());
    }
    let members = value.as_object().into_iter().flat_map(|it| it.values());
    let items = value.as_array().into_iter().flatten();
    members.chain(items).for_each(|it| collect_refs(it, refs));
}

/// A code without a page explains nothing; a page without a call is never led to.
#[tokio::test]
async fn every_problem_of_a_call_has_its_page_and_every_page_its_call() {
    let app = App::new();
    let document = get(&app, "/openapi.json").await.must(200).body;
    let mut codes = BTreeSet::new();
    for answer in document["components"]["responses"]
        .as_object()
        .unwrap()
        .values()
    {
        let schema = &answer["content"]["application/problem+json"]["schema"];
        let listed = schema["allOf"][1]["properties"]["code"]["enum"].as_array();
        codes.extend(listed.unwrap().iter().map(|code| code.as_str().unwrap()));
    }
    for code in &codes {
        get(&app, &format!("/problems/{code}")).await.must(200);
    }
    let explained: BTreeSet<_> = command_api::PAGES.iter().map(|page| page.code).collect();
    // What can be wrong with one line of an import stands in the import's answer.
    codes.insert("line_too_long");
    let never: Vec<_> = explained.difference(&codes).collect();
    assert!(never.is_empty(), "no call answers {never:?}");
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
