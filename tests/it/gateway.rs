//! The one entry: what it refuses, limits, keeps, puts together and survives.

use std::io::Read;
use std::time::{Duration, Instant};

use axum::body::Body;
use devstack::launch::{Child, Signal};
use flate2::read::GzDecoder;
use futures::future::join_all;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use millrace::client::Shop;
use millrace::settings::{POSTGRES_ADMIN, POSTGRES_ADMIN_PASSWORD};
use projections::Login;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::{App, Must, PASSWORD, PATIENCE, becomes, folder, shared};
use crate::servers::sql;

/// Longest that an answer on a raw connection is waited for.
const RAW_PATIENCE: Duration = Duration::from_secs(20);

/// Requests that go on while replicas come and go, at once.
const CLIENTS: usize = 4;

fn address(entry: &str) -> &str {
    entry.trim_start_matches("http://")
}

/// Sends bytes as they are and reads until the connection ends, or for as long as answers come.
async fn raw(entry: &str, bytes: &str) -> String {
    raw_to_its_end(entry, bytes).await.0
}

/// The same; and whether the connection has ended.
async fn raw_to_its_end(entry: &str, bytes: &str) -> (String, bool) {
    let mut stream = TcpStream::connect(address(entry)).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = async {
        let mut chunk = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            answer.extend_from_slice(&chunk[..read]);
            let wait = Duration::from_millis(500);
            let mut peek = [0; 1];
            match tokio::time::timeout(wait, stream.peek(&mut peek)).await {
                Ok(Ok(1..)) => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
        true
    };
    let ended = tokio::time::timeout(RAW_PATIENCE, reading).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    (text, ended.unwrap_or(false))
}

fn answers(text: &str) -> Vec<&str> {
    text.match_indices("HTTP/1.1 ")
        .map(|(at, _)| &text[at + 9..at + 12])
        .collect()
}

/// A gateway of its own in front of the stack's APIs, once it is ready.
async fn gateway(app: &App, args: &[&str]) -> (String, Child) {
    let port = devstack::Reserved::choose(0).unwrap().address().port();
    let listen = format!("127.0.0.1:{port}");
    let args = [&["gateway", "--listen", &listen], args].concat();
    let child = app.role(&args, &format!("gateway-{port}.log")).await;
    let entry = format!("http://{listen}");
    let shop = Shop::new(&entry).unwrap();
    let ready = shop.wait_for("a gateway", "/readyz", PATIENCE, |_| true);
    ready.await.unwrap();
    (entry, child)
}

/// What a rate of one a second lets through at once, of a gateway that knows of no other. The stack's own, and those
/// of other tests, have their part once it has found them.
const TEN_SECONDS_OF_ONE: u32 = 10;

/// How much of `what` a policy lets through at once: the part that one of some gateways has of `whole`.
fn part(policy: &str, what: &str, whole: u32) -> u32 {
    let rest = policy.strip_prefix(&format!("\"{what}\";q=")).unwrap();
    let (part, window) = rest.split_once(';').unwrap();
    assert_eq!(window, "w=10", "{policy}");
    let part = part.parse().unwrap();
    let is_part = (1..=whole).any(|gateways| whole / gateways == part);
    assert!(is_part, "{policy} of {whole}");
    part
}

#[tokio::test]
async fn what_could_be_understood_in_two_ways_is_refused_at_the_entry() {
    let app = shared().await;
    let entry = &app.endpoints.entry;
    let host = address(entry);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let many: Vec<String> = (0..150).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many = many.concat();
    let large = "a".repeat(40_000);
    for (what, request, status) in [
        ("a plain one", get("/v1/products"), "200"),
        ("an empty segment", get("//v1/products"), "400"),
        ("a way up", get("/v1/../metrics"), "400"),
        ("an encoded way up", get("/v1/%2e%2e/metrics"), "400"),
        ("an encoded slash", get("/v1/products%2fMUG"), "400"),
        ("a backslash", get("/v1/products%5cMUG"), "400"),
        (
            "a long address",
            get(&format!("/v1/products?x={}", "a".repeat(6_000))),
            "414",
        ),
        (
            "no host",
            "GET /v1/products HTTP/1.1\r\n\r\n".to_owned(),
            "400",
        ),
        (
            "a stranger's name",
            "GET /v1/products HTTP/1.1\r\nhost: evil.example\r\n\r\n".to_owned(),
            "421",
        ),
        (
            "two names",
            format!("GET /v1/products HTTP/1.1\r\nhost: {host}\r\nhost: evil.example\r\n\r\n"),
            "400",
        ),
        (
            "an address of somebody else",
            format!("GET http://evil.example/v1/products HTTP/1.1\r\nhost: {host}\r\n\r\n"),
            "400",
        ),
        (
            "TRACE",
            format!("TRACE / HTTP/1.1\r\nhost: {host}\r\n\r\n"),
            "405",
        ),
        (
            "many headers",
            format!("GET /v1/products HTTP/1.1\r\nhost: {host}\r\n{many}\r\n"),
            "431",
        ),
        (
            "large headers",
            format!("GET /v1/products HTTP/1.1\r\nhost: {host}\r\nx: {large}\r\n\r\n"),
            "431",
        ),
    ] {
        let answer = raw(entry, &request).await;
        assert_eq!(answers(&answer), [status], "{what}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_goes_nowhere_is_not_announced_to_a_replica() {
    let app = shared().await;
    let entry = &app.endpoints.entry;
    let host = address(entry);
    for path in [
        "/v1/products/no-such-thing",
        "/v1/orders/no-such-thing/overview",
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 5\r\n\r\nhello");
        let started = Instant::now();
        let answer = raw(entry, &head).await;
        let status = answers(&answer);
        assert!(matches!(status[..], ["404" | "401"]), "{answer}");
        // Who waits for the body waits until the request has taken too long.
        assert!(started.elapsed() < RAW_PATIENCE / 2, "{path}");
    }
}

#[tokio::test]
async fn no_request_is_smuggled_in_the_body_of_another() {
    let app = shared().await;
    let entry = &app.endpoints.entry;
    let host = address(entry);
    let inner = format!("GET /v1/products HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let head =
        format!("POST /v1/sessions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n");
    let chunked = "transfer-encoding: chunked\r\n";
    let length = |length: usize| format!("content-length: {length}\r\n");
    let whole = 5 + inner.len();
    for (what, request) in [
        (
            "CL.TE",
            format!("{head}{}{chunked}\r\n0\r\n\r\n{inner}", length(whole)),
        ),
        (
            "TE.CL",
            format!("{head}{chunked}{}\r\n0\r\n\r\n{inner}", length(whole)),
        ),
        (
            "CL.CL",
            format!("{head}{}{}\r\n0\r\n\r\n{inner}", length(5), length(whole)),
        ),
        (
            "TE.TE",
            format!("{head}transfer-encoding: x, chunked, x\r\n\r\n0\r\n\r\n{inner}"),
        ),
        (
            "CL+",
            format!("{head}content-length: +5\r\n\r\n0\r\n\r\n{inner}"),
        ),
    ] {
        let (answer, ended) = raw_to_its_end(entry, &request).await;
        // Refused, or taken by its chunks alone and the connection closed behind it (RFC 9112 §6.1).
        let found = answers(&answer);
        assert!(found.len() <= 1, "{what}: {answer}");
        assert!(!found.contains(&"200"), "{what}: {answer}");
        assert!(found == ["400"] || ended, "{what}: {answer}");
    }
}

#[tokio::test]
async fn who_asks_too_much_waits_whatever_he_pretends() {
    let app = shared().await;
    let (entry, child) = gateway(app, &["--address-rate", "1", "--user-rate", "1"]).await;
    let shop = Shop::new(&entry).unwrap();
    let (mut refused, mut smallest) = (None, TEN_SECONDS_OF_ONE);
    for n in 0..40 {
        let pretended = format!("198.51.100.{n}");
        let headers = [
            ("X-Forwarded-For", pretended.as_str()),
            ("Forwarded", "for=1.1.1.1"),
        ];
        let answer = shop
            .call(Method::GET, "/v1/products", &headers, None)
            .await
            .unwrap();
        if answer.status.as_u16() == 429 {
            refused = Some((n, answer));
            break;
        }
        let policy = answer.header("RateLimit-Policy").unwrap();
        smallest = smallest.min(part(policy, "address", TEN_SECONDS_OF_ONE));
    }
    let (after, refused) = refused.expect("nobody was refused");
    assert!((smallest..40).contains(&after), "{after} of {smallest}");
    assert_eq!(refused.text("/code"), "rate_limited");
    assert!(refused.header("Retry-After").is_some());
    assert!(refused.header("RateLimit").unwrap().contains("r=0"));
    // Somebody with a token is counted by themselves.
    let token = millrace::token::operator(&app.data).unwrap();
    let operator = shop.with_token(&token);
    let read = operator.get("/v1/products").await.unwrap();
    assert_eq!(read.status.as_u16(), 200, "{}", read.body);
    // A question in GraphQL counts like any other request.
    let question = json!({ "query": "{ products { next } }" });
    let graph = operator.post("/graphql", &question).await.unwrap();
    assert_eq!(graph.status.as_u16(), 200, "{}", graph.body);
    assert!(
        graph
            .header("RateLimit")
            .unwrap()
            .starts_with("\"user\";r=")
    );
    let page = explained(&entry).await;
    assert!(page.contains("Retry-After"), "{page}");
    drop(child);
}

/// There are two of them at least: the stack's own, and this one.
#[tokio::test]
async fn a_gateway_that_is_not_alone_gives_its_part_of_a_limit() {
    let app = shared().await;
    let (entry, child) = gateway(app, &["--address-rate", "4"]).await;
    let shop = Shop::new(&entry).unwrap();
    becomes("shared", async || {
        let answer = shop.get("/v1/products").await.unwrap();
        let policy = answer.header("RateLimit-Policy").unwrap();
        part(policy, "address", 40) <= 40 / 2
    })
    .await;
    drop(child);
}

#[tokio::test]
async fn who_repeats_one_key_in_a_storm_waits_and_another_key_does_not() {
    let app = shared().await;
    let (entry, child) = gateway(app, &["--key-rate", "1"]).await;
    let token = millrace::token::operator(&app.data).unwrap();
    let operator = Shop::new(&entry).unwrap().with_token(&token);
    let write = async |key: &str| {
        let nothing = json!({});
        let sent = operator.post_with_key("/v1/products", key, &nothing);
        sent.await.unwrap()
    };
    let (key, other) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let mut refused = None;
    for _ in 0..40 {
        let answer = write(&key).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status, 422, "{}", answer.body);
    }
    let refused = refused.expect("nobody was refused");
    assert_eq!(refused.text("/detail"), "too many requests of this key");
    assert!(
        refused
            .header("RateLimit")
            .unwrap()
            .starts_with("\"key\";r=0")
    );
    assert_eq!(write(&other).await.status, 422);
    drop(child);
}

#[tokio::test]
async fn what_the_entry_says_of_itself_is_limited_apart_from_the_api() {
    let app = shared().await;
    let (entry, child) = gateway(app, &["--address-rate", "1"]).await;
    let http = reqwest::Client::new();
    let ask = async |path: &str| http.get(format!("{entry}{path}")).send().await.unwrap();
    let pages = [
        "/openapi.json",
        "/reference",
        "/problems/forbidden",
        "/metrics",
    ];
    let mut refused = None;
    for path in pages.into_iter().cycle().take(40) {
        let answer = ask(path).await;
        if answer.status() == 429 {
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status(), 200, "{path}");
        let policy = answer.headers()["RateLimit-Policy"].to_str().unwrap();
        part(policy, "page", TEN_SECONDS_OF_ONE);
    }
    let refused = refused.expect("nobody was refused");
    assert!(refused.headers().contains_key("Retry-After"));
    assert_eq!(ask("/v1/products").await.status(), 200);
    assert_eq!(ask("/readyz").await.status(), 200);
    drop(child);
}

async fn explained(entry: &str) -> String {
    let host = address(entry);
    raw(
        entry,
        &format!("GET /problems/rate_limited HTTP/1.1\r\nhost: {host}\r\n\r\n"),
    )
    .await
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let app = shared().await;
    let (entry, child) = gateway(app, &["--body-time-max-s", "1"]).await;
    let host = address(&entry);
    let stalled = format!(
        "POST /v1/sessions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         content-length: 500\r\n\r\n{{\"email\":"
    );
    let answer = raw(&entry, &stalled).await;
    assert_eq!(answers(&answer), ["408"], "{answer}");
    assert!(answer.contains("body_timeout"), "{answer}");
    assert!(
        answer.to_lowercase().contains("connection: close"),
        "{answer}"
    );
    drop(child);
}

#[tokio::test]
async fn the_catalogue_is_kept_until_it_changes() {
    let app = shared().await;
    let sku = app.product(1).await;
    let path = format!("/v1/products/{sku}");
    let shop = app.shop();
    let published = shop.wait_for("the product", &path, PATIENCE, |_| true);
    published.await.unwrap();
    // Others change other products meanwhile, which empties it as well.
    let mut hit = None;
    for _ in 0..200 {
        let answer = shop.get(&path).await.unwrap();
        if answer.header("Cache-Status") == Some("millrace; hit") {
            hit = Some(answer);
            break;
        }
    }
    let hit = hit.expect("nothing is ever kept");
    assert!(hit.header("Age").is_some());
    let tag = hit.header("ETag").unwrap().to_owned();
    let known = [("If-None-Match", tag.as_str())];
    let unchanged = shop.call(Method::GET, &path, &known, None).await.unwrap();
    let none = [("If-None-Match", "no tag")];
    let malformed = shop.call(Method::GET, &path, &none, None).await.unwrap();
    assert_eq!(malformed.status.as_u16(), 400, "{}", malformed.body);
    assert_eq!(unchanged.status.as_u16(), 304);
    // A customer sees what everybody sees, an operator is answered by the service itself.
    let customer = app.customer().await;
    let same = customer.shop.get(&path).await.unwrap();
    assert!(
        same.header("Cache-Status").is_some(),
        "a customer is not answered as everybody"
    );
    assert_eq!(same.body, hit.body);
    let own = app.operator().get(&path).await.unwrap();
    assert_eq!(own.header("Cache-Status"), None);
    assert_eq!(own.header("Cache-Control"), Some("private, no-cache"));
    let price = json!({ "price": { "amount": 777, "currency": "EUR" } });
    let changed = app
        .operator()
        .post(&format!("{path}/price"), &price)
        .await
        .must();
    let token = changed.header("Consistency-Token").unwrap();
    let fresh = shop.get_after(&path, token).await.must();
    assert_eq!(fresh.body["price"]["amount"], 777, "{}", fresh.body);
    let seen = shop.wait_for("the new price", &path, PATIENCE, |product| {
        product["price"]["amount"] == 777
    });
    seen.await.unwrap();
    for _ in 0..20 {
        let answer = shop.get(&path).await.unwrap();
        assert_eq!(
            answer.body["price"]["amount"], 777,
            "an old answer came back"
        );
    }
}

/// What an overview is read from.
const OVERVIEW: [&str; 4] = ["ORDER", "PAYMENT", "CHECKOUT", "NOTIFICATION"];

#[tokio::test]
async fn an_order_is_seen_as_a_whole_by_its_owner_alone() {
    let app = shared().await;
    let customer = app.customer().await;
    let sku = app.product(5).await;
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    app.told(&order, 1).await;
    let path = format!("/v1/orders/{order}/overview");
    let whole = customer
        .shop
        .wait_for("the overview", &path, PATIENCE, |whole| {
            whole["complete"] == true && whole["checkout"]["order_id"].is_string()
                || whole["checkout"]["id"].is_string()
        });
    let whole = whole.await.unwrap();
    let positions = whole.header("Projection-Position").unwrap();
    assert_eq!(positions.split(',').count(), OVERVIEW.len(), "{positions}");
    for (position, stream) in positions.split(',').zip(OVERVIEW) {
        let (named, sequence) = position.split_once(':').unwrap();
        assert!(
            named == stream && sequence.parse::<u64>().unwrap() > 0,
            "{positions}"
        );
    }
    let again = customer.shop.get_after(&path, positions).await.unwrap();
    assert!(again.status.is_success(), "it is a token: {}", again.body);
    let whole = whole.body;
    assert_eq!(whole["order"]["id"], order.as_str(), "{whole}");
    assert_eq!(whole["missing"], json!([]), "{whole}");
    assert_eq!(whole["payments"].as_array().unwrap().len(), 1, "{whole}");
    assert!(
        !whole["notifications"].as_array().unwrap().is_empty(),
        "{whole}"
    );
    let other = app.customer().await;
    let stranger = other.shop.get(&path).await.unwrap();
    assert_eq!(stranger.status.as_u16(), 404, "{}", stranger.body);
    for (shop, status) in [
        (&customer.shop, 200),
        (&other.shop, 404),
        (&app.shop(), 401),
    ] {
        let head = shop.call(Method::HEAD, &path, &[], None).await.unwrap();
        assert_eq!((head.status.as_u16(), &head.body), (status, &json!(null)));
        let is_json = head.header("Content-Type").unwrap().contains("json");
        assert!(is_json && head.header("Content-Length") != Some("0"));
    }
    assert_eq!(
        stranger.header("Content-Type"),
        Some("application/problem+json")
    );
    let nobody = app.shop().get(&path).await.unwrap();
    assert_eq!(nobody.status.as_u16(), 401, "{}", nobody.body);
}

#[tokio::test]
async fn the_entry_speaks_http_2_as_well() {
    let app = shared().await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Body>();
    let address = format!("{}/v1/products", app.endpoints.entry);
    let request = axum::http::Request::get(&address)
        .body(Body::empty())
        .unwrap();
    let answer = client.request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.version(), axum::http::Version::HTTP_2);
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(answer.headers()[name], value);
    }
    let policy = answer.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    for part in ["default-src 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    let asked = axum::http::Request::get(&address).header("x-request-id", "mine-1");
    let answer = client
        .request(asked.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(answer.headers()["x-request-id"], "mine-1");
}

#[tokio::test]
async fn over_http_2_the_catalogue_is_kept_as_well() {
    let app = shared().await;
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Body>();
    let address = format!("{}/v1/products?limit=7", app.endpoints.entry);
    for _ in 0..200 {
        let request = axum::http::Request::get(&address).body(Body::empty());
        let answer = client.request(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        if answer.headers()["cache-status"] == "millrace; hit" {
            return;
        }
    }
    panic!("nothing is ever kept");
}

/// A customer is told that it is not for them; nobody in particular, that it is for somebody.
#[tokio::test]
async fn below_the_catalogue_operators_alone_see_what_is_theirs() {
    let app = shared().await;
    let sku = app.product(1).await;
    let path = format!("/v1/products/{sku}/events");
    let customer = app.customer().await.shop;
    for (who, status) in [(app.shop(), 401), (customer, 403), (app.operator(), 200)] {
        let answer = who.get(&path).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_fault_of_a_replica() {
    let app = shared().await;
    let (entry, child) = gateway(app, &[]).await;
    let host = address(&entry);
    let broken = format!(
        "POST /v1/sessions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\nzz\r\n"
    );
    for _ in 0..5 {
        let answer = raw(&entry, &broken).await;
        assert_eq!(answers(&answer), ["400"], "{answer}");
    }
    assert_eq!(metric(&entry, "gateway_ejections_total").await, 0);
    drop(child);
}

#[tokio::test]
async fn its_metrics_may_be_out_of_its_clients_reach() {
    let app = shared().await;
    let apart = devstack::Reserved::choose(0).unwrap().address();
    let (entry, child) = gateway(app, &["--metrics-listen", &apart.to_string()]).await;
    let public = reqwest::get(format!("{entry}/metrics")).await.unwrap();
    assert_eq!(public.status(), 404);
    let apart = reqwest::get(format!("http://{apart}/metrics"))
        .await
        .unwrap();
    assert_eq!(apart.status(), 200);
    let page = apart.text().await.unwrap();
    assert!(page.contains("http_request_seconds"), "{page}");
    drop(child);
}

#[tokio::test]
async fn a_bad_token_ends_at_the_entry_but_not_a_new_session() {
    let app = shared().await;
    let customer = app.customer().await;
    let old = app.shop().with_token("eyJhbGciOiJub25lIn0.e30.");
    let counted = "tokens_refused_total{reason=\"malformed\"}";
    let before = metric(&app.endpoints.entry, counted).await;
    let refused = old.get("/v1/products").await.unwrap();
    assert_eq!(refused.text("/code"), "token_invalid");
    assert!(metric(&app.endpoints.entry, counted).await > before);
    let credentials = json!({ "email": customer.email, "password": PASSWORD });
    let session = old.post("/v1/sessions", &credentials).await.unwrap();
    assert_eq!(session.status.as_u16(), 200, "{}", session.body);
}

/// Waits until a command API has been asked to change a stock.
async fn asked(api: &Shop) {
    let started = Instant::now();
    loop {
        let page = api.open("/metrics", &[]).await.unwrap();
        let page = page.text().await.unwrap();
        let is_write = |line: &str| {
            line.starts_with("http_request_seconds_count{")
                && line.contains("route=\"/v1/inventory/{sku}/receive\"")
        };
        if page.lines().any(is_write) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "the replica is not asked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A gateway that was told of nobody finds the APIs; while one of two is replaced, again and again,
/// no request fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_replaced_without_a_failed_request() {
    let app = App::start(&folder("replicas")).await;
    let (entry, child) = gateway(&app, &["--address-rate", "0", "--user-rate", "0"]).await;
    let shop = Shop::new(&entry).unwrap();
    let token = millrace::token::operator(&app.data).unwrap();
    let operator = shop.with_token(&token);
    let enough = CancellationToken::new();
    // Each on a product of its own: two processes on one may tell a client of their conflict.
    let clients = join_all((0..CLIENTS).map(|_| async {
        let sku = app.product(1).await;
        app.stock_is(&sku, [1, 0, 0]).await;
        let mut done = 0;
        while !enough.is_cancelled() {
            let quantity = json!({ "quantity": 1 });
            let path = format!("/v1/inventory/{sku}/receive");
            let key = Uuid::new_v4().to_string();
            let written = operator
                .post_with_key(&path, &key, &quantity)
                .await
                .unwrap();
            assert!(
                written.status.is_success(),
                "{} {}",
                written.status,
                written.body
            );
            let read = operator.get(&format!("/v1/inventory/{sku}")).await.unwrap();
            assert!(read.status.is_success(), "{} {}", read.status, read.body);
            done += 1;
        }
        (sku, done)
    }));
    let replacing = async {
        for signal in [Signal::TERM, Signal::KILL] {
            let (replica, second) = app.command_api(&[]).await;
            asked(&replica).await;
            second.signaller().send(signal).unwrap();
            second.wait().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        enough.cancel();
    };
    let (done, ()) = tokio::join!(clients, replacing);
    for (sku, written) in done {
        assert!(written > 0);
        app.stock_is(&sku, [1 + written, 0, 0]).await;
    }
    drop(child);
    app.stop().await;
}

/// The body as it came, unpacked when the answer says that it is packed.
async fn unpacked(answer: reqwest::Response) -> (bool, String) {
    let packed = answer.headers().get("content-encoding").cloned();
    let body = answer.bytes().await.unwrap();
    match packed {
        Some(how) => {
            assert_eq!(how, "gzip");
            let mut text = String::new();
            GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
            (true, text)
        }
        None => (false, String::from_utf8(body.to_vec()).unwrap()),
    }
}

#[tokio::test]
async fn whatever_is_packed_can_be_unpacked() {
    let app = shared().await;
    let sku = app.product(1).await;
    let path = format!("/v1/products/{sku}");
    let found = app
        .shop()
        .wait_for("the product", &path, PATIENCE, |_| true)
        .await;
    let tag = found.unwrap().header("ETag").unwrap().to_owned();
    let http = reqwest::Client::new();
    let entry = &app.endpoints.entry;
    let ask = async |method: Method, path: &str, headers: &[(&str, &str)]| {
        let mut request = http.request(method, format!("{entry}{path}"));
        for (name, value) in [&[("accept-encoding", "gzip")], headers].concat() {
            request = request.header(name, value);
        }
        request.send().await.unwrap()
    };
    // Kept or fetched, as somebody or as nobody, small enough to be a problem or large.
    let bearer = format!("Bearer {}", millrace::token::operator(&app.data).unwrap());
    let own = [("authorization", bearer.as_str())];
    for (path, headers, status, packed) in [
        (path.as_str(), &[][..], 200, true),
        (path.as_str(), &[][..], 200, true),
        (path.as_str(), &own[..], 200, true),
        ("/openapi.json", &[][..], 200, true),
        ("/reference", &[][..], 200, true),
        ("/v1/nothing", &[][..], 404, true),
        ("/v1/orders", &[][..], 401, true),
        (
            "/v1/orders",
            &[("authorization", "Bearer x")][..],
            401,
            true,
        ),
        ("/v1/../x", &[][..], 404, true),
        ("/livez", &[][..], 200, false),
    ] {
        let answer = ask(Method::GET, path, headers).await;
        assert_eq!(answer.status(), status, "{path}");
        let is_json = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .contains("json");
        let (was_packed, body) = unpacked(answer).await;
        assert!(
            !is_json || serde_json::from_str::<serde_json::Value>(&body).is_ok(),
            "{path}: {body}"
        );
        assert_eq!(was_packed, packed, "{path}: {body}");
    }
    let head = ask(Method::HEAD, &path, &own).await;
    assert_eq!(head.headers().get("content-encoding"), None);
    for headers in [
        &[("if-none-match", tag.as_str())][..],
        &[own[0], ("if-none-match", tag.as_str())][..],
    ] {
        let unchanged = ask(Method::GET, &path, headers).await;
        assert_eq!(unchanged.status(), 304);
        assert_eq!(unchanged.headers().get("content-encoding"), None);
    }
    let live = ask(Method::GET, "/v1/events?context=order", &own).await;
    assert_eq!(live.status(), 200);
    assert_eq!(
        live.headers().get("content-encoding"),
        None,
        "it would come late"
    );
}

/// What a browser asks before it sends what a page of `origin` wants sent.
async fn preflight(entry: &str, origin: &str) -> reqwest::Response {
    let request = reqwest::Client::new()
        .request(Method::OPTIONS, format!("{entry}/v1/orders"))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,idempotency-key",
        );
    request.send().await.unwrap()
}

/// What an answer allows to pages.
fn allowed(answer: &reqwest::Response, name: &str) -> Option<String> {
    let value = answer.headers().get(format!("access-control-{name}"));
    value.map(|value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn only_pages_that_are_named_may_call_from_a_browser() {
    let app = shared().await;
    let (entry, child) = gateway(app, &["--cors-origins", "https://shop.example"]).await;
    let http = reqwest::Client::new();
    let ours = preflight(&entry, "https://shop.example").await;
    assert_eq!(ours.status(), 200);
    assert_eq!(
        allowed(&ours, "allow-origin").as_deref(),
        Some("https://shop.example")
    );
    assert!(allowed(&ours, "allow-methods").unwrap().contains("POST"));
    let headers = allowed(&ours, "allow-headers").unwrap();
    for name in ["authorization", "idempotency-key"] {
        // `*` does not cover Authorization (Fetch §4.9): it must be named.
        assert!(headers.to_ascii_lowercase().contains(name), "{headers}");
    }
    assert_eq!(
        allowed(&ours, "allow-credentials"),
        None,
        "there are no cookies"
    );
    let read = http
        .get(format!("{entry}/v1/products"))
        .header("origin", "https://shop.example");
    let read = read.send().await.unwrap();
    assert_eq!(read.status(), 200);
    assert_eq!(
        allowed(&read, "allow-origin").as_deref(),
        Some("https://shop.example")
    );
    let mut vary = read.headers().get_all("vary").iter();
    assert!(vary.any(|value| value.to_str().unwrap().contains("origin")));
    let refused = http
        .get(format!("{entry}/v1/orders"))
        .header("origin", "https://shop.example");
    let refused = refused.send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(
        allowed(&refused, "allow-origin").is_some(),
        "a page may read why"
    );
    let without = http
        .get(format!("{}/v1/products", app.endpoints.entry))
        .header("origin", "https://shop.example");
    let without = without.send().await.unwrap();
    assert_eq!(
        allowed(&without, "allow-origin"),
        None,
        "nobody was named there"
    );
    drop(child);
}

#[tokio::test]
async fn a_page_is_known_by_its_whole_origin() {
    let app = shared().await;
    let origins = ["https://shop.example", "https://mill.example:8443"];
    let (entry, child) = gateway(app, &["--cors-origins", &origins.join(",")]).await;
    for ours in origins {
        let answer = preflight(&entry, ours).await;
        assert_eq!(allowed(&answer, "allow-origin").as_deref(), Some(ours));
    }
    for theirs in [
        "https://evil.example",
        "null",
        "http://shop.example",
        "https://shop.example:8443",
        "https://mill.example",
        "https://shop.example.evil.example",
        "https://evil-shop.example",
    ] {
        let answer = preflight(&entry, theirs).await;
        assert_eq!(allowed(&answer, "allow-origin"), None, "{theirs}");
    }
    let (open, anybody) = gateway(app, &["--cors-origins", "*"]).await;
    let answer = preflight(&open, "https://evil.example").await;
    assert_eq!(allowed(&answer, "allow-origin").as_deref(), Some("*"));
    assert_eq!(allowed(&answer, "allow-credentials"), None);
    drop((child, anybody));
}

/// The metric's value on the gateway's page, over all labels.
pub(crate) async fn metric(entry: &str, name: &str) -> u64 {
    let page = reqwest::get(format!("{entry}/metrics")).await.unwrap();
    let page = page.text().await.unwrap();
    let values = page.lines().filter(|line| line.starts_with(name));
    values
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// Says that it is ready, and hangs up on every other request.
async fn hangs_up() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut head).await {
                    if !head[..read].starts_with(b"GET /readyz ") {
                        return;
                    }
                    let ready = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(ready).await.unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_hangs_up_is_left_alone_and_nobody_notices() {
    let app = shared().await;
    let apis = format!("http://{},{}", hangs_up().await, app.endpoints.query_api);
    let (entry, child) = gateway(app, &["--query-apis", &apis, "--address-rate", "0"]).await;
    let shop = Shop::new(&entry).unwrap();
    for n in 0..60 {
        let answer = shop
            .get(&format!("/v1/products?q=nothing{n}"))
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{n}: {}", answer.body);
    }
    let asked = metric(&entry, "gateway_repetitions_total").await;
    assert!(metric(&entry, "gateway_ejections_total").await >= 1);
    assert!(asked < 30, "it was asked {asked} times of 60");
    drop(child);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_had_is_marked_in_the_overview() {
    let app = App::start(&folder("partial")).await;
    let (customer, sku) = (app.customer().await, app.product(5).await);
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    let path = format!("/v1/orders/{order}/overview");
    let whole = |whole: &serde_json::Value| whole["complete"] == true;
    let shop = &customer.shop;
    shop.wait_for("all of it", &path, PATIENCE, whole)
        .await
        .unwrap();
    // The payments' database turns its reader away.
    let secrets = devstack::Secrets::load_or_create(&app.data).unwrap();
    let password = secrets.get(POSTGRES_ADMIN_PASSWORD).unwrap();
    let admin = Login::admin(&app.endpoints.postgres, POSTGRES_ADMIN, password).unwrap();
    let admin = sql(&admin).await;
    // One after the other: in one transaction, who is turned out could come back before it commits.
    for close in [
        "ALTER ROLE millrace_payment_reader NOLOGIN",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'millrace_payment_reader'",
    ] {
        admin.batch_execute(close).await.unwrap();
    }
    let partial = shop.wait_for("a part", &path, PATIENCE, |whole| {
        whole["complete"] == false
    });
    let partial = partial.await.unwrap().body;
    assert_eq!(partial["order"]["id"], order.as_str(), "{partial}");
    assert_eq!(partial["payments"], json!(null), "{partial}");
    assert_eq!(partial["missing"][0]["part"], "payments", "{partial}");
    assert_eq!(partial["missing"][0]["status"], 503, "{partial}");
    assert_eq!(partial["missing"].as_array().unwrap().len(), 1, "{partial}");
    admin
        .batch_execute("ALTER ROLE millrace_payment_reader LOGIN")
        .await
        .unwrap();
    shop.wait_for("all of it again", &path, PATIENCE, whole)
        .await
        .unwrap();
    app.stop().await;
}

#[tokio::test]
async fn a_path_says_what_is_done_there_whichever_side_does_it() {
    let app = shared().await;
    let client = reqwest::Client::new();
    for (method, path, status, allow) in [
        (Method::GET, "/v1/sessions", 405, "POST, OPTIONS"),
        (
            Method::DELETE,
            "/v1/orders",
            405,
            "GET, POST, HEAD, OPTIONS",
        ),
        (
            Method::OPTIONS,
            "/v1/orders",
            204,
            "GET, POST, HEAD, OPTIONS",
        ),
        (Method::POST, "/v1/reports/sales", 405, "GET, HEAD, OPTIONS"),
    ] {
        let url = format!("{}{path}", app.endpoints.entry);
        let answer = client.request(method.clone(), url).send().await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(answer.headers()["allow"], allow, "{method} {path}");
        let text = answer.text().await.unwrap();
        assert_eq!(text.contains("method_not_allowed"), status == 405, "{text}");
    }
}
