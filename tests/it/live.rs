//! What happens now, told as it happens: cut and resumed, nothing is left out and nothing comes twice.

use std::time::Duration;

use futures::future::join_all;
use millrace::client::Shop;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::app::{App, Customer, Must, PASSWORD, PATIENCE, folder, shared};

/// Clients that wait for one order each.
const IDLE_CLIENTS: usize = 1_000;

/// What `--live-clients-of-one-max` is unless somebody says otherwise.
const OF_ONE_MAX: usize = 16;

/// One event as it was sent.
#[derive(Debug, Clone, PartialEq)]
struct Sent {
    id: String,
    name: String,
    data: Value,
}

/// A stream of events that is open.
struct Open {
    response: reqwest::Response,
    text: String,
}

impl Open {
    async fn at(shop: &Shop, path: &str, after: Option<&str>) -> Self {
        let headers: Vec<_> = after
            .map(|after| ("Last-Event-ID", after))
            .into_iter()
            .collect();
        let response = shop.open(path, &headers).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            text: String::new(),
        }
    }

    /// The next event; none when the server has ended the stream.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let sent = parse(block);
                let rest = rest.to_owned();
                self.text = rest;
                if sent.is_some() {
                    return sent;
                }
                continue;
            }
            let chunk = timeout(PATIENCE, self.response.chunk())
                .await
                .expect("an event");
            let chunk = chunk.ok().flatten()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn take(&mut self, count: usize) -> Vec<Sent> {
        let mut taken = Vec::new();
        while taken.len() < count {
            taken.push(self.next().await.expect("one more"));
        }
        taken
    }
}

/// An event; none of a comment or of `retry:` alone.
fn parse(block: &str) -> Option<Sent> {
    let field = |name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim_start().to_owned())
    };
    let data = field("data:")?;
    Some(Sent {
        id: field("id:").unwrap_or_default(),
        name: field("event:").unwrap_or_default(),
        data: serde_json::from_str(&data).unwrap(),
    })
}

#[tokio::test]
async fn an_order_is_told_as_it_goes_on_and_resumes_where_it_was_cut() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(5).await);
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    let path = format!("/v1/orders/{order}/live");
    let mut open = Open::at(&customer.shop, &path, None).await;
    let mut told = open.take(1).await;
    if told[0].name == "order_placed" {
        told.extend(open.take(1).await);
    }
    assert_eq!(told.last().unwrap().name, "order_confirmed");
    drop(open);
    app.delivers(&order).await;
    let id = told.last().unwrap().id.clone();
    let mut open = Open::at(&customer.shop, &path, Some(&id)).await;
    told.extend(open.take(2).await);
    let names: Vec<_> = told
        .iter()
        .rev()
        .take(3)
        .map(|sent| sent.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["order_delivered", "order_shipped", "order_confirmed"]
    );
    let now = app.order_is(&order, "delivered").await;
    assert_eq!(told.last().unwrap().data, now, "the order as it is, opened");
    // From the beginning: every event, whatever was told before.
    let first = sequence(&told[0].id) - 1;
    let mut again = Open::at(&customer.shop, &path, Some(&format!("ORDER:{first}"))).await;
    assert_eq!(again.take(told.len()).await, told);
}

#[tokio::test]
async fn a_feed_cut_at_any_place_tells_every_event_once() {
    let app = shared().await;
    let operator = app.operator();
    let sku = app.product(1).await;
    let mut open = Open::at(&operator, "/v1/events?context=inventory&after=0", None).await;
    let mut told: Vec<Sent> = Vec::new();
    let receive = format!("/v1/inventory/{sku}/receive");
    let write = async {
        for _ in 0..60 {
            let body = json!({ "quantity": 1 });
            operator.post(&receive, &body).await.must();
        }
    };
    let read = async {
        let mut mine = 0;
        for cut in 1.. {
            for sent in open.take(cut).await {
                mine += usize::from(sent.data["aggregate_id"] == sku.as_str());
                told.push(sent);
            }
            if mine >= 60 {
                return;
            }
            let id = told.last().map(|sent| sent.id.clone());
            open = Open::at(&operator, "/v1/events?context=inventory", id.as_deref()).await;
        }
    };
    tokio::join!(write, read);
    let told: Vec<u64> = told.iter().map(|sent| sequence(&sent.id)).collect();
    let expected: Vec<u64> = (1..=told.len() as u64).collect();
    assert_eq!(told, expected);
}

