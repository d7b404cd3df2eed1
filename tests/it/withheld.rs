//! A stream whose configuration is changed under a running role.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{TimeDelta, Utc};
use devstack::Service;
use inventory::{InventoryCommand, StockItem};
use kernel::{Decider, Money, Sealed, Sku, UserId};
use millrace::client::Shop;
use millrace::settings::Source;
use notification::{Suppression, SuppressionCommand};
use order::{Line, Order, OrderCommand};
use reqwest::Method;
use serde_json::{Value, json};
use streams::lanes::{HandleError, Handler, run_lanes};
use streams::parking::parked;
use streams::subscription::{Delivery, DurableLimits};
use streams::timers::{TimerId, Timers};
use streams::topology;
use streams::{CommandMeta, Connection, ExecuteError, Executed, Settings, Streams, chain};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::{PASSWORD, becomes};
use crate::faults::webhooks::signature;
use crate::server::Server;
use crate::servers::Servers;

async fn does<A: Decider>(
    streams: &Streams,
    id: &str,
    command: A::Command,
) -> Result<Executed<A>, ExecuteError<A::Error>> {
    let meta = CommandMeta::new(Uuid::new_v4(), Utc::now(), "operator:test");
    streams
        .execute::<A>(&id.parse().unwrap(), command, &meta)
        .await
}

