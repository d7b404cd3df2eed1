//! Who buys, cancels and sends back meanwhile, and who runs the shop; what they were promised.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::future::try_join;
use millrace::client::{Answer, CartLine, ClientError, Shop, cart};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::stage::Stage;

/// Before a write whose outcome is open is repeated.
const PAUSE: Duration = Duration::from_millis(100);

/// How long anything may take: longer than all faults that can come together.
pub(super) const PATIENCE: Duration = Duration::from_mins(3);

/// What a customer thinks about between two stories, in milliseconds.
const THINKS_MS: std::ops::RangeInclusive<u64> = 200..=1_500;

/// When who has no patience hangs up, in milliseconds: before, while and after it is done.
const HANGS_UP_MS: std::ops::RangeInclusive<u64> = 1..=60;

/// What is sold.
pub(super) const SKUS: [&str; 3] = ["MUG", "LAMP", "TEE"];

/// More than is ever bought.
const PLENTY: u32 = 1_000_000;

const CHARGED: &str = "pm_card_visa";
const DECLINED: &str = "pm_card_chargeDeclined";
const ASKS_BACK: &str = "pm_card_authenticationRequired";

/// A write that was answered with 2xx.
#[derive(Debug, Clone)]
pub(super) struct Promise {
    pub(super) stream: &'static str,
    pub(super) subject: String,
    pub(super) event: &'static str,
    /// Stands in the event, where the subject has several of the kind.
    pub(super) mark: String,
    /// Where it is read.
    pub(super) path: String,
    /// From when on it is read there.
    pub(super) token: String,
}

/// An order, and how it must end.
#[derive(Debug, Clone)]
pub(super) struct Ordered {
    pub(super) id: String,
    pub(super) ends: &'static str,
}

/// What everybody remembers.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) promises: Mutex<Vec<Promise>>,
    pub(super) orders: Mutex<Vec<Ordered>>,
}

/// Somebody at the shop.
#[derive(Clone, Copy)]
pub(super) struct Desk<'a> {
    pub(super) stage: &'a Stage,
    pub(super) notes: &'a Notes,
}

