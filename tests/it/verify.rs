//! What `millrace verify` and `millrace schema` find, and what they don't.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use async_nats::HeaderMap;
use bytes::Bytes;
use inventory::{InventoryCommand, StockItem};
use millrace::schema::{self, Problem};
use millrace::up::Endpoints;
use millrace::verify::{ReaderReport, examine};
use serde_json::{Value, json};
use streams::topology::{self, StreamSpec};
use streams::verify::Kind;
use streams::{CommandMeta, Connection, Settings};
use uuid::Uuid;

use crate::app::{folder, program, shared};
use crate::server::Server;

fn millrace(args: &[&str]) -> Output {
    Command::new(program()).args(args).output().unwrap()
}

fn printed(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stack_at_work_is_well_and_its_census_adds_up() {
    let app = shared().await;
    let sku = app.product(5).await;
    let customer = app.customer().await;
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    let data = app.data.to_str().unwrap();
    let verified = millrace(&["verify", "--data", data, "--json"]);
    let report = printed(&verified);
    assert_eq!(report["findings"], json!([]), "{report:#}");
    assert!(verified.status.success());
    assert_eq!(report["ok"], true);
    let streams = report["streams"].as_array().unwrap();
    assert_eq!(streams.len(), domains::CONTEXTS.len());
    assert!(
        streams
            .iter()
            .all(|stream| stream["events"].as_u64() > Some(0))
    );
    let readers = report["readers"].as_array().unwrap();
    let named = |name: &str| readers.iter().any(|reader| reader["reader"] == name);
    assert!(named("view order_summary") && named("durable checkout-order"));

    let words = millrace(&["verify", "--data", data]);
    assert!(String::from_utf8_lossy(&words.stdout).contains("All is well"));

    let census = millrace(&["schema", "census", "--data", data, "--json"]);
    let census = printed(&census);
    assert_eq!(census["unreadable"], 0);
    let placed = &census["streams"]["ORDER"]["order_placed"]["1"];
    assert!(placed["events"].as_u64() > Some(0), "{census:#}");
}

#[test]
fn where_nothing_runs_nothing_is_said() {
    let data = folder("nothing-there");
    std::fs::create_dir_all(&data).unwrap();
    let verified = millrace(&["verify", "--data", data.to_str().unwrap()]);
    assert!(!verified.status.success());
    let error = String::from_utf8_lossy(&verified.stderr);
    assert!(error.contains("nothing runs on"), "{error}");
}

/// The stack starts again: what an earlier run left behind says where nobody listens any more.
#[test]
fn what_is_not_ready_yet_is_not_asked_where_it_was() {
    let data = folder("starting");
    std::fs::create_dir_all(&data).unwrap();
    let old = json!({
        "entry": "http://127.0.0.1:1", "command_api": "http://127.0.0.1:1",
        "query_api": "http://127.0.0.1:1", "nats": "nats://127.0.0.1:1", "postgres": "127.0.0.1:1",
        "mail": "http://127.0.0.1:1", "smtp": "127.0.0.1:1", "payments": "http://127.0.0.1:1",
    });
    std::fs::write(data.join("endpoints.json"), old.to_string()).unwrap();
    assert!(serde_json::from_value::<Endpoints>(old).is_ok());
    let holder = json!({
        "pid": std::process::id(), "since": chrono::Utc::now(), "entry": null, "endpoints": null,
    });
    std::fs::write(data.join("lock"), holder.to_string()).unwrap();
    let lock = std::fs::File::open(data.join("lock")).unwrap();
    lock.lock().unwrap();
    let verified = millrace(&["verify", "--data", data.to_str().unwrap()]);
    assert!(!verified.status.success());
    let error = String::from_utf8_lossy(&verified.stderr);
    assert!(error.contains("is not ready yet"), "{error}");
}

/// The headers of an event that somebody makes by hand.
pub(crate) fn headers(event_type: &str, version: u64, id: Uuid) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("ce-id", id.to_string()),
        ("ce-type", format!("millrace.{event_type}")),
        ("ce-time", "2026-08-01T12:00:00Z".to_owned()),
        ("ce-version", version.to_string()),
        ("ce-commandid", id.to_string()),
        ("ce-actor", "system".to_owned()),
    ] {
        headers.insert(name, value.as_str());
    }
    headers
}

