//! Stock movements: each time that a count of a SKU changed, by how much, and what there was then.

use cqrs_es::EventEnvelope;
use inventory::{InventoryEvent, Stock, StockItem};
use kernel::{OrderId, ReturnId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::moment::Moment;
use crate::table::{Rows, TableView};
use crate::view::Sort;

/// What became of units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, VariantNames, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Movement {
    /// They came in.
    Received,
    /// They were counted anew.
    Adjusted,
    /// They were set aside for an order.
    Reserved,
    /// They were sold.
    Committed,
    /// They are free again: the order fell through.
    Released,
    /// They are free again: nobody paid in time.
    Expired,
    /// They left the house.
    Shipped,
    /// They came back.
    Restocked,
}

/// A change of the counts of one SKU, in units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StockMovement {
    /// The SKU, and which of its events it was.
    pub id: String,
    /// Of what.
    pub sku: String,
    /// When.
    pub at: Option<Moment>,
    /// What became of the units.
    pub movement: Movement,
    /// Of how many; below zero where fewer were counted.
    pub quantity: i64,
    /// For which order.
    pub order_id: Option<OrderId>,
    /// With which return.
    pub return_id: Option<ReturnId>,
    /// In the house, afterwards.
    pub on_hand: u64,
    /// Of these, set aside for orders not yet paid.
    pub reserved: u64,
    /// Of these, sold and waiting to be shipped.
    pub committed: u64,
    /// What might still be reserved.
    pub available: u64,
}

impl TableView for StockMovement {
    type Of = StockItem;
    const NAME: &'static str = "stock_movement";
    const FILTERS: &'static [&'static str] = &["sku", "movement"];
    const SORT: Sort = Sort::Latest("at");

    fn touched(event: &EventEnvelope<StockItem>, _: &Rows<Self>) -> Vec<String> {
        let moved = moved(&event.payload).is_some();
        moved.then(|| id(event)).into_iter().collect()
    }

    fn take(event: &EventEnvelope<StockItem>, rows: &mut Rows<Self>) {
        let Some((movement, quantity)) = moved(&event.payload) else {
            return;
        };
        let (order_id, return_id) = caused_by(&event.payload);
        let stock: Stock = event.payload.stock();
        let id = id(event);
        rows.edit(&id.clone(), || Self {
            id,
            sku: event.aggregate_id.clone(),
            at: Moment::of(event),
            movement,
            quantity,
            order_id,
            return_id,
            on_hand: stock.on_hand,
            reserved: stock.reserved,
            committed: stock.committed,
            available: stock.available(),
        });
    }
}

/// In the order of the SKU's events.
fn id(event: &EventEnvelope<StockItem>) -> String {
    format!("{}/{:010}", event.aggregate_id, event.sequence)
}

/// What became of how many units.
fn moved(event: &InventoryEvent) -> Option<(Movement, i64)> {
    let (movement, quantity) = match event {
        InventoryEvent::StockItemCreated {} | InventoryEvent::LowStockThresholdSet { .. } => {
            return None;
        }
        InventoryEvent::StockAdjusted { delta, .. } => return Some((Movement::Adjusted, *delta)),
        InventoryEvent::StockReceived { quantity, .. } => (Movement::Received, quantity),
        InventoryEvent::StockReserved { quantity, .. } => (Movement::Reserved, quantity),
        InventoryEvent::ReservationCommitted { quantity, .. } => (Movement::Committed, quantity),
        InventoryEvent::ReservationReleased { quantity, .. } => (Movement::Released, quantity),
        InventoryEvent::ReservationExpired { quantity, .. } => (Movement::Expired, quantity),
        InventoryEvent::StockShipped { quantity, .. } => (Movement::Shipped, quantity),
        InventoryEvent::ReturnRestocked { quantity, .. } => (Movement::Restocked, quantity),
    };
    Some((movement, i64::from(*quantity)))
}

/// The order or the return that moved them.
fn caused_by(event: &InventoryEvent) -> (Option<OrderId>, Option<ReturnId>) {
    match event {
        InventoryEvent::StockItemCreated {}
        | InventoryEvent::StockReceived { .. }
        | InventoryEvent::StockAdjusted { .. }
        | InventoryEvent::LowStockThresholdSet { .. } => (None, None),
        InventoryEvent::StockReserved { reservation, .. }
        | InventoryEvent::ReservationCommitted { reservation, .. }
        | InventoryEvent::ReservationReleased { reservation, .. }
        | InventoryEvent::ReservationExpired { reservation, .. }
        | InventoryEvent::StockShipped { reservation, .. } => (Some(reservation.order_id), None),
        InventoryEvent::ReturnRestocked { return_id, .. } => (None, Some(*return_id)),
    }
}

#[cfg(test)]
mod tests {
    use kernel::ReservationId;
    use uuid::Uuid;

    use super::*;
    use crate::testkit::{recorded, same_rows_however_they_come, start};

    #[test]
    fn each_change_of_a_count_is_a_row_and_nothing_else_is() {
        let order_id = OrderId(Uuid::from_u128(7));
        let counts = |on_hand, reserved| Stock {
            on_hand,
            reserved,
            committed: 0,
        };
        let events = [
            InventoryEvent::StockItemCreated {},
            InventoryEvent::StockReceived {
                quantity: 10,
                stock: counts(10, 0),
            },
            InventoryEvent::LowStockThresholdSet {
                threshold: 3,
                stock: counts(10, 0),
            },
            InventoryEvent::StockAdjusted {
                delta: -2,
                reason: "Ann Example broke them".parse().unwrap(),
                stock: counts(8, 0),
            },
            InventoryEvent::StockReserved {
                reservation: ReservationId {
                    order_id,
                    attempt: 1,
                },
                quantity: 3,
                expires_at: start(),
                at: start(),
                stock: counts(8, 3),
            },
        ];
        let events: Vec<_> = (1..)
            .zip(&events)
            .map(|(at, event)| recorded::<StockItem>("TEA-1", (at, at), event))
            .collect();
        let rows = same_rows_however_they_come(&crate::STOCK_MOVEMENT, &events);
        let rows: Vec<StockMovement> = rows
            .iter()
            .map(|row| serde_json::from_str(&row.payload).unwrap())
            .collect();
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.movement, row.quantity, row.on_hand, row.available))
            .collect();
        assert_eq!(
            told,
            [
                (Movement::Received, 10, 10, 10),
                (Movement::Adjusted, -2, 8, 8),
                (Movement::Reserved, 3, 8, 5),
            ]
        );
        assert_eq!(rows[2].order_id, Some(order_id));
        let text = serde_json::to_string(&rows).unwrap();
        assert!(!text.contains("Ann"), "no words of people");
    }
}