fn sequence(id: &str) -> u64 {
    id.split_once(':').unwrap().1.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_idle_clients_wait_and_all_are_told_that_the_role_ends() {
    let app = App::start(&folder("live")).await;
    let (customer, sku) = (app.customer().await, app.product(5).await);
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    let path = format!("/v1/orders/{order}/live");
    let mut clients = Vec::new();
    for _ in 0..IDLE_CLIENTS / 50 {
        let operator = app.operator();
        let opened = join_all((0..50).map(|_| Open::at(&operator, &path, None))).await;
        clients.extend(opened);
    }
    let first = join_all(clients.iter_mut().map(Open::next)).await;
    assert!(
        first
            .iter()
            .flatten()
            .all(|sent| sent.name == "order_confirmed")
    );
    let consumers = consumers(&app).await;
    assert!(consumers < 10, "{consumers} consumers of ORDER");
    // The other thousand things that an API does go on beside them.
    let ship = format!("/v1/orders/{order}/ship");
    app.operator()
        .post(&ship, &json!({ "tracking": "1Z 999" }))
        .await
        .must();
    let second = join_all(clients.iter_mut().map(Open::next)).await;
    assert_eq!(second.iter().flatten().count(), IDLE_CLIENTS);
    assert!(
        second
            .iter()
            .flatten()
            .all(|sent| sent.name == "order_shipped")
    );
    let (ended, ()) = timeout(Duration::from_mins(1), async {
        tokio::join!(join_all(clients.iter_mut().map(Open::next)), app.stop())
    })
    .await
    .unwrap();
    let end = json!({ "code": "shutdown" });
    assert!(
        ended
            .iter()
            .flatten()
            .all(|sent| sent.name == "end" && sent.data == end)
    );
    assert_eq!(ended.iter().flatten().count(), IDLE_CLIENTS);
}

/// How many consumers the stream ORDER has.
async fn consumers(app: &App) -> usize {
    let secrets = devstack::Secrets::load_or_create(&app.data).unwrap();
    let source = millrace::settings::Source::Stack(&secrets);
    let nats = source
        .connect(&app.endpoints.nats, "operator")
        .await
        .unwrap();
    let mut stream = nats.jetstream().get_stream("ORDER").await.unwrap();
    stream.info().await.unwrap().state.consumer_count
}

#[tokio::test]
async fn nobody_takes_the_live_streams_of_all() {
    let app = shared().await;
    let (customer, other) = (app.customer().await, app.customer().await);
    let sku = app.product(5).await;
    let live = async |customer: &Customer| {
        let order = customer.orders(&sku, 1, "pm_card_visa").await;
        app.order_is(&order, "confirmed").await;
        format!("/v1/orders/{order}/live")
    };
    let (path, others) = (live(&customer).await, live(&other).await);
    let mut open = Vec::new();
    for _ in 0..OF_ONE_MAX {
        open.push(Open::at(&customer.shop, &path, None).await);
    }
    let refused = customer.shop.get(&path).await.unwrap();
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(refused.body["code"], "overloaded", "{}", refused.body);
    let _other = Open::at(&other.shop, &others, None).await;
    let _operator = Open::at(&app.operator(), &path, None).await;
    drop(open.pop());
    let again = async {
        while customer.shop.open(&path, &[]).await.unwrap().status() != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("its place is free");
}

#[tokio::test]
async fn live_streams_are_for_those_who_may_see() {
    let app = shared().await;
    let (customer, other, sku) = (
        app.customer().await,
        app.customer().await,
        app.product(5).await,
    );
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    let path = format!("/v1/orders/{order}/live");
    let feed = "/v1/events?context=order".to_owned();
    for (shop, path, status) in [
        (&other.shop, &path, 404),
        (&app.shop(), &path, 401),
        (&customer.shop, &feed, 403),
        (&app.shop(), &feed, 401),
        (&app.operator(), &"/v1/events".to_owned(), 400),
        (
            &app.operator(),
            &"/v1/events?context=orders".to_owned(),
            400,
        ),
        (&app.operator(), &format!("{feed}&after=PAYMENT:1"), 400),
        (&app.operator(), &format!("{feed}&after=99999999999"), 400),
    ] {
        let answer = shop.get(path).await.unwrap();
        assert_eq!(answer.status, status, "{path} {}", answer.body);
    }
    let bad = customer
        .shop
        .open(&path, &[("Last-Event-ID", "x")])
        .await
        .unwrap();
    assert_eq!(bad.status(), 400);
}

/// Products that are sold at once: more events than are kept for somebody who is behind, and than fit
/// into what lies between.
const PRODUCTS: usize = 3_500;

/// How often the import is sent again.
const IMPORT_TRIES: usize = 5;

/// A connection that takes little in, and its text so far.
async fn narrow(app: &App, path: &str) -> tokio::net::TcpStream {
    let address = app.endpoints.query_api.trim_start_matches("http://");
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let token = millrace::token::operator(&app.data).unwrap();
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_events_too_slowly_is_let_go_with_a_reason_and_finds_the_rest() {
    let app = App::start(&folder("slow")).await;
    let mut slow = narrow(&app, "/v1/events?context=product&after=0").await;
    let mut text = String::new();
    let mut chunk = vec![0; 16 * 1024];
    let read = slow.read(&mut chunk).await.unwrap();
    text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");

    let lines: Vec<_> = (0..PRODUCTS)
        .map(|number| {
            let product = json!({
                "sku": format!("P-{number}"), "title": "Tea", "description": "x".repeat(1_500),
                "category": "drinks", "price": { "amount": 500, "currency": "EUR" }, "publish": true,
            });
            product.to_string()
        })
        .collect();
    let mut tries = 0;
    let done = loop {
        // What broke off on a busy machine goes on when it is sent again.
        let done = app.operator().import("slow", lines.join("\n")).await;
        match done.map(millrace::client::Answer::success) {
            Ok(Ok(done)) => break done,
            other => assert!(tries < IMPORT_TRIES, "{other:?}"),
        }
        tries += 1;
    };
    let all = sequence(done.header("Consistency-Token").unwrap());

    let mut bytes = Vec::new();
    timeout(PATIENCE, async {
        while !text.contains("too_slow") {
            let read = slow.read(&mut chunk).await.unwrap();
            assert!(
                read > 0,
                "{:?}",
                text.lines().rev().take(9).collect::<Vec<_>>()
            );
            bytes.extend_from_slice(&chunk[..read]);
            text = String::from_utf8_lossy(&bytes).into_owned();
        }
    })
    .await
    .expect("an end with a reason");
    let end = text.split_once("event: end\n").expect("an end").1;
    assert!(end.contains(r#"{"code":"too_slow"}"#), "{end}");
    let ids = text
        .lines()
        .filter_map(|line| line.strip_prefix("id: PRODUCT:"));
    let ids: Vec<u64> = ids.map(|id| id.trim().parse().unwrap()).collect();
    let taken = ids.len() as u64;
    assert_eq!(ids, (1..=taken).collect::<Vec<_>>(), "none is left out");
    assert!((1..all).contains(&taken), "{taken} events went through");

    let last = format!("PRODUCT:{taken}");
    let feed = "/v1/events?context=product";
    let mut open = Open::at(&app.operator(), feed, Some(&last)).await;
    let rest = open.take(usize::try_from(all - taken).unwrap()).await;
    let rest: Vec<u64> = rest.iter().map(|sent| sequence(&sent.id)).collect();
    assert_eq!(rest, (taken + 1..=all).collect::<Vec<_>>());
}

/// Posts something about a person, as an operator.
async fn about(app: &App, person: &Customer, what: &str, body: Value) {
    let path = format!("/v1/users/{}/{what}", person.id);
    app.operator().post(&path, &body).await.must();
}

#[tokio::test]
async fn who_may_see_no_more_is_told_no_more() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(5).await);
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    let path = format!("/v1/orders/{order}/live");
    let mut own = Open::at(&customer.shop, &path, None).await;
    own.take(1).await;
    let role = |action: &str| json!({ "role": "operator", "action": action });
    let colleague = app.customer().await;
    about(app, &colleague, "roles", role("grant")).await;
    let signed_in = app.shop().sign_in(&colleague.email, PASSWORD).await;
    let feed = "/v1/events?context=order";
    let mut all = Open::at(&signed_in.unwrap(), feed, None).await;

    about(app, &colleague, "roles", role("revoke")).await;
    about(app, &customer, "suspend", json!({ "reason": "a test" })).await;
    // Until the APIs have heard of it.
    let withdrawn = async {
        let shop = &customer.shop;
        while shop.get("/v1/orders").await.unwrap().status != 401 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, withdrawn).await.expect("it is heard of");
    app.delivers(&order).await;
    for open in [&mut own, &mut all] {
        let last = loop {
            let sent = open.next().await.expect("an end");
            assert!(!sent.name.contains("delivered"), "{sent:?}");
            if sent.name == "end" {
                break sent;
            }
        };
        assert_eq!(last.data["code"], "token_invalid");
    }
}
