//! What happens after an order has arrived: goods come back, money goes back, once each.

use futures::future::join_all;
use millrace::client::Answer;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::app::{App, Customer, Must, PATIENCE, folder, shared};
use crate::kill::{WATCH_LIMIT, seen};

/// What one unit costs.
pub(crate) const PRICE: i64 = 1_299;

/// The subject of the mail about money that went back.
const MONEY_BACK: &str = "Your money is on its way back";

fn lines(lines: &[(&str, u32)]) -> Value {
    let lines: Vec<Value> = lines
        .iter()
        .map(|(sku, quantity)| json!({ "sku": sku, "quantity": quantity }))
        .collect();
    json!({ "lines": lines, "reason": "too heavy" })
}

impl Customer {
    /// An order of these lines that has arrived.
    async fn has(&self, app: &App, lines: &[(&str, u32)]) -> String {
        let placed = self.tries(lines, "pm_card_visa").await.success().unwrap();
        let order = placed.text("/id").to_owned();
        app.delivers(&order).await;
        order
    }

    /// Asks for a return; whatever the answer is.
    async fn returns(&self, order: &str, lines: &Value) -> Answer {
        let path = format!("/v1/orders/{order}/returns");
        self.shop.post(&path, lines).await.unwrap()
    }
}

/// An operator says something about a return.
async fn act(app: &App, order: &str, back: &str, act: &str) -> Answer {
    let path = format!("/v1/orders/{order}/returns/{back}/{act}");
    let body = match act {
        "refuse" => json!({ "reason": "it was used" }),
        _ => json!({}),
    };
    app.operator().post(&path, &body).await.unwrap()
}

/// The goods are sent and here.
async fn comes_back(app: &App, order: &str, back: &str) {
    for step in ["approve", "receive"] {
        act(app, order, back, step).await.success().unwrap();
    }
}

/// Waits until an order's three statuses are as said.
pub(crate) async fn order_says(app: &App, order: &str, payment: &str, returned: &str) -> Value {
    let path = format!("/v1/orders/{order}");
    let what = format!("order {order}: {payment}, {returned}");
    let operator = app.operator();
    let answer = operator.wait_for(&what, &path, PATIENCE, |order| {
        order["payment_status"] == payment && order["return_status"] == returned
    });
    let order = answer.await.unwrap().body;
    assert_eq!(order["status"], "delivered", "{order}");
    order
}

async fn payment_of(app: &App, order: &str) -> Value {
    let path = format!("/v1/payments?order_id={order}");
    let operator = app.operator();
    let list = operator.wait_for("the payment", &path, PATIENCE, |list| {
        list["items"][0]["captured_at"].is_string()
    });
    list.await.unwrap().body["items"][0].clone()
}

/// Received + adjusted + restocked − shipped, from the log alone.
async fn moved(app: &App, sku: &str) -> i64 {
    let path = format!("/v1/inventory/{sku}/events?limit=200");
    let history = app.operator().get(&path).await.must();
    let events = history.body["items"].as_array().unwrap().clone();
    let number = |event: &Value, name: &str| event["data"][name].as_i64().unwrap();
    let moved = events
        .iter()
        .map(|event| match event["event_type"].as_str().unwrap() {
            "stock_received" | "return_restocked" => number(event, "quantity"),
            "stock_adjusted" => number(event, "delta"),
            "stock_shipped" => -number(event, "quantity"),
            _ => 0,
        });
    moved.sum()
}

/// How many mails about money that went back somebody got.
async fn money_mails(app: &App, email: &str) -> usize {
    let mails = app.mails(email).await;
    mails.iter().filter(|(_, s)| s == MONEY_BACK).count()
}

