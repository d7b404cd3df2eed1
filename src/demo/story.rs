//! The five orders.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use uuid::Uuid;

use super::teller::Teller;
use crate::client::{Answer, CartLine, Shop};

/// Longest wait for an outcome or a mail.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What one unit costs, in cents.
pub(super) const MUG_PRICE: i64 = 1_299;
/// What one unit costs, in cents.
pub(super) const LAMP_PRICE: i64 = 8_900;
/// How many mugs come in.
pub(super) const MUGS_RECEIVED: u32 = 10;
/// How many lamps come in.
pub(super) const LAMPS_RECEIVED: u32 = 1;

/// What an order must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) status: &'static str,
    pub(super) reason: Option<&'static str>,
    /// Captured at the provider, in cents.
    pub(super) captured: i64,
    /// Given back, in cents.
    pub(super) refunded: i64,
    /// Mails about it, by subject.
    pub(super) mails: &'static [&'static str],
}

/// One order of the story.
#[derive(Debug, Clone)]
pub(super) struct Chapter {
    pub(super) title: &'static str,
    pub(super) order_id: String,
    pub(super) expected: Expected,
}

/// Everything that was done.
#[derive(Debug, Clone)]
pub(super) struct Story {
    pub(super) email: String,
    pub(super) mug: String,
    pub(super) lamp: String,
    pub(super) stock_before: [Value; 2],
    pub(super) chapters: Vec<Chapter>,
}

struct Plot {
    title: &'static str,
    lines: Vec<CartLine>,
    method: &'static str,
    then: Then,
    expected: Expected,
}

/// What happens to an order once it is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    /// The customer calls it off.
    Cancel,
    /// It is shipped and arrives, and one piece of it comes back.
    ReturnOne,
}

/// Plays the story: a customer, two products, five orders.
pub(super) async fn play(shop: &Shop, operator: &Shop, teller: &Teller) -> anyhow::Result<Story> {
    let run = Uuid::new_v4().simple().to_string();
    let run = run.get(..6).unwrap_or(&run).to_owned();
    let (email, password) = (
        format!("ada.{run}@example.com"),
        "correct horse battery staple",
    );
    let (mug, lamp) = (format!("MUG-{run}"), format!("LAMP-{run}"));

    teller.heading("A customer, two products and their stock");
    let user = shop.register(&email, "Ada Lovelace", password).await?;
    teller.line(&format!("{email} opened an account: user {user}"));
    let customer = shop.sign_in(&email, password).await?;
    operator
        .stock_product(&mug, "Millstone mug", MUG_PRICE, MUGS_RECEIVED)
        .await?;
    operator
        .stock_product(&lamp, "Water-wheel lamp", LAMP_PRICE, LAMPS_RECEIVED)
        .await?;
    teller.line(&format!(
        "{mug} and {lamp} are on sale, {MUGS_RECEIVED} and {LAMPS_RECEIVED} in stock"
    ));
    let stock_before = [
        stock(operator, &mug, u64::from(MUGS_RECEIVED)).await?,
        stock(operator, &lamp, u64::from(LAMPS_RECEIVED)).await?,
    ];

    let mut chapters = Vec::new();
    for plot in plots(&mug, &lamp) {
        let people = People {
            customer: &customer,
            operator,
        };
        chapters.push(order(&people, teller, plot).await?);
    }
    Ok(Story {
        email,
        mug,
        lamp,
        stock_before,
        chapters,
    })
}

fn plots(mug: &str, lamp: &str) -> Vec<Plot> {
    let line = |sku: &str, quantity| CartLine {
        sku: sku.to_owned(),
        quantity,
    };
    vec![
        Plot {
            title: "An order that succeeds",
            lines: vec![line(mug, 2)],
            method: "pm_card_visa",
            then: Then::Nothing,
            expected: Expected {
                status: "confirmed",
                reason: None,
                captured: 2 * MUG_PRICE,
                refunded: 0,
                mails: &["Your order is confirmed"],
            },
        },
        Plot {
            title: "An order whose card is declined",
            lines: vec![line(mug, 3)],
            method: "pm_card_chargeDeclined",
            then: Then::Nothing,
            expected: Expected {
                status: "rejected",
                reason: Some("card_declined"),
                captured: 0,
                refunded: 0,
                mails: &["We could not take your order"],
            },
        },
        Plot {
            title: "An order of which one line is out of stock",
            lines: vec![line(mug, 1), line(lamp, 5)],
            method: "pm_card_visa",
            then: Then::Nothing,
            expected: Expected {
                status: "rejected",
                reason: Some("out_of_stock"),
                captured: 0,
                refunded: 0,
                mails: &["We could not take your order"],
            },
        },
        Plot {
            title: "An order that is canceled once it was paid",
            lines: vec![line(mug, 1), line(lamp, 1)],
            method: "pm_card_visa",
            then: Then::Cancel,
            expected: Expected {
                status: "canceled",
                reason: Some("changed my mind"),
                captured: MUG_PRICE + LAMP_PRICE,
                refunded: MUG_PRICE + LAMP_PRICE,
                mails: &[
                    "Your order is confirmed",
                    "Your order is canceled",
                    "Your money is on its way back",
                ],
            },
        },
        one_piece_comes_back(line(mug, 2)),
    ]
}

