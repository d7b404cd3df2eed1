//! What was sold: one row for each day, product and currency. An order counts on the day on which it
//! was placed, whatever becomes of it later.

use std::collections::BTreeMap;

use cqrs_es::EventEnvelope;
use kernel::Money;
use order::{Line, Order, OrderEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::table::{Rows, TableView};
use crate::view::Sort;

/// A row of the report's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schemars(description = "What was sold of one product on one day.")]
pub enum SalesReport {
    /// What readers are shown.
    Day(ProductDay),
    /// What has to be known of an order once more is told of it.
    #[schemars(skip)]
    Order(Remembered),
}

/// The orders of one day that one product is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProductDay {
    /// In UTC.
    pub day: String,
    /// Which product.
    pub sku: String,
    /// ISO 4217.
    pub currency: String,
    /// How many orders were placed with it.
    pub orders: u64,
    /// Of these, confirmed and not canceled.
    pub sold: u64,
    /// Of these, rejected.
    pub rejected: u64,
    /// Of these, canceled.
    pub canceled: u64,
    /// Units in the orders that are sold.
    pub units: u64,
    /// Of these, come back.
    pub returned: u64,
    /// What the units are sold for. What was given back for returns stands in the takings.
    pub revenue: Money,
}

/// An order, as far as the report needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// When it was placed.
    placed_on: String,
    /// Is it in `sold`?
    sold: bool,
    products: Vec<Share>,
}

/// What of an order is one product's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Share {
    product: String,
    units: u64,
    amount: Money,
}

/// What an event means to the rows of an order's products.
#[derive(Clone, Copy)]
enum Meaning {
    Placed,
    Sold,
    Rejected,
    Canceled,
}

impl TableView for SalesReport {
    type Of = Order;
    const NAME: &'static str = "sales_report";
    const FILTERS: &'static [&'static str] = &["kind", "sku", "currency"];
    const SORT: Sort = Sort::Latest("day");

    fn touched(event: &EventEnvelope<Order>, rows: &Rows<Self>) -> Vec<String> {
        let memory = memory(event);
        let mut ids = match &event.payload {
            OrderEvent::OrderPlaced { lines, .. } => days(&placed(event, lines)),
            OrderEvent::OrderConfirmed { .. }
            | OrderEvent::OrderRejected { .. }
            | OrderEvent::OrderCanceled { .. }
            | OrderEvent::ReturnReceived { .. } => {
                remembered(rows, &memory).map_or(Vec::new(), days)
            }
            OrderEvent::OrderShipped { .. }
            | OrderEvent::OrderDelivered {}
            | OrderEvent::ReturnRequested { .. }
            | OrderEvent::ReturnApproved { .. }
            | OrderEvent::ReturnRefused { .. }
            | OrderEvent::OrderRefunded { .. }
            | OrderEvent::OrderRefundReversed { .. } => return Vec::new(),
        };
        ids.push(memory);
        ids
    }

    fn take(event: &EventEnvelope<Order>, rows: &mut Rows<Self>) {
        let meaning = match &event.payload {
            OrderEvent::OrderPlaced { lines, .. } => {
                let order = placed(event, lines);
                rows.edit(&memory(event), || Self::Order(order));
                Meaning::Placed
            }
            OrderEvent::OrderConfirmed { .. } => Meaning::Sold,
            OrderEvent::OrderRejected { .. } => Meaning::Rejected,
            OrderEvent::OrderCanceled { .. } => Meaning::Canceled,
            OrderEvent::ReturnReceived { lines, .. } => {
                let back = lines.iter().map(|line| (line.sku.as_str(), line.quantity));
                return come_back(event, rows, &back.collect());
            }
            OrderEvent::OrderShipped { .. }
            | OrderEvent::OrderDelivered {}
            | OrderEvent::ReturnRequested { .. }
            | OrderEvent::ReturnApproved { .. }
            | OrderEvent::ReturnRefused { .. }
            | OrderEvent::OrderRefunded { .. }
            | OrderEvent::OrderRefundReversed { .. } => return,
        };
        count(event, rows, meaning);
    }
}

