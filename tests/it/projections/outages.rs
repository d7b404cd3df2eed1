//! Servers that die, and logs that are no longer what they were.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use devstack::launch::{Child, Signal};
use futures::future::join_all;
use inventory::{InventoryCommand, StockItem};
use kernel::Money;
use millrace::client::{Answer, Shop};
use product::{Import, ImportCommand, LineError, Product, ProductCommand, Tally};
use projections::{IMPORT_REPORT, PRICE_HISTORY, PRODUCT_CARD, STOCK_LEVEL, ViewSpec};
use serde_json::{Value, json};
use streams::{CommandMeta, Connection, Executed, Streams};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;
use uuid::Uuid;

use super::Rows;
use super::lag::metrics_say;
use crate::app::{Must, PATIENCE, becomes};
use crate::servers::Servers;

/// Between two looks at a level.
const LOOK: Duration = Duration::from_millis(20);

/// Longer than an event that was seen proves that the log is the same.
const PROOF_AGE: Duration = Duration::from_secs(3);

/// The position row of one view.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) position: i64,
    updated_at: DateTime<Utc>,
    failed_position: Option<i64>,
    last_error: Option<String>,
}

impl Mark {
    pub(super) fn has_stopped(&self) -> bool {
        self.last_error.is_some()
    }
}

pub(super) async fn mark(client: &Client, view: &ViewSpec) -> Mark {
    let statement = "select position, updated_at, failed_position, last_error \
                     from view_position where view = $1";
    let row = client.query_one(statement, &[&view.name]).await.unwrap();
    Mark {
        position: row.get(0),
        updated_at: row.get(1),
        failed_position: row.get(2),
        last_error: row.get(3),
    }
}

/// Waits until the position row of `view` is as wanted.
pub(super) async fn until(
    client: &Client,
    view: &ViewSpec,
    wanted: impl Fn(&Mark) -> bool,
) -> Mark {
    let started = Instant::now();
    loop {
        let mark = mark(client, view).await;
        if wanted(&mark) {
            return mark;
        }
        assert!(started.elapsed() < PATIENCE, "{view:?} is at {mark:?}");
        sleep(LOOK).await;
    }
}

/// What `/readyz` says of `view`.
async fn told(queries: &Shop, view: &ViewSpec) -> Value {
    let ready = queries.get("/readyz").await.unwrap();
    let views = ready.body["views"].as_array().unwrap();
    let found = views.iter().find(|told| told["view"] == view.name);
    found.unwrap().clone()
}

fn meta() -> CommandMeta {
    CommandMeta::new(Uuid::new_v4(), Utc::now(), "operator:test")
}

async fn product(streams: &Streams, sku: &str, command: ProductCommand) -> Executed<Product> {
    let id = sku.parse().unwrap();
    streams
        .execute::<Product>(&id, command, &meta())
        .await
        .unwrap()
}

/// Two events.
pub(super) async fn publish(streams: &Streams, sku: &str) {
    let create = ProductCommand::CreateProduct {
        title: sku.parse().unwrap(),
        description: "As good as they come.".parse().unwrap(),
        category: "Mill shop".parse().unwrap(),
        price: Money::new(1_299, "EUR".parse().unwrap()),
    };
    product(streams, sku, create).await;
    product(streams, sku, ProductCommand::PublishProduct {}).await;
}