impl Desk<'_> {
    /// Puts everything on sale.
    pub(super) async fn opens(self) -> anyhow::Result<()> {
        for sku in SKUS {
            let operator = self.stage.operator();
            operator.stock_product(sku, sku, 1_299, PLENTY).await?;
        }
        Ok(())
    }

    /// A new customer's id.
    pub(super) async fn registers(self) -> anyhow::Result<String> {
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        let body =
            json!({ "email": email, "name": "Grace Hopper", "password": crate::app::PASSWORD });
        let key = Uuid::new_v4().to_string();
        let answer = insist(&self.stage.shop(), "/v1/users", &key, &body).await?;
        let id = answer.text("/id").to_owned();
        let about = format!("user.{id}");
        self.promised(
            &answer,
            (&about, "user_registered"),
            "",
            format!("/v1/users/{id}"),
        )?;
        Ok(id)
    }

    /// One story after the other until it is enough.
    pub(super) async fn buys(self, seed: u64, enough: &CancellationToken) -> anyhow::Result<()> {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut id = self.registers().await?;
        while !enough.is_cancelled() {
            match chance.random_range(0..20) {
                0..7 => drop(self.order(&id, CHARGED, "confirmed").await?),
                7..10 => drop(self.order(&id, DECLINED, "rejected").await?),
                10..13 => self.changes_their_mind(&id, CHARGED).await?,
                13..14 => self.changes_their_mind(&id, ASKS_BACK).await?,
                14..16 => self.clicks_twice(&id).await?,
                16..19 => self.sends_back(&id).await?,
                _ => id = self.registers().await?,
            }
            sleep(Duration::from_millis(chance.random_range(THINKS_MS))).await;
        }
        Ok(())
    }

    /// The operator counts stock until it is enough.
    pub(super) async fn counts(self, seed: u64, enough: &CancellationToken) -> anyhow::Result<()> {
        let mut chance = StdRng::seed_from_u64(seed);
        while !enough.is_cancelled() {
            let sku = SKUS.choose(&mut chance).context("a product")?;
            self.adjusts(sku, chance.random_range(1..=3)).await?;
            sleep(Duration::from_millis(chance.random_range(THINKS_MS))).await;
        }
        Ok(())
    }

    /// Some more of a product; answers where that is read, and from when on.
    pub(super) async fn adjusts(self, sku: &str, delta: i64) -> anyhow::Result<(String, String)> {
        let key = Uuid::new_v4().to_string();
        let body = json!({ "delta": delta, "reason": format!("counted, {key}") });
        let path = format!("/v1/inventory/{sku}/adjust");
        let answer = insist(&self.stage.operator(), &path, &key, &body).await?;
        let (about, read) = (format!("inventory.{sku}"), format!("/v1/inventory/{sku}"));
        self.promised(&answer, (&about, "stock_adjusted"), &key, read.clone())?;
        Ok((read, token(&answer)?))
    }

    /// An order of one unit that must end so.
    pub(super) async fn order(
        self,
        customer: &str,
        method: &str,
        ends: &'static str,
    ) -> anyhow::Result<String> {
        let key = Uuid::new_v4().to_string();
        let answer = self.places(customer, &key, method).await?;
        self.must_end(&answer, ends)
    }

    async fn places(self, customer: &str, key: &str, method: &str) -> anyhow::Result<Answer> {
        // By the key, so that who repeats orders the same.
        let sku = SKUS[key.bytes().map(usize::from).sum::<usize>() % SKUS.len()];
        let line = CartLine {
            sku: sku.to_owned(),
            quantity: 1,
        };
        let shop = self.stage.seen_by(customer);
        insist(&shop, "/v1/orders", key, &cart(&[line], method)).await
    }

    fn must_end(self, answer: &Answer, ends: &'static str) -> anyhow::Result<String> {
        let id = answer.text("/id").to_owned();
        let (about, path) = (format!("order.{id}"), format!("/v1/orders/{id}"));
        self.promised(answer, (&about, "order_placed"), "", path)?;
        let order = Ordered {
            id: id.clone(),
            ends,
        };
        self.notes.orders.lock().unwrap().push(order);
        Ok(id)
    }

    /// Two windows, one key: one order.
    async fn clicks_twice(self, customer: &str) -> anyhow::Result<()> {
        let key = Uuid::new_v4().to_string();
        let click = || self.places(customer, &key, CHARGED);
        let (one, other) = try_join(click(), click()).await?;
        let (one, other) = (self.must_end(&one, "confirmed")?, other.text("/id"));
        ensure!(one == other, "a double click is orders {one} and {other}");
        Ok(())
    }

    async fn changes_their_mind(self, customer: &str, method: &str) -> anyhow::Result<()> {
        let order = self.order(customer, method, "canceled").await?;
        let body = json!({ "reason": "changed my mind" });
        let shop = self.stage.seen_by(customer);
        self.acts(&shop, &order, ("cancel", "order_canceled"), &body)
            .await?;
        Ok(())
    }

    /// It arrives, and goes back.
    async fn sends_back(self, customer: &str) -> anyhow::Result<()> {
        let order = self.order(customer, CHARGED, "delivered").await?;
        self.comes(&order, "confirmed").await?;
        let (shop, operator) = (self.stage.seen_by(customer), self.stage.operator());
        let parcel = json!({ "tracking": "1Z 999" });
        self.acts(&operator, &order, ("ship", "order_shipped"), &parcel)
            .await?;
        self.acts(
            &operator,
            &order,
            ("deliver", "order_delivered"),
            &json!({}),
        )
        .await?;
        let path = format!("/v1/orders/{order}");
        let bought = self.look(&path, "its lines", |order| {
            order["lines"][0]["sku"].is_string()
        });
        let bought = bought.await?;
        let line = json!({ "sku": bought["lines"][0]["sku"], "quantity": 1 });
        let body = json!({ "lines": [line], "reason": "too heavy" });
        let asked = ("returns", "return_requested");
        let back = self.acts(&shop, &order, asked, &body).await?;
        let back = back.text("/id");
        for (act, event) in [
            ("approve", "return_approved"),
            ("receive", "return_received"),
        ] {
            let act = format!("returns/{back}/{act}");
            self.acts(&operator, &order, (&act, event), &json!({}))
                .await?;
        }
        Ok(())
    }

    /// Something is done about an order, once.
    async fn acts(
        self,
        shop: &Shop,
        order: &str,
        (act, event): (&str, &'static str),
        body: &Value,
    ) -> anyhow::Result<Answer> {
        let path = format!("/v1/orders/{order}/{act}");
        let answer = insist(shop, &path, &Uuid::new_v4().to_string(), body).await?;
        let (about, read) = (format!("order.{order}"), format!("/v1/orders/{order}"));
        self.promised(&answer, (&about, event), "", read)?;
        Ok(answer)
    }

    /// Waits until an order is read as `status`.
    pub(super) async fn comes(self, order: &str, status: &str) -> anyhow::Result<()> {
        let path = format!("/v1/orders/{order}");
        self.look(&path, status, |order| order["status"] == status)
            .await?;
        Ok(())
    }

    async fn look(
        self,
        path: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let operator = self.stage.operator();
        let looked = operator.wait_for(what, path, PATIENCE, wanted).await;
        Ok(looked.with_context(|| path.to_owned())?.body)
    }

    /// Reads what was written, as soon as that can be read.
    pub(super) async fn reads(self, path: &str, token: &str) -> anyhow::Result<()> {
        let (operator, started) = (self.stage.operator(), Instant::now());
        loop {
            let read = operator.get_after(path, token).await;
            match &read {
                Ok(answer) if answer.status == 200 => return Ok(()),
                read if is_open(read) && started.elapsed() < PATIENCE => sleep(PAUSE).await,
                Ok(answer) => bail!("{path} after {token}: {} {}", answer.status, answer.body),
                Err(error) => bail!("{path} after {token}: {error:#}"),
            }
        }
    }

    fn promised(
        self,
        answer: &Answer,
        (about, event): (&str, &'static str),
        mark: &str,
        path: String,
    ) -> anyhow::Result<()> {
        let promise = Promise {
            stream: stream_of(event),
            subject: format!("event.{about}"),
            event,
            mark: mark.to_owned(),
            path,
            token: token(answer)?,
        };
        self.notes.promises.lock().unwrap().push(promise);
        Ok(())
    }
}

fn stream_of(event: &str) -> &'static str {
    match event {
        "user_registered" => "USER",
        "stock_adjusted" => "INVENTORY",
        _ => "ORDER",
    }
}

