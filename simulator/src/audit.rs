//! The equations that hold always. Computed from the log and from the provider's books alone: what
//! an event says of the state after it is compared, never believed.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use inventory::{InventoryEvent, Stock};
use kernel::{OrderId, RefundId, ReservationId, ReturnId, Sku};
use order::{OrderEvent, OrderStatus};
use payment::PaymentEvent;

use crate::plan::GOODS;
use crate::provider::Provider;
use crate::shop::Recorded;
use crate::told::Told;

/// An equation that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) rule: &'static str,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(rule: &'static str, what: String) -> Self {
        Self { rule, what }
    }
}

/// `rule` holds, or `what` is wrong.
pub(crate) fn holds(
    rule: &'static str,
    condition: bool,
    what: impl FnOnce() -> String,
) -> Result<(), Finding> {
    if condition {
        Ok(())
    } else {
        Err(Finding::new(rule, what()))
    }
}

/// The provider's books: at most one charge an order, and nobody gets more than they paid.
pub(crate) fn look_at(provider: &Provider) -> Result<(), Finding> {
    for intent in &provider.intents {
        let charges = provider.of(intent.order).filter(|other| other.received > 0);
        holds("one charge an order", charges.count() <= 1, || {
            format!("order {} was charged twice", intent.order + 1)
        })?;
        holds("refunds ≤ captured", intent.kept() >= 0, || {
            let (back, received) = (intent.given_back(), intent.received);
            format!("order {}: {back} of {received} went back", intent.order + 1)
        })?;
    }
    Ok(())
}

/// What so many of these cost, by the price list that the run began with.
pub(crate) fn worth(lines: &[(Sku, u32)]) -> i64 {
    let price = |sku: &Sku| {
        let mut goods = GOODS.iter().filter(|(name, _)| *name == sku.as_str());
        goods.next().map_or(0, |(_, price)| *price)
    };
    let costs = lines
        .iter()
        .map(|(sku, units)| price(sku) * i64::from(*units));
    costs.sum()
}

/// One SKU as the log tells it.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    on_hand: i64,
    pub(crate) reserved: BTreeMap<ReservationId, u32>,
    /// Until when, each that was ever made.
    until: BTreeMap<ReservationId, DateTime<Utc>>,
    pub(crate) committed: BTreeMap<ReservationId, u32>,
    pub(crate) restocked: BTreeMap<ReturnId, u32>,
}

/// One payment as the log tells it, in cents.
#[derive(Debug, Default)]
pub(crate) struct Till {
    asked: i64,
    /// None = it was captured in one go, or not at all yet.
    authorized: Option<i64>,
    pub(crate) captured: i64,
    /// Pending or done.
    pub(crate) refunds: BTreeMap<RefundId, i64>,
    pub(crate) done: BTreeMap<RefundId, i64>,
    /// Done, and then sent back by the bank.
    pub(crate) came_back: BTreeSet<RefundId>,
}

/// Goods that are back.
#[derive(Debug)]
pub(crate) struct Back {
    pub(crate) id: ReturnId,
    pub(crate) lines: Vec<(Sku, u32)>,
}

/// One order as the log tells it.
#[derive(Debug)]
pub(crate) struct Slip {
    pub(crate) id: OrderId,
    pub(crate) status: OrderStatus,
    pub(crate) total: i64,
    pub(crate) lines: Vec<(Sku, u32)>,
    pub(crate) refunded: i64,
    pub(crate) confirmed: bool,
    pub(crate) back: Vec<Back>,
}

/// What the log has told so far.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    pub(crate) shelves: BTreeMap<Sku, Shelf>,
    pub(crate) tills: BTreeMap<usize, Till>,
    pub(crate) slips: BTreeMap<usize, Slip>,
}

