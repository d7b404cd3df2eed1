//! A view built anew beside the live one, under traffic, killed in between, compared, switched, and
//! put back.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use projections::Access;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use crate::app::{App, Customer, Must, PATIENCE, becomes, folder, program};
use crate::servers::sql;

const VIEW: &str = "stock_level";

/// How many contexts' views are rebuilt at once.
const AT_ONCE: usize = 2;

/// What advisory locks of rebuilds have in common.
const LOCK_SPACE: i32 = 64_557_224;

/// `millrace rebuild`, its exit code and its report.
pub(crate) async fn rebuild(app: &App, view: &str, args: &[&str]) -> (i32, Value) {
    let mut command = tokio::process::Command::new(program());
    command
        .arg("rebuild")
        .arg(view)
        .arg("--data")
        .arg(&app.data)
        .arg("--json")
        .args(args);
    let done = command.output().await.unwrap();
    let printed = String::from_utf8(done.stdout).unwrap();
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    let report = serde_json::from_str(&printed).unwrap_or(Value::String(told));
    (done.status.code().unwrap_or(-1), report)
}

async fn admin(app: &App, context: &str) -> Client {
    let secrets = devstack::Secrets::load_or_create(&app.data).unwrap();
    let name = millrace::settings::POSTGRES_ADMIN_PASSWORD;
    let password = secrets.get(name).unwrap();
    let user = millrace::settings::POSTGRES_ADMIN;
    let login = projections::Login::admin(&app.endpoints.postgres, user, password).unwrap();
    sql(&login.to_database(&format!("millrace_{context}"))).await
}

/// Longest that a read waits for what was written: while a table takes the place of another, on a busy machine.
const READ_WAIT: &str = "wait=30";

/// What is received of `sku` until told to stop: one piece each, and each can be read once the view has seen it.
async fn traffic(app: &App, sku: &str, stop: &AtomicBool) -> u64 {
    let operator = app.operator();
    let mut received = 0;
    while !stop.load(Ordering::Relaxed) {
        let path = format!("/v1/inventory/{sku}");
        let body = json!({ "quantity": 1 });
        let written = operator
            .post(&format!("{path}/receive"), &body)
            .await
            .must();
        received += 1;
        let token = written.header("Consistency-Token").unwrap();
        let headers = [("Consistency-Token", token), ("Prefer", READ_WAIT)];
        let read = operator
            .call(Method::GET, &path, &headers, None)
            .await
            .must();
        assert_eq!(read.body["on_hand"], received + 1, "{}", read.body);
    }
    received
}

/// People come until told to stop, one after the other: each buys something, and takes it back once it is paid for. So
/// every stream moves. Who they were, and their orders.
async fn business(app: &App, stop: &AtomicBool) -> Vec<(Customer, String)> {
    let mut served = Vec::new();
    let reason = json!({ "reason": "changed my mind" });
    while !stop.load(Ordering::Relaxed) {
        let (customer, sku) = tokio::join!(app.customer(), app.product(1));
        let order = customer.orders(&sku, 1, "pm_card_visa").await;
        app.order_is(&order, "confirmed").await;
        let cancel = format!("/v1/orders/{order}/cancel");
        customer.shop.post(&cancel, &reason).await.must();
        served.push((customer, order));
    }
    served
}

