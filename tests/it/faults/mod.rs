//! The outside world fails, and processes die: every order comes right all the same. Ledger, stock,
//! mails and status are looked at after each fault.
//!
//! The tests share a stack of their own, whose reactor waits for the outside a second at most. A
//! fault for one order or address strikes nobody else; a fault for all is ordered alone.

mod clocks;
mod contexts;
mod mail;
mod payment;
mod rolling;
pub(crate) mod webhooks;

use std::time::Duration;

use millrace::client::CartLine;
use serde_json::{Value, json};
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::app::{App, Customer, Must, PATIENCE, folder};

/// Price of what is bought.
const PRICE: i64 = 1_299;

/// In stock before anything is sold.
const STOCK: u32 = 5;

/// More strikes than any test waits for.
pub(crate) const MANY: u32 = 1_000;

/// Between two looks at a level.
const LOOK: Duration = Duration::from_millis(25);

const CONFIRMED: &str = "Your order is confirmed";

const REJECTED: &str = "We could not take your order";

const CANCELED: &str = "Your order is canceled";

static STACK: OnceCell<App> = OnceCell::const_new();

/// Held shared by tests whose faults strike their own orders, alone by those whose strike all.
static ALONE: RwLock<()> = RwLock::const_new(());

async fn stack() -> &'static App {
    let start = async || {
        let args = ["--payment-timeout-ms", "1000", "--mail-timeout-ms", "1000"];
        App::start_with(&folder("faults"), &args).await
    };
    STACK.get_or_init(start).await
}

async fn beside_others() -> (&'static App, RwLockReadGuard<'static, ()>) {
    (stack().await, ALONE.read().await)
}

/// What the others have done until then adds up.
async fn alone() -> (&'static App, RwLockWriteGuard<'static, ()>) {
    let (app, alone) = (stack().await, ALONE.write().await);
    let (report, adds_up) = app.tool(&["audit", "--at-rest"]).unwrap();
    assert!(adds_up, "{report:#}");
    (app, alone)
}

/// An order whose id is known before it is placed, so that faults can be ordered for it.
struct Purchase<'a> {
    app: &'a App,
    customer: Customer,
    sku: String,
    key: String,
    id: String,
}

impl<'a> Purchase<'a> {
    /// A customer who has been welcomed, and something to buy.
    async fn prepare(app: &'a App) -> Self {
        let (customer, sku) = tokio::join!(app.customer(), app.product(STOCK));
        let key = Uuid::new_v4().to_string();
        let purchase = Self {
            app,
            sku,
            id: customer.order_id(&key),
            key,
            customer,
        };
        purchase.mails_are(1).await;
        purchase
    }

    /// Orders a fault of the payment provider, for this order only.
    async fn provider(&self, mut fault: Value) {
        fault["metadata"] = json!({ "order_id": self.id });
        order_fault(&self.app.endpoints.payments, &fault).await;
    }

    /// Orders a fault of the mail server, for this customer only.
    async fn mail_server(&self, mut fault: Value) {
        fault["recipient"] = json!(self.customer.email);
        order_fault(&self.app.endpoints.mail, &fault).await;
    }

    /// Places the order.
    async fn place(&self, method: &str) {
        let lines = [CartLine {
            sku: self.sku.clone(),
            quantity: 1,
        }];
        let placed = self.customer.shop.place_order(&self.key, &lines, method);
        let placed = placed.await.must();
        assert_eq!(placed.text("/id"), self.id, "an id follows from its key");
    }

    /// Waits until the payment's read model has `status`.
    async fn payment_is(&self, status: &str) -> Value {
        let path = format!("/v1/payments?order_id={}", self.id);
        let is = |list: &Value| list["items"][0]["status"] == status;
        let shop = &self.customer.shop;
        let list = shop.wait_for(status, &path, PATIENCE, is).await.unwrap();
        list.body["items"][0].clone()
    }

    /// The customer cancels.
    async fn cancels(&self) {
        let path = format!("/v1/orders/{}/cancel", self.id);
        let why = json!({ "reason": "changed my mind" });
        self.customer.shop.post(&path, &why).await.must();
    }

    /// Confirmed, charged once, told once, and the stock is taken.
    async fn comes_right(&self) {
        self.app.order_is(&self.id, "confirmed").await;
        self.app.stock_is(&self.sku, [STOCK.into(), 0, 1]).await;
        self.app.told(&self.id, 1).await;
        let entry = self.one_charge().await;
        assert_eq!(entry["captured"], PRICE, "{entry}");
        assert_eq!(entry["refunded"], 0, "{entry}");
        assert_eq!(self.told_of(CONFIRMED).await, 1);
    }

    /// Rejected for `reason` or canceled, nothing charged, nothing held, told once.
    async fn comes_to_nothing(&self, status: &str, reason: &str) {
        let order = self.app.order_is(&self.id, status).await;
        assert_eq!(order["reason"], reason, "{order}");
        self.app.stock_is(&self.sku, [STOCK.into(), 0, 0]).await;
        self.app.told(&self.id, 1).await;
        let entry = self.one_charge().await;
        assert_eq!(entry["captured"], 0, "{entry}");
        assert_ne!(entry["status"], "requires_capture", "held: {entry}");
        let subject = if status == "rejected" {
            REJECTED
        } else {
            CANCELED
        };
        assert_eq!(self.told_of(subject).await, 1);
    }

    /// The provider's one entry of this order.
    async fn one_charge(&self) -> Value {
        let mut ledger = self.app.ledger(&self.id).await;
        assert_eq!(ledger.len(), 1, "{ledger:?}");
        ledger.remove(0)
    }

    /// How many distinct mails of this subject the customer has.
    async fn told_of(&self, subject: &str) -> usize {
        let mails = self.app.mails(&self.customer.email).await;
        mails.iter().filter(|(_, of)| of == subject).count()
    }

    /// Waits until the customer has so many distinct mails.
    async fn mails_are(&self, count: usize) {
        let started = Instant::now();
        loop {
            let mails = self.app.mails(&self.customer.email).await;
            if mails.len() == count {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{mails:?}");
            sleep(LOOK).await;
        }
    }
}

pub(crate) async fn order_fault(server: &str, fault: &Value) {
    let http = reqwest::Client::new();
    let taken = http.post(format!("{server}/faults")).json(fault).send();
    let taken = taken.await.unwrap();
    let status = taken.status();
    assert!(
        status.is_success(),
        "{status}: {}",
        taken.text().await.unwrap()
    );
}

/// What a server still has to strike with.
async fn open_faults(server: &str) -> Vec<Value> {
    let faults = reqwest::get(format!("{server}/faults")).await.unwrap();
    faults.json().await.unwrap()
}

/// Takes every fault of a server back.
pub(crate) async fn heal(server: &str) {
    let http = reqwest::Client::new();
    let healed = http.delete(format!("{server}/faults")).send().await;
    assert!(healed.unwrap().status().is_success());
}

/// Waits until each of the open faults, ordered for [`MANY`] times, has struck `times`.
pub(crate) async fn each_has_struck(server: &str, times: u64) {
    let started = Instant::now();
    loop {
        let open = open_faults(server).await;
        let struck = |fault: &Value| u64::from(MANY) - fault["times"].as_u64().unwrap() >= times;
        if !open.is_empty() && open.iter().all(struck) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{open:?}");
        sleep(LOOK).await;
    }
}
