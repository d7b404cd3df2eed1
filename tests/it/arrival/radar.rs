//! What waits for a person is on the radar, whichever table it follows, and an operator settles it over HTTP.

use checkout::stepwise::{Stepwise, StepwiseEvent, StepwiseFact, Table};
use chrono::{TimeDelta, Utc};
use devstack::launch::Child;
use kernel::OrderId;
use millrace::client::{CartLine, Shop};
use reqwest::Method;
use sagas::Others;
use serde_json::{Value, json};
use streams::CommandMeta;
use uuid::Uuid;

use super::gift::Gift;
use super::tables::Careless;
use crate::app::{Must, PASSWORD, PATIENCE, becomes};
use crate::revisions::Role;
use crate::servers::Servers;
use crate::stuck::{action, is_counted, item, look, request};

/// A shop in which every order has a careless gift.
struct Counter {
    servers: Servers,
    /// As an operator sees them.
    commands: Shop,
    queries: Shop,
    sagas: Role,
    _roles: [Child; 3],
}

impl Counter {
    async fn open(name: &str) -> Self {
        let servers = Servers::start(name).await;
        let ((commands, first), (queries, second)) =
            tokio::join!(servers.api("command-api"), servers.api("query-api"));
        let third = servers
            .role(&["projector", "--contexts", "checkout,order"])
            .await;
        for sku in ["MUG", "GIFT"] {
            commands.stock_product(sku, sku, 1_299, 9).await.unwrap();
        }
        let others = Others::default().with::<Stepwise<Careless>>();
        let sagas = Role::start::<checkout::Shop>(servers.connect("saga").await, others, &[]);
        Self {
            servers,
            commands,
            queries,
            sagas,
            _roles: [first, second, third],
        }
    }

    async fn customer(&self) -> Shop {
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        let known = self.commands.register(&email, "Grace Hopper", PASSWORD);
        known.await.unwrap();
        self.commands.sign_in(&email, PASSWORD).await.unwrap()
    }

    /// Waits until the radar shows the saga of an order, or does no more.
    async fn shows(&self, order: &str, shown: bool) -> Option<Value> {
        let (mut found, id) = (None, format!("careless/{order}"));
        becomes("the radar is as it should be", async || {
            let radar = look(&self.queries).await;
            found = item(&radar, "suspended_saga", &id).cloned();
            found.is_some() == shown
        })
        .await;
        found
    }

    /// The last event of the saga of an order.
    async fn last(&self, order: &str) -> StepwiseEvent {
        let id: OrderId = order.parse().unwrap();
        let mut events = self.servers.connect("saga").await.ordered("CHECKOUT", 0);
        events.start().await.unwrap();
        let mut last = None;
        while !events.caught_up() {
            let event = events.next().await.unwrap();
            let own = event.kind.as_deref() == Some("careless");
            if own && event.aggregate_id == id.into() {
                last = Some(event.decode_as().unwrap());
            }
        }
        last.unwrap()
    }
}

