//! What is heard, as a table's author sees it.

use ::order::OrderEvent;
use inventory::InventoryEvent;
use kernel::{Fact, OrderId, ReservationId, Sku};
use payment::PaymentEvent;

/// An event of a stream that sagas hear.
#[derive(Debug, Clone, Copy)]
pub enum Heard<'a> {
    /// Of an order.
    Order(OrderId, &'a OrderEvent),
    /// Of a stock item.
    Inventory(&'a Sku, &'a InventoryEvent),
    /// Of the payment of an order.
    Payment(OrderId, &'a PaymentEvent),
}

impl Heard<'_> {
    /// Its name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Order(_, event) => event.name(),
            Self::Inventory(_, event) => event.name(),
            Self::Payment(_, event) => event.name(),
        }
    }

    /// The order that it is about, if it is about one.
    pub fn order_id(&self) -> Option<OrderId> {
        match self {
            Self::Order(order_id, _) | Self::Payment(order_id, _) => Some(*order_id),
            Self::Inventory(..) => self.reservation().map(|hold| hold.order_id),
        }
    }

    /// The hold that it is about, if it is about one. Another attempt is another hold: the checkout's
    /// is the first.
    pub fn reservation(&self) -> Option<ReservationId> {
        let Self::Inventory(_, event) = self else {
            return None;
        };
        match event {
            InventoryEvent::StockReserved { reservation, .. }
            | InventoryEvent::ReservationCommitted { reservation, .. }
            | InventoryEvent::ReservationReleased { reservation, .. }
            | InventoryEvent::ReservationExpired { reservation, .. }
            | InventoryEvent::StockShipped { reservation, .. } => Some(*reservation),
            InventoryEvent::StockItemCreated {}
            | InventoryEvent::StockReceived { .. }
            | InventoryEvent::StockAdjusted { .. }
            | InventoryEvent::ReturnRestocked { .. }
            | InventoryEvent::LowStockThresholdSet { .. } => None,
        }
    }
}