/// One event.
async fn stock(streams: &Streams, sku: &str, command: InventoryCommand) {
    let id = sku.parse().unwrap();
    let done = streams.execute::<StockItem>(&id, command, &meta()).await;
    done.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_of_nats_nothing_is_taken_in_twice() {
    let servers = Servers::start("nats-kill").await;
    let projector = servers.role(&["projector"]).await;
    let streams = servers.streams().await;
    let sql = servers.sql("millrace_product").await;
    for sku in ["A", "B", "C"] {
        publish(&streams, sku).await;
    }
    until(&sql, &PRODUCT_CARD, |mark| mark.position == 6).await;
    for round in 1..=3_i64 {
        let before = Versions::read(&sql).await;
        let idle = mark(&sql, &PRODUCT_CARD).await;
        let nats = servers.stack.nats().unwrap();
        nats.kill().await.unwrap();
        nats.restart().await.unwrap();
        let price = Money::new(1_300 + round, "EUR".parse().unwrap());
        let command = ProductCommand::SetPrice { price };
        again_and_again(&streams, "A", command).await;
        let mark = until(&sql, &PRODUCT_CARD, |mark| mark.position == 6 + round).await;
        assert!(mark.updated_at > idle.updated_at && mark.last_error.is_none());
        let after = Versions::read(&sql).await;
        assert_eq!(after.0[1..], before.0[1..], "B and C were written again");
        assert_eq!(after.0[0].1, 2 + round);
    }
    assert!(projector.exited().is_none());
}

/// Id, version and the transaction that wrote it, of every product.
struct Versions(Vec<(String, i64, String)>);

impl Versions {
    async fn read(client: &Client) -> Self {
        let statement = "select view_id, version, xmin::text from product_card order by view_id";
        let rows = client.query(statement, &[]).await.unwrap();
        let rows = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2)));
        Self(rows.collect())
    }
}

/// Tries one command until it is in the log: the server was away.
async fn again_and_again(streams: &Streams, sku: &str, command: ProductCommand) {
    let (id, meta, started) = (sku.parse().unwrap(), meta(), Instant::now());
    loop {
        let done = streams
            .execute::<Product>(&id, command.clone(), &meta)
            .await;
        let Err(error) = done else { return };
        assert!(started.elapsed() < PATIENCE, "{error}");
        sleep(LOOK).await;
    }
}

/// Everything that a test of a changed log looks at.
struct Watched {
    servers: Servers,
    streams: Streams,
    admin: Connection,
    queries: Shop,
    sql: Client,
    /// The projector, the query API.
    roles: Vec<Child>,
}

impl Watched {
    async fn start(name: &str) -> Self {
        let servers = Servers::start(name).await;
        let projector = servers.role(&["projector"]).await;
        let (queries, child) = servers.api("query-api").await;
        Self {
            streams: servers.streams().await,
            admin: servers.connect("provision").await,
            sql: servers.sql("millrace_product").await,
            roles: vec![projector, child],
            queries,
            servers,
        }
    }

    async fn sql_of(&self, view: &ViewSpec) -> Client {
        self.servers
            .sql(&format!("millrace_{}", view.context))
            .await
    }

    /// The view has stopped where it was, everybody can see it, and its rows are `before`.
    async fn has_stopped(&self, view: &ViewSpec, before: &Rows, (at, why): (i64, &str)) {
        let sql = self.sql_of(view).await;
        let stopped = until(&sql, view, |mark| mark.last_error.is_some()).await;
        assert_eq!(stopped.failed_position, Some(at), "{stopped:?}");
        let said = stopped.last_error.unwrap_or_default();
        assert!(said.contains(why), "{said}");
        let told = told(&self.queries, view).await;
        assert_eq!(told["stopped_at"], at, "{told}");
        assert_eq!(told["position"], before.position, "{told}");
        assert_eq!(&Rows::read(&sql, view).await, before);
        // What the alarm is set on.
        let rings = format!("view_stalled{{view=\"{}\"}} 1", view.name);
        metrics_say(&self.queries, &[&rings]).await;
    }

    /// Another context's view still takes events in.
    async fn others_go_on(&self, sku: &str) {
        let sql = self.sql_of(&STOCK_LEVEL).await;
        let before = mark(&sql, &STOCK_LEVEL).await.position;
        stock(&self.streams, sku, InventoryCommand::CreateStockItem {}).await;
        until(&sql, &STOCK_LEVEL, |mark| mark.position == before + 1).await;
        let told = told(&self.queries, &STOCK_LEVEL).await;
        assert_eq!(told.get("stopped_at"), None, "{told}");
    }