pub(crate) async fn put(
    connection: &Connection,
    subject: &str,
    headers: HeaderMap,
    data: impl Into<Bytes>,
) {
    let jetstream = connection.jetstream();
    let published = jetstream.publish_with_headers(subject.to_owned(), headers, data.into());
    published.await.unwrap().await.unwrap();
}

/// A stream of events that may delete: what a hand could have made of one of ours.
async fn with_a_hole(connection: &Connection) {
    let jetstream = connection.jetstream();
    jetstream.delete_stream("PRODUCT").await.unwrap();
    let mut config = StreamSpec::events("product").config(1);
    config.deny_delete = false;
    let stream = jetstream.create_stream(config).await.unwrap();
    let durables = reactors::DURABLES.into_iter();
    for durable in durables.filter(|durable| durable.stream == "PRODUCT") {
        stream.create_consumer(durable.config()).await.unwrap();
    }
    for (version, sku) in [(1, "tea"), (1, "mug"), (1, "pot")] {
        let headers = headers("product_published.v1", version, Uuid::new_v4());
        put(connection, &format!("event.product.{sku}"), headers, "{}").await;
    }
    stream.delete_message(2).await.unwrap();
}

/// Two events as our code writes them.
async fn some_tea(connection: &Connection) {
    let streams = connection.streams(Settings::default());
    let id = "tea".parse().unwrap();
    for command in [
        InventoryCommand::CreateStockItem {},
        InventoryCommand::ReceiveStock { quantity: 5 },
    ] {
        let meta = CommandMeta::new(Uuid::new_v4(), chrono::Utc::now(), "system");
        let done = streams.execute::<StockItem>(&id, command, &meta).await;
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_damage_is_found_and_named() {
    let server = Server::start("verify").await;
    let connection = server.connect().await;
    let table = millrace::provision::topology();
    topology::provision(&connection, &table, 1).await.unwrap();
    some_tea(&connection).await;
    let well = examine(&connection, Vec::new()).await.unwrap();
    assert!(well.ok, "{:?}", well.findings);

    let twice = Uuid::new_v4();
    let fresh = Uuid::new_v4;
    let created = "stock_item_created.v1";
    let tea = "event.inventory.tea";
    for (subject, headers, data) in [
        ("event.inventory.mug", headers(created, 1, twice), "{}"),
        ("event.inventory.pot", headers(created, 1, twice), "{}"),
        (tea, headers(created, 5, fresh()), "{}"),
        (
            tea,
            headers("stock_received.v1", 6, fresh()),
            r#"{"quantity":"many"}"#,
        ),
        (tea, headers("stock_melted.v1", 7, fresh()), "{}"),
        (tea, headers("stock_item_created.v9", 8, fresh()), "{}"),
        (
            "event.inventory.shelf.a",
            headers(created, 1, fresh()),
            "{}",
        ),
        ("event.inventory.a.b.c", headers(created, 1, fresh()), "{}"),
        (tea, HeaderMap::new(), "hello"),
    ] {
        put(&connection, subject, headers, data).await;
    }
    with_a_hole(&connection).await;
    let readers = vec![ReaderReport {
        reader: "view stock_level".to_owned(),
        stream: "INVENTORY".to_owned(),
        position: 1_000,
        behind: None,
        behind_s: None,
    }];
    let report = examine(&connection, readers).await.unwrap();
    assert!(!report.ok);
    let found: Vec<(Kind, &str, Option<u64>)> = report
        .findings
        .iter()
        .map(|finding| (finding.kind, finding.stream.as_str(), finding.position))
        .collect();
    let inventory = |kind, position| (kind, "INVENTORY", Some(position));
    assert_eq!(
        found,
        [
            (Kind::Topology, "stream PRODUCT", None),
            (Kind::MissingEvents, "PRODUCT", Some(2)),
            inventory(Kind::DuplicateId, 4),
            inventory(Kind::VersionGap, 5),
            inventory(Kind::Undecodable, 6),
            inventory(Kind::NewerThanCode, 7),
            inventory(Kind::NewerThanCode, 8),
            inventory(Kind::WrongSubject, 9),
            inventory(Kind::WrongSubject, 10),
            inventory(Kind::Undecodable, 11),
            inventory(Kind::AheadOfLog, 1_000),
        ],
        "{}",
        report.words()
    );
    the_census_counts_them(&connection).await;
}

async fn the_census_counts_them(connection: &Connection) {
    let census = schema::count(connection).await.unwrap();
    let created = &census.streams["INVENTORY"]["stock_item_created"];
    let counts: BTreeMap<u32, u64> = created.iter().map(|(v, c)| (*v, c.events)).collect();
    assert_eq!(counts, BTreeMap::from([(1, 5), (9, 1)]));
    assert_eq!((created[&1].first, created[&1].last), (1, 9));
    assert_eq!(census.unreadable, 2);
}

/// The committed files.
fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("domains")
}

/// A copy of the committed files that may be damaged.
fn copy(name: &str) -> PathBuf {
    let to = folder(name);
    for context in domains::NAMES {
        let wire = to.join(context).join("wire");
        std::fs::create_dir_all(&wire).unwrap();
        for file in std::fs::read_dir(committed().join(context).join("wire")).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), wire.join(file.file_name())).unwrap();
        }
    }
    for file in ["states.json", "rows.json"] {
        std::fs::copy(committed().join(file), to.join(file)).unwrap();
    }
    to
}