impl Audit {
    /// Takes one event in.
    pub(crate) fn see(
        &mut self,
        recorded: &Recorded,
        (order_id, provider): (Option<OrderId>, &Provider),
    ) -> Result<(), Finding> {
        match (&recorded.told, recorded.order, order_id) {
            (Told::Inventory(sku, event), _, _) => self.stock(sku, event),
            (Told::Payment(event), Some(order), _) => self.money(order, event),
            (Told::Order(event), Some(order), Some(id)) => self.order((order, id), event, provider),
            // Nothing that is counted.
            _ => Ok(()),
        }
    }

    fn stock(&mut self, sku: &Sku, event: &InventoryEvent) -> Result<(), Finding> {
        if let InventoryEvent::ReservationReleased {
            reservation,
            quantity: 1..,
            ..
        }
        | InventoryEvent::ReservationExpired { reservation, .. } = event
        {
            self.must_not_be_sold(sku, reservation.order_id)?;
        }
        let bin = self.shelves.entry(sku.clone()).or_default();
        holds("a hold lasts its time", bin.is_in_time(event), || {
            format!("{sku}: {event:?}")
        })?;
        let fits = bin.take_in(event);
        holds("a hold is made once and ended once", fits, || {
            format!("{sku}: {event:?}")
        })?;
        let told = event.stock();
        let counted = bin.counted();
        holds("stock adds up", Some(told) == counted, || {
            format!("{sku}: {told:?} is told, {counted:?} counted")
        })?;
        let set_aside = told.reserved + told.committed;
        holds("available ≥ 0", told.on_hand >= set_aside, || {
            format!("{sku}: {told:?}")
        })
    }

    /// What a confirmed order holds is only shipped, or given back after it was canceled.
    fn must_not_be_sold(&self, sku: &Sku, id: OrderId) -> Result<(), Finding> {
        let slip = self.slips.iter().find(|(_, slip)| slip.id == id);
        let sold = slip.filter(|(_, slip)| {
            matches!(
                slip.status,
                OrderStatus::Confirmed | OrderStatus::Shipped | OrderStatus::Delivered
            )
        });
        match sold {
            None => Ok(()),
            Some((order, slip)) => Err(Finding::new(
                "what is confirmed stays held",
                format!(
                    "{sku} is given back, and order {} is {}",
                    order + 1,
                    slip.status
                ),
            )),
        }
    }

    fn money(&mut self, order: usize, event: &PaymentEvent) -> Result<(), Finding> {
        let till = self.tills.entry(order).or_default();
        let once = till.take_in(event);
        let name = order + 1;
        holds("captured once", once, || format!("order {name}: {event:?}"))?;
        let authorized = till.authorized.unwrap_or(till.asked);
        let in_bounds = till.captured <= authorized && authorized <= till.asked;
        holds("captured ≤ authorized ≤ asked", in_bounds, || {
            format!("order {name}")
        })?;
        let back: i64 = till.refunds.values().sum();
        holds("refunds ≤ captured", back <= till.captured, || {
            format!(
                "order {name}: {back} of {} goes or went back",
                till.captured
            )
        })
    }

    fn order(
        &mut self,
        (order, id): (usize, OrderId),
        event: &OrderEvent,
        provider: &Provider,
    ) -> Result<(), Finding> {
        if let OrderEvent::OrderPlaced { lines, total, .. } = event {
            let lines = lines.iter().map(|line| (line.sku.clone(), line.quantity));
            let lines: Vec<_> = lines.collect();
            let (asked, due) = (total.amount, worth(&lines));
            holds("an order costs what is in it", asked == due, || {
                format!("order {}: {asked} for what costs {due}", order + 1)
            })?;
            let slip = Slip {
                id,
                status: OrderStatus::Placed,
                total: due,
                lines,
                refunded: 0,
                confirmed: false,
                back: Vec::new(),
            };
            self.slips.insert(order, slip);
            return Ok(());
        }
        let Some(slip) = self.slips.get_mut(&order) else {
            return Ok(());
        };
        slip.take_in(event);
        let OrderEvent::OrderConfirmed { .. } = event else {
            return Ok(());
        };
        let received: i64 = provider.of(order).map(|intent| intent.received).sum();
        holds("confirmed means paid", received == slip.total, || {
            format!(
                "order {}: {received} of {} was taken",
                order + 1,
                slip.total
            )
        })?;
        for (sku, quantity) in &slip.lines {
            let bin = self.shelves.get(sku);
            let held = bin.is_some_and(|bin| bin.holds_firmly(id, *quantity));
            holds("confirmed means held", held, || {
                format!("order {}: {sku}", order + 1)
            })?;
        }
        Ok(())
    }
}