    /// Builds the product's view anew; does it end well?
    async fn rebuild(&self, how: &[&str]) -> bool {
        let args = [&["rebuild", PRODUCT_CARD.name], how].concat();
        let rebuild = self.servers.role(&args).await;
        let ended = timeout(PATIENCE, rebuild.wait()).await;
        ended.expect("it ends").success()
    }

    /// A new projector process sees it as well.
    async fn restart_projector(&mut self) {
        self.end_projector().await;
        let forget = "update view_position set failed_at = null, failed_position = null, \
                      last_error = null";
        self.sql.batch_execute(forget).await.unwrap();
        self.begin_projector().await;
    }

    async fn end_projector(&mut self) {
        let old = self.roles.remove(0);
        old.signaller().send(Signal::KILL).unwrap();
        old.wait().await;
    }

    async fn begin_projector(&mut self) {
        let projector = self.servers.role(&["projector"]).await;
        self.roles.insert(0, projector);
    }
}

/// Those of an event of a product.
fn headers(sku: &str, version: u64, event: &str) -> async_nats::HeaderMap {
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in [
        ("ce-id", Uuid::new_v4().to_string()),
        ("ce-specversion", "1.0".to_owned()),
        ("ce-type", format!("millrace.{event}.v1")),
        ("ce-source", "/millrace/product".to_owned()),
        ("ce-subject", sku.to_owned()),
        ("ce-time", "2026-08-01T12:00:00Z".to_owned()),
        ("ce-version", version.to_string()),
        ("ce-commandid", Uuid::new_v4().to_string()),
        ("ce-actor", "operator:test".to_owned()),
        ("content-type", "application/json".to_owned()),
    ] {
        headers.insert(name, value);
    }
    headers
}

