//! The radar of stuck work: what waits for a human is there, with what may be done about it.

use std::process::Command;

use checkout::{Checkout, CheckoutFact, Item, Refunding, RefundingFact, Returning, ReturningFact};
use chrono::{DateTime, TimeDelta, Utc};
use kernel::{Decider, Money, OrderId, RefundId, ReturnId, UserId};
use millrace::client::Shop;
use projections::stuck::ITEMS_MAX;
use projections::{
    CHECKOUT_TIMELINE, NOTIFICATION_ENTRY, PAYMENT_SUMMARY, REFUND_HANDLING, RETURN_HANDLING,
    STOCK_LEVEL, Sort, WEBHOOK_ENDPOINT_ENTRY,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::app::{App, Must, PATIENCE, becomes, folder, is_separate, program, shared};
use crate::faults::webhooks::tells_of_nobody;
use crate::mails::order_fault;
use crate::parking::poison;
use crate::returns::StuckReturn;
use crate::servers::Servers;
use crate::settling::{stuck_in_refunding, stuck_in_shipping};

/// How long a hold lasts that nobody needs, in milliseconds.
const SHORT: i64 = 500;

async fn radar(app: &App) -> Value {
    look(&app.operator()).await
}

/// The radar, as an operator sees it.
pub(crate) async fn look(operator: &Shop) -> Value {
    let stuck = operator.get("/v1/system/stuck?limit=200").await.unwrap();
    stuck.success().unwrap().body
}

pub(crate) fn item<'a>(radar: &'a Value, kind: &str, id: &str) -> Option<&'a Value> {
    let items = radar["items"].as_array().unwrap();
    items.iter().find(|item| {
        let named = item["id"].as_str().unwrap();
        item["kind"] == kind && named.starts_with(id)
    })
}

