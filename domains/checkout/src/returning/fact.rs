//! What the return saga takes in: the contexts' events in its own words, and the bus's refusals.

use ::order::OrderEvent;
use chrono::{DateTime, Utc};
use inventory::InventoryEvent;
use kernel::{Money, OrderId, Reason, RefundId, ReturnId, Sku, UserId};
use payment::PaymentEvent;
use serde::{Deserialize, Serialize};

use super::ReturnAsk;
use crate::Item;

/// Something that has happened and may concern a return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum ReturningFact {
    /// The goods are here.
    ReturnReceived {
        /// Which return.
        return_id: ReturnId,
        /// Of which order.
        order_id: OrderId,
        /// What.
        items: Vec<Item>,
        /// What is to go back for them.
        amount: Money,
        /// Who bought them, if that is known.
        user_id: Option<UserId>,
        /// When.
        received_at: DateTime<Utc>,
    },
    /// Goods are on the shelf.
    ReturnRestocked {
        /// Which.
        sku: Sku,
    },
    /// The money went back.
    PaymentRefunded {
        /// By which refund.
        refund_id: RefundId,
    },
    /// The money can't go back, or came back from the bank.
    RefundFailed {
        /// Which refund.
        refund_id: RefundId,
        /// The provider's code.
        code: String,
    },
    /// The bus answered an ask with a business "no".
    AskRefused {
        /// What was asked.
        ask: ReturnAsk,
        /// The refusal's code.
        code: String,
        /// The refusal in words.
        message: String,
    },
    /// An operator has what is stuck asked again.
    Resumed {
        /// Who.
        by: String,
    },
    /// An operator has dealt by hand with what is stuck.
    Skipped {
        /// With what, as [`super::ReturnStep`] is displayed.
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

impl ReturningFact {
    /// The order's event says what came back, its checkout whose it was.
    #[must_use]
    pub fn bought_by(mut self, buyer: Option<UserId>) -> Self {
        if let Self::ReturnReceived { user_id, .. } = &mut self {
            *user_id = buyer;
        }
        self
    }
}

/// What an order's event is to one of its returns; `at` is the event's time.
pub fn from_order(
    order_id: OrderId,
    event: &OrderEvent,
    at: DateTime<Utc>,
) -> Option<(ReturnId, ReturningFact)> {
    match event {
        OrderEvent::ReturnReceived {
            return_id,
            lines,
            amount,
        } => {
            let items = lines.iter().map(|line| Item {
                sku: line.sku.clone(),
                quantity: line.quantity,
            });
            let received = ReturningFact::ReturnReceived {
                return_id: *return_id,
                order_id,
                items: items.collect(),
                amount: *amount,
                user_id: None,
                received_at: at,
            };
            Some((*return_id, received))
        }
        // Not interested: nothing is back yet.
        OrderEvent::OrderPlaced { .. }
        | OrderEvent::OrderConfirmed { .. }
        | OrderEvent::OrderRejected { .. }
        | OrderEvent::OrderCanceled { .. }
        | OrderEvent::OrderShipped { .. }
        | OrderEvent::OrderDelivered {}
        | OrderEvent::ReturnRequested { .. }
        | OrderEvent::ReturnApproved { .. }
        | OrderEvent::ReturnRefused { .. }
        | OrderEvent::OrderRefunded { .. }
        | OrderEvent::OrderRefundReversed { .. } => None,
    }
}

/// What an event of one SKU's stock is, and to which return.
pub fn from_inventory(sku: &Sku, event: &InventoryEvent) -> Option<(ReturnId, ReturningFact)> {
    match event {
        InventoryEvent::ReturnRestocked { return_id, .. } => {
            let sku = sku.clone();
            Some((*return_id, ReturningFact::ReturnRestocked { sku }))
        }
        // Not interested: nothing that came back.
        InventoryEvent::StockItemCreated {}
        | InventoryEvent::StockReceived { .. }
        | InventoryEvent::StockAdjusted { .. }
        | InventoryEvent::StockReserved { .. }
        | InventoryEvent::ReservationCommitted { .. }
        | InventoryEvent::ReservationReleased { .. }
        | InventoryEvent::ReservationExpired { .. }
        | InventoryEvent::StockShipped { .. }
        | InventoryEvent::LowStockThresholdSet { .. } => None,
    }
}

/// What a payment's event is to the return that the refund pays back, if it is one of a return.
pub fn from_payment(event: &PaymentEvent) -> Option<(RefundId, ReturningFact)> {
    match event {
        PaymentEvent::PaymentRefunded { refund_id, .. } => {
            let refund_id = *refund_id;
            Some((refund_id, ReturningFact::PaymentRefunded { refund_id }))
        }
        PaymentEvent::RefundFailed {
            refund_id, code, ..
        } => {
            let (refund_id, code) = (*refund_id, code.clone());
            Some((refund_id, ReturningFact::RefundFailed { refund_id, code }))
        }
        // Not interested: no money that goes back.
        PaymentEvent::PaymentRequested { .. }
        | PaymentEvent::ProviderIntentCreated { .. }
        | PaymentEvent::PaymentActionRequired { .. }
        | PaymentEvent::PaymentAuthorized { .. }
        | PaymentEvent::PaymentDeclined { .. }
        | PaymentEvent::PaymentFailed { .. }
        | PaymentEvent::CaptureRequested { .. }
        | PaymentEvent::PaymentCaptured { .. }
        | PaymentEvent::VoidRequested { .. }
        | PaymentEvent::PaymentVoided {}
        | PaymentEvent::RefundRequested { .. }
        | PaymentEvent::ProviderEventIgnored { .. }
        | PaymentEvent::ReconciliationAccepted { .. }
        | PaymentEvent::ReconciliationMatched {}
        | PaymentEvent::ReconciliationMismatched { .. } => None,
    }
}