/// What stands before a page is not read for it, so it may be whatever it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_history_is_read_from_where_it_begins() {
    let servers = Servers::start("history-page").await;
    let (queries, _api) = servers.api("query-api").await;
    let admin = servers.connect("provision").await;
    let js = admin.jetstream();
    let put = async |headers, body: &'static [u8]| {
        let subject = "event.product.A";
        let stored = js.publish_with_headers(subject, headers, Bytes::from_static(body));
        stored.await.unwrap().await.unwrap();
    };
    put(async_nats::HeaderMap::new(), b"\xff not JSON").await;
    for version in 2..=5 {
        put(headers("A", version, "product_unpublished"), b"{}").await;
    }
    let page = async |after: &str| {
        let path = format!("/v1/products/A/events?limit=2&after={after}");
        queries.get(&path).await.unwrap()
    };
    for (after, versions, next) in [
        ("PRODUCT:1", [2, 3], json!("PRODUCT:3")),
        ("PRODUCT:3", [4, 5], Value::Null),
    ] {
        let Answer { status, body, .. } = page(after).await;
        assert_eq!(status.as_u16(), 200, "{body}");
        let items = body["items"].as_array().unwrap();
        let told = items.iter().map(|event| event["version"].clone());
        assert_eq!(told.collect::<Vec<_>>(), versions, "{body}");
        assert_eq!(body["next"], next, "{body}");
    }
    // Only the events themselves tell where a version stands.
    assert_eq!(page("1").await.status.as_u16(), 500);
    for bad in ["ORDER:1", "x", "PRODUCT:x", "-1"] {
        assert_eq!(page(bad).await.status.as_u16(), 400, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_event_stops_its_view_and_no_other() {
    let mut shop = Watched::start("poison").await;
    publish(&shop.streams, "A").await;
    until(&shop.sql, &PRODUCT_CARD, |mark| mark.position == 2).await;
    let before = Rows::read(&shop.sql, &PRODUCT_CARD).await;
    let headers = headers("A", 3, "product_teleported");
    let subject = "event.product.A";
    let body = Bytes::from_static(b"{}");
    let js = shop.admin.jetstream();
    let stored = js.publish_with_headers(subject, headers, body).await;
    assert_eq!(stored.unwrap().await.unwrap().sequence, 3);
    shop.has_stopped(&PRODUCT_CARD, &before, (3, "product_teleported"))
        .await;
    // What comes behind it is not skipped to.
    publish(&shop.streams, "B").await;
    shop.others_go_on("A").await;
    shop.has_stopped(&PRODUCT_CARD, &before, (3, "product_teleported"))
        .await;
    shop.restart_projector().await;
    shop.has_stopped(&PRODUCT_CARD, &before, (3, "product_teleported"))
        .await;
    shop.others_go_on("B").await;
    // What is no event at all stops its view too.
    let sql = shop.sql_of(&STOCK_LEVEL).await;
    let before = Rows::read(&sql, &STOCK_LEVEL).await;
    let js = shop.admin.jetstream();
    let garbage = Bytes::from_static(b"\xff not JSON");
    let stored = js.publish("event.inventory.A", garbage).await.unwrap();
    assert_eq!(stored.await.unwrap().sequence, 3);
    shop.has_stopped(&STOCK_LEVEL, &before, (3, "ce-")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_made_anew_stops_its_view_and_changes_no_row() {
    let mut shop = Watched::start("anew").await;
    publish(&shop.streams, "A").await;
    publish(&shop.streams, "B").await;
    until(&shop.sql, &PRODUCT_CARD, |mark| mark.position == 4).await;
    let before = Rows::read(&shop.sql, &PRODUCT_CARD).await;
    let js = shop.admin.jetstream();
    js.delete_stream("PRODUCT").await.unwrap();
    shop.servers.provision().await;
    // Another history, shorter at first, then longer than what the view has seen.
    let streams = shop.servers.streams().await;
    publish(&streams, "C").await;
    shop.has_stopped(&PRODUCT_CARD, &before, (4, "restored"))
        .await;
    publish(&streams, "D").await;
    publish(&streams, "E").await;
    shop.restart_projector().await;
    shop.has_stopped(&PRODUCT_CARD, &before, (4, "restored"))
        .await;
    shop.others_go_on("A").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_view_of_a_stream_that_has_become_shorter_is_built_anew() {
    let mut shop = Watched::start("shorter").await;
    publish(&shop.streams, "A").await;
    publish(&shop.streams, "B").await;
    until(&shop.sql, &PRODUCT_CARD, |mark| mark.position == 4).await;
    // What an earlier rebuild has left is of the old log too.
    assert!(shop.rebuild(&[]).await);
    let js = shop.admin.jetstream();
    js.delete_stream("PRODUCT").await.unwrap();
    shop.servers.provision().await;
    let streams = shop.servers.streams().await;
    publish(&streams, "C").await;
    let stopped = until(&shop.sql, &PRODUCT_CARD, |mark| mark.last_error.is_some()).await;
    let said = stopped.last_error.unwrap();
    assert!(said.contains("--anew --switch"), "{said}");

    assert!(!shop.rebuild(&["--switch"]).await);
    assert!(shop.rebuild(&["--anew", "--switch"]).await);
    let anew = Rows::read(&shop.sql, &PRODUCT_CARD).await;
    let rows: Vec<_> = anew.rows.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!((anew.position, &rows[..]), (2, &["C"][..]));
    // What was live before belongs to another log: there is no way back to it.
    assert!(!shop.rebuild(&["--rollback"]).await);
    assert_eq!(Rows::read(&shop.sql, &PRODUCT_CARD).await, anew);
    shop.restart_projector().await;
    publish(&streams, "D").await;
    until(&shop.sql, &PRODUCT_CARD, |mark| mark.position == 4).await;
}

/// As who is told to put the log right, and to start the projector anew, does it; nobody does anything since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_whose_log_was_put_right_has_stopped_no_more() {
    let mut shop = Watched::start("put-right").await;
    publish(&shop.streams, "A").await;
    publish(&shop.streams, "B").await;
    for view in [&PRODUCT_CARD, &PRICE_HISTORY] {
        until(&shop.sql, view, |mark| mark.position == 4).await;
    }
    let before = Rows::read(&shop.sql, &PRODUCT_CARD).await;
    let js = shop.admin.jetstream();
    let stream = js.get_stream("PRODUCT").await.unwrap();
    let mut kept = Vec::new();
    for sequence in 1..=4 {
        kept.push(stream.get_raw_message(sequence).await.unwrap());
    }
    js.delete_stream("PRODUCT").await.unwrap();
    shop.servers.provision().await;
    publish(&shop.servers.streams().await, "C").await;
    shop.has_stopped(&PRODUCT_CARD, &before, (4, "restored"))
        .await;

    js.delete_stream("PRODUCT").await.unwrap();
    shop.servers.provision().await;
    for event in kept {
        let stored = js.publish_with_headers(event.subject, event.headers, event.payload);
        stored.await.unwrap().await.unwrap();
    }
    shop.end_projector().await;
    shop.begin_projector().await;
    for view in [&PRODUCT_CARD, &PRICE_HISTORY] {
        let mark = until(&shop.sql, view, |mark| !mark.has_stopped()).await;
        assert_eq!((mark.position, mark.failed_position), (4, None));
    }
    let quiet = "view_stalled{view=\"product_card\"} 0";
    metrics_say(&shop.queries, &[quiet]).await;
    assert_eq!(Rows::read(&shop.sql, &PRODUCT_CARD).await, before);
}

/// The projector keeps its connection all the while: only the event at its position tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_made_anew_behind_the_back_of_a_projector_is_noticed() {
    let shop = Watched::start("behind-its-back").await;
    publish(&shop.streams, "A").await;
    publish(&shop.streams, "B").await;
    until(&shop.sql, &PRODUCT_CARD, |mark| mark.position == 4).await;
    let before = Rows::read(&shop.sql, &PRODUCT_CARD).await;
    let projector = shop.roles[0].signaller();
    projector.send(Signal::STOP).unwrap();
    let js = shop.admin.jetstream();
    js.delete_stream("PRODUCT").await.unwrap();
    shop.servers.provision().await;
    // Another history, already longer than what the view has seen.
    let streams = shop.servers.streams().await;
    for sku in ["C", "D", "E"] {
        publish(&streams, sku).await;
    }
    // What it has seen proves nothing any more.
    sleep(PROOF_AGE).await;
    projector.send(Signal::CONT).unwrap();
    shop.has_stopped(&PRODUCT_CARD, &before, (4, "restored"))
        .await;
    shop.others_go_on("A").await;
}

/// Postgres takes a NUL into `json`, and can't read a field of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_postgres_can_not_keep_stops_its_own_view_alone() {
    let servers = Servers::start("refused-row").await;
    let streams = servers.streams().await;
    publish(&streams, "A").await;
    let tally = Tally {
        lines: 1,
        failed: 1,
        digest: "d".to_owned(),
        ..Tally::default()
    };
    let poison = LineError {
        line: 1,
        code: "malformed".to_owned(),
        pointer: "/a\u{0}b".to_owned(),
        detail: "no".to_owned(),
    };
    let import = "imported".parse().unwrap();
    for command in [
        ImportCommand::StartImport {
            key: "k".to_owned(),
        },
        ImportCommand::CompleteImport {
            tally,
            errors: vec![poison],
        },
    ] {
        let done = streams.execute::<Import>(&import, command, &meta()).await;
        done.unwrap();
    }
    publish(&streams, "B").await;
    // All in one batch.
    let projector = servers.role(&["projector"]).await;
    let sql = servers.sql("millrace_product").await;
    until(&sql, &PRODUCT_CARD, |mark| mark.position == 6).await;
    let stopped = until(&sql, &IMPORT_REPORT, |mark| mark.failed_position.is_some()).await;
    assert_eq!((stopped.position, stopped.failed_position), (3, Some(4)));
    let why = stopped.last_error.unwrap();
    assert!(why.contains("Postgres can't keep the row"), "{why}");
    publish(&streams, "C").await;
    until(&sql, &PRODUCT_CARD, |mark| mark.position == 8).await;
    assert!(projector.exited().is_none());
}

/// As a queue of notices does that is full: Postgres has one for all of its databases.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_whose_notices_are_refused_goes_on_without_them() {
    let servers = Servers::start("refused-notice").await;
    let streams = servers.streams().await;
    let sql = servers.sql("millrace_product").await;
    let refuse = "create function refuse() returns trigger language plpgsql as $$ begin \
                  if current_query() like '%pg_notify%' then \
                  raise exception 'too many notifications' using errcode = '54000'; end if; \
                  return null; end $$; \
                  create trigger refuses after insert on product_card execute function refuse()";
    sql.batch_execute(refuse).await.unwrap();
    publish(&streams, "A").await;
    let projector = servers.role(&["projector"]).await;
    for (position, sku) in [(2, "B"), (4, "C")] {
        let went = |mark: &Mark| mark.position == position || mark.has_stopped();
        let mark = until(&sql, &PRODUCT_CARD, went).await;
        assert!(!mark.has_stopped(), "{mark:?}");
        publish(&streams, sku).await;
    }
    assert!(projector.exited().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgres_is_dead_writes_go_on_and_then_the_views_catch_up() {
    let servers = Servers::start("postgres-kill").await;
    let projector = servers.role(&["projector"]).await;
    let ((writes, _commands), (reads, _queries)) =
        tokio::join!(servers.api("command-api"), servers.api("query-api"));
    let (entry, _gateway) = servers.api("gateway").await;
    let sku = "TEA-1";
    writes.stock_product(sku, "Tea", 500, 1).await.unwrap();
    let path = format!("/v1/inventory/{sku}");
    let is = |on_hand: u64| move |stock: &Value| stock["on_hand"] == on_hand;
    reads
        .wait_for("the stock", &path, PATIENCE, is(1))
        .await
        .unwrap();

    let postgres = servers.stack.postgres().unwrap();
    postgres.kill().await.unwrap();
    let receive = format!("{path}/receive");
    let mut token = String::new();
    let body = json!({ "quantity": 1 });
    for written in join_all((0..10).map(|_| writes.post(&receive, &body))).await {
        let written = written.unwrap().success().unwrap();
        let new = written.header("Consistency-Token").unwrap().to_owned();
        token = if later(&new, &token) { new } else { token };
    }
    for _ in 0..10 {
        let refused = reads.get(&path).await.unwrap();
        assert_eq!(refused.status.as_u16(), 503, "{}", refused.body);
        assert_eq!(refused.body["code"], "unavailable", "{}", refused.body);
        assert!(refused.header("Retry-After").is_some());
    }
    let health = reads.get("/readyz").await.unwrap();
    assert_eq!(health.status.as_u16(), 503, "{}", health.body);
    assert_eq!(health.body["checks"]["postgres.inventory"], "away");
    becomes("the entry sees it", async || {
        let told = entry.get("/readyz").await.unwrap();
        // Whatever needs no reads goes on, so it must still be asked.
        assert_eq!(told.status.as_u16(), 200, "{}", told.body);
        told.text("/checks/query-api") == "no replica is ready"
    })
    .await;
    // Also one that begins meanwhile.
    let (later_entry, _later) = servers.api("gateway").await;
    for entry in [entry, later_entry] {
        entry.post(&receive, &body).await.must();
    }

    postgres.restart().await.unwrap();
    let started = Instant::now();
    loop {
        let read = reads.get_after(&path, &token).await.unwrap();
        if read.status.as_u16() == 200 {
            assert_eq!(read.body["on_hand"], 13, "{}", read.body);
            break;
        }
        assert_eq!(read.status.as_u16(), 503, "{}", read.body);
        assert!(started.elapsed() < PATIENCE, "{}", read.body);
        sleep(LOOK).await;
    }
    assert!(projector.exited().is_none());
}

/// What passes by itself: the disk is full, somebody else was first, two were in each other's way.
const PASSING: [&str; 3] = ["53100", "40001", "40P01"];

/// Has Postgres refuse products with `code`, whoever reads or writes them, and count the writers: whatever
/// their transactions come to, a sequence is not set back.
async fn refuse(sql: &Client, code: &str) {
    let refuse = format!(
        "create sequence if not exists refusals; \
         create or replace function refuse() returns boolean security definer language plpgsql as $$ begin \
         if session_user like '%_writer' then perform nextval('refusals'); end if; \
         raise exception 'not now' using errcode = '{code}'; end $$; \
         drop policy if exists refuses on product_card; \
         create policy refuses on product_card using (refuse()); \
         alter table product_card enable row level security"
    );
    sql.batch_execute(&refuse).await.unwrap();
}

/// How many writers were refused.
async fn refused(sql: &Client) -> i64 {
    let counted = "select case when is_called then last_value else 0 end from refusals";
    sql.query_one(counted, &[]).await.unwrap().get(0)
}

/// Each read is refused for now.
async fn come_back(queries: &Shop, reads: [&str; 2]) {
    for refused in join_all(reads.map(|path| queries.get(path))).await {
        let refused = refused.unwrap();
        assert_eq!(refused.status.as_u16(), 503, "{}", refused.body);
        assert_eq!(refused.body["code"], "unavailable", "{}", refused.body);
        assert!(refused.header("Retry-After").is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_by_itself_stops_no_view_and_whoever_reads_is_told_to_come_back() {
    let shop = Watched::start("postgres-slow").await;
    publish(&shop.streams, "A").await;
    until(&shop.sql, &PRODUCT_CARD, |mark| mark.position == 2).await;
    let reads = ["/v1/products/A", "/v1/products"];
    let lock = "begin; lock table product_card in access exclusive mode";
    shop.sql.batch_execute(lock).await.unwrap();
    come_back(&shop.queries, reads).await;
    shop.sql.batch_execute("rollback").await.unwrap();
    for path in reads {
        let read = shop.queries.wait_for("a row", path, PATIENCE, |_| true);
        read.await.unwrap();
    }
    for (code, position) in PASSING.into_iter().zip([4, 6, 8]) {
        refuse(&shop.sql, code).await;
        let before = refused(&shop.sql).await;
        publish(&shop.streams, code).await;
        becomes("the projector tries", async || {
            refused(&shop.sql).await > before
        })
        .await;
        come_back(&shop.queries, reads).await;
        let lift = "alter table product_card disable row level security";
        shop.sql.batch_execute(lift).await.unwrap();
        let went = |mark: &Mark| mark.position == position || mark.has_stopped();
        let mark = until(&shop.sql, &PRODUCT_CARD, went).await;
        assert!(!mark.has_stopped(), "{code}: {mark:?}");
        let path = format!("/v1/products/{code}");
        let token = format!("PRODUCT:{position}");
        shop.queries.get_after(&path, &token).await.must();
    }
}

/// Is one position of a stream behind the other?
fn later(one: &str, other: &str) -> bool {
    let sequence = |token: &str| -> u64 {
        let sequence = token.rsplit(':').next().unwrap_or_default();
        sequence.parse().unwrap_or_default()
    };
    sequence(one) > sequence(other)
}
