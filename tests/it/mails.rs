//! Mails and the addresses that they go to: what each says, what comes back, who is not written to
//! any more, and a mail server that is away for long.
//!
//! The tests share a stack of their own, whose mailer tries again every few milliseconds instead of
//! every minute. Faults are ordered for one address, so they strike nobody else; the outage, which
//! strikes all, is ordered alone.

use async_nats::jetstream::consumer::pull;
use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, stream};
use kernel::{AggregateId, Money, NotificationId, OrderId, UserId};
use millrace::client::Shop;
use millrace::settings::Source;
use notification::{Channel, Details, Notification, NotificationCommand, Template};
use serde_json::{Value, json};
use streams::CommandMeta;
use tokio::sync::{OnceCell, RwLock};
use uuid::Uuid;

use crate::app::{App, Customer, Must, PASSWORD, PATIENCE, becomes, folder};
use crate::stuck::rings;

/// As many failed tries as an hour brings when they come as fast as they can: in the first minutes
/// the pauses double, then each is half a minute at least.
const TRIES_OF_AN_HOUR: u64 = 130;

/// More strikes than any test waits for.
const MANY: u64 = 100_000;

static STACK: OnceCell<App> = OnceCell::const_new();

/// Held shared by tests whose faults strike their own address, alone by the one of the outage.
static ALONE: RwLock<()> = RwLock::const_new(());

async fn stack() -> &'static App {
    let start = async || {
        let args = ["--mail-timeout-ms", "1000", "--mail-pause-max-ms", "20"];
        App::start_with(&folder("mails"), &args).await
    };
    STACK.get_or_init(start).await
}

/// Somebody who gets mails.
struct Recipient {
    app: &'static App,
    customer: Customer,
}

impl Recipient {
    /// A customer called `name`, whose welcome mail has arrived.
    async fn called(app: &'static App, name: &str) -> Self {
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        let id = app.shop().register(&email, name, PASSWORD).await.unwrap();
        let shop = app.shop().sign_in(&email, PASSWORD).await.unwrap();
        let customer = Customer { id, email, shop };
        let recipient = Self { app, customer };
        recipient.gets("Welcome to the shop").await;
        recipient
    }

    /// Every mail to this address, also those that came twice.
    async fn mails(&self) -> Vec<Value> {
        let (sink, to) = (&self.app.endpoints.mail, &self.customer.email);
        let mails = reqwest::get(format!("{sink}/messages?to={to}")).await;
        mails.unwrap().json().await.unwrap()
    }