/// Waits until the radar shows something.
pub(crate) async fn shows(app: &App, kind: &str, id: &str) -> Value {
    let started = Instant::now();
    loop {
        let radar = radar(app).await;
        if let Some(item) = item(&radar, kind, id) {
            return item.clone();
        }
        assert!(started.elapsed() < PATIENCE, "{kind} {id}: {radar}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// Waits until the metric tells so many of a kind: an alarm is set on it.
pub(crate) async fn counts(app: &App, kind: &str, count: u32) {
    is_counted(&app.queries(), kind, count).await;
}

/// Waits until a query API tells so many of a kind.
pub(crate) async fn is_counted(queries: &Shop, kind: &str, count: u32) {
    let known = format!("stuck_away{{kind=\"{kind}\"}} 0\n");
    let wanted = format!("stuck_items{{kind=\"{kind}\"}} {count}\n");
    becomes(&wanted, async || {
        let metrics = queries.open("/metrics", &[]).await.unwrap();
        let metrics = metrics.text().await.unwrap();
        metrics.contains(&wanted) && metrics.contains(&known)
    })
    .await;
}

/// Waits until a counter is above zero on which an alarm is set. With roles of their own each tells its part, where it
/// listens.
pub(crate) async fn rings(app: &App, counter: &str) {
    if is_separate() {
        return;
    }
    let queries = app.queries();
    becomes(&format!("{counter} rings"), async || {
        let page = queries.open("/metrics", &[]).await.unwrap();
        let page = page.text().await.unwrap();
        let mut told = page.lines().filter_map(|line| line.rsplit_once(' '));
        told.any(|(name, count)| name.starts_with(counter) && count != "0")
    })
    .await;
}

/// Sets stock aside for an order that there is none of, for a moment.
async fn sets_aside(app: &App, sku: &str) {
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints);
    let streams = admin.await.unwrap().streams(streams::Settings::default());
    let now = chrono::Utc::now();
    let reserve = inventory::InventoryCommand::ReserveStock {
        reservation: kernel::ReservationId {
            order_id: kernel::OrderId(Uuid::new_v4()),
            attempt: 1,
        },
        quantity: 2,
        expires_at: now + TimeDelta::milliseconds(SHORT),
        at: now,
    };
    let meta = streams::CommandMeta::new(Uuid::new_v4(), now, "system");
    let sku: kernel::Sku = sku.parse().unwrap();
    let id = (&sku).into();
    let reserved = streams.execute::<inventory::StockItem>(&id, reserve, &meta);
    reserved.await.unwrap();
}

/// What may be done, by name.
pub(crate) fn action<'a>(item: &'a Value, name: &str) -> &'a Value {
    let actions = item["actions"].as_array().unwrap();
    let found = actions.iter().find(|action| action["name"] == name);
    found.unwrap_or_else(|| panic!("{name}: {item}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_waits_for_a_human_is_on_one_page_with_what_may_be_done() {
    let app = App::start(&folder("stuck")).await;
    let quiet = radar(&app).await;
    assert_eq!(quiet["items"], json!([]), "{quiet}");
    let parts = quiet["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 17, "{quiet}");
    assert!(parts.iter().all(|part| part["away"].is_null()), "{quiet}");

    // A saga, a webhook about nobody, a hold whose time is over.
    let (order, sku) = stuck_in_shipping(&app).await;
    let letter = tells_of_nobody(&app).await;
    let held = app.product(5).await;
    sets_aside(&app, &held).await;
    let saga = shows(&app, "suspended_checkout", &order).await;
    let step = format!("ship_stock-{sku}");
    assert!(saga["cause"].as_str().unwrap().starts_with(&step), "{saga}");
    assert!(saga["age_s"].is_u64(), "{saga}");
    shows(&app, "orphan_webhook", &letter).await;
    counts(&app, "suspended_checkout", 1).await;
    counts(&app, "late_checkout", 0).await;
    let expired = shows(&app, "expired_hold", &held).await;
    assert!(
        expired["cause"].as_str().unwrap().starts_with("2 of"),
        "{expired}"
    );

    what_it_says_can_be_done(&app, &saga, &order).await;

    // A poisoned event: its order is parked, and the payments' view has stopped.
    poison(&app, &order).await;
    let parked = shows(&app, "parked_message", &format!("payment-reactor/{order}")).await;
    let retry = action(&parked, "retry")["command"].as_str().unwrap();
    assert_eq!(
        retry,
        format!("millrace parked retry payment-reactor {order}")
    );
    let view = shows(&app, "stalled_view", "payment_summary").await;
    assert!(
        view["cause"].as_str().unwrap().contains("stopped"),
        "{view}"
    );

    // Operators only; bounded; the command line says the same.
    let customer = app.customer().await.shop;
    let foreign = customer.get("/v1/system/stuck").await.unwrap();
    assert_eq!(foreign.status.as_u16(), 403, "{}", foreign.body);
    for bad in ["limit=0", "limit=201", "limit=x", "cursor=1"] {
        let bad = app.operator().get(&format!("/v1/system/stuck?{bad}")).await;
        assert_eq!(bad.unwrap().status.as_u16(), 400);
    }
    let told = app
        .operator()
        .get("/v1/system/stuck?limit=1")
        .await
        .unwrap()
        .body;
    let of = |kind: &str| {
        let parts = told["parts"].as_array().unwrap();
        parts
            .iter()
            .find(|part| part["kind"] == kind)
            .unwrap()
            .clone()
    };
    assert_eq!(of("parked_message")["told"], 1, "{told}");
    assert_eq!(of("parked_message")["more"], true, "{told}");
    the_command_line_says_the_same(&app, &letter, &held);

    // Nobody knows its order, and the hold goes all the same.
    does(&app, action(&expired, "expire")).await;
    goes(&app, "expired_hold", &held).await;

    // Whoever is told to stop does not take its servers for lost.
    let log = app.data.with_extension("log");
    app.stop().await;
    let said = std::fs::read_to_string(log).unwrap();
    assert!(!said.contains("connection to NATS lost"), "{said}");
}

/// One piece of each is set aside, for an order that there is none of.
async fn one_is_set_aside(
    streams: &streams::Streams,
    sku: &str,
    until: chrono::DateTime<chrono::Utc>,
) {
    use inventory::{InventoryCommand as Command, StockItem};
    let sku: kernel::Sku = sku.parse().unwrap();
    let reservation = kernel::ReservationId {
        order_id: kernel::OrderId(Uuid::new_v4()),
        attempt: 1,
    };
    for command in [
        Command::CreateStockItem {},
        Command::ReceiveStock { quantity: 1 },
        Command::ReserveStock {
            reservation,
            quantity: 1,
            expires_at: until,
            at: chrono::Utc::now(),
        },
    ] {
        let meta = streams::CommandMeta::new(Uuid::new_v4(), chrono::Utc::now(), "system");
        let id = (&sku).into();
        let done = streams.execute::<StockItem>(&id, command, &meta);
        done.await.unwrap();
    }
}

/// Much is set aside at any time, and all of it may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_is_over_is_found_behind_many_that_are_not() {
    let servers = Servers::start("many-holds").await;
    let _projector = servers
        .role(&["projector", "--contexts", "inventory"])
        .await;
    let (queries, _api) = servers.api("query-api").await;
    let streams = servers.streams().await;
    let many: Vec<_> = (0..=ITEMS_MAX).map(|n| format!("A-{n}")).collect();
    let later = chrono::Utc::now() + TimeDelta::hours(1);
    for some in many.chunks(16) {
        let holds = some
            .iter()
            .map(|sku| one_is_set_aside(&streams, sku, later));
        futures::future::join_all(holds).await;
    }
    let over = chrono::Utc::now() + TimeDelta::seconds(2);
    one_is_set_aside(&streams, "ZZZ", over).await;
    let found = queries.wait_for("the hold", "/v1/system/stuck?limit=1", PATIENCE, |radar| {
        item(radar, "expired_hold", "ZZZ").is_some()
    });
    found.await.unwrap();
}

/// What has become of an order until `at`, in each status in which its checkout has something to do.
fn at_work(order_id: OrderId, at: DateTime<Utc>) -> [(&'static str, Vec<CheckoutFact>); 4] {
    let sku: kernel::Sku = "MUG".parse().unwrap();
    let (amount, attempt) = (Money::new(1_299, "EUR".parse().unwrap()), 1);
    let placed = CheckoutFact::OrderPlaced {
        order_id,
        user_id: UserId(Uuid::new_v4()),
        items: vec![Item {
            sku: sku.clone(),
            quantity: 1,
        }],
        total: amount,
        payment_method: "pm_card_visa".parse().unwrap(),
        started_at: at,
        reserved_until: at + TimeDelta::minutes(30),
        deadline: at + TimeDelta::minutes(15),
    };
    let released = CheckoutFact::ReservationReleased {
        sku: sku.clone(),
        attempt,
    };
    let over = CheckoutFact::DeadlineReached {
        at: at + TimeDelta::minutes(15),
    };
    let mut shipped = vec![
        CheckoutFact::StockReserved {
            sku: sku.clone(),
            attempt,
        },
        CheckoutFact::PaymentAuthorized {},
        CheckoutFact::ReservationCommitted { sku, attempt },
        CheckoutFact::PaymentCaptured { amount },
        CheckoutFact::OrderConfirmed {},
        CheckoutFact::OrderShipped {
            tracking: "1Z999".parse().unwrap(),
        },
    ];
    shipped.insert(0, placed.clone());
    [
        ("running", vec![placed.clone()]),
        ("undoing", vec![placed.clone(), over.clone()]),
        ("undone", vec![placed, over, released]),
        ("shipping", shipped),
    ]
}

/// Whether or not somebody runs the sagas.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_of_which_nothing_was_heard_for_long_is_on_the_radar() {
    let servers = Servers::start("late-sagas").await;
    let _projector = servers.role(&["projector", "--contexts", "checkout"]).await;
    let (queries, _query_api) = servers.api("query-api").await;
    let streams = servers.connect("saga").await;
    let streams = streams.streams(streams::Settings::default());
    let (long_ago, now) = (Utc::now() - TimeDelta::hours(1), Utc::now());
    let mut statuses = Vec::new();
    for (heard, late) in [(long_ago, true), (now, false)] {
        for at in 0..at_work(OrderId(Uuid::nil()), heard).len() {
            let order_id = OrderId(Uuid::new_v4());
            let (status, facts) = at_work(order_id, heard).into_iter().nth(at).unwrap();
            for fact in facts {
                hears::<Checkout>(&streams, order_id, (fact, heard)).await;
            }
            if late {
                statuses.push((order_id.to_string(), status));
            }
        }
    }
    let (order_id, amount) = (
        OrderId(Uuid::new_v4()),
        Money::new(1_299, "EUR".parse().unwrap()),
    );
    let (return_id, refund_id) = (ReturnId(Uuid::new_v4()), RefundId(Uuid::new_v4()));
    let user_id = UserId(Uuid::new_v4());
    let received = ReturningFact::ReturnReceived {
        return_id,
        order_id,
        items: vec![Item {
            sku: "MUG".parse().unwrap(),
            quantity: 1,
        }],
        amount,
        user_id: Some(user_id),
        received_at: long_ago,
    };
    hears::<Returning>(&streams, return_id, (received, long_ago)).await;
    let refunded = RefundingFact::PaymentRefunded {
        refund_id,
        order_id,
        user_id,
        amount,
        refunded_at: long_ago,
    };
    hears::<Refunding>(&streams, refund_id, (refunded, long_ago)).await;
    for (kind, count) in [("late_checkout", 4), ("late_return", 1), ("late_refund", 1)] {
        is_counted(&queries, kind, count).await;
    }
    let radar = look(&queries).await;
    for (order, status) in statuses {
        let late = item(&radar, "late_checkout", &order).unwrap();
        let cause = late["cause"].as_str().unwrap();
        assert!(cause.contains(&format!("it is {status},")), "{late}");
        let actions = late["actions"].as_array().unwrap();
        assert_eq!(!actions.is_empty(), status == "running", "{late}");
    }
    assert!(item(&radar, "late_return", &return_id.to_string()).is_some());
    assert!(item(&radar, "late_refund", &refund_id.to_string()).is_some());
}

/// A saga takes a fact in, at that time.
async fn hears<S: Decider>(
    streams: &streams::Streams,
    id: impl Into<kernel::AggregateId>,
    (fact, at): (S::Command, DateTime<Utc>),
) {
    let meta = streams::CommandMeta::new(Uuid::new_v4(), at, "saga:test");
    let heard = streams.execute::<S>(&id.into(), fact, &meta).await;
    assert_eq!(heard.unwrap().outcome, streams::Outcome::Appended);
}

/// Whoever looks for a few of a status among a million rows goes to these alone.
#[tokio::test]
async fn the_radar_finds_its_rows_by_an_index() {
    let servers = Servers::postgres_only("radar-plans").await;
    for (view, column, value) in [
        (&CHECKOUT_TIMELINE, "status", "running"),
        (&RETURN_HANDLING, "status", "suspended"),
        (&REFUND_HANDLING, "status", "suspended"),
        (&NOTIFICATION_ENTRY, "status", "requested"),
        (&PAYMENT_SUMMARY, "status", "requested"),
        (&PAYMENT_SUMMARY, "mismatched", "true"),
        (&PAYMENT_SUMMARY, "due", "true"),
        (&WEBHOOK_ENDPOINT_ENTRY, "in_trouble", "true"),
        (&STOCK_LEVEL, "held", "true"),
    ] {
        let table = view.name;
        let (sort, before) = match view.sort {
            Sort::Id => ("view_id", String::new()),
            Sort::Latest(sort) => (sort, format!("and {sort} < '2026'")),
        };
        let sql = servers.sql(&format!("millrace_{}", view.context)).await;
        let fill = format!(
            "delete from {table}; insert into {table} (view_id, version, payload) select n, 1, \
             json_build_object('status', 'over', '{sort}', '2025-' || n) from generate_series(1, 2000) n; \
             analyze {table}; set enable_seqscan = off"
        );
        sql.batch_execute(&fill).await.unwrap();
        let explain = format!(
            "explain select view_id from {table} where {column} = '{value}' {before} \
             order by {sort}, view_id limit 201"
        );
        let plan = sql.query(&explain, &[]).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|line| line.get(0)).collect();
        let plan = plan.join("\n");
        let by_index = plan.contains("Index") && !plan.contains("Filter:");
        assert!(by_index, "{table} by {column}:\n{plan}");
    }
}

/// As it stands there, but for the reason.
async fn what_it_says_can_be_done(app: &App, saga: &Value, order: &str) {
    does(app, action(saga, "skip")).await;
    for events in saga["events"].as_array().unwrap() {
        app.operator().get(events.as_str().unwrap()).await.must();
    }
    goes(app, "suspended_checkout", order).await;
}

#[tokio::test]
async fn returns_refunds_and_mails_are_there_too() {
    let app = shared().await;
    let back = StuckReturn::new(app).await;
    let stuck = shows(app, "suspended_return", &back.back).await;
    let step = format!("restock_return-{}", back.sku);
    assert!(stuck["cause"].as_str().unwrap().starts_with(&step));
    assert_eq!(action(&stuck, "skip")["body"]["step"], json!(step));

    let refund = stuck_in_refunding(app).await;
    let stuck = shows(app, "suspended_refund", &refund).await;
    assert!(
        stuck["cause"]
            .as_str()
            .unwrap()
            .contains("lost_or_stolen_card")
    );
    assert_eq!(action(&stuck, "skip")["body"]["step"], "record_refund");

    let (customer, sku) = (app.customer().await, app.product(1).await);
    let refused = json!({
        "stage": "data", "effect": "reject_5xx", "times": 1, "recipient": customer.email,
    });
    order_fault(app, &refused).await;
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    let path = format!("/v1/notifications?order_id={order}&status=failed");
    let operator = app.operator();
    let failed = operator.wait_for("a failed mail", &path, PATIENCE, |list| {
        list["items"][0]["id"].is_string()
    });
    let mail = failed.await.unwrap().text("/items/0/id").to_owned();
    let stuck = shows(app, "unsent_mail", &mail).await;
    assert!(
        stuck["cause"]
            .as_str()
            .unwrap()
            .contains("will never be taken")
    );
    a_failed_mail_is_tried_again_or_left(app, &stuck, &refused).await;
}

/// Asks for a mail as if that had been long ago, which the mail server puts off again and again.
async fn late_mail(app: &App) -> String {
    let customer = app.customer().await;
    let put_off = json!({ "stage": "data", "effect": "reject_4xx", "recipient": customer.email });
    order_fault(app, &put_off).await;
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints);
    let streams = admin.await.unwrap().streams(streams::Settings::default());
    let request = notification::NotificationCommand::RequestNotification {
        user_id: customer.id.parse().map(kernel::UserId).unwrap(),
        template: notification::Template::Welcome,
        channel: notification::Channel::Email,
        details: notification::Details::default(),
    };
    let long_ago = chrono::Utc::now() - TimeDelta::hours(1);
    let meta = streams::CommandMeta::new(Uuid::new_v4(), long_ago, "system");
    let id = kernel::AggregateId::from(kernel::NotificationId(Uuid::new_v4()));
    let asked = streams.execute::<notification::Notification>(&id, request, &meta);
    asked.await.unwrap();
    id.as_str().to_owned()
}