impl Shelf {
    pub(crate) fn holds_firmly(&self, id: OrderId, quantity: u32) -> bool {
        let mut firm = self.committed.iter();
        firm.any(|(hold, units)| hold.order_id == id && *units == quantity)
    }

    pub(crate) fn holds(&self, id: OrderId) -> bool {
        let mut held = self.reserved.keys().chain(self.committed.keys());
        held.any(|hold| hold.order_id == id)
    }

    /// `false` = it is made for less than no time, or lapses before its end.
    fn is_in_time(&mut self, event: &InventoryEvent) -> bool {
        match event {
            InventoryEvent::StockReserved {
                reservation,
                expires_at,
                at,
                ..
            } => {
                self.until.insert(*reservation, *expires_at);
                at < expires_at
            }
            InventoryEvent::ReservationExpired {
                reservation, at, ..
            } => self.until.get(reservation).is_some_and(|until| until <= at),
            InventoryEvent::StockItemCreated {}
            | InventoryEvent::StockReceived { .. }
            | InventoryEvent::StockAdjusted { .. }
            | InventoryEvent::ReservationCommitted { .. }
            | InventoryEvent::ReservationReleased { .. }
            | InventoryEvent::StockShipped { .. }
            | InventoryEvent::ReturnRestocked { .. }
            | InventoryEvent::LowStockThresholdSet { .. } => true,
        }
    }

    /// `false` = it does not fit what was told before.
    fn take_in(&mut self, event: &InventoryEvent) -> bool {
        match event {
            InventoryEvent::StockItemCreated {} | InventoryEvent::LowStockThresholdSet { .. } => {
                true
            }
            InventoryEvent::StockReceived { quantity, .. } => {
                self.on_hand += i64::from(*quantity);
                true
            }
            InventoryEvent::StockAdjusted { delta, .. } => {
                self.on_hand += delta;
                true
            }
            InventoryEvent::StockReserved {
                reservation: hold,
                quantity,
                ..
            } => {
                let firm = self.committed.contains_key(hold);
                self.reserved.insert(*hold, *quantity).is_none() && !firm
            }
            InventoryEvent::ReservationCommitted {
                reservation: hold,
                quantity,
                ..
            } => {
                let units = self.reserved.remove(hold);
                self.committed.insert(*hold, *quantity).is_none() && units == Some(*quantity)
            }
            InventoryEvent::ReservationReleased {
                reservation: hold,
                quantity,
                ..
            } => {
                let units = self.reserved.remove(hold).or(self.committed.remove(hold));
                units.unwrap_or_default() == *quantity
            }
            InventoryEvent::ReservationExpired {
                reservation: hold,
                quantity,
                ..
            } => self.reserved.remove(hold) == Some(*quantity),
            InventoryEvent::StockShipped {
                reservation: hold,
                quantity,
                ..
            } => {
                self.on_hand -= i64::from(*quantity);
                self.committed.remove(hold) == Some(*quantity)
            }
            InventoryEvent::ReturnRestocked {
                return_id,
                quantity,
                ..
            } => {
                self.on_hand += i64::from(*quantity);
                self.restocked.insert(*return_id, *quantity).is_none()
            }
        }
    }

    fn counted(&self) -> Option<Stock> {
        let sum = |holds: &BTreeMap<_, u32>| holds.values().copied().map(u64::from).sum();
        Some(Stock {
            on_hand: u64::try_from(self.on_hand).ok()?,
            reserved: sum(&self.reserved),
            committed: sum(&self.committed),
        })
    }
}

