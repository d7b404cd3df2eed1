//! The order page: what was bought, by whom, and how far it has come.
//!
//! Fulfilment, payment and return are three fields. What is said of the payment is what the order's
//! own events tell; the payment page says the rest.

use cqrs_es::{EventEnvelope, View};
use kernel::{Money, MoneyError, PaymentId, Reason, ReturnId, Sealed, Tracking, UserId};
use order::{Line, Order, OrderEvent, PaymentStatus, ReturnLine, ReturnStage, ReturnStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::moment::Moment;
use crate::opened::ShippingAddress;
use crate::view::{EntityView, Sort};

/// How far an order has come.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SummaryStatus {
    /// Bought, the checkout goes on.
    #[default]
    Placed,
    /// Paid, and the stock is committed.
    Confirmed,
    /// It could not be fulfilled.
    Rejected,
    /// It was called off.
    Canceled,
    /// It left the house.
    Shipped,
    /// It arrived.
    Delivered,
}

/// Goods of the order that come back together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReturnEntry {
    /// The return's id.
    pub id: ReturnId,
    /// How far it has come.
    pub status: ReturnStage,
    /// What.
    pub lines: Vec<ReturnLine>,
    /// Why.
    pub reason: Reason,
    /// What these lines cost.
    pub amount: Money,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused_because: Option<Reason>,
    /// When it was asked for.
    pub requested_at: Option<Moment>,
    /// When an operator said yes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approved_at: Option<Moment>,
    /// When an operator said no.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refused_at: Option<Moment>,
    /// When the goods were here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub received_at: Option<Moment>,
}

/// One order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OrderSummary {
    /// The order's id.
    pub id: String,
    /// Who bought.
    pub user_id: Option<UserId>,
    /// How far it has come.
    pub status: SummaryStatus,
    /// Why it was rejected or canceled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What it knows of its money.
    pub payment_status: PaymentStatus,
    /// Where the customer is to be sent, when `payment_status` is `action_required`. No row holds it: the
    /// payment's is asked when an order is shown as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action_url: Option<String>,
    /// What it knows of goods that come back.
    pub return_status: ReturnStatus,
    /// What was bought, with title and price as they were.
    pub lines: Vec<Line>,
    /// The sum over all lines.
    pub total: Option<Money>,
    /// What went back so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refunded: Option<Money>,
    /// What comes back, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub returns: Vec<ReturnEntry>,
    /// Where to, sealed.
    #[schemars(with = "Option<ShippingAddress>", description = "Where to.")]
    pub shipping_address: Option<Sealed>,
    /// The payment that was captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<PaymentId>,
    /// The carrier's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracking: Option<Tracking>,
    /// How many events the order has.
    pub version: u64,
    /// When it was bought.
    pub placed_at: Option<Moment>,
    /// When it was confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Moment>,
    /// When it was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_at: Option<Moment>,
    /// When it was called off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canceled_at: Option<Moment>,
    /// When it left the house.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shipped_at: Option<Moment>,
    /// When it arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Moment>,
}

impl EntityView<Order> for OrderSummary {
    const NAME: &'static str = "order_summary";
    const FILTERS: &'static [&'static str] = &["user_id", "status"];
    const FIXED: &'static [&'static str] = &["user_id"];
    const SORT: Sort = Sort::Latest("placed_at");
}

impl View<Order> for OrderSummary {
    fn update(&mut self, event: &EventEnvelope<Order>) {
        let at = Moment::of(event);
        self.id.clone_from(&event.aggregate_id);
        self.version = event.sequence as u64;
        self.fold(&event.payload, at);
    }
}

impl OrderSummary {
    fn fold(&mut self, event: &OrderEvent, at: Option<Moment>) {
        match event {
            OrderEvent::OrderPlaced {
                user_id,
                lines,
                total,
                shipping_address,
                payment_method: _,
            } => {
                self.user_id = Some(*user_id);
                self.lines.clone_from(lines);
                self.total = Some(*total);
                self.shipping_address = Some(shipping_address.clone());
                self.placed_at = at;
            }
            OrderEvent::OrderConfirmed { payment_id } => {
                self.status = SummaryStatus::Confirmed;
                self.payment_status = PaymentStatus::Captured;
                self.payment_id = Some(*payment_id);
                self.confirmed_at = at;
            }
            OrderEvent::OrderRejected { reason } => {
                self.end(SummaryStatus::Rejected, reason);
                self.rejected_at = at;
            }
            OrderEvent::OrderCanceled { reason } => {
                self.end(SummaryStatus::Canceled, reason);
                self.canceled_at = at;
            }
            OrderEvent::OrderShipped { tracking } => {
                self.status = SummaryStatus::Shipped;
                self.tracking = Some(tracking.clone());
                self.shipped_at = at;
            }
            OrderEvent::OrderDelivered {} => {
                self.status = SummaryStatus::Delivered;
                self.delivered_at = at;
            }
            OrderEvent::ReturnRequested {
                return_id,
                lines,
                reason,
                amount,
            } => {
                let entry = ReturnEntry::new(*return_id, lines, reason, *amount);
                self.returns.push(entry);
                self.move_return(*return_id, ReturnStage::Requested, at);
            }
            OrderEvent::ReturnApproved { return_id } => {
                self.move_return(*return_id, ReturnStage::Approved, at);
            }
            OrderEvent::ReturnRefused { return_id, reason } => {
                self.move_return(*return_id, ReturnStage::Refused, at);
                if let Some(entry) = self.entry_mut(*return_id) {
                    entry.refused_because = Some(reason.clone());
                }
            }
            OrderEvent::ReturnReceived { return_id, .. } => {
                self.move_return(*return_id, ReturnStage::Received, at);
            }
            OrderEvent::OrderRefunded {
                refund_id: _,
                amount,
            } => self.refund(|before| before.plus(*amount), *amount),
            OrderEvent::OrderRefundReversed {
                refund_id: _,
                amount,
            } => self.refund(|before| before.minus(*amount), *amount),
        }
    }