fn one_piece_comes_back(line: CartLine) -> Plot {
    Plot {
        title: "An order of which a piece comes back",
        lines: vec![line],
        method: "pm_card_visa",
        then: Then::ReturnOne,
        expected: Expected {
            status: "delivered",
            reason: None,
            captured: 2 * MUG_PRICE,
            refunded: MUG_PRICE,
            mails: &[
                "Your order is confirmed",
                "Your order is on its way",
                "Your money is on its way back",
            ],
        },
    }
}

/// Who does something about an order.
struct People<'a> {
    customer: &'a Shop,
    operator: &'a Shop,
}

async fn order(people: &People<'_>, teller: &Teller, plot: Plot) -> anyhow::Result<Chapter> {
    let customer = people.customer;
    teller.heading(plot.title);
    let placed = customer
        .place_order(&Uuid::new_v4().to_string(), &plot.lines, plot.method)
        .await?
        .success()?;
    let order_id = placed.text("/id").to_owned();
    teller.line(&format!(
        "POST /v1/orders → 201, order {order_id}, at {}",
        placed.header("Consistency-Token").unwrap_or("?")
    ));
    if plot.then != Then::Nothing {
        settled(customer, &order_id, "confirmed").await?;
        teller.catch_up(&order_id).await;
    }
    match plot.then {
        Then::Nothing => {}
        Then::Cancel => {
            let body = json!({ "reason": plot.expected.reason });
            let path = format!("/v1/orders/{order_id}/cancel");
            act(customer, teller, &path, &body).await?;
        }
        Then::ReturnOne => {
            let mug = plot.lines.first().map(|line| line.sku.as_str());
            return_one(people, teller, &order_id, mug.unwrap_or_default()).await?;
        }
    }
    settled(customer, &order_id, plot.expected.status).await?;
    ended(customer, &order_id, plot.expected).await?;
    teller.catch_up(&order_id).await;
    Ok(Chapter {
        title: plot.title,
        order_id,
        expected: plot.expected,
    })
}

/// The order arrives; the customer sends one piece back, and an operator takes it.
async fn return_one(
    people: &People<'_>,
    teller: &Teller,
    order_id: &str,
    sku: &str,
) -> anyhow::Result<()> {
    let order = format!("/v1/orders/{order_id}");
    let tracking = json!({ "tracking": "1Z 999 AA1" });
    act(people.operator, teller, &format!("{order}/ship"), &tracking).await?;
    act(
        people.operator,
        teller,
        &format!("{order}/deliver"),
        &json!({}),
    )
    .await?;
    let wanted = json!({ "lines": [{ "sku": sku, "quantity": 1 }], "reason": "it leaks" });
    let asked = act(
        people.customer,
        teller,
        &format!("{order}/returns"),
        &wanted,
    )
    .await?;
    let back = format!("{order}/returns/{}", asked.text("/id"));
    for step in ["approve", "receive"] {
        act(
            people.operator,
            teller,
            &format!("{back}/{step}"),
            &json!({}),
        )
        .await?;
    }
    Ok(())
}

/// One call, told.
async fn act(shop: &Shop, teller: &Teller, path: &str, body: &Value) -> anyhow::Result<Answer> {
    let answer = shop.post(path, body).await?.success()?;
    teller.line(&format!(
        "POST {path} → {}, at {}",
        answer.status.as_u16(),
        answer.header("Consistency-Token").unwrap_or("?")
    ));
    Ok(answer)
}

/// Waits until the order's read model says `status`.
async fn settled(customer: &Shop, order_id: &str, status: &str) -> anyhow::Result<()> {
    let path = format!("/v1/orders/{order_id}");
    customer
        .wait_for(
            &format!("order {order_id} {status}"),
            &path,
            PATIENCE,
            |order| order.get("status").and_then(Value::as_str) == Some(status),
        )
        .await?;
    Ok(())
}

/// Waits until everything that follows is done: the saga, and every mail.
async fn ended(customer: &Shop, order_id: &str, expected: Expected) -> anyhow::Result<()> {
    let path = format!("/v1/notifications?order_id={order_id}");
    customer
        .wait_for(
            &format!("the mails of order {order_id}"),
            &path,
            PATIENCE,
            |list| {
                let sent =
                    |entry: &Value| entry.get("status").and_then(Value::as_str) == Some("sent");
                let items = list.get("items").and_then(Value::as_array);
                items.is_some_and(|items| {
                    items.iter().filter(|e| sent(e)).count() >= expected.mails.len()
                })
            },
        )
        .await
        .with_context(|| format!("order {order_id} is {}, but not told", expected.status))?;
    Ok(())
}

/// The stock of `sku` once the read model knows that `on_hand` are there.
pub(super) async fn stock(operator: &Shop, sku: &str, on_hand: u64) -> anyhow::Result<Value> {
    let path = format!("/v1/inventory/{sku}");
    let answer = operator
        .wait_for(&format!("stock of {sku}"), &path, PATIENCE, |stock| {
            stock.get("on_hand").and_then(Value::as_u64) == Some(on_hand)
        })
        .await?;
    Ok(answer.body)
}