impl Till {
    /// `false` = money was captured twice.
    fn take_in(&mut self, event: &PaymentEvent) -> bool {
        match event {
            PaymentEvent::PaymentRequested { amount, .. } => self.asked = amount.amount,
            PaymentEvent::PaymentAuthorized { amount } => self.authorized = Some(amount.amount),
            PaymentEvent::PaymentCaptured { amount } => {
                return std::mem::replace(&mut self.captured, amount.amount) == 0;
            }
            PaymentEvent::RefundRequested {
                refund_id, amount, ..
            } => {
                self.refunds.insert(*refund_id, amount.amount);
            }
            PaymentEvent::PaymentRefunded { refund_id, amount } => {
                self.done.insert(*refund_id, amount.amount);
            }
            PaymentEvent::RefundFailed { refund_id, .. } => {
                self.refunds.remove(refund_id);
                if self.done.remove(refund_id).is_some() {
                    self.came_back.insert(*refund_id);
                }
            }
            PaymentEvent::ProviderIntentCreated { .. }
            | PaymentEvent::PaymentActionRequired { .. }
            | PaymentEvent::PaymentDeclined { .. }
            | PaymentEvent::PaymentFailed { .. }
            | PaymentEvent::CaptureRequested { .. }
            | PaymentEvent::VoidRequested { .. }
            | PaymentEvent::PaymentVoided {}
            | PaymentEvent::ProviderEventIgnored { .. }
            | PaymentEvent::ReconciliationMismatched { .. }
            | PaymentEvent::ReconciliationMatched {}
            | PaymentEvent::ReconciliationAccepted { .. } => {}
        }
        true
    }
}

impl Slip {
    fn take_in(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::OrderConfirmed { .. } => {
                self.status = OrderStatus::Confirmed;
                self.confirmed = true;
            }
            OrderEvent::OrderRejected { .. } => self.status = OrderStatus::Rejected,
            OrderEvent::OrderCanceled { .. } => self.status = OrderStatus::Canceled,
            OrderEvent::OrderShipped { .. } => self.status = OrderStatus::Shipped,
            OrderEvent::OrderDelivered {} => self.status = OrderStatus::Delivered,
            OrderEvent::OrderRefunded { amount, .. } => self.refunded += amount.amount,
            OrderEvent::OrderRefundReversed { amount, .. } => self.refunded -= amount.amount,
            OrderEvent::ReturnReceived {
                return_id, lines, ..
            } => self.back.push(Back {
                id: *return_id,
                lines: lines
                    .iter()
                    .map(|line| (line.sku.clone(), line.quantity))
                    .collect(),
            }),
            OrderEvent::OrderPlaced { .. }
            | OrderEvent::ReturnRequested { .. }
            | OrderEvent::ReturnApproved { .. }
            | OrderEvent::ReturnRefused { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel::{Money, Sealed, UserId};
    use order::Line;
    use uuid::Uuid;

    use super::*;

    fn cents(amount: i64) -> Money {
        Money::new(amount, "EUR".parse().unwrap_or_else(|_| unreachable!()))
    }

    /// What the audit makes of two mugs at this total.
    fn two_mugs(total: i64) -> Result<(), Finding> {
        let user_id = UserId(Uuid::from_u128(1));
        let text = "MUG";
        let (Ok(sku), Ok(title), Ok(payment_method)) = (text.parse(), text.parse(), text.parse())
        else {
            unreachable!("words that parse");
        };
        let event = OrderEvent::OrderPlaced {
            user_id,
            lines: vec![Line {
                sku,
                title,
                quantity: 2,
                unit_price: cents(1_299),
            }],
            total: cents(total),
            shipping_address: Sealed::new(user_id, "AAAA"),
            payment_method,
        };
        let id = OrderId(Uuid::from_u128(2));
        Audit::default().order((0, id), &event, &Provider::default())
    }

    #[test]
    fn an_order_costs_its_units_times_their_prices() {
        assert_eq!(two_mugs(2_598), Ok(()));
        let found = two_mugs(1_299).err();
        let rule = found.map(|finding| finding.rule);
        assert_eq!(rule, Some("an order costs what is in it"));
    }
}