async fn orders(customer: &Shop) -> String {
    let mug = CartLine {
        sku: "MUG".to_owned(),
        quantity: 1,
    };
    let key = Uuid::new_v4().to_string();
    let placed = customer.place_order(&key, &[mug], "pm_card_visa").await;
    placed.must().text("/id").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_saga_of_a_table_is_on_the_radar_until_an_operator_settles_it() {
    let counter = Counter::open("gift-radar").await;
    let customer = counter.customer().await;
    let (skipped, resolved) = (orders(&customer).await, orders(&customer).await);
    let stuck = counter.shows(&skipped, true).await.unwrap();
    counter.shows(&resolved, true).await;
    assert!(
        stuck["cause"].as_str().unwrap().starts_with("ship: "),
        "{stuck}"
    );
    assert!(stuck["age_s"].is_u64(), "{stuck}");
    let events = stuck["events"].as_array().unwrap();
    let of_order = events[0].as_str().unwrap();
    let there = counter
        .queries
        .wait_for("its events", of_order, PATIENCE, |_| true);
    there.await.unwrap();
    assert!(
        events[1].as_str().unwrap().starts_with("CHECKOUT:"),
        "{stuck}"
    );
    is_counted(&counter.queries, "suspended_saga", 2).await;

    refuses_what_it_must(&counter, &customer, &skipped).await;

    // Refused once more, it waits again.
    let (path, body) = request(action(&stuck, "resume"));
    let stale = [("If-Match", "\"1\"")];
    let stale = counter
        .commands
        .call(Method::POST, &path, &stale, Some(&body));
    let stale = stale.await.unwrap();
    assert_eq!(stale.text("/code"), "version_is_stale", "{}", stale.body);
    counter.commands.post(&path, &body).await.must();
    becomes("it waits again", async || {
        matches!(
            counter.last(&skipped).await,
            StepwiseEvent::SagaSuspended { .. }
        )
    })
    .await;

    let (path, body) = request(action(&stuck, "skip"));
    let (key, commands) = (Uuid::new_v4().to_string(), &counter.commands);
    let first = commands.post_with_key(&path, &key, &body).await.must();
    assert_eq!(first.text("/saga"), "careless");
    assert_eq!(first.text("/id"), skipped);
    let again = commands.post_with_key(&path, &key, &body).await.must();
    assert_eq!(again.header("Idempotency-Replayed"), Some("true"));
    assert_eq!(again.body, first.body);
    counter.shows(&skipped, false).await;
    becomes("it goes on behind the step, to its end", async || {
        counter.last(&skipped).await.ends()
    })
    .await;

    let stuck = counter.shows(&resolved, true).await.unwrap();
    let (path, body) = request(action(&stuck, "resolve"));
    commands.post(&path, &body).await.must();
    counter.shows(&resolved, false).await;
    // By whoever has called, as their token says.
    let StepwiseEvent::SagaSettled { by, ends, .. } = counter.last(&resolved).await else {
        panic!("it is not the last");
    };
    assert!(by.starts_with("operator:") && ends, "{by}");
    counter.sagas.ends().await;
}

async fn refuses_what_it_must(counter: &Counter, customer: &Shop, order: &str) {
    let Counter { commands, .. } = counter;
    let (nobody, resume) = (Uuid::new_v4().to_string(), json!({}));
    let skip = json!({ "step": "gift", "reason": "done" });
    let unknown = json!({ "reason": "done", "by": "operator:eve" });
    let narrow = millrace::token::operator_for(&counter.servers.data, "orders:write").unwrap();
    let narrow = commands.with_token(&narrow);
    for (shop, saga, id, act, body, status) in [
        (commands, "nobody", order, "resume", &resume, 404),
        (commands, "careless", &*nobody, "resume", &resume, 404),
        (commands, "careless", "x", "resume", &resume, 404),
        // That is another call's.
        (commands, "checkout", order, "resume", &resume, 404),
        (commands, "careless", order, "skip", &skip, 409),
        (commands, "careless", order, "resolve", &unknown, 422),
        (customer, "careless", order, "resume", &resume, 403),
        (&narrow, "careless", order, "resume", &resume, 403),
    ] {
        let path = format!("/v1/sagas/{saga}/{id}/{act}");
        let answer = shop.post(&path, body).await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.body);
    }
    let narrow = millrace::token::operator_for(&counter.servers.data, "sagas:write").unwrap();
    let path = format!("/v1/sagas/careless/{order}/skip");
    let answer = commands
        .with_token(&narrow)
        .post(&path, &skip)
        .await
        .unwrap();
    assert_eq!(answer.text("/code"), "not_suspended", "{}", answer.body);
}

/// Whether or not somebody runs them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_of_a_table_that_should_be_over_is_on_the_radar() {
    let servers = Servers::start("gift-late").await;
    let _projector = servers.role(&["projector", "--contexts", "checkout"]).await;
    let (queries, _query_api) = servers.api("query-api").await;
    let saga = servers.connect("saga").await;
    let streams = saga.streams(streams::Settings::default());
    let gift = serde_json::to_value(Gift::example()).unwrap();
    let ago = |days| Utc::now() - TimeDelta::days(days);
    let tells = async |order_id: OrderId, facts: &[&str], at| {
        for fact in facts {
            let heard = StepwiseFact::Heard {
                order_id,
                fact: (*fact).to_owned(),
                begins: (*fact == "order_placed").then(|| gift.clone()),
                at,
            };
            let (id, meta) = (
                order_id.into(),
                CommandMeta::new(Uuid::new_v4(), at, "saga"),
            );
            let told = streams.execute::<Stepwise<Gift>>(&id, heard, &meta);
            told.await.unwrap();
        }
    };
    let [waits, undoes, goes_on] = [1, 2, 3].map(|id| OrderId(Uuid::from_u128(id)));
    tells(goes_on, &["order_placed"], ago(29)).await;
    tells(waits, &["order_placed"], ago(31)).await;
    tells(undoes, &["order_placed", "order_canceled"], ago(1)).await;
    let (mut late, of) = (Vec::new(), |order| format!("gift/{order}"));
    becomes("both are late", async || {
        let radar = look(&queries).await;
        let all = radar["items"].as_array().unwrap().iter();
        let all = all.filter(|item| item["kind"] == "late_saga");
        late = all
            .map(|item| (item["id"].clone(), item["cause"].clone()))
            .collect();
        late.len() == 2
    })
    .await;
    let cause = |order| {
        let id = json!(of(order));
        let found = late.iter().find(|(late, _)| *late == id);
        found
            .map(|(_, cause)| cause.to_string())
            .unwrap_or_default()
    };
    assert!(cause(waits).contains("it should be over"), "{late:?}");
    assert!(cause(undoes).contains("saga_undo_started"), "{late:?}");
}
