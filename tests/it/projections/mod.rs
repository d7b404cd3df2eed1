//! The read models on real servers: what is written is read, by those who may, and whatever happens
//! on the way the rows are the fold of their events.

mod behind;
mod history;
mod lag;
mod outages;
mod positions;
mod refused;
mod silent;
mod versions;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use postgres_es::PostgresViewRepository;
use projections::read::{Reader, Settings};
use projections::{Access, Login, PRODUCT_CARD, ProductCard, STOCK_LEVEL, ViewSpec};
use serde_json::json;
use sqlx::postgres::PgPoolOptions;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use cqrs_es::persist::ViewRepository;
use product::Product;

use crate::app::{App, Must, PATIENCE, becomes, shared};
use crate::servers::sql;

/// Writes that are read back at once, in all.
const ROUNDS: usize = 300;

/// How many at the same time.
const WRITERS: usize = 3;

/// One view in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rows {
    /// How far it has come.
    position: u64,
    /// Id, version, payload as it was written.
    rows: Vec<(String, i64, String)>,
}

impl Rows {
    async fn read(client: &Client, view: &ViewSpec) -> Self {
        let statement = format!(
            "select at.position, row.view_id, row.version, row.payload::text \
             from view_position at left join {} row on true where at.view = $1 order by row.view_id",
            view.name
        );
        let found = client.query(&statement, &[&view.name]).await.unwrap();
        let rows = found.iter().filter_map(|row| {
            let id: Option<String> = row.get(1);
            id.map(|id| (id, row.get(2), row.get(3)))
        });
        Self {
            position: u64::try_from(found[0].get::<_, i64>(0)).unwrap(),
            rows: rows.collect(),
        }
    }
}

/// The login of a context's role in a running stack.
pub(crate) fn login(app: &App, context: &str, access: Access) -> Login {
    let secrets = devstack::Secrets::load_or_create(&app.data).unwrap();
    let password = secrets.get(&access.password_variable(context)).unwrap();
    Login::context(&app.endpoints.postgres, context, access, password).unwrap()
}