fn place() -> OrderCommand {
    let user_id = UserId(Uuid::new_v4());
    OrderCommand::PlaceOrder {
        user_id,
        lines: vec![Line {
            sku: "MUG".parse().unwrap(),
            title: "Millstone mug".parse().unwrap(),
            quantity: 1,
            unit_price: Money::new(1_299, "EUR".parse().unwrap()),
        }],
        shipping_address: Sealed::new(user_id, "AAAA"),
        payment_method: "pm_card_visa".parse().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_appended_to_a_stream_that_was_changed_until_it_is_set_right() {
    let servers = Servers::bare("withheld", [Service::Nats]).await;
    let admin = servers.connect("provision").await;
    let source = Source::Stack(servers.stack.secrets());
    let nats = &servers.stack.endpoints().nats;
    let refuses_to_begin = async || {
        let begun = source.connect_to_work(nats, "command-api").await;
        format!("{:#}", begun.err().unwrap())
    };
    let told = refuses_to_begin().await;
    assert!(told.contains("stream USER is missing"), "{told}");
    let declared = millrace::provision::topology();
    topology::provision(&admin, &declared, 1).await.unwrap();
    let role = source.connect_to_work(nats, "command-api").await.unwrap();
    let streams = role.streams(Settings::default());
    let order = || Uuid::new_v4().to_string();
    let placed = does::<Order>(&streams, &order(), place()).await;
    placed.unwrap();

    let config = admin.jetstream().get_stream("ORDER").await.unwrap();
    let right = config.cached_info().config.clone();
    let mut forgets = right.clone();
    forgets.max_age = Duration::from_hours(24);
    admin.jetstream().update_stream(&forgets).await.unwrap();
    let noticed = becomes("it is noticed", async || role.withheld().check().is_err());
    at_once(noticed).await;
    let told = role.withheld().check().unwrap_err();
    assert!(told.starts_with("stream ORDER: max_age is "), "{told}");
    let refused = does::<Order>(&streams, &order(), place()).await;
    let refused = refused.err().unwrap();
    assert!(
        chain(&refused).contains("stream ORDER: max_age is"),
        "{refused:?}"
    );
    let last = streams.stream_state("ORDER").await.unwrap().last;
    assert_eq!(last, 1, "nothing was appended");
    let told = refuses_to_begin().await;
    assert!(told.contains("stream ORDER: max_age is"), "{told}");
    let sku: Sku = "MUG".parse().unwrap();
    let kept = InventoryCommand::CreateStockItem {};
    let kept = does::<StockItem>(&streams, sku.as_str(), kept).await;
    kept.unwrap();

    admin.jetstream().update_stream(&right).await.unwrap();
    let noticed = becomes("it is noticed", async || role.withheld().check().is_ok());
    at_once(noticed).await;
    let placed = does::<Order>(&streams, &order(), place()).await;
    placed.unwrap();
}

/// Because the server says so: it is looked for anyway every half minute.
async fn at_once(noticed: impl Future<Output = ()>) {
    let noticed = tokio::time::timeout(Duration::from_secs(15), noticed).await;
    noticed.expect("the server has told nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durables_that_nobody_answers_for_delay_no_look_at_the_streams() {
    /// Less than the questions about all durables wait for their answers, one after another.
    const IN_TIME: Duration = Duration::from_secs(50);
    let server = Server::start("withheld-silent").await;
    let admin = server.connect().await;
    let declared = millrace::provision::topology();
    topology::provision(&admin, &declared, 1).await.unwrap();
    age(&admin, &["ORDER"], |_| Duration::from_hours(24)).await;
    let role = server.connect_without_info().await;
    let is_withheld = async |withheld: bool, within: Duration| {
        let noticed = async {
            while role.withheld().check().is_err() != withheld {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let noticed = tokio::time::timeout(within, noticed).await;
        noticed.unwrap_or_else(|_| panic!("not noticed within {within:?}"));
    };
    role.watch(declared);
    is_withheld(true, Duration::from_secs(10)).await;
    age(&admin, &["ORDER"], declared_age).await;
    is_withheld(false, IN_TIME).await;
}

/// Has what these streams keep expire, as far as they don't anyway.
async fn age(admin: &Connection, streams: &[&str], max_age: impl Fn(&str) -> Duration) {
    for name in streams {
        let stream = admin.jetstream().get_stream(*name).await.unwrap();
        let mut config = stream.cached_info().config.clone();
        config.max_age = max_age(name);
        admin.jetstream().update_stream(&config).await.unwrap();
    }
}

/// What the provider of payments is answered.
async fn told(shop: &Shop, secret: &str) -> u16 {
    let id = Uuid::new_v4().simple();
    let event = json!({ "id": format!("evt_{id}"), "data": { "object": {} } });
    let signed = signature(secret, TimeDelta::zero(), &event.to_string());
    let headers = [("stripe-signature", signed.as_str())];
    let sent = shop.call(Method::POST, "/v1/payments/webhook", &headers, Some(&event));
    sent.await.unwrap().status.as_u16()
}

/// What somebody is answered who opens an account.
async fn registered(shop: &Shop) -> (u16, Value) {
    let email = format!("{}@example.com", Uuid::new_v4().simple());
    let body = json!({ "email": email, "name": "Grace Hopper", "password": PASSWORD });
    let answer = shop.post("/v1/users", &body).await.unwrap();
    (answer.status.as_u16(), answer.body)
}

/// Can't handle anything; how often it tried.
#[derive(Default)]
struct Lost(AtomicU64);

#[async_trait]
impl Handler for Lost {
    async fn handle(&self, _: &Delivery) -> Result<(), HandleError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(HandleError::permanent("it is broken"))
    }
}

/// NATS alone, with every stream in place; what may change them.
async fn provisioned(name: &str) -> (Servers, Connection) {
    let servers = Servers::bare(name, [Service::Nats]).await;
    let admin = servers.connect("provision").await;
    let declared = millrace::provision::topology();
    let made = topology::provision(&admin, &declared, 1);
    made.await.unwrap();
    (servers, admin)
}

/// A role that looks whether the streams are as declared.
async fn works(servers: &Servers, role: &str) -> Connection {
    let source = Source::Stack(servers.stack.secrets());
    let nats = &servers.stack.endpoints().nats;
    source.connect_to_work(nats, role).await.unwrap()
}

fn declared_age(name: &str) -> Duration {
    let declared = millrace::provision::topology();
    let spec = declared.streams.iter().find(|spec| spec.name == name);
    spec.unwrap().config(1).max_age
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_letter_or_timer_is_put_where_it_could_be_lost() {
    const CHANGED: [&str; 3] = ["KEYS", "INBOX", "TIMERS"];
    let (servers, admin) = provisioned("withheld-rest").await;
    let saga = works(&servers, "saga").await;
    let (shop, _child) = servers.api("command-api").await;
    let secret = devstack::secrets::PAYMENT_WEBHOOK_SECRET;
    let secret = servers.stack.secrets().get(secret).unwrap();
    let timers = Timers::new(&saga);
    let timer = TimerId {
        saga: "checkout".to_owned(),
        id: "of-a-test".parse().unwrap(),
    };
    let is_set = async || timers.set(&timer, Utc::now()).await.is_ok();
    assert_eq!(registered(&shop).await.0, 201);
    assert_eq!(told(&shop, secret).await, 200);
    assert!(is_set().await);

    age(&admin, &CHANGED, |_| Duration::from_hours(24)).await;
    becomes("no key is made", async || {
        let (status, body) = registered(&shop).await;
        status == 503 && body["code"] == "unavailable"
    })
    .await;
    becomes("no letter is taken", async || {
        told(&shop, secret).await == 503
    })
    .await;
    becomes("no timer is set", async || !is_set().await).await;

    age(&admin, &CHANGED, declared_age).await;
    becomes("all is taken again", async || {
        registered(&shop).await.0 == 201 && told(&shop, secret).await == 200 && is_set().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_parked_safely_stays_where_it_is() {
    let (servers, admin) = provisioned("withheld-parked").await;
    let reactor = works(&servers, "reactor").await;
    age(&admin, &["PARKED"], |_| Duration::from_hours(24)).await;
    becomes("it is noticed", async || {
        reactor.withheld().check().is_err()
    })
    .await;
    let mailer = reactors::DURABLES.iter().find(|it| it.name == "mailer");
    let limits = DurableLimits {
        pause_max: Duration::from_millis(100),
        ..DurableLimits::default()
    };
    let work = reactor.durable(mailer.unwrap(), limits).await.unwrap();
    let ended = CancellationToken::new();
    let lost = Arc::new(Lost::default());
    let runs = run_lanes(work, 1, lost.clone(), ended.clone());
    let runs = tokio::spawn(runs);
    let suppress = SuppressionCommand::SuppressAddress {
        reason: "she asked".parse().unwrap(),
    };
    let id = Uuid::new_v4().to_string();
    let done = does::<Suppression>(&servers.streams().await, &id, suppress).await;
    done.unwrap();
    let in_hand = async || {
        let stream = admin.jetstream().get_stream("NOTIFICATION").await.unwrap();
        let info = stream.consumer_info("mailer").await.unwrap();
        info.num_ack_pending
    };
    becomes("it is tried again and again", async || {
        lost.0.load(Ordering::Relaxed) > 2
    })
    .await;
    assert!(parked(&admin).await.unwrap().is_empty());

    age(&admin, &["PARKED"], declared_age).await;
    becomes("it is parked, once it may be", async || {
        parked(&admin).await.unwrap().len() == 1 && in_hand().await == 0
    })
    .await;
    ended.cancel();
    runs.await.unwrap().unwrap();
}