    fn end(&mut self, status: SummaryStatus, reason: &Reason) {
        self.status = status;
        self.reason = Some(reason.clone());
        if self.payment_status == PaymentStatus::Pending {
            self.payment_status = PaymentStatus::Released;
        }
    }

    fn move_return(&mut self, id: ReturnId, stage: ReturnStage, at: Option<Moment>) {
        if let Some(entry) = self.entry_mut(id) {
            entry.status = stage;
            match stage {
                ReturnStage::Requested => entry.requested_at = at,
                ReturnStage::Approved => entry.approved_at = at,
                ReturnStage::Refused => entry.refused_at = at,
                ReturnStage::Received => entry.received_at = at,
            }
        }
        self.return_status = self.returned();
    }

    fn entry_mut(&mut self, id: ReturnId) -> Option<&mut ReturnEntry> {
        self.returns.iter_mut().find(|entry| entry.id == id)
    }

    fn returned(&self) -> ReturnStatus {
        let returns = self.returns.iter().map(|entry| {
            let quantities = entry.lines.iter().map(|line| line.quantity);
            (entry.status, units(quantities))
        });
        ReturnStatus::of(returns, units(self.lines.iter().map(|line| line.quantity)))
    }

    /// Adds up what went back. The order's rules keep it within the total and in its currency; an
    /// amount that isn't leaves the sum as it was.
    fn refund(&mut self, sum: impl FnOnce(Money) -> Result<Money, MoneyError>, amount: Money) {
        let before = self.refunded.unwrap_or(Money::zero(amount.currency));
        let refunded = sum(before).unwrap_or(before);
        self.refunded = Some(refunded).filter(|refunded| refunded.amount != 0);
        let total = self.total.map_or(0, |total| total.amount);
        self.payment_status = match refunded.amount {
            0 => PaymentStatus::Captured,
            back if back < total => PaymentStatus::PartiallyRefunded,
            _ => PaymentStatus::Refunded,
        };
    }
}

impl ReturnEntry {
    fn new(id: ReturnId, lines: &[ReturnLine], reason: &Reason, amount: Money) -> Self {
        Self {
            id,
            status: ReturnStage::Requested,
            lines: lines.to_vec(),
            reason: reason.clone(),
            amount,
            refused_because: None,
            requested_at: None,
            approved_at: None,
            refused_at: None,
            received_at: None,
        }
    }
}

fn units(quantities: impl Iterator<Item = u32>) -> u64 {
    quantities.map(u64::from).sum()
}

#[cfg(test)]
mod tests {
    use kernel::RefundId;
    use uuid::Uuid;

    use super::*;
    use crate::testkit::{eur, fold};

    fn placed() -> OrderEvent {
        let user_id = UserId(Uuid::from_u128(1));
        OrderEvent::OrderPlaced {
            user_id,
            lines: vec![Line {
                sku: "TEA-1".parse().unwrap(),
                title: "Tea".parse().unwrap(),
                quantity: 2,
                unit_price: eur(500),
            }],
            total: eur(1000),
            shipping_address: Sealed::new(user_id, "address"),
            payment_method: "pm_card_visa".parse().unwrap(),
        }
    }

    fn confirmed() -> OrderEvent {
        OrderEvent::OrderConfirmed {
            payment_id: PaymentId(Uuid::from_u128(2)),
        }
    }

    fn refunded(amount: i64) -> OrderEvent {
        OrderEvent::OrderRefunded {
            refund_id: RefundId(Uuid::from_u128(3)),
            amount: eur(amount),
        }
    }

