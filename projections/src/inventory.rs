//! The stock page: how much of a SKU there is, and how much of it is still to be had.

use cqrs_es::{EventEnvelope, View};
use inventory::{InventoryEvent, Stock, StockItem};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::view::{EntityView, Sort};

/// The counts of one SKU, in units.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StockLevel {
    /// The SKU.
    pub id: String,
    /// The SKU again, under the name that products and order lines use.
    pub sku: String,
    /// In the house.
    pub on_hand: u64,
    /// Of these, set aside for orders not yet paid.
    pub reserved: u64,
    /// Of these, sold and waiting to be shipped.
    pub committed: u64,
    /// What may still be reserved.
    pub available: u64,
    /// Fewer available units are low stock; 0 = stock is never low.
    pub threshold: u32,
    /// Are fewer units available?
    pub low_stock: bool,
    /// How many events the stock item has.
    pub version: u64,
    /// Since when stock of it is kept.
    pub created_at: Option<Moment>,
    /// When a count changed last.
    pub updated_at: Option<Moment>,
}

impl EntityView<StockItem> for StockLevel {
    const NAME: &'static str = "stock_level";
    const FILTERS: &'static [&'static str] = &["low_stock", "held"];
    const SORT: Sort = Sort::Id;
}

impl View<StockItem> for StockLevel {
    fn update(&mut self, event: &EventEnvelope<StockItem>) {
        let at = Moment::of(event);
        self.id.clone_from(&event.aggregate_id);
        self.sku.clone_from(&event.aggregate_id);
        self.version = event.sequence as u64;
        self.updated_at = at;
        match &event.payload {
            InventoryEvent::StockItemCreated {} => self.created_at = at,
            InventoryEvent::StockReceived { stock, .. }
            | InventoryEvent::StockAdjusted { stock, .. }
            | InventoryEvent::StockReserved { stock, .. }
            | InventoryEvent::ReservationCommitted { stock, .. }
            | InventoryEvent::ReservationReleased { stock, .. }
            | InventoryEvent::ReservationExpired { stock, .. }
            | InventoryEvent::StockShipped { stock, .. }
            | InventoryEvent::ReturnRestocked { stock, .. } => self.count(*stock),
            InventoryEvent::LowStockThresholdSet { threshold, stock } => {
                self.threshold = *threshold;
                self.count(*stock);
            }
        }
    }
}

impl StockLevel {
    fn count(&mut self, stock: Stock) {
        self.on_hand = stock.on_hand;
        self.reserved = stock.reserved;
        self.committed = stock.committed;
        self.available = stock.available();
        self.low_stock = self.available < u64::from(self.threshold);
    }
}

#[cfg(test)]
mod tests {
    use kernel::{OrderId, ReservationId};
    use uuid::Uuid;

    use super::*;
    use crate::testkit::{fold, start};

    #[test]
    fn a_new_item_has_nothing() {
        let row: StockLevel =
            fold::<StockItem, _>("TEA-1", vec![InventoryEvent::StockItemCreated {}]);
        assert_eq!((row.on_hand, row.available, row.version), (0, 0, 1));
    }

    #[test]
    fn the_counts_are_those_after_the_last_event() {
        let reservation = ReservationId {
            order_id: OrderId(Uuid::from_u128(7)),
            attempt: 1,
        };
        let counts = |on_hand, reserved, committed| Stock {
            on_hand,
            reserved,
            committed,
        };
        let mut events = vec![
            InventoryEvent::StockItemCreated {},
            InventoryEvent::StockReceived {
                quantity: 10,
                stock: counts(10, 0, 0),
            },
            InventoryEvent::StockReserved {
                reservation,
                quantity: 3,
                expires_at: start(),
                at: start(),
                stock: counts(10, 3, 0),
            },
        ];
        let row: StockLevel = fold::<StockItem, _>("TEA-1", events.clone());
        assert_eq!((row.on_hand, row.reserved, row.available), (10, 3, 7));
        events.push(InventoryEvent::ReservationCommitted {
            reservation,
            quantity: 3,
            stock: counts(10, 0, 3),
        });
        let row: StockLevel = fold::<StockItem, _>("TEA-1", events);
        assert_eq!((row.reserved, row.committed, row.available), (0, 3, 7));
    }
    #[test]
    fn stock_is_low_below_its_threshold() {
        let counts = |on_hand| Stock {
            on_hand,
            ..Stock::default()
        };
        let received = |quantity, on_hand| InventoryEvent::StockReceived {
            quantity,
            stock: counts(on_hand),
        };
        let mut events = vec![InventoryEvent::StockItemCreated {}, received(4, 4)];
        let row: StockLevel = fold::<StockItem, _>("TEA-1", events.clone());
        assert_eq!((row.threshold, row.low_stock), (0, false));
        events.push(InventoryEvent::LowStockThresholdSet {
            threshold: 5,
            stock: counts(4),
        });
        let row: StockLevel = fold::<StockItem, _>("TEA-1", events.clone());
        assert_eq!((row.threshold, row.low_stock), (5, true));
        events.push(received(1, 5));
        let row: StockLevel = fold::<StockItem, _>("TEA-1", events);
        assert!(!row.low_stock, "as many as the threshold are enough");
    }
}