#[tokio::test]
async fn a_mail_that_is_not_taken_may_be_left_at_that() {
    let app = shared().await;
    let mail = late_mail(app).await;
    let stuck = shows(app, "unsent_mail", &mail).await;
    assert!(stuck["cause"].as_str().unwrap().contains("not been taken"));
    does(app, action(&stuck, "dismiss")).await;
    goes(app, "unsent_mail", &mail).await;
}

/// Refused for good once more after another try, the mail is left at that; the next is taken.
async fn a_failed_mail_is_tried_again_or_left(app: &App, stuck: &Value, refused: &Value) {
    let mail = stuck["id"].as_str().unwrap();
    order_fault(app, refused).await;
    does(app, action(stuck, "resend")).await;
    let row = format!("/v1/notifications/{mail}");
    let operator = app.operator();
    let failed_again = operator.wait_for("it failed", &row, PATIENCE, |row| {
        row["status"] == "failed" && row["resent_at"].is_string()
    });
    failed_again.await.unwrap();
    let stuck = shows(app, "unsent_mail", mail).await;
    does(app, action(&stuck, "dismiss")).await;
    goes(app, "unsent_mail", mail).await;
    let left = app.operator().get(&row).await.must();
    assert_eq!(left.body["status"], "dismissed", "{}", left.body);
    // Somebody thinks better of it, and this time it is taken, as the mail that it was.
    let again = format!("{row}/resend");
    app.operator().post(&again, &json!({})).await.must();
    let sent = operator.wait_for("it was sent", &row, PATIENCE, |row| row["status"] == "sent");
    let message_id = sent.await.unwrap().text("/message_id").to_owned();
    assert!(message_id.contains(mail), "{message_id}");
    let received = reqwest::get(format!("{}/messages", app.endpoints.mail)).await;
    let received: Vec<Value> = received.unwrap().json().await.unwrap();
    let same = received
        .iter()
        .filter(|got| got["message_id"] == message_id.trim_matches(['<', '>']));
    assert_eq!(same.count(), 1, "{message_id}");
    goes(app, "unsent_mail", mail).await;
}