    #[test]
    fn a_placed_order_awaits_its_money() {
        let row: OrderSummary = fold::<Order, _>("o-1", vec![placed()]);
        assert_eq!(row.status, SummaryStatus::Placed);
        assert_eq!(row.payment_status, PaymentStatus::Pending);
        assert_eq!((row.total, row.version), (Some(eur(1000)), 1));
    }

    #[test]
    fn a_delivered_order_has_all_its_times() {
        let shipped = OrderEvent::OrderShipped {
            tracking: "T1".parse().unwrap(),
        };
        let events = vec![
            placed(),
            confirmed(),
            shipped,
            OrderEvent::OrderDelivered {},
        ];
        let row: OrderSummary = fold::<Order, _>("o-1", events);
        assert_eq!(row.status, SummaryStatus::Delivered);
        assert_eq!(row.payment_status, PaymentStatus::Captured);
        let times = [
            row.placed_at,
            row.confirmed_at,
            row.shipped_at,
            row.delivered_at,
        ];
        assert!(times.is_sorted() && times.iter().all(Option::is_some));
    }

    #[test]
    fn what_comes_back_is_told_return_by_return() {
        let return_id = ReturnId(Uuid::from_u128(4));
        let lines = vec![ReturnLine {
            sku: "TEA-1".parse().unwrap(),
            quantity: 1,
        }];
        let mut events = vec![
            placed(),
            OrderEvent::ReturnRequested {
                return_id,
                lines: lines.clone(),
                reason: "too strong".parse().unwrap(),
                amount: eur(500),
            },
        ];
        let row: OrderSummary = fold::<Order, _>("o-1", events.clone());
        assert_eq!(row.return_status, ReturnStatus::Requested);
        assert_eq!(row.returns[0].amount, eur(500));
        events.push(OrderEvent::ReturnApproved { return_id });
        let row: OrderSummary = fold::<Order, _>("o-1", events.clone());
        assert_eq!(row.return_status, ReturnStatus::Approved);
        let mut refused = events.clone();
        refused.push(OrderEvent::ReturnRefused {
            return_id,
            reason: "it was opened".parse().unwrap(),
        });
        let row: OrderSummary = fold::<Order, _>("o-1", refused);
        assert_eq!(row.return_status, ReturnStatus::Refused);
        let why = row.returns[0].refused_because.clone();
        assert_eq!(why, Some("it was opened".parse().unwrap()));
        events.push(OrderEvent::ReturnReceived {
            return_id,
            lines,
            amount: eur(500),
        });
        let row: OrderSummary = fold::<Order, _>("o-1", events);
        assert_eq!(row.return_status, ReturnStatus::PartiallyReturned);
        let entry = &row.returns[0];
        assert_eq!(entry.status, ReturnStage::Received);
        let times = [entry.requested_at, entry.approved_at, entry.received_at];
        assert!(times.is_sorted() && times.iter().all(Option::is_some));
    }

    #[test]
    fn a_rejected_order_says_why_and_keeps_no_money() {
        let rejected = OrderEvent::OrderRejected {
            reason: "card_declined".parse().unwrap(),
        };
        let row: OrderSummary = fold::<Order, _>("o-1", vec![placed(), rejected]);
        assert_eq!(row.status, SummaryStatus::Rejected);
        assert_eq!(row.reason, Some("card_declined".parse().unwrap()));
        assert_eq!(row.payment_status, PaymentStatus::Released);
    }

    #[test]
    fn a_canceled_order_keeps_its_money_until_it_went_back() {
        let canceled = OrderEvent::OrderCanceled {
            reason: "changed my mind".parse().unwrap(),
        };
        let mut events = vec![placed(), confirmed(), canceled];
        let row: OrderSummary = fold::<Order, _>("o-1", events.clone());
        assert_eq!(row.payment_status, PaymentStatus::Captured);
        events.push(refunded(400));
        let row: OrderSummary = fold::<Order, _>("o-1", events.clone());
        assert_eq!(row.payment_status, PaymentStatus::PartiallyRefunded);
        events.push(refunded(600));
        let row: OrderSummary = fold::<Order, _>("o-1", events.clone());
        assert_eq!(row.payment_status, PaymentStatus::Refunded);
        assert_eq!(row.refunded, row.total);
        // The bank sends it back.
        let reversed = |amount| OrderEvent::OrderRefundReversed {
            refund_id: RefundId(Uuid::from_u128(3)),
            amount: eur(amount),
        };
        events.push(reversed(600));
        let row: OrderSummary = fold::<Order, _>("o-1", events.clone());
        assert_eq!(row.payment_status, PaymentStatus::PartiallyRefunded);
        assert_eq!(row.refunded, Some(eur(400)));
        events.push(reversed(400));
        let row: OrderSummary = fold::<Order, _>("o-1", events);
        assert_eq!(row.payment_status, PaymentStatus::Captured);
        assert_eq!(row.refunded, None);
        assert_eq!(row.status, SummaryStatus::Canceled);
    }
}