    /// Waits for a mail with this subject.
    async fn gets(&self, subject: &str) -> Value {
        let started = tokio::time::Instant::now();
        loop {
            let mails = self.mails().await;
            if let Some(mail) = mails.iter().find(|mail| mail["subject"] == subject) {
                return mail.clone();
            }
            assert!(started.elapsed() < PATIENCE, "{subject}: {mails:?}");
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
    }

    /// Buys something, and waits until the order is `status`.
    async fn buys(&self, method: &str, status: &str) -> String {
        let sku = self.app.product(5).await;
        let order = self.customer.orders(&sku, 1, method).await;
        self.app.order_is(&order, status).await;
        order
    }

    /// Waits until the order's only notification is `status`.
    async fn notified(&self, order: &str, status: &str) -> Value {
        let path = format!("/v1/notifications?order_id={order}");
        let known = |list: &Value| list["items"][0]["status"] == status;
        let operator = self.app.operator();
        let told = operator.wait_for(status, &path, PATIENCE, known).await;
        told.unwrap().body["items"][0].clone()
    }

    /// Orders a fault of the mail server for this address.
    async fn fault(&self, mut fault: Value) {
        fault["recipient"] = json!(self.customer.email);
        order_fault(self.app, &fault).await;
    }

    /// The suppression of this address, once it is `status`.
    async fn suppression(&self, status: &str) -> Value {
        let operator = self.app.operator();
        let id = self.address_id(&operator).await;
        let path = format!("/v1/suppressions/{id}");
        let known = |entry: &Value| entry["status"] == status;
        let entry = operator.wait_for(status, &path, PATIENCE, known).await;
        entry.unwrap().body
    }

    /// The keyed hash of the address: the same by which the user context knows it.
    async fn address_id(&self, operator: &Shop) -> String {
        let path = format!("/v1/users/{}/events", self.customer.id);
        let events = operator.get(&path).await.must();
        events.text("/items/0/data/email_claim").to_owned()
    }

    async fn lift(&self) {
        let body = json!({ "email": self.customer.email });
        let operator = self.app.operator();
        operator.post("/v1/suppressions/remove", &body).await.must();
    }
}

pub(crate) async fn order_fault(app: &App, fault: &Value) {
    let url = format!("{}/faults", app.endpoints.mail);
    let taken = reqwest::Client::new().post(url).json(fault).send().await;
    assert!(taken.unwrap().status().is_success(), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_that_is_not_there_is_not_written_to_again_until_somebody_says_so() {
    let (app, _shared) = (stack().await, ALONE.read().await);
    let person = Recipient::called(app, "Grace Hopper").await;
    let fault = json!({ "stage": "rcpt_to", "effect": "reject_5xx", "times": 1 });
    person.fault(fault).await;
    let order = person.buys("pm_card_visa", "confirmed").await;
    let bounced = person.notified(&order, "bounced").await;
    let reason = bounced["reason"].as_str().unwrap();
    assert!(reason.contains("5.1.1"), "{bounced}");
    let entry = person.suppression("suppressed").await;
    let reason = entry["reason"].as_str().unwrap();
    assert!(reason.starts_with("bounced: "), "{entry}");
    assert!(
        !entry.to_string().contains(&person.customer.email),
        "{entry}"
    );

    let order = person.buys("pm_card_visa", "confirmed").await;
    let given_up = person.notified(&order, "suppressed").await;
    assert_eq!(given_up["reason"], entry["reason"]);
    assert_eq!(person.mails().await.len(), 1, "only the welcome");

    person.lift().await;
    person.suppression("lifted").await;
    let order = person.buys("pm_card_visa", "confirmed").await;
    person.notified(&order, "sent").await;
    person.gets("Your order is confirmed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_an_operator_reports_as_bounced_suppresses_where_it_went() {
    let (app, _shared) = (stack().await, ALONE.read().await);
    let person = Recipient::called(app, "Grace Hopper").await;
    let order = person.buys("pm_card_visa", "confirmed").await;
    let sent = person.notified(&order, "sent").await;
    let path = format!("/v1/notifications/{}/bounce", sent["id"].as_str().unwrap());
    let report = json!({ "reason": "delivery report: mailbox closed" });
    let refused = person.customer.shop.post(&path, &report).await.unwrap();
    assert_eq!(refused.status.as_u16(), 403, "{}", refused.body);
    let taken = app.operator().post(&path, &report).await.must();
    let again = app.operator().post(&path, &report).await.unwrap();
    assert_eq!(again.header("etag"), taken.header("etag"), "once");
    let bounced = person.notified(&order, "bounced").await;
    assert_eq!(bounced["message_id"], sent["message_id"]);
    let entry = person.suppression("suppressed").await;
    assert_eq!(entry["reason"], "bounced: delivery report: mailbox closed");

    // Lifted, and the old bounce is no new reason.
    person.lift().await;
    let order = person.buys("pm_card_visa", "confirmed").await;
    person.notified(&order, "sent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_suppresses_an_address_however_it_is_written() {
    let (app, _shared) = (stack().await, ALONE.read().await);
    let person = Recipient::called(app, "Grace Hopper").await;
    let body = json!({
        "email": format!(" {} ", person.customer.email.to_uppercase()),
        "reason": "complained about spam",
    });
    let refused = person.customer.shop.post("/v1/suppressions", &body).await;
    assert_eq!(refused.unwrap().status.as_u16(), 403);
    let refused = person.customer.shop.get("/v1/suppressions").await;
    assert_eq!(refused.unwrap().status.as_u16(), 403);
    let done = app.operator().post("/v1/suppressions", &body).await;
    let done = done.unwrap();
    assert_eq!(done.status.as_u16(), 201, "{}", done.body);
    let token = done.header("consistency-token").unwrap();
    let path = done.header("location").unwrap();
    let entry = app.operator().get_after(path, token).await.unwrap().body;
    assert_eq!(entry["reason"], "complained about spam", "{entry}");
    let order = person.buys("pm_card_visa", "confirmed").await;
    let given_up = person.notified(&order, "suppressed").await;
    assert_eq!(given_up["reason"], "complained about spam");
    let late = format!(
        "/v1/notifications/{}/bounce",
        given_up["id"].as_str().unwrap()
    );
    let late = app.operator().post(&late, &json!({ "reason": "x" })).await;
    let late = late.unwrap();
    assert_eq!(late.status.as_u16(), 409, "{}", late.body);
    assert_eq!(late.body["code"], "notification_not_sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_message_says_nothing_about_its_mailbox() {
    let (app, _shared) = (stack().await, ALONE.read().await);
    let person = Recipient::called(app, "Grace Hopper").await;
    let fault = json!({ "stage": "data", "effect": "reject_5xx", "times": 1 });
    person.fault(fault).await;
    let order = person.buys("pm_card_visa", "confirmed").await;
    person.notified(&order, "failed").await;
    let order = person.buys("pm_card_visa", "confirmed").await;
    person.notified(&order, "sent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_hour_without_mail_server_everybody_is_told_once() {
    let (app, _alone) = (stack().await, ALONE.write().await);
    let mut people = Vec::new();
    for _ in 0..3 {
        people.push(Recipient::called(app, "Grace Hopper").await);
    }
    // Whoever is connected is cut off, whoever is not gets no greeting.
    for stage in ["mail_from", "connect"] {
        let down = json!({ "stage": stage, "effect": "drop", "times": MANY });
        order_fault(app, &down).await;
    }
    let mut orders = Vec::new();
    for person in &people {
        orders.push(person.buys("pm_card_visa", "confirmed").await);
    }
    failed_tries(app, TRIES_OF_AN_HOUR * people.len() as u64).await;
    for (person, order) in people.iter().zip(&orders) {
        person.notified(order, "requested").await;
        assert_eq!(person.mails().await.len(), 1, "only the welcome");
    }
    let faults = format!("{}/faults", app.endpoints.mail);
    let healed = reqwest::Client::new().delete(faults).send().await;
    assert!(healed.unwrap().status().is_success());
    for (person, order) in people.iter().zip(&orders) {
        let sent = person.notified(order, "sent").await;
        let mail = person.gets("Your order is confirmed").await;
        let message_id = format!("<{}>", mail["message_id"].as_str().unwrap());
        assert_eq!(sent["message_id"], message_id);
        assert_eq!(person.mails().await.len(), 2, "the welcome and this one");
    }
}

/// Waits until the mail server has turned away so many tries since its faults were ordered.
async fn failed_tries(app: &App, count: u64) {
    let started = tokio::time::Instant::now();
    loop {
        let faults = reqwest::get(format!("{}/faults", app.endpoints.mail)).await;
        let faults: Vec<Value> = faults.unwrap().json().await.unwrap();
        let left = faults.iter().map(|fault| fault["times"].as_u64().unwrap());
        let struck: u64 = left.map(|left| MANY - left).sum();
        if struck >= count {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{faults:?}");
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mail_has_a_plain_and_an_html_part_and_takes_no_markup_in() {
    let (app, _shared) = (stack().await, ALONE.read().await);
    let (name, reason) = ("Eve <b>& co", "<script>alert(1)</script>");
    let person = Recipient::called(app, name).await;
    let canceled = person.buys("pm_card_visa", "confirmed").await;
    let cancel = format!("/v1/orders/{canceled}/cancel");
    let why = json!({ "reason": reason });
    person.customer.shop.post(&cancel, &why).await.must();
    let shipped = person.buys("pm_card_visa", "confirmed").await;
    let ship = format!("/v1/orders/{shipped}/ship");
    app.operator()
        .post(&ship, &json!({ "tracking": "1Z <999>" }))
        .await
        .must();
    let rejected = person.buys("pm_card_chargeDeclined", "rejected").await;

    for (subject, order, plain, html) in [
        ("Welcome to the shop", "", "sign in", "sign in"),
        ("Your order is confirmed", "", "12.99 EUR", "12.99 EUR"),
        (
            "We could not take your order",
            rejected.as_str(),
            "The reason: card declined.",
            "The reason: card declined.",
        ),
        (
            "Your order is canceled",
            canceled.as_str(),
            reason,
            "&lt;script&gt;",
        ),
        (
            "Your money is on its way back",
            canceled.as_str(),
            "12.99",
            "12.99",
        ),
        (
            "Your order is on its way",
            shipped.as_str(),
            "1Z <999>",
            "1Z &lt;999&gt;",
        ),
    ] {
        let mail = person.gets(subject).await;
        let part = |name: &str| mail[name].as_str().unwrap_or_default().to_owned();
        for (part, wanted, called) in [
            (part("text"), plain, name),
            (part("html"), html, "Eve &lt;b&gt;&amp; co"),
        ] {
            for wanted in [wanted, order, called] {
                assert!(part.contains(wanted), "{subject}: no {wanted:?} in {part}");
            }
        }
        assert!(!part("html").contains("<script>"), "{subject}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_waited_goes_out_at_the_pace_that_was_set() {
    let app = App::start_with(&folder("paced-mails"), &["--without", "reactor"]).await;
    for number in 0..4 {
        let email = format!("{number}-{}@example.com", Uuid::new_v4().simple());
        let registered = app.shop().register(&email, "Grace Hopper", PASSWORD).await;
        registered.unwrap();
    }
    let paced = ["reactor", "--mails-per-second", "1"];
    let _reactor = app.role(&paced, "reactor.log").await;
    let mut times: Vec<DateTime<Utc>> = Vec::new();
    becomes("all four are there", async || {
        let mails = reqwest::get(format!("{}/messages", app.endpoints.mail)).await;
        let mails: Vec<Value> = mails.unwrap().json().await.unwrap();
        let received = mails
            .iter()
            .map(|mail| mail["received_at"].as_str().unwrap());
        times = received.map(|at| at.parse().unwrap()).collect();
        times.len() == 4
    })
    .await;
    times.sort();
    // Three seconds, of which one is left to what is on its way.
    let took = times[3] - times[0];
    assert!(took > TimeDelta::seconds(2), "{times:?}");
}

/// Waits until the mailer has worked on so many events, and on all there are.
async fn mailer_has_done(app: &App, events: u64) {
    let secrets = devstack::Secrets::load_or_create(&app.data).unwrap();
    let source = Source::Stack(&secrets);
    let admin = source.connect(&app.endpoints.nats, "provision").await;
    let admin = admin.unwrap();
    becomes("the mailer has nothing to do", async || {
        let found = admin.jetstream();
        let found = found.get_consumer_from_stream::<pull::Config, _, _>("mailer", "NOTIFICATION");
        let info = found.await.unwrap().cached_info().clone();
        info.ack_floor.stream_sequence >= events
            && info.num_pending == 0
            && info.num_ack_pending == 0
    })
    .await;
}

/// All mails that the sink has taken.
async fn all_mails(app: &App) -> Vec<Value> {
    let mails = reqwest::get(format!("{}/messages", app.endpoints.mail)).await;
    mails.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_its_turn_is_not_sent_to_an_address_that_is_suppressed_meanwhile() {
    const PEOPLE: u64 = 6;
    let app = App::start_with(&folder("paced-suppressed"), &["--without", "reactor"]).await;
    let mut waiting = Vec::new();
    for _ in 0..PEOPLE {
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        let registered = app.shop().register(&email, "Grace Hopper", PASSWORD).await;
        registered.unwrap();
        waiting.push(email);
    }
    let paced = ["reactor", "--mails-per-second", "1"];
    let _reactor = app.role(&paced, "reactor.log").await;
    becomes("the first is there", async || {
        !all_mails(&app).await.is_empty()
    })
    .await;
    let first = json!(all_mails(&app).await).to_string();
    waiting.retain(|email| !first.contains(email.as_str()));
    for email in &waiting {
        let body = json!({ "email": email, "reason": "she asked on the phone" });
        let suppressed = app.operator().post("/v1/suppressions", &body).await;
        suppressed.must();
    }
    // Each mail and what came of it, and each suppression.
    mailer_has_done(&app, 2 * PEOPLE + waiting.len() as u64).await;
    let sent = all_mails(&app).await.len() as u64;
    assert!(sent < PEOPLE, "all {sent} were sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_is_tried_again_is_sent_by_what_asked_for_that_alone() {
    let app = App::start_with(&folder("tried-again"), &["--without", "reactor"]).await;
    let email = format!("{}@example.com", Uuid::new_v4().simple());
    let user_id = app.shop().register(&email, "Grace Hopper", PASSWORD).await;
    let user_id = UserId(user_id.unwrap().parse().unwrap());
    let secrets = devstack::Secrets::load_or_create(&app.data).unwrap();
    let source = Source::Stack(&secrets);
    let log = source.connect(&app.endpoints.nats, "command-api").await;
    let streams = log.unwrap().streams(streams::Settings::default());
    let id = AggregateId::from(NotificationId(Uuid::new_v4()));
    let order_id = OrderId(Uuid::new_v4());
    let request = NotificationCommand::RequestNotification {
        user_id,
        template: Template::OrderConfirmed,
        channel: Channel::Email,
        details: Details {
            order_id: Some(order_id),
            amount: Some(Money::new(1_299, "EUR".parse().unwrap())),
            ..Details::default()
        },
    };
    let failed = NotificationCommand::RecordFailure {
        reason: "no".to_owned(),
    };
    let again = NotificationCommand::ResendNotification {};
    // As an operator asks for it: not in the order's flow.
    for (command, in_flow) in [(request, true), (failed, true), (again, false)] {
        let mut meta = CommandMeta::new(Uuid::new_v4(), Utc::now(), "operator:test");
        if in_flow {
            meta = meta.with_correlation(order_id.to_string());
        }
        let done = streams.execute::<Notification>(&id, command, &meta);
        done.await.unwrap();
    }
    let slow = json!({ "stage": "data", "effect": "delay", "delay_ms": 2_000, "recipient": email });
    order_fault(&app, &slow).await;
    let _reactor = app.role(&["reactor"], "reactor.log").await;
    // This one and the welcome, and what came of each.
    mailer_has_done(&app, 3 + 1 + 2).await;
    let mails = all_mails(&app).await;
    let confirmed = |mail: &&Value| mail["subject"] == "Your order is confirmed";
    assert_eq!(mails.iter().filter(confirmed).count(), 1, "{mails:?}");
}

/// More mails than the server gives out at once.
const CROWD: usize = 520;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mails_that_are_put_off_stand_in_nobodys_way() {
    let app = App::start_with(&folder("put-off"), &["--without", "reactor"]).await;
    let people = ["full", "other"].map(|name| format!("{name}-{}@example.com", Uuid::new_v4()));
    let [full, other] = people;
    let user_id = app.shop().register(&full, "Grace Hopper", PASSWORD).await;
    let user_id = UserId(user_id.unwrap().parse().unwrap());
    let streams = millrace::up::connection(&app.data, &app.endpoints, "command-api").await;
    let streams = streams.unwrap().streams(streams::Settings::default());
    let requests = (0..CROWD).map(|_| {
        let request = NotificationCommand::RequestNotification {
            user_id,
            template: Template::Welcome,
            channel: Channel::Email,
            details: Details::default(),
        };
        let id = AggregateId::from(NotificationId(Uuid::new_v4()));
        let meta = CommandMeta::new(Uuid::new_v4(), Utc::now(), "system");
        let streams = streams.clone();
        async move { streams.execute::<Notification>(&id, request, &meta).await }
    });
    let mut asked = stream::iter(requests).buffer_unordered(16);
    while let Some(done) = asked.next().await {
        done.unwrap();
    }
    let fault = json!({ "stage": "rcpt_to", "effect": "reject_4xx", "recipient": full });
    order_fault(&app, &fault).await;
    let registered = app.shop().register(&other, "Ada Lovelace", PASSWORD).await;
    registered.unwrap();
    let fast = ["reactor", "--mails-per-second", "1000"];
    let _reactor = app.role(&fast, "reactor.log").await;
    becomes("the other's mail is there", async || {
        all_mails(&app).await.len() == 1
    })
    .await;
    let mails = json!(all_mails(&app).await).to_string();
    assert!(mails.contains(&other), "{mails}");
}

/// As its timers tell, of which each that has rung is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_is_put_off_since_it_was_offered_first() {
    let (app, _alone) = (stack().await, ALONE.write().await);
    let person = Recipient::called(app, "Grace Hopper").await;
    // As the shop, which may not send for the moment, and then as this recipient.
    order_fault(
        app,
        &json!({ "stage": "mail_from", "effect": "reject_5xx", "times": 1 }),
    )
    .await;
    let not_now = json!({ "stage": "data", "effect": "reject_4xx", "times": 3 });
    person.fault(not_now).await;
    let order = person.buys("pm_card_visa", "confirmed").await;
    let mail = person.notified(&order, "sent").await;
    rings(app, "mail_senders_refused_total").await;
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints);
    let timers = admin.await.unwrap();
    let timers = timers.jetstream().get_stream("TIMERS").await.unwrap();
    let rung = format!("timer.due.mailer.{}", mail["id"].as_str().unwrap());
    let (mut since, mut next) = (Vec::new(), 1);
    while let Ok(timer) = timers.get_first_raw_message_by_subject(&rung, next).await {
        let told = timer.headers.get("Millrace-Since");
        since.push(told.unwrap().as_str().to_owned());
        next = timer.sequence + 1;
    }
    assert_eq!(since.len(), 4, "{since:?}");
    since.dedup();
    let [since] = &since[..] else {
        panic!("{since:?}");
    };
    let since: DateTime<Utc> = since.parse().unwrap();
    let asked: DateTime<Utc> = mail["requested_at"].as_str().unwrap().parse().unwrap();
    assert!(
        since >= asked - TimeDelta::milliseconds(1),
        "{since} {asked}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_the_server_would_not_hear_is_sent_later_also_while_it_hears_another() {
    let app = App::start(&folder("one-connection")).await;
    let [slow, refused] =
        ["slow", "refused"].map(|it| format!("{it}-{}@example.com", Uuid::new_v4()));
    let fault = json!({ "stage": "data", "effect": "delay", "delay_ms": 3_000, "times": 1, "recipient": slow });
    order_fault(&app, &fault).await;
    let registered = app.shop().register(&slow, "Grace Hopper", PASSWORD).await;
    registered.unwrap();
    becomes("the one connection is taken", async || {
        let faults = reqwest::get(format!("{}/faults", app.endpoints.mail)).await;
        let faults: Vec<Value> = faults.unwrap().json().await.unwrap();
        faults.is_empty()
    })
    .await;
    let fault = json!({ "stage": "connect", "effect": "reject_5xx", "times": 1 });
    order_fault(&app, &fault).await;
    let registered = app
        .shop()
        .register(&refused, "Ada Lovelace", PASSWORD)
        .await;
    registered.unwrap();
    becomes("both are there", async || all_mails(&app).await.len() == 2).await;
}