/// Where an order is remembered.
fn memory(event: &EventEnvelope<Order>) -> String {
    format!("order/{}", event.aggregate_id)
}

fn remembered<'a>(rows: &'a Rows<SalesReport>, memory: &str) -> Option<&'a Remembered> {
    match rows.get(memory)? {
        SalesReport::Order(order) => Some(order),
        SalesReport::Day(_) => None,
    }
}

/// A new order: lines of the same product count as one.
fn placed(event: &EventEnvelope<Order>, lines: &[Line]) -> Remembered {
    let mut shares = BTreeMap::new();
    for line in lines {
        let key = (line.sku.as_str(), line.unit_price.currency.code());
        let none = (0_u64, Money::zero(line.unit_price.currency));
        let (units, amount) = shares.entry(key).or_insert(none);
        *units = units.saturating_add(u64::from(line.quantity));
        let more = line
            .unit_price
            .amount
            .saturating_mul(i64::from(line.quantity));
        amount.amount = amount.amount.saturating_add(more);
    }
    let products = shares.into_iter().map(|((sku, _), (units, amount))| Share {
        product: sku.to_owned(),
        units,
        amount,
    });
    Remembered {
        placed_on: Moment::day_of(event),
        sold: false,
        products: products.collect(),
    }
}

/// The rows that an order counts in.
fn days(order: &Remembered) -> Vec<String> {
    order.products.iter().map(|it| day(order, it)).collect()
}

fn day(order: &Remembered, share: &Share) -> String {
    let currency = share.amount.currency;
    format!("{}/{}/{currency}", order.placed_on, share.product)
}

/// The row that a share counts in.
fn row<'a>(
    rows: &'a mut Rows<SalesReport>,
    order: &Remembered,
    share: &Share,
) -> Option<&'a mut ProductDay> {
    let new = || {
        SalesReport::Day(ProductDay {
            day: order.placed_on.clone(),
            sku: share.product.clone(),
            currency: share.amount.currency.to_string(),
            orders: 0,
            sold: 0,
            rejected: 0,
            canceled: 0,
            units: 0,
            returned: 0,
            revenue: Money::zero(share.amount.currency),
        })
    };
    match rows.edit(&day(order, share), new) {
        SalesReport::Day(row) => Some(row),
        SalesReport::Order(_) => None,
    }
}

/// Counts the order anew, and remembers whether it is sold.
fn count(event: &EventEnvelope<Order>, rows: &mut Rows<SalesReport>, meaning: Meaning) {
    let memory = memory(event);
    let Some(order) = remembered(rows, &memory).cloned() else {
        return;
    };
    for share in &order.products {
        if let Some(row) = row(rows, &order, share) {
            row.count(share, meaning, order.sold);
        }
    }
    let sold = matches!(meaning, Meaning::Sold);
    let now = rows.edit(&memory, || SalesReport::Order(order));
    if let SalesReport::Order(order) = now {
        order.sold = sold;
    }
}

impl ProductDay {
    fn count(&mut self, share: &Share, meaning: Meaning, was_sold: bool) {
        let one_more = |count: &mut u64| *count = count.saturating_add(1);
        match meaning {
            Meaning::Placed => one_more(&mut self.orders),
            Meaning::Sold => {
                one_more(&mut self.sold);
                self.units = self.units.saturating_add(share.units);
                self.revenue.amount = self.revenue.amount.saturating_add(share.amount.amount);
            }
            Meaning::Rejected => one_more(&mut self.rejected),
            Meaning::Canceled => one_more(&mut self.canceled),
        }
        if was_sold && !matches!(meaning, Meaning::Sold) {
            self.sold = self.sold.saturating_sub(1);
            self.units = self.units.saturating_sub(share.units);
            self.revenue.amount = self.revenue.amount.saturating_sub(share.amount.amount);
        }
    }
}

fn come_back(
    event: &EventEnvelope<Order>,
    rows: &mut Rows<SalesReport>,
    back: &BTreeMap<&str, u32>,
) {
    let Some(order) = remembered(rows, &memory(event)).cloned() else {
        return;
    };
    for share in &order.products {
        let units = back.get(share.product.as_str()).copied().unwrap_or(0);
        if let Some(row) = row(rows, &order, share).filter(|_| units > 0) {
            row.returned = row.returned.saturating_add(u64::from(units));
        }
    }
    // What is remembered says as well that the event was taken in.
    rows.edit(&memory(event), || SalesReport::Order(order));
}

