//! What a checkout takes in: the contexts' events in its own words, the bus's refusals, its timer
//! and the operator.

use ::order::OrderEvent;
use chrono::{DateTime, TimeDelta, Utc};
use inventory::InventoryEvent;
use kernel::{Money, OrderId, PaymentMethod, Reason, RefundId, Sku, Tracking, UserId};
use payment::PaymentEvent;
use serde::{Deserialize, Serialize};

use crate::{Ask, Item};

/// How long stock is set aside for an order that is not paid.
pub const HOLD: TimeDelta = TimeDelta::minutes(30);

/// How long a checkout waits for the stock and the authorization (a customer at 3-D Secure). Well
/// below [`HOLD`], so that the hold doesn't lapse while it is made firm.
pub const PATIENCE: TimeDelta = TimeDelta::minutes(15);

/// Something that has happened and may concern a checkout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum CheckoutFact {
    /// An order was placed.
    OrderPlaced {
        /// Which.
        order_id: OrderId,
        /// Whose.
        user_id: UserId,
        /// What.
        items: Vec<Item>,
        /// For how much.
        total: Money,
        /// How it is paid.
        payment_method: PaymentMethod,
        /// When the saga took it in.
        started_at: DateTime<Utc>,
        /// Until when stock is set aside: usually [`HOLD`] later.
        reserved_until: DateTime<Utc>,
        /// Until when it waits for the authorization: usually [`PATIENCE`] later.
        deadline: DateTime<Utc>,
    },
    /// The order says that it is confirmed.
    OrderConfirmed {},
    /// The order says that it is rejected.
    OrderRejected {
        /// Why.
        reason: Reason,
    },
    /// Somebody called the order off.
    OrderCanceled {
        /// Why.
        reason: Reason,
    },
    /// The order left the house.
    OrderShipped {
        /// The carrier's number.
        tracking: Tracking,
    },
    /// Stock is set aside.
    StockReserved {
        /// Which.
        sku: Sku,
        /// Of the reservation.
        attempt: u32,
    },
    /// A hold is firm.
    ReservationCommitted {
        /// Which stock.
        sku: Sku,
        /// Of the reservation.
        attempt: u32,
    },
    /// A hold was given back, or may never be.
    ReservationReleased {
        /// Which stock.
        sku: Sku,
        /// Of the reservation.
        attempt: u32,
    },
    /// A hold lapsed.
    ReservationExpired {
        /// Which stock.
        sku: Sku,
        /// Of the reservation.
        attempt: u32,
    },
    /// Stock left the house.
    StockShipped {
        /// Which.
        sku: Sku,
        /// Of the reservation.
        attempt: u32,
    },
    /// The amount is held.
    PaymentAuthorized {},
    /// The issuer said no: nothing is held.
    PaymentDeclined {
        /// The provider's code.
        code: String,
    },
    /// The provider's final no to the call in flight.
    PaymentFailed {
        /// The provider's code.
        code: String,
    },
    /// The amount was taken.
    PaymentCaptured {
        /// How much.
        amount: Money,
    },
    /// The hold was let go, or may never be.
    PaymentVoided {},
    /// Money went back.
    PaymentRefunded {
        /// Which refund.
        refund_id: RefundId,
    },
    /// Money can't go back this way.
    RefundFailed {
        /// Which refund.
        refund_id: RefundId,
        /// The provider's code.
        code: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// The bus answered an ask with a business "no".
    AskRefused {
        /// What was asked, as [`crate::Due`] named it.
        ask: Ask,
        /// The refusal's code.
        code: String,
        /// The refusal in words.
        message: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// The bus answered that what was to be undone had never been done and never will be: the
    /// inventory had nothing to write down. Only [`crate::Due::already`] makes it.
    NothingToUndo {
        /// What was asked.
        ask: Ask,
    },
    /// A timer rang. A hint: the state decides whether anything is late.
    DeadlineReached {
        /// The time of ringing.
        at: DateTime<Utc>,
    },
    /// An operator lets a suspended checkout go on.
    Resumed {
        /// Who.
        by: String,
    },
    /// An operator has dealt by hand with what it is suspended for.
    Skipped {
        /// With what, as [`Step`](crate::Step) is displayed.
        step: String,
        /// Who.
        by: String,
        /// In their words.
        reason: Reason,
    },
    /// An operator has dealt by hand with all of it.
    Resolved {
        /// Who.
        by: String,
        /// In their words.
        reason: Reason,
    },
}

/// What a fact is about, as far as a checkout that a person has resolved may still care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concern {
    /// Stock that is held, or a wait for its end: what such a person does not see to.
    Stock,
    /// What became of the money, and of an order that is rejected once that is gone.
    Money,
    /// Anything else.
    Other,
}

impl CheckoutFact {
    pub(crate) fn concern(&self) -> Concern {
        match self {
            Self::StockReserved { .. }
            | Self::ReservationReleased { .. }
            | Self::ReservationExpired { .. }
            | Self::AskRefused { .. }
            | Self::NothingToUndo { .. }
            | Self::Resumed { .. }
            | Self::Skipped { .. }
            | Self::Resolved { .. } => Concern::Stock,
            Self::PaymentDeclined { .. }
            | Self::PaymentFailed { .. }
            | Self::PaymentCaptured { .. }
            | Self::PaymentVoided {}
            | Self::PaymentRefunded { .. }
            | Self::RefundFailed { .. }
            | Self::OrderRejected { .. }
            | Self::OrderCanceled { .. } => Concern::Money,
            Self::OrderPlaced { .. }
            | Self::OrderConfirmed {}
            | Self::OrderShipped { .. }
            | Self::ReservationCommitted { .. }
            | Self::StockShipped { .. }
            | Self::PaymentAuthorized {}
            | Self::DeadlineReached { .. } => Concern::Other,
        }
    }
}