#[tokio::test]
async fn a_row_is_what_postgres_es_reads() {
    let app = shared().await;
    let sku = app.product(1).await;
    let path = format!("/v1/products/{sku}");
    let published = |card: &serde_json::Value| card["version"] == 2;
    let shop = app.operator();
    let shown = shop.wait_for("the card", &path, PATIENCE, published);
    let shown = shown.await.unwrap();
    let reader = login(app, "product", Access::Reader);
    let pool = PgPoolOptions::new().max_connections(1);
    let pool = pool.connect_with(reader.options()).await.unwrap();
    let cards: PostgresViewRepository<ProductCard, Product> = projections::repository(pool);
    let (card, context) = cards.load_with_context(&sku).await.unwrap().unwrap();
    assert_eq!(serde_json::to_value(&card).unwrap(), shown.body);
    assert_eq!(context.view_instance_id, sku);
    assert_eq!(context.version, 2);
    assert!(cards.load("no-such-sku").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_read_at_once_every_time() {
    let app = shared().await;
    join_all((0..WRITERS).map(|_| async {
        let (sku, shop) = (app.product(0).await, app.operator());
        let receive = format!("/v1/inventory/{sku}/receive");
        for round in 1..=ROUNDS / WRITERS {
            let written = shop.post(&receive, &json!({ "quantity": 1 })).await.must();
            let token = written.header("Consistency-Token").unwrap();
            let path = format!("/v1/inventory/{sku}");
            let read = shop.get_after(&path, token).await.unwrap();
            assert_eq!(read.status.as_u16(), 200, "round {round}: {}", read.body);
            assert_eq!(read.body["on_hand"], round, "{}", read.body);
        }
    }))
    .await;
}

/// Longer than any of these tests may take: who waits for that long, waits too long.
const FOR_EVER: Duration = Duration::from_secs(30);

#[tokio::test]
async fn nobody_waits_for_an_event_that_is_not_there() {
    let app = shared().await;
    let sku = app.product(0).await;
    let url = format!("{}/v1/products/{sku}", app.endpoints.query_api);
    let read = reqwest::Client::new()
        .get(url)
        .header("Consistency-Token", "PRODUCT:9999999")
        .header("Prefer", format!("wait={}", FOR_EVER.as_secs()))
        .send();
    let answer = timeout(FOR_EVER / 2, read).await.expect("at once").unwrap();
    assert_eq!(answer.status().as_u16(), 503);
    let problem: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "view_is_behind", "{problem}");
}

#[tokio::test]
async fn reads_beyond_those_that_may_wait_are_answered_at_once() {
    let app = shared().await;
    let sku = app.product(0).await;
    let logins = ["product", "inventory"]
        .map(|context| (context.to_owned(), login(app, context, Access::Reader)));
    let logins = BTreeMap::from(logins);
    let settings = Settings {
        reads_waiting_max: 1,
        ..Settings::default()
    };
    let reader = Reader::open(&logins, settings);
    for view in [&PRODUCT_CARD, &STOCK_LEVEL] {
        becomes("it is connected", async || {
            reader.get(view, &sku).await.is_ok()
        })
        .await;
    }
    let beyond = |time| reader.get_at(&PRODUCT_CARD, &sku, (u64::MAX, time));
    let mut waits = std::pin::pin!(beyond(FOR_EVER));
    let pause = Duration::from_secs(1);
    let first = timeout(pause, &mut waits).await;
    assert!(first.is_err(), "it waits: {first:?}");
    let found = timeout(FOR_EVER / 2, beyond(FOR_EVER))
        .await
        .expect("at once");
    assert!(found.unwrap().row.is_some(), "what there is");
    // Whoever reads another database waits all the same, for a view that gets on.
    let other = reader.get_at(&STOCK_LEVEL, &sku, (u64::MAX, FOR_EVER));
    assert!(timeout(pause, other).await.is_err(), "it waits too");
}

#[tokio::test]
async fn reads_that_go_together_are_answered_each_with_its_own_row() {
    let app = shared().await;
    let mut skus = Vec::new();
    for number in 0..4 {
        skus.push(app.product(0).await);
        skus.push(format!("no-such-{number}"));
    }
    let logins = BTreeMap::from([("product".to_owned(), login(app, "product", Access::Reader))]);
    let settings = Settings {
        read_connections: 1,
        ..Settings::default()
    };
    let reader = Reader::open(&logins, settings);
    // More than one statement holds.
    let asked = skus.iter().cycle().take(300);
    let reads = asked.map(async |sku| (sku, reader.get(&PRODUCT_CARD, sku).await.unwrap()));
    for (sku, found) in join_all(reads).await {
        assert!(found.position > 0);
        let row = found.row.map(|row| row.payload);
        let there = !sku.starts_with("no-such");
        assert_eq!(row.is_some(), there, "{sku}: {row:?}");
        assert!(row.is_none_or(|row| row.contains(sku.as_str())), "{sku}");
    }
}

#[tokio::test]
async fn a_role_reaches_its_own_database_and_does_there_what_it_must() {
    let app = shared().await;
    for access in Access::ALL {
        let own = login(app, "order", access);
        let foreign = own.to_database("millrace_payment");
        let refused = foreign.config("test").connect(NoTls).await.err().unwrap();
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
        let client = sql(&own).await;
        let bounds = "select rolconnlimit, rolconfig[1] from pg_roles where rolname = current_user";
        let bounds = client.query_one(bounds, &[]).await.unwrap();
        let bounds: (i32, &str) = (bounds.get(0), bounds.get(1));
        let declared = match access {
            Access::Writer => (20, "statement_timeout=30000"),
            Access::Reader => (60, "statement_timeout=4000"),
        };
        assert_eq!(bounds, declared);
        client
            .query("select * from order_summary limit 1", &[])
            .await
            .unwrap();
        let mut refused = vec![
            "delete from order_summary",
            "truncate order_summary",
            "delete from view_position",
            "create table mine (id text)",
            "alter table order_summary add column mine text",
            "select * from pg_authid",
        ];
        if access == Access::Reader {
            refused.extend([
                "insert into order_summary (view_id, version, payload) values ('x', 1, '{}')",
                "update order_summary set version = version",
                "update view_position set position = position",
            ]);
        }
        for statement in refused {
            let error = client.batch_execute(statement).await.err();
            let code = error.as_ref().and_then(tokio_postgres::Error::code);
            let denied = [Some(&SqlState::INSUFFICIENT_PRIVILEGE)];
            assert!(denied.contains(&code), "{access:?}: {statement}: {error:?}");
        }
    }
}
