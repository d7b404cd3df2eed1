//! One history, projected again and again: at once, every event twice, with a crash between any two
//! statements, by three at the same time. The rows are those of the projector that was there when it
//! happened.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use checkout::stepwise::{Stepwise, StepwiseFact, Table};
use futures::future::join_all;
use futures::{StreamExt, stream};
use kernel::OrderId;
use millrace::client::Shop;
use projections::projector::{Settings, Stepped};
use projections::{Access, Projector, ViewSpec};
use serde_json::{Value, json};
use streams::Connection;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;
use uuid::Uuid;

use super::{Rows, login};
use crate::app::{App, Customer, Must, PATIENCE, folder};
use crate::arrival::gift::Gift;
use crate::servers::{Servers, sql};

/// Between two looks at a position.
const LOOK: Duration = Duration::from_millis(10);

/// The contexts whose projectors are made to crash: those with most events an order.
const CRASHING: [&str; 2] = ["order", "checkout"];

/// How many views three projectors each race on at the same time.
const VIEWS_AT_ONCE: usize = 4;

static HISTORY: OnceCell<History> = OnceCell::const_new();

/// A shop in which everything has happened that will, and databases to project it into again.
struct History {
    app: App,
    again: Servers,
}

impl History {
    async fn get() -> &'static Self {
        HISTORY.get_or_init(Self::make).await
    }

    async fn make() -> Self {
        let (app, again) = tokio::join!(
            async {
                let app = App::start(&folder("history")).await;
                happen(&app).await;
                app
            },
            Servers::postgres_only("again")
        );
        Self { app, again }
    }

    /// An empty database like that of the view's context, for this test and view alone.
    async fn twin(&self, test: &str, view: &'static ViewSpec) -> Twin<'_> {
        let (admin, context) = (self.again.sql("postgres").await, view.context);
        let database = format!("{test}_{}", view.name);
        let create = format!("create database {database} template millrace_{context}");
        admin.batch_execute(&create).await.unwrap();
        let log = millrace::up::connection(&self.app.data, &self.app.endpoints, "projector");
        Twin {
            history: self,
            view,
            log: log.await.unwrap(),
            client: self.again.sql(&database).await,
            live: sql(&login(&self.app, context, Access::Reader)).await,
            database,
        }
    }
}

/// Mails of all of the below at least, with the one that welcomes the customer.
const MAILS: usize = 10;

/// Something in every view, and orders of every kind, until nothing is on its way any more.
async fn happen(app: &App) {
    let (customer, sku) = (app.customer().await, app.product(20).await);
    let (nothing, operator) = (app.product(0).await, app.operator());
    let mug = json!({
        "sku": "mug", "title": "Mug", "description": "Holds tea.", "category": "Mugs",
        "price": { "amount": 500, "currency": "EUR" },
    });
    operator.import("mugs", mug.to_string()).await.must();
    let nobody = json!({ "email": "nobody@example.com", "reason": "complained" });
    operator.post("/v1/suppressions", &nobody).await.must();
    is_told_in_vain(&operator).await;
    let declined = "pm_card_chargeDeclined";
    let (paid, refused, sold_out, canceled, shipped) = tokio::join!(
        customer.orders(&sku, 2, "pm_card_visa"),
        customer.orders(&sku, 1, declined),
        customer.orders(&nothing, 1, "pm_card_visa"),
        customer.orders(&sku, 3, "pm_card_visa"),
        customer.orders(&sku, 1, "pm_card_visa"),
    );
    app.order_is(&canceled, "confirmed").await;
    let (path, why) = (format!("/v1/orders/{canceled}/cancel"), "changed my mind");
    let done = customer.shop.post(&path, &json!({ "reason": why })).await;
    done.must();
    app.order_is(&shipped, "confirmed").await;
    let path = format!("/v1/orders/{shipped}/ship");
    let done = operator.post(&path, &json!({ "tracking": "1Z 999" })).await;
    done.must();
    for (order, status) in [
        (&paid, "completed"),
        (&refused, "ended"),
        (&sold_out, "ended"),
        (&canceled, "ended"),
        (&shipped, "ended"),
    ] {
        let path = format!("/v1/checkouts/{order}");
        let is = |checkout: &Value| checkout["status"] == status;
        let ended = operator.wait_for(status, &path, PATIENCE, is).await;
        ended.unwrap();
    }
    comes_back(app, &customer, &shipped, &sku).await;
    gives_a_gift(app, &paid).await;
    let sent = |list: &Value| {
        let items = list["items"].as_array().unwrap();
        let sent = items.iter().filter(|item| item["status"] == "sent").count();
        sent >= MAILS && sent == items.len()
    };
    let mails = operator.wait_for("mails", "/v1/notifications?limit=100", PATIENCE, sent);
    mails.await.unwrap();
    let up_to_date = |ready: &Value| {
        let views = ready["views"].as_array().unwrap();
        views.iter().all(|view| view["behind"] == 0)
    };
    let readable = app
        .queries()
        .wait_for("views", "/readyz", PATIENCE, up_to_date)
        .await;
    readable.unwrap();
}