fn token(answer: &Answer) -> anyhow::Result<String> {
    let token = answer.header("Consistency-Token");
    let token = token.with_context(|| format!("no Consistency-Token: {}", answer.body))?;
    Ok(token.to_owned())
}

/// Writes, and while the outcome is open again under the same key. Many hang up before the answer can be
/// there, and some send again what was answered.
async fn insist(shop: &Shop, path: &str, key: &str, body: &Value) -> anyhow::Result<Answer> {
    if rand::random_ratio(1, 3) {
        let hangs_up = Duration::from_millis(rand::random_range(HANGS_UP_MS));
        // Whatever came of it: the same key tells.
        let _ = timeout(hangs_up, shop.post_with_key(path, key, body)).await;
    }
    let answer = until_settled(shop, path, key, body).await?;
    if rand::random_ratio(1, 10) {
        let again = until_settled(shop, path, key, body).await?;
        let (one, other) = (answer.text("/id"), again.text("/id"));
        ensure!(one == other, "POST {path} under {key} is {one} and {other}");
    }
    Ok(answer)
}

async fn until_settled(shop: &Shop, path: &str, key: &str, body: &Value) -> anyhow::Result<Answer> {
    let started = Instant::now();
    loop {
        let answer = shop.post_with_key(path, key, body).await;
        if !is_open(&answer) {
            return answer?.success().map_err(anyhow::Error::from);
        }
        if started.elapsed() > PATIENCE {
            bail!("POST {path} is still open after {PATIENCE:?}: {answer:?}");
        }
        sleep(PAUSE).await;
    }
}

/// May the same succeed later?
fn is_open(answer: &Result<Answer, ClientError>) -> bool {
    match answer {
        Err(_) => true,
        Ok(answer) => {
            matches!(answer.status.as_u16(), 429 | 502 | 503 | 504)
                || answer.body["code"] == "conflict"
        }
    }
}