#[tokio::test]
async fn a_part_of_an_order_comes_back_and_then_the_rest() {
    let app = shared().await;
    let customer = app.customer().await;
    let (mug, tee) = (app.product(10).await, app.product(10).await);
    let order = customer.has(app, &[(&mug, 2), (&tee, 1)]).await;
    app.stock_is(&mug, [8, 0, 0]).await;

    let asked = customer.returns(&order, &lines(&[(&mug, 1)])).await;
    assert_eq!(asked.status.as_u16(), 201, "{}", asked.body);
    assert_eq!(asked.body["status"], "requested");
    assert_eq!(asked.body["amount"]["amount"], PRICE);
    let back = asked.text("/id").to_owned();
    let place = asked.header("Location").unwrap().to_owned();
    comes_back(app, &order, &back).await;
    let page = order_says(app, &order, "partially_refunded", "partially_returned").await;
    assert_eq!(page["refunded"]["amount"], PRICE, "{page}");
    let shown = customer.shop.get(&place).await.must();
    assert_eq!(shown.body["status"], "received", "{}", shown.body);
    app.stock_is(&mug, [9, 0, 0]).await;
    app.stock_is(&tee, [9, 0, 0]).await;
    assert_eq!(app.ledger(&order).await[0]["refunded"], PRICE);
    assert_eq!(
        payment_of(app, &order).await["status"],
        "partially_refunded"
    );
    app.told(&order, 3).await;
    assert_eq!(money_mails(app, &customer.email).await, 1);

    let rest = lines(&[(&mug, 1), (&tee, 1)]);
    let rest = customer.returns(&order, &rest).await.success().unwrap();
    comes_back(app, &order, rest.text("/id")).await;
    order_says(app, &order, "refunded", "returned").await;
    app.stock_is(&mug, [10, 0, 0]).await;
    app.stock_is(&tee, [10, 0, 0]).await;
    for sku in [&mug, &tee] {
        assert_eq!(moved(app, sku).await, 10);
    }
    let ledger = app.ledger(&order).await;
    assert_eq!(ledger.len(), 1, "{ledger:?}");
    assert_eq!(ledger[0]["captured"], 3 * PRICE, "{ledger:?}");
    assert_eq!(ledger[0]["refunded"], 3 * PRICE, "{ledger:?}");
    app.told(&order, 4).await;
    assert_eq!(money_mails(app, &customer.email).await, 2);
    let returns = format!("/v1/orders/{order}/returns");
    let list = customer.shop.get(&returns).await.unwrap().body;
    assert_eq!(list["items"].as_array().unwrap().len(), 2, "{list}");
}

#[tokio::test]
async fn a_refused_return_moves_nothing_and_may_be_asked_for_again() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(5).await);
    let order = customer.has(app, &[(&sku, 2)]).await;
    let all = lines(&[(&sku, 2)]);
    let asked = customer.returns(&order, &all).await.success().unwrap();
    let refused = act(app, &order, asked.text("/id"), "refuse").await;
    assert_eq!(refused.body["status"], "refused", "{}", refused.body);
    order_says(app, &order, "captured", "refused").await;
    let late = act(app, &order, asked.text("/id"), "receive").await;
    assert_eq!(late.status.as_u16(), 409, "{}", late.body);
    assert_eq!(late.body["code"], "return_refused");

    let again = customer.returns(&order, &all).await.success().unwrap();
    assert_ne!(again.text("/id"), asked.text("/id"));
    let early = act(app, &order, again.text("/id"), "receive").await;
    assert_eq!(early.body["code"], "return_not_approved", "{}", early.body);
    comes_back(app, &order, again.text("/id")).await;
    order_says(app, &order, "refunded", "returned").await;
    app.stock_is(&sku, [5, 0, 0]).await;
    assert_eq!(app.ledger(&order).await[0]["refunded"], 2 * PRICE);
}