/// The saga of a table that this build does not run: begun, and off again.
async fn gives_a_gift(app: &App, order: &str) {
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints);
    let streams = admin.await.unwrap().streams(streams::Settings::default());
    let order_id: OrderId = order.parse().unwrap();
    let id = order_id.into();
    let gift = serde_json::to_value(Gift::example()).unwrap();
    for (fact, begins) in [("order_placed", Some(gift)), ("order_canceled", None)] {
        let at = chrono::Utc::now();
        let heard = StepwiseFact::Heard {
            order_id,
            fact: fact.to_owned(),
            begins,
            at,
        };
        let meta = streams::CommandMeta::new(Uuid::new_v4(), at, "system");
        let told = streams.execute::<Stepwise<Gift>>(&id, heard, &meta);
        told.await.unwrap();
    }
}

/// An endpoint that is nowhere, and a delivery to it that was given up: nothing more happens to them.
async fn is_told_in_vain(operator: &Shop) {
    let endpoint = json!({
        "url": "https://hooks.millrace.invalid/", "event_types": ["product.*"],
    });
    let path = "/v1/webhook-endpoints";
    let made = operator.post(path, &endpoint).await.unwrap();
    let path = format!("{path}/{}", made.success().unwrap().text("/id"));
    let test = operator.post(&format!("{path}/test"), &json!({})).await;
    test.must();
    let why = json!({ "reason": "it is nowhere" });
    operator.post(&format!("{path}/disable"), &why).await.must();
    let over = |list: &Value| {
        let items = list["items"].as_array().unwrap();
        items.len() == 1 && items[0]["status"] != "pending"
    };
    let path = format!("{path}/deliveries");
    let over = operator.wait_for("the end of a delivery", &path, PATIENCE, over);
    over.await.unwrap();
}

/// Goods of an order come back, and their money goes back.
async fn comes_back(app: &App, customer: &Customer, order: &str, sku: &str) {
    let operator = app.operator();
    let done = async |shop: &Shop, act: String, body: Value| {
        let path = format!("/v1/orders/{order}/{act}");
        shop.post(&path, &body).await.must().body
    };
    done(&operator, "deliver".into(), json!({})).await;
    let lines = json!([{ "sku": sku, "quantity": 1 }]);
    let asked = json!({ "lines": lines, "reason": "too blue" });
    let asked = done(&customer.shop, "returns".into(), asked).await;
    let id = asked["id"].as_str().unwrap();
    done(&operator, format!("returns/{id}/approve"), json!({})).await;
    done(&operator, format!("returns/{id}/receive"), json!({})).await;
    for kind in ["returns", "refunds"] {
        let path = format!("/v1/checkouts/{kind}?order_id={order}");
        let ended = |list: &Value| {
            let items = list["items"].as_array().unwrap();
            items.first().is_some_and(|saga| saga["status"] == "ended")
        };
        operator
            .wait_for(kind, &path, PATIENCE, ended)
            .await
            .unwrap();
    }
}

/// One context's database once more, empty at first.
struct Twin<'a> {
    history: &'a History,
    view: &'static ViewSpec,
    database: String,
    /// As the projector's user. It lives as long as the test, unlike the history.
    log: Connection,
    client: Client,
    /// The same view as the shop's own projector keeps it.
    live: Client,
}