/// Carries out what the radar offers, with a reason where it wants one.
pub(crate) async fn does(app: &App, action: &Value) {
    let (path, body) = request(action);
    app.operator().post(&path, &body).await.must();
}

/// The path and the body of what the radar offers.
pub(crate) fn request(action: &Value) -> (String, Value) {
    let call = action["call"].as_str().unwrap();
    let mut body = action["body"].clone();
    if body["reason"].is_string() {
        body["reason"] = json!("seen to by hand");
    }
    (call.strip_prefix("POST ").unwrap().to_owned(), body)
}

/// Waits until the radar shows it no more.
pub(crate) async fn goes(app: &App, kind: &str, id: &str) {
    becomes("it is off the radar", async || {
        item(&radar(app).await, kind, id).is_none()
    })
    .await;
}

fn the_command_line_says_the_same(app: &App, letter: &str, held: &str) {
    let printed = Command::new(program())
        .args(["stuck", "--json", "--data"])
        .arg(&app.data)
        .output()
        .unwrap();
    assert_eq!(printed.status.code(), Some(1), "something is stuck");
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert!(
        item(&printed, "orphan_webhook", letter).is_some(),
        "{printed}"
    );
    assert!(item(&printed, "expired_hold", held).is_some(), "{printed}");
    // Nor does it ask for what a person may not see.
    let log = std::fs::read_to_string(app.data.join("logs/nats.log")).unwrap();
    let denied = |line: &&str| line.contains("Violation") && line.contains("SNAPSHOTS");
    let denied: Vec<_> = log.lines().filter(denied).collect();
    assert!(denied.is_empty(), "{denied:?}");
}