/// Each was sent one mail of each kind, and what is known of all adds up.
async fn adds_up(app: &App, served: &[(Customer, String)]) {
    for (_, order) in served {
        app.order_is(order, "canceled").await;
        app.told(order, 3).await;
    }
    app.adds_up().await;
    for (customer, _) in served {
        let mails = app.mails(&customer.email).await;
        let subjects: BTreeSet<&String> = mails.iter().map(|(_, subject)| subject).collect();
        // The welcome, the confirmation, the cancellation, the money on its way back.
        assert_eq!((mails.len(), subjects.len()), (4, 4), "{mails:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_traffic_a_rebuild_is_the_live_view_and_takes_its_place() {
    let app = App::start(&folder("rebuild")).await;
    let (customer, sku) = (app.customer().await, app.product(9).await);
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.delivers(&order).await;
    app.told(&order, 2).await;
    let (mails, ledger) = (app.mails(&customer.email).await, app.ledger(&order).await);
    let (stop, busy) = (AtomicBool::new(false), app.product(1).await);
    let rebuild_all = async |context: &str| {
        for view in projections::views_of(context) {
            let (code, report) = rebuild(&app, view.name, &["--ci", "--switch"]).await;
            assert_eq!(code, 0, "{report}");
            assert!(report["switched"].as_u64().is_some(), "{report}");
            let rows = &report["difference"]["live_rows"];
            assert_eq!(rows, &report["difference"]["rebuilt_rows"]);
        }
    };
    let rebuilds = async {
        let contexts = stream::iter(projections::contexts());
        contexts.for_each_concurrent(AT_ONCE, rebuild_all).await;
        // What is live now is as good as what was live before.
        let (code, report) = rebuild(&app, VIEW, &["--ci", "--switch"]).await;
        assert_eq!(code, 0, "{report}");
        stop.store(true, Ordering::Relaxed);
    };
    let (received, served, ()) =
        tokio::join!(traffic(&app, &busy, &stop), business(&app, &stop), rebuilds);
    assert!(received > 10, "{received}");
    assert!(!served.is_empty());
    adds_up(&app, &served).await;
    app.stock_is(&busy, [received + 1, 0, 0]).await;
    // No mail was sent and no money moved.
    assert_eq!(app.mails(&customer.email).await, mails);
    assert_eq!(app.ledger(&order).await, ledger);
    // Indexes are called what they were called, and the roles may do what they might.
    let database = admin(&app, "order").await;
    let index = "select schemaname from pg_indexes where indexname = 'order_summary_by_user' \
                 order by schemaname";
    let schemas = database.query(index, &[]).await.unwrap();
    let schemas: Vec<String> = schemas.iter().map(|row| row.get(0)).collect();
    assert_eq!(schemas, ["previous", "public"]);
    customer.orders(&sku, 1, "pm_card_visa").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_went_wrong_is_shown_healed_and_brought_back() {
    let app = App::start(&folder("heal")).await;
    let sku = app.product(7).await;
    says(&app, &sku, 7, 0).await;
    let database = admin(&app, "inventory").await;
    let corrupt = "update stock_level set payload = replace(payload::text, \
                   '\"threshold\":0', '\"threshold\":70')::json where view_id = $1";
    assert_eq!(database.execute(corrupt, &[&sku]).await.unwrap(), 1);
    says(&app, &sku, 7, 70).await;

    let (code, report) = rebuild(&app, VIEW, &["--ci", "--switch"]).await;
    assert_eq!((code, report.get("switched")), (1, None), "{report}");
    let difference = &report["difference"];
    let counts = [
        &difference["changed"],
        &difference["added"],
        &difference["removed"],
    ];
    assert_eq!(counts, [1, 0, 0], "{report}");
    assert_eq!(difference["fields"], json!({ "threshold": 1 }));
    let example = &difference["examples"][0];
    assert_eq!(example["id"], sku.as_str());
    assert_eq!(example["live"], json!({ "threshold": 70 }));
    assert_eq!(example["rebuilt"], json!({ "threshold": 0 }));
    says(&app, &sku, 7, 70).await;

    let (code, report) = rebuild(&app, VIEW, &["--diff", "--switch"]).await;
    assert_eq!(code, 0, "{report}");
    says(&app, &sku, 7, 0).await;
    receive(&app, &sku).await;
    says(&app, &sku, 8, 0).await;

    // Back, up to date; and the projector, which has the healed row in its memory, follows the table
    // that is there.
    let (code, report) = rebuild(&app, VIEW, &["--rollback"]).await;
    assert_eq!(code, 0, "{report}");
    says(&app, &sku, 8, 70).await;
    receive(&app, &sku).await;
    says(&app, &sku, 9, 70).await;
    let (code, report) = rebuild(&app, VIEW, &["--rollback"]).await;
    assert_eq!(code, 0, "{report}");
    says(&app, &sku, 9, 0).await;
    let (code, report) = rebuild(&app, "order_summary", &["--rollback"]).await;
    assert!(
        code != 0 && report.as_str().unwrap().contains("never switched"),
        "{report}"
    );
    let (code, report) = rebuild(&app, "order_sumary", &[]).await;
    assert!(
        code != 0 && report.as_str().unwrap().contains("order_summary"),
        "{report}"
    );
}

/// One more piece.
async fn receive(app: &App, sku: &str) {
    let path = format!("/v1/inventory/{sku}/receive");
    let received = app.operator().post(&path, &json!({ "quantity": 1 })).await;
    received.must();
}

/// Waits until the stock's row says so.
async fn says(app: &App, sku: &str, on_hand: u64, threshold: u64) {
    let path = format!("/v1/inventory/{sku}");
    let what = format!("{on_hand} on hand, threshold {threshold}");
    let is = |stock: &Value| stock["on_hand"] == on_hand && stock["threshold"] == threshold;
    let operator = app.operator();
    operator.wait_for(&what, &path, PATIENCE, is).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_was_killed_goes_on_where_it_stood() {
    let app = App::start(&folder("killed")).await;
    let sku = app.product(1).await;
    let shop = app.operator();
    let path = format!("/v1/inventory/{sku}");
    for _ in 0..20 {
        let body = json!({ "quantity": 1 });
        shop.post(&format!("{path}/receive"), &body).await.must();
    }
    app.stock_is(&sku, [21, 0, 0]).await;
    let (code, _) = rebuild(&app, VIEW, &[]).await;
    assert_eq!(code, 0);
    let database = admin(&app, "inventory").await;
    // As a kill between two batches leaves it: an older row and its position, or neither.
    let half = "update rebuild.view_position set position = 0, event_id = null; \
                delete from rebuild.stock_level";
    database.batch_execute(half).await.unwrap();
    killed_in_the_middle(&app, &database).await;
    let (code, report) = unhindered(&app, &["--ci", "--switch"]).await;
    assert_eq!(code, 0, "{report}");
    assert!(report["switched"].as_u64().unwrap() >= 22, "{report}");
    app.stock_is(&sku, [21, 0, 0]).await;
    let writer = super::projections::login(&app, "inventory", Access::Writer);
    let refused = sql(&writer)
        .await
        .batch_execute("create table rebuild.x ()")
        .await;
    assert!(refused.is_err(), "the projector's own role makes no tables");
}

/// Begins to rebuild, and kills that while it writes a batch: its table is locked.
async fn killed_in_the_middle(app: &App, database: &Client) {
    database
        .batch_execute("begin; lock table rebuild.stock_level")
        .await
        .unwrap();
    let mut killed = hangs(app, &[]).await;
    // While one is at it, nobody else is.
    let (code, report) = rebuild(app, VIEW, &[]).await;
    assert!(
        code != 0 && report.as_str().unwrap().contains("somebody else"),
        "{report}"
    );
    killed.kill().await.unwrap();
    database.batch_execute("commit").await.unwrap();
}

/// Begins to rebuild, and waits until that waits for a lock.
async fn hangs(app: &App, args: &[&str]) -> tokio::process::Child {
    let mut command = tokio::process::Command::new(program());
    command.args(["rebuild", VIEW, "--data"]).arg(&app.data);
    let child = command.args(args).spawn().unwrap();
    let looking = admin(app, "inventory").await;
    let hangs = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
                 and application_name in ('millrace projector', 'millrace rebuild')";
    becomes("it waits for a lock", async || {
        let found = looking.query_one(hangs, &[]).await.unwrap();
        found.get::<_, i64>(0) > 0
    })
    .await;
    child
}

/// A stack whose view was built anew and switched, and a product in it.
async fn switched(name: &str) -> (App, String) {
    let app = App::start(&folder(name)).await;
    let sku = app.product(1).await;
    says(&app, &sku, 1, 0).await;
    let (code, report) = rebuild(&app, VIEW, &["--switch"]).await;
    assert_eq!(code, 0, "{report}");
    (app, sku)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_of_which_nothing_is_heard_lets_the_live_view_go() {
    let (app, sku) = switched("silent-switch").await;
    // The table that was live before takes this one in, but can't be moved.
    receive(&app, &sku).await;
    says(&app, &sku, 2, 0).await;
    let database = admin(&app, "inventory").await;
    database
        .batch_execute("begin; lock table previous.stock_level in access share mode")
        .await
        .unwrap();
    let mut stopped = hangs(&app, &["--rollback"]).await;
    let pid = stopped.id().unwrap().to_string();
    let mut stop = std::process::Command::new("kill");
    assert!(stop.args(["-STOP", &pid]).status().unwrap().success());
    database.batch_execute("commit").await.unwrap();

    receive(&app, &sku).await;
    says(&app, &sku, 3, 0).await;
    stopped.kill().await.unwrap();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_table_before_lacks_is_taken_in_before_the_live_view_is_held() {
    let (app, sku) = switched("far-back").await;
    for _ in 0..3 {
        receive(&app, &sku).await;
    }
    says(&app, &sku, 4, 0).await;
    let database = admin(&app, "inventory").await;
    // It lets the projector write, and nobody hold the view.
    database
        .batch_execute("begin; lock table public.stock_level in row exclusive mode")
        .await
        .unwrap();
    let (code, report) = rebuild(&app, VIEW, &["--rollback"]).await;
    assert_ne!(code, 0, "{report}");
    let both = "select live.position, before.position from public.view_position live \
                join previous.view_position before using (view) where view = $1";
    let both = database.query_one(both, &[&VIEW]).await.unwrap();
    assert_eq!(both.get::<_, i64>(0), both.get::<_, i64>(1));
    database.batch_execute("rollback").await.unwrap();
    let (code, report) = rebuild(&app, VIEW, &["--rollback"]).await;
    assert_eq!(code, 0, "{report}");
    says(&app, &sku, 4, 0).await;
    app.stop().await;
}

/// Rebuilds once Postgres has seen that a killed one is gone.
async fn unhindered(app: &App, args: &[&str]) -> (i32, Value) {
    let started = Instant::now();
    loop {
        let (code, report) = rebuild(app, VIEW, args).await;
        let busy = report
            .as_str()
            .is_some_and(|told| told.contains("somebody else"));
        if !busy {
            return (code, report);
        }
        assert!(started.elapsed() < PATIENCE);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_built_before_a_kill_is_not_built_again() {
    let app = App::start(&folder("half")).await;
    let (built, growing) = (app.product(3).await, app.product(1).await);
    says(&app, &growing, 1, 0).await;
    let (code, report) = rebuild(&app, VIEW, &[]).await;
    assert_eq!(code, 0, "{report}");
    // A mark in what is built by now: it would be gone if that began anew.
    let database = admin(&app, "inventory").await;
    let mark = "update rebuild.stock_level set payload = replace(payload::text, \
                '\"threshold\":0', '\"threshold\":70')::json where view_id = $1";
    assert_eq!(database.execute(mark, &[&built]).await.unwrap(), 1);
    for _ in 0..5 {
        receive(&app, &growing).await;
    }
    says(&app, &growing, 6, 0).await;
    killed_in_the_middle(&app, &database).await;

    let (code, report) = unhindered(&app, &["--ci"]).await;
    assert_ne!(code, 0, "{report}");
    let difference = &report["difference"];
    assert_eq!(difference["changed"], 1, "{report}");
    assert_eq!(difference["examples"][0]["id"], built.as_str());
    assert_eq!(difference["fields"], json!({ "threshold": 1 }));
    let (code, report) = unhindered(&app, &["--anew", "--ci", "--switch"]).await;
    assert_eq!(code, 0, "{report}");
    says(&app, &growing, 6, 0).await;
}

#[tokio::test]
async fn what_another_program_has_built_is_built_anew() {
    let app = App::start(&folder("other-program")).await;
    let built = app.product(3).await;
    says(&app, &built, 3, 0).await;
    let (code, report) = rebuild(&app, VIEW, &[]).await;
    assert_eq!(code, 0, "{report}");
    let database = admin(&app, "inventory").await;
    let wrong = "update rebuild.stock_level set payload = replace(payload::text, \
                 '\"on_hand\":3', '\"on_hand\":70')::json where view_id = $1";
    assert_eq!(database.execute(wrong, &[&built]).await.unwrap(), 1);
    let (code, report) = rebuild(&app, VIEW, &["--ci"]).await;
    assert_ne!(code, 0, "the same program goes on with it: {report}");
    let other = "comment on table rebuild.stock_level is 'another program'";
    database.batch_execute(other).await.unwrap();
    let (code, report) = rebuild(&app, VIEW, &["--ci", "--switch"]).await;
    assert_eq!(code, 0, "{report}");
    says(&app, &built, 3, 0).await;

    // A migration in between leaves nothing to go back to.
    let migrated = "alter table stock_level add column words text";
    database.batch_execute(migrated).await.unwrap();
    let (code, report) = rebuild(&app, VIEW, &["--rollback"]).await;
    assert_ne!(code, 0, "{report}");
    says(&app, &built, 3, 0).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_an_older_version_are_told_and_built_anew_and_an_older_projector_makes_none() {
    let app = App::start(&folder("outdated")).await;
    let sku = app.product(7).await;
    says(&app, &sku, 7, 0).await;
    let database = admin(&app, "inventory").await;
    assert_eq!(outdated(&app).await, Vec::<String>::new());
    // As a version before this one has left it.
    let older = "update view_position set revision = 0, written_by = 0 where view = 'stock_level'";
    assert_eq!(database.execute(older, &[]).await.unwrap(), 1);
    assert_eq!(outdated(&app).await, [VIEW]);
    let lag = app.operator().get("/v1/system/lag").await.unwrap();
    let views = lag.success().unwrap().body["views"].take();
    let told = views.as_array().unwrap().iter();
    let told = told.filter(|view| view["outdated"] == true);
    assert_eq!(told.map(|view| &view["view"]).collect::<Vec<_>>(), [VIEW]);
    // It goes on, and what was is still told.
    receive(&app, &sku).await;
    says(&app, &sku, 8, 0).await;
    assert_eq!(outdated(&app).await, [VIEW]);

    // Somebody else is at this one: another does not wait for it.
    let older =
        "update view_position set revision = 0, written_by = 0 where view = 'stock_movement'";
    assert_eq!(database.execute(older, &[]).await.unwrap(), 1);
    let lock = "select pg_advisory_lock($1, hashtext($2))";
    database.execute(lock, &[&LOCK_SPACE, &VIEW]).await.unwrap();
    let (code, reports) = rebuild_outdated(&app).await;
    assert_ne!(code, 0, "{reports}");
    assert_eq!(rebuilt(&reports), ["stock_movement"], "{reports}");
    assert_eq!(outdated(&app).await, [VIEW]);
    let unlock = "select pg_advisory_unlock($1, hashtext($2))";
    database
        .execute(unlock, &[&LOCK_SPACE, &VIEW])
        .await
        .unwrap();

    let (code, reports) = rebuild_outdated(&app).await;
    assert_eq!(code, 0, "{reports}");
    assert_eq!(rebuilt(&reports), [VIEW], "{reports}");
    assert_eq!(outdated(&app).await, Vec::<String>::new());
    let (code, reports) = rebuild_outdated(&app).await;
    assert_eq!((code, reports), (0, json!([])));

    // A newer version is at work: this one moves the view no more.
    let newer = "update view_position set written_by = 1000 where view = 'stock_level'";
    assert_eq!(database.execute(newer, &[]).await.unwrap(), 1);
    receive(&app, &sku).await;
    sleep(Duration::from_secs(1)).await;
    let row = "select position from view_position where view = $1";
    let position = async |view: &str| -> i64 {
        let row = database.query_one(row, &[&view]).await;
        row.unwrap().get(0)
    };
    let (before, others) = (position(VIEW).await, position("stock_movement").await);
    receive(&app, &sku).await;
    becomes("the other views of the context go on", async || {
        position("stock_movement").await > others
    })
    .await;
    assert_eq!(position(VIEW).await, before);
    // To go back to this one, its own rows take the place of the newer's.
    let (code, report) = rebuild(&app, VIEW, &["--switch"]).await;
    assert_eq!(code, 0, "{report}");
    says(&app, &sku, 10, 0).await;
}

async fn rebuild_outdated(app: &App) -> (i32, Value) {
    rebuild(app, "--outdated", &["--switch"]).await
}

/// What was rebuilt.
fn rebuilt(reports: &Value) -> Vec<&str> {
    let reports = reports.as_array().unwrap().iter();
    reports.map(|one| one["view"].as_str().unwrap()).collect()
}

/// The views that the radar tells as outdated.
async fn outdated(app: &App) -> Vec<String> {
    let stuck = app.operator().get("/v1/system/stuck").await.must().body;
    let items = stuck["items"].as_array().unwrap().iter();
    let items = items.filter(|item| item["kind"] == "outdated_view");
    let ids = items.map(|item| item["id"].as_str().unwrap().to_owned());
    ids.collect()
}