impl Twin<'_> {
    fn projector(&self, batch_max: usize) -> Projector {
        let settings = Settings {
            batch_max,
            linger: Duration::ZERO,
            ..Settings::default()
        };
        let context = self.view.context;
        let writer = self.history.again.login(context, Access::Writer);
        let writer = writer.to_database(&self.database);
        Projector::new(context, self.log.clone(), writer, settings).unwrap()
    }

    async fn position(&self) -> u64 {
        Rows::read(&self.client, self.view).await.position
    }

    /// How far the shop's own projector has come.
    async fn end(&self) -> u64 {
        Rows::read(&self.live, self.view).await.position
    }

    /// Waits until this database has come as far as the shop's own.
    async fn catch_up(&self) {
        let started = Instant::now();
        while self.position().await < self.end().await {
            assert!(started.elapsed() < PATIENCE, "{} waits", self.database);
            sleep(LOOK).await;
        }
    }

    /// Projects until the end, then stops.
    async fn project(&self) {
        let stop = tokio_util::sync::CancellationToken::new();
        let running = tokio::spawn(self.projector(500).run(stop.clone()));
        self.catch_up().await;
        stop.cancel();
        running.await.unwrap().unwrap();
    }

    /// Row by row, and where both stand.
    async fn is_like_the_live_one(&self) {
        let (twin, live) = (
            Rows::read(&self.client, self.view).await,
            Rows::read(&self.live, self.view).await,
        );
        assert!(!live.rows.is_empty(), "{:?} has no rows", self.view);
        assert_eq!(twin, live, "{:?}", self.view);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_gives_the_same_rows_and_so_does_every_event_twice() {
    let history = History::get().await;
    join_all(projections::VIEWS.map(|view| async move {
        let twin = history.twin("rebuild", view).await;
        twin.project().await;
        twin.is_like_the_live_one().await;
        // Back to the beginning, with all rows in place: each event comes a second time.
        let back = "update view_position set position = 0, event_id = null";
        twin.client.batch_execute(back).await.unwrap();
        twin.project().await;
        twin.is_like_the_live_one().await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_any_two_statements_gives_the_same_rows() {
    let history = History::get().await;
    let crashing = |view: &&ViewSpec| CRASHING.contains(&view.context);
    let views = projections::VIEWS.into_iter().filter(crashing);
    join_all(views.map(|view| async move {
        let twin = history.twin("crash", view).await;
        let end = twin.end().await;
        let mut crashes = 0;
        while twin.position().await < end {
            crashes += 1;
            let dead = crash_after(crashes, &twin, end);
            timeout(PATIENCE, dead).await.unwrap();
        }
        // Far more than the polls that connecting takes: crashes fell between commits too.
        assert!(crashes > 20, "{view:?} took {crashes} projectors");
        twin.is_like_the_live_one().await;
    }))
    .await;
}

/// A projector that is polled so often and then dropped where it is, one event at a time.
async fn crash_after(polls: usize, twin: &Twin<'_>, end: u64) {
    let (mut left, mut projector) = (polls, twin.projector(1));
    while at_most(&mut left, projector.step()).await.is_some() {
        if twin.position().await == end {
            return;
        }
    }
}

/// Polls `future` until it is ready or `left` polls are used up; then it is dropped.
async fn at_most(
    left: &mut usize,
    future: impl Future<Output = Result<Stepped, projections::projector::ProjectorError>>,
) -> Option<Stepped> {
    let mut future = Box::pin(future);
    std::future::poll_fn(|context| {
        if *left == 0 {
            return Poll::Ready(None);
        }
        *left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(stepped) => Poll::Ready(Some(stepped.unwrap())),
            Poll::Pending if *left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_projectors_at_once_give_the_same_rows() {
    let history = History::get().await;
    let stood_by = AtomicUsize::new(0);
    // Three for every view at once would be too many for two cores.
    let few = stream::iter(projections::VIEWS);
    few.for_each_concurrent(VIEWS_AT_ONCE, async |view| {
        let twin = history.twin("three", view).await;
        let at_work = join_all((0..3).map(|_| compete(&twin, &stood_by)));
        tokio::select! {
            _ = at_work => panic!("a projector has ended"),
            () = twin.catch_up() => {}
        }
        twin.is_like_the_live_one().await;
    })
    .await;
    assert!(stood_by.into_inner() > 0, "they never met");
}

/// Projects one event at a time, and begins anew at once when another one was faster.
async fn compete(twin: &Twin<'_>, stood_by: &AtomicUsize) {
    let mut projector = twin.projector(1);
    loop {
        if projector.step().await.unwrap().standing_by {
            stood_by.fetch_add(1, Ordering::Relaxed);
        }
    }
}