/// What an order's event is to its checkout; `at` is when the saga takes it in, and `patience` how long
/// it waits for the authorization from then on: usually [`PATIENCE`]. The time while no saga was there
/// is not the order's.
pub fn from_order(
    order_id: OrderId,
    event: &OrderEvent,
    at: DateTime<Utc>,
    patience: TimeDelta,
) -> Option<CheckoutFact> {
    match event.clone() {
        OrderEvent::OrderPlaced {
            user_id,
            lines,
            total,
            payment_method,
            shipping_address: _,
        } => Some(CheckoutFact::OrderPlaced {
            order_id,
            user_id,
            items: lines.into_iter().map(Item::from).collect(),
            total,
            payment_method,
            started_at: at,
            reserved_until: at + HOLD,
            deadline: at + patience,
        }),
        OrderEvent::OrderConfirmed { payment_id: _ } => Some(CheckoutFact::OrderConfirmed {}),
        OrderEvent::OrderRejected { reason } => Some(CheckoutFact::OrderRejected { reason }),
        OrderEvent::OrderCanceled { reason } => Some(CheckoutFact::OrderCanceled { reason }),
        OrderEvent::OrderShipped { tracking } => Some(CheckoutFact::OrderShipped { tracking }),
        // Not interested: the checkout is over, or it asked for this itself.
        OrderEvent::OrderDelivered {}
        | OrderEvent::ReturnRequested { .. }
        | OrderEvent::ReturnApproved { .. }
        | OrderEvent::ReturnRefused { .. }
        | OrderEvent::ReturnReceived { .. }
        | OrderEvent::OrderRefunded { .. }
        | OrderEvent::OrderRefundReversed { .. } => None,
    }
}

/// What an event of one SKU's stock is, and to whose checkout.
pub fn from_inventory(sku: &Sku, event: &InventoryEvent) -> Option<(OrderId, CheckoutFact)> {
    let sku = sku.clone();
    match event {
        InventoryEvent::StockReserved { reservation: r, .. } => {
            let attempt = r.attempt;
            Some((r.order_id, CheckoutFact::StockReserved { sku, attempt }))
        }
        InventoryEvent::ReservationCommitted { reservation: r, .. } => {
            let attempt = r.attempt;
            Some((
                r.order_id,
                CheckoutFact::ReservationCommitted { sku, attempt },
            ))
        }
        InventoryEvent::ReservationReleased { reservation: r, .. } => {
            let attempt = r.attempt;
            Some((
                r.order_id,
                CheckoutFact::ReservationReleased { sku, attempt },
            ))
        }
        InventoryEvent::ReservationExpired { reservation: r, .. } => {
            let attempt = r.attempt;
            Some((
                r.order_id,
                CheckoutFact::ReservationExpired { sku, attempt },
            ))
        }
        InventoryEvent::StockShipped { reservation: r, .. } => {
            let attempt = r.attempt;
            Some((r.order_id, CheckoutFact::StockShipped { sku, attempt }))
        }
        // Not interested: of no order's hold.
        InventoryEvent::StockItemCreated {}
        | InventoryEvent::StockReceived { .. }
        | InventoryEvent::StockAdjusted { .. }
        | InventoryEvent::ReturnRestocked { .. }
        | InventoryEvent::LowStockThresholdSet { .. } => None,
    }
}

/// What a payment's event is to its order's checkout; `at` is the event's time. Whose it is says
/// the event's correlation id, which is the order's id.
pub fn from_payment(event: &PaymentEvent, at: DateTime<Utc>) -> Option<CheckoutFact> {
    match event.clone() {
        PaymentEvent::PaymentAuthorized { .. } => Some(CheckoutFact::PaymentAuthorized {}),
        PaymentEvent::PaymentDeclined { code, .. } => Some(CheckoutFact::PaymentDeclined { code }),
        PaymentEvent::PaymentFailed { code } => Some(CheckoutFact::PaymentFailed { code }),
        PaymentEvent::PaymentCaptured { amount } => Some(CheckoutFact::PaymentCaptured { amount }),
        PaymentEvent::PaymentVoided {} => Some(CheckoutFact::PaymentVoided {}),
        PaymentEvent::PaymentRefunded { refund_id, .. } => {
            Some(CheckoutFact::PaymentRefunded { refund_id })
        }
        PaymentEvent::RefundFailed {
            refund_id, code, ..
        } => Some(CheckoutFact::RefundFailed {
            refund_id,
            code,
            at,
        }),
        // Not interested: these are the payment's talk with its provider, not an outcome.
        PaymentEvent::PaymentRequested { .. }
        | PaymentEvent::ProviderIntentCreated { .. }
        | PaymentEvent::PaymentActionRequired { .. }
        | PaymentEvent::CaptureRequested { .. }
        | PaymentEvent::VoidRequested { .. }
        | PaymentEvent::RefundRequested { .. }
        | PaymentEvent::ProviderEventIgnored { .. }
        | PaymentEvent::ReconciliationMismatched { .. }
        | PaymentEvent::ReconciliationAccepted { .. }
        | PaymentEvent::ReconciliationMatched {} => None,
    }
}

impl From<::order::Line> for Item {
    fn from(line: ::order::Line) -> Self {
        Self {
            sku: line.sku,
            quantity: line.quantity,
        }
    }
}