#[cfg(test)]
mod tests {
    use kernel::{PaymentId, ReturnId, Sealed, UserId};
    use order::ReturnLine;
    use uuid::Uuid;

    use super::*;
    use crate::testkit::{eur, recorded, same_rows_however_they_come};

    fn order(number: u128) -> String {
        Uuid::from_u128(number).to_string()
    }

    fn line(sku: &str, quantity: u32, price: i64) -> Line {
        Line {
            sku: sku.parse().unwrap(),
            title: "Tea".parse().unwrap(),
            quantity,
            unit_price: eur(price),
        }
    }

    fn placing(lines: Vec<Line>) -> OrderEvent {
        OrderEvent::OrderPlaced {
            user_id: UserId(Uuid::from_u128(9)),
            lines,
            total: eur(1),
            shipping_address: Sealed::new(UserId(Uuid::from_u128(9)), "ann@example.net"),
            payment_method: "pm_card_visa".parse().unwrap(),
        }
    }

    fn confirmed() -> OrderEvent {
        OrderEvent::OrderConfirmed {
            payment_id: PaymentId(Uuid::from_u128(3)),
        }
    }

    #[test]
    fn an_order_counts_on_the_day_on_which_it_was_placed() {
        let reason = || "changed my mind".parse().unwrap();
        let back = OrderEvent::ReturnReceived {
            return_id: ReturnId(Uuid::from_u128(4)),
            lines: vec![ReturnLine {
                sku: "TEA-1".parse().unwrap(),
                quantity: 2,
            }],
            amount: eur(1000),
        };
        let story = [
            (
                1,
                1,
                placing(vec![
                    line("TEA-1", 2, 500),
                    line("TEA-1", 1, 500),
                    line("MUG", 1, 1299),
                ]),
            ),
            (2, 1, placing(vec![line("TEA-1", 1, 500)])),
            (1, 2, confirmed()),
            (2, 2, confirmed()),
            (3, 1, placing(vec![line("TEA-1", 4, 450)])),
            (2, 3, OrderEvent::OrderCanceled { reason: reason() }),
            (3, 2, OrderEvent::OrderRejected { reason: reason() }),
            (4, 1, placing(vec![line("MUG", 1, 1299)])),
            (4, 2, OrderEvent::OrderCanceled { reason: reason() }),
            (1, 3, OrderEvent::OrderDelivered {}),
            (1, 4, back),
        ];
        let events: Vec<_> = (1..)
            .zip(&story)
            .map(|(position, (id, version, event))| {
                recorded::<Order>(&order(*id), (position, *version), event)
            })
            .collect();
        let rows = same_rows_however_they_come(&crate::SALES_REPORT, &events);
        let text: String = rows.iter().map(|row| row.payload.clone()).collect();
        assert!(
            !text.contains("user_id") && !text.contains("ann@"),
            "{text}"
        );
        let days =
            rows.iter()
                .filter_map(|row| match serde_json::from_str(&row.payload).unwrap() {
                    SalesReport::Day(day) => Some(day),
                    SalesReport::Order(_) => None,
                });
        let told: Vec<_> = days
            .map(|day| {
                let outcomes = (day.sold, day.rejected, day.canceled);
                let goods = (day.units, day.returned, day.revenue.amount);
                (day.day, day.sku, day.orders, outcomes, goods)
            })
            .collect();
        let (first, second) = ("2023-11-14".to_owned(), "2023-11-15".to_owned());
        let (tea, mug) = ("TEA-1".to_owned(), "MUG".to_owned());
        assert_eq!(
            told,
            [
                (first.clone(), mug.clone(), 1, (1, 0, 0), (1, 0, 1299)),
                (first, tea.clone(), 1, (1, 0, 0), (3, 2, 1500)),
                (second.clone(), mug, 1, (0, 0, 1), (0, 0, 0)),
                (second, tea, 2, (0, 1, 1), (0, 0, 0)),
            ]
        );
    }
}