#[tokio::test]
async fn of_many_returns_at_once_no_unit_comes_back_twice() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(3).await);
    let order = customer.has(app, &[(&sku, 3)]).await;
    let one = lines(&[(&sku, 1)]);
    let answers = join_all((0..8).map(|_| customer.returns(&order, &one))).await;
    let taken = answers.iter().filter(|a| a.status.as_u16() == 201).count();
    assert_eq!(taken, 3, "{answers:?}");
    for refused in answers.iter().filter(|a| a.status.as_u16() != 201) {
        assert_eq!(refused.status.as_u16(), 422, "{}", refused.body);
        assert_eq!(refused.body["code"], "return_exceeds_ordered");
        assert_eq!(refused.body["errors"][0]["pointer"], "/lines/0/quantity");
    }
}

#[tokio::test]
async fn nothing_comes_back_of_an_order_that_has_not_arrived_or_is_somebody_elses() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(3).await);
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    let one = lines(&[(&sku, 1)]);
    let early = customer.returns(&order, &one).await;
    assert_eq!(early.status.as_u16(), 409, "{}", early.body);
    assert_eq!(early.body["code"], "order_not_delivered");
    app.delivers(&order).await;
    let strangers = app.customer().await.returns(&order, &one).await;
    assert_eq!(strangers.status.as_u16(), 404, "{}", strangers.body);
    let path = format!("/v1/orders/{order}/returns");
    let keyless = customer
        .shop
        .call(reqwest::Method::POST, &path, &[], Some(&one))
        .await
        .unwrap();
    assert_eq!(keyless.body["code"], "idempotency_key_required");
    let foreign = lines(&[("NOT-OF-IT", 1)]);
    let foreign = customer.returns(&order, &foreign).await;
    assert_eq!(foreign.body["code"], "sku_not_ordered", "{}", foreign.body);
    let asked = customer.returns(&order, &one).await.success().unwrap();
    let path = format!("{path}/{}/approve", asked.text("/id"));
    let own = customer.shop.post(&path, &json!({})).await.unwrap();
    assert_eq!(own.status.as_u16(), 403, "{}", own.body);
}

#[tokio::test]
async fn the_same_return_sent_again_is_the_same_return() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(3).await);
    let order = customer.has(app, &[(&sku, 2)]).await;
    let (path, key) = (format!("/v1/orders/{order}/returns"), Uuid::new_v4());
    let key = key.to_string();
    let one = lines(&[(&sku, 1)]);
    let post = || customer.shop.post_with_key(&path, &key, &one);
    let (first, second) = tokio::join!(post(), post());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.status.as_u16(), 201, "{}", first.body);
    assert_eq!(second.status.as_u16(), 201, "{}", second.body);
    assert_eq!(first.body, second.body);
    let other = lines(&[(&sku, 2)]);
    let other = customer.shop.post_with_key(&path, &key, &other);
    let other = other.await.unwrap();
    assert_eq!(other.status.as_u16(), 422, "{}", other.body);
    assert_eq!(other.body["code"], "idempotency_key_reused");
    let back = first.text("/id").to_owned();
    comes_back(app, &order, &back).await;
    comes_back(app, &order, &back).await;
    order_says(app, &order, "partially_refunded", "partially_returned").await;
    let replayed = post().await.unwrap();
    assert_eq!(replayed.header("Idempotency-Replayed"), Some("true"));
    assert_eq!(replayed.body, first.body, "as of the append");
    app.stock_is(&sku, [2, 0, 0]).await;
    assert_eq!(app.ledger(&order).await[0]["refunded"], PRICE);
    app.told(&order, 3).await;
    assert_eq!(money_mails(app, &customer.email).await, 1);
}