fn problems(folder: &Path) -> Vec<Problem> {
    schema::check(folder, false).unwrap()
}

#[test]
fn the_committed_schemas_are_those_of_the_code() {
    assert_eq!(problems(&committed()), []);
    let checked = millrace(&[
        "schema",
        "check",
        "--domains",
        committed().to_str().unwrap(),
    ]);
    assert!(checked.status.success());
}

#[test]
fn an_incompatible_change_is_named() {
    let folder = copy("schemas");
    let wire = folder.join("order/wire");
    // As if the code had renamed a field since.
    let shipped = wire.join("order_shipped.v1.json");
    let text = std::fs::read_to_string(&shipped).unwrap();
    std::fs::write(&shipped, text.replace("tracking", "parcel")).unwrap();
    // As if it had lost one.
    let canceled = wire.join("order_canceled.v1.json");
    let text = std::fs::read_to_string(&canceled).unwrap();
    let more = text.replacen('{', r#"{"by":"the owner","#, 1);
    std::fs::write(&canceled, more).unwrap();
    std::fs::remove_file(wire.join("order_delivered.v1.json")).unwrap();
    std::fs::write(wire.join("order_pondered.v1.json"), "{}").unwrap();
    let found = problems(&folder);
    let files: Vec<&str> = found.iter().map(|problem| problem.file.as_str()).collect();
    for file in [
        "order/wire/order_shipped.v1.json",
        "order/wire/order_canceled.v1.json",
        "order/wire/order_delivered.v1.json",
        "order/wire/order_pondered.v1.json",
    ] {
        assert!(files.contains(&file), "{file}: {found:#?}");
    }
    let checked = millrace(&[
        "schema",
        "check",
        "--json",
        "--domains",
        folder.to_str().unwrap(),
    ]);
    assert!(!checked.status.success());
    assert_eq!(printed(&checked).as_array().unwrap().len(), found.len());
}

#[test]
fn a_state_and_a_row_that_mean_something_else_need_a_revision() {
    need_a_revision("states", "states.json", "order");
    need_a_revision("rows", "rows.json", "order_summary");
}

fn need_a_revision(name: &str, file: &str, whose: &str) {
    let folder = copy(name);
    let file = folder.join(file);
    let recorded: BTreeMap<String, Value> =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = recorded.clone();
        change(changed.get_mut(whose).unwrap());
        std::fs::write(&file, serde_json::to_vec(&changed).unwrap()).unwrap();
    };
    // The same events led to something else once: no accepting of that.
    with(&|known| known["folded"] = Value::from(Uuid::nil().to_string()));
    for accept in [false, true] {
        let found = schema::check(&folder, accept).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].detail.contains("raise its revision"), "{found:?}");
    }
    // Under another revision that is fine, once it is recorded.
    with(&|known| {
        known["folded"] = Value::from(Uuid::nil().to_string());
        known["revision"] = Value::from(0);
    });
    assert_eq!(problems(&folder).len(), 1);
    assert_eq!(schema::check(&folder, true).unwrap(), []);
    assert_eq!(problems(&folder), []);
    let again: BTreeMap<String, Value> =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(again, recorded);
}