#[tokio::test]
async fn of_two_refunds_above_what_was_taken_one_is_done() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(3).await);
    let order = customer.has(app, &[(&sku, 1)]).await;
    let payment = payment_of(app, &order).await;
    let path = format!("/v1/payments/{}/refunds", payment["id"].as_str().unwrap());
    let refund = |amount: i64| json!({ "amount": { "amount": amount, "currency": "EUR" }, "reason": "a scratch" });
    let (operator, key) = (app.operator(), Uuid::new_v4().to_string());
    let most = refund(1_000);
    let (one, two) = tokio::join!(
        operator.post_with_key(&path, &key, &most),
        operator.post(&path, &most)
    );
    let answers = [one.unwrap(), two.unwrap()];
    let mut statuses = answers.each_ref().map(|answer| answer.status.as_u16());
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 422], "{answers:?}");
    let refused = answers.iter().find(|a| a.status.as_u16() == 422).unwrap();
    assert_eq!(refused.body["code"], "refund_exceeds_captured");
    assert_eq!(refused.body["errors"][0]["pointer"], "/amount");
    order_says(app, &order, "partially_refunded", "none").await;

    // The rest, sent twice under one key, goes back once.
    let (rest, key) = (refund(299), Uuid::new_v4().to_string());
    for replayed in [None, Some("true")] {
        let answer = operator.post_with_key(&path, &key, &rest).await.unwrap();
        assert_eq!(answer.status.as_u16(), 201, "{}", answer.body);
        assert_eq!(answer.header("Idempotency-Replayed"), replayed);
    }
    let page = order_says(app, &order, "refunded", "none").await;
    assert_eq!(page["refunded"]["amount"], PRICE, "{page}");
    assert_eq!(app.ledger(&order).await[0]["refunded"], PRICE);
    app.told(&order, 4).await;
    assert_eq!(money_mails(app, &customer.email).await, 2);
    app.stock_is(&sku, [2, 0, 0]).await;
}

#[tokio::test]
async fn only_an_operator_refunds_and_only_what_has_left_the_house() {
    let app = shared().await;
    let (customer, sku) = (app.customer().await, app.product(3).await);
    let order = customer.orders(&sku, 1, "pm_card_visa").await;
    app.order_is(&order, "confirmed").await;
    let payment = payment_of(app, &order).await;
    let path = format!("/v1/payments/{}/refunds", payment["id"].as_str().unwrap());
    let body = json!({ "amount": { "amount": 1, "currency": "EUR" }, "reason": "a scratch" });
    let own = customer.shop.post(&path, &body).await.unwrap();
    assert_eq!(own.status.as_u16(), 403, "{}", own.body);
    let early = app.operator().post(&path, &body).await.unwrap();
    assert_eq!(early.status.as_u16(), 409, "{}", early.body);
    assert_eq!(early.body["code"], "order_not_shipped");
    let unknown = format!("/v1/payments/{}/refunds", Uuid::new_v4());
    let unknown = app.operator().post(&unknown, &body).await.unwrap();
    assert_eq!(unknown.status.as_u16(), 404, "{}", unknown.body);
    app.delivers(&order).await;
    let nothing = json!({ "amount": { "amount": 0, "currency": "EUR" }, "reason": "a scratch" });
    let nothing = app.operator().post(&path, &nothing).await.unwrap();
    assert_eq!(
        nothing.body["code"], "amount_not_positive",
        "{}",
        nothing.body
    );
}

#[tokio::test]
async fn stock_below_its_threshold_is_listed_as_low() {
    let app = shared().await;
    let (low, enough) = (app.product(2).await, app.product(3).await);
    let operator = app.operator();
    let mut token = String::new();
    for sku in [&low, &enough] {
        let path = format!("/v1/inventory/{sku}/threshold");
        let set = operator.post(&path, &json!({ "threshold": 3 })).await;
        let set = set.must();
        set.header("Consistency-Token")
            .unwrap()
            .clone_into(&mut token);
    }
    let path = "/v1/inventory?low_stock=true&limit=200";
    let list = operator.get_after(path, &token).await.must().body;
    let listed = |sku: &str| {
        let items = list["items"].as_array().unwrap();
        items.iter().any(|item| item["sku"] == sku)
    };
    assert!(listed(&low) && !listed(&enough), "{list}");
    let path = format!("/v1/inventory/{low}");
    let level = operator.get_after(&path, &token).await.unwrap().body;
    assert_eq!(level["threshold"], 3, "{level}");
    assert_eq!(level["low_stock"], true, "{level}");
}

/// After which event the process is killed: every one of a return of one line.
const STEPS: [(&str, &str); 11] = [
    ("ORDER", "return_received"),
    ("CHECKOUT", "returning_started"),
    ("INVENTORY", "return_restocked"),
    ("PAYMENT", "refund_requested"),
    ("CHECKOUT", "returning_step_succeeded"),
    ("PAYMENT", "payment_refunded"),
    ("CHECKOUT", "returning_ended"),
    ("CHECKOUT", "refunding_started"),
    ("ORDER", "order_refunded"),
    ("CHECKOUT", "refunding_ended"),
    ("NOTIFICATION", "notification_requested"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_return_survives_a_kill_after_each_of_its_events() {
    let mut app = App::start(&folder("kill-returns")).await;
    let sku = app.product(100).await;
    let mut returns = Vec::new();
    for (stream, event_type) in STEPS {
        let customer = app.customer().await;
        let order = customer.has(&app, &[(&sku, 1)]).await;
        let asked = customer.returns(&order, &lines(&[(&sku, 1)])).await;
        let back = asked.success().unwrap().text("/id").to_owned();
        act(&app, &order, &back, "approve").await.success().unwrap();
        // The mails so far are sent: the next notification is the return's.
        app.told(&order, 2).await;
        returns.push((stream, event_type, customer.email, order, back));
    }
    for (stream, event_type, _, order, back) in &returns {
        let connection = millrace::up::operator_connection(&app.data, &app.endpoints)
            .await
            .unwrap();
        let streams = connection.streams(streams::Settings::default());
        let after = streams.stream_state(stream).await.unwrap().last;
        let watch = seen(&connection, (stream, after), order, (event_type, 1));
        // The answer may be lost with the process: receiving again is already true.
        let receive = act_whatever(&app, order, back);
        let (watched, ()) = tokio::join!(tokio::time::timeout(WATCH_LIMIT, watch), receive);
        watched.unwrap_or_else(|_| panic!("{event_type} did not come"));
        app.kill().await;
        app.restart().await;
        act(&app, order, back, "receive").await.success().unwrap();
        // What comes next is the next return's.
        order_says(&app, order, "refunded", "returned").await;
        app.told(order, 3).await;
    }
    for (_, event_type, email, order, _) in &returns {
        let ledger = app.ledger(order).await;
        assert_eq!(ledger.len(), 1, "killed after {event_type}: {ledger:?}");
        assert_eq!(ledger[0]["refunded"], PRICE, "killed after {event_type}");
        let told = money_mails(&app, email).await;
        assert_eq!(told, 1, "killed after {event_type}");
    }
    app.stock_is(&sku, [100, 0, 0]).await;
    assert_eq!(moved(&app, &sku).await, 100);
    app.adds_up().await;
    app.stop().await;
}

/// Says that the goods are here, to a process that may be killed meanwhile.
async fn act_whatever(app: &App, order: &str, back: &str) {
    let path = format!("/v1/orders/{order}/returns/{back}/receive");
    // Whether it was done is asked again afterwards.
    let _ = app.operator().post(&path, &json!({})).await;
}

/// Waits until a return's saga stands as said, and answers it.
async fn saga_is(app: &App, back: &str, status: &str) -> Value {
    let path = format!("/v1/checkouts/returns/{back}");
    let operator = app.operator();
    let saga = operator.wait_for("the return's saga", &path, PATIENCE, |saga| {
        saga["status"] == status
    });
    saga.await.unwrap().body
}

/// How much more of a product can be in stock, when three are.
const ROOM: u64 = inventory::ON_HAND_MAX - 3;

/// Somebody counts so many more, or fewer.
async fn counts(app: &App, sku: &str, delta: i64) {
    let adjust = format!("/v1/inventory/{sku}/adjust");
    let body = json!({ "delta": delta, "reason": "counted" });
    app.operator().post(&adjust, &body).await.must();
}

/// A return of one unit that can't be booked in: the stock says that it is full.
pub(crate) struct StuckReturn {
    customer: Customer,
    pub(crate) order: String,
    pub(crate) back: String,
    pub(crate) sku: String,
}

impl StuckReturn {
    pub(crate) async fn new(app: &App) -> Self {
        let (customer, sku) = (app.customer().await, app.product(5).await);
        let order = customer.has(app, &[(&sku, 2)]).await;
        app.stock_is(&sku, [3, 0, 0]).await;
        counts(app, &sku, ROOM.cast_signed()).await;
        let asked = customer.returns(&order, &lines(&[(&sku, 1)])).await;
        let back = asked.text("/id").to_owned();
        comes_back(app, &order, &back).await;
        saga_is(app, &back, "suspended").await;
        Self {
            customer,
            order,
            back,
            sku,
        }
    }
}

#[tokio::test]
async fn a_return_that_waits_for_a_person_goes_on_once_the_person_has_seen_to_it() {
    let app = shared().await;
    let StuckReturn {
        customer,
        order,
        back,
        sku,
    } = StuckReturn::new(app).await;
    let saga = saga_is(app, &back, "suspended").await;
    let why = saga["suspended"].as_str().unwrap();
    assert!(why.starts_with("restock_return-"), "{saga}");
    assert!(why.contains("stock_too_large"), "{saga}");
    let suspended = "/v1/checkouts/returns?status=suspended&limit=200";
    let list = app.operator().get(suspended).await.unwrap().body;
    let waits = |id: &str| {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .any(|s| s["id"] == id)
    };
    assert!(waits(&back), "{list}");

    let resume = format!("/v1/checkouts/returns/{back}/resume");
    let customers = customer.shop.post(&resume, &json!({})).await.unwrap();
    assert_eq!(customers.status.as_u16(), 403, "{}", customers.body);
    // Nothing has changed yet: it waits again, at the next attempt.
    let resumed = app.operator().post(&resume, &json!({})).await.unwrap();
    assert_eq!(resumed.status.as_u16(), 200, "{}", resumed.body);
    let again = format!("/v1/checkouts/returns/{back}");
    let operator = app.operator();
    let twice = operator.wait_for("it waits again", &again, PATIENCE, |saga| {
        let steps = saga["steps"].as_array().into_iter().flatten();
        let stuck = steps.filter(|step| step["event"] == "returning_suspended");
        stuck.count() == 2
    });
    twice.await.unwrap();

    counts(app, &sku, -ROOM.cast_signed()).await;
    let key = Uuid::new_v4().to_string();
    let operator = app.operator();
    let [first, repeated] = [
        operator
            .post_with_key(&resume, &key, &json!({}))
            .await
            .unwrap(),
        operator
            .post_with_key(&resume, &key, &json!({}))
            .await
            .unwrap(),
    ];
    assert_eq!(first.body, repeated.body);
    assert_eq!(repeated.header("Idempotency-Replayed"), Some("true"));
    let saga = saga_is(app, &back, "ended").await;
    let steps = saga["steps"].as_array().unwrap();
    let by = steps.iter().filter_map(|step| step["by"].as_str());
    assert_eq!(by.clone().count(), 2, "{saga}");
    assert!(by.clone().all(|by| by.starts_with("operator:")), "{saga}");
    app.stock_is(&sku, [4, 0, 0]).await;
    order_says(app, &order, "partially_refunded", "partially_returned").await;
    let over = operator.post(&resume, &json!({})).await.unwrap();
    assert_eq!(over.status.as_u16(), 409, "{}", over.body);
    assert_eq!(over.body["code"], "not_suspended");
    let unknown = format!("/v1/checkouts/returns/{}/resume", Uuid::new_v4());
    let unknown = operator.post(&unknown, &json!({})).await.unwrap();
    assert_eq!(unknown.status.as_u16(), 404, "{}", unknown.body);
}
