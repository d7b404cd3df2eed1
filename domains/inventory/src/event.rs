//! What has happened in the inventory context, as it stands on the wire.

use chrono::{DateTime, Utc};
use kernel::{Reason, ReservationId, ReturnId};
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};

/// The counts of one SKU, in units. `available = on_hand − reserved − committed`, never below zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    /// In the house.
    pub on_hand: u64,
    /// Of these, set aside for orders not yet paid.
    pub reserved: u64,
    /// Of these, sold and waiting to be shipped.
    pub committed: u64,
}

impl Stock {
    /// What may still be reserved.
    pub fn available(&self) -> u64 {
        self.on_hand
            .saturating_sub(self.reserved.saturating_add(self.committed))
    }
}

/// Facts about the stock of one SKU. Each carries the counts after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum InventoryEvent {
    /// Stock of the SKU is kept.
    StockItemCreated {},
    /// Goods came in.
    StockReceived {
        /// How many.
        quantity: u32,
        /// The counts now.
        stock: Stock,
    },
    /// The count was corrected.
    StockAdjusted {
        /// The difference.
        delta: i64,
        /// Why.
        reason: Reason,
        /// The counts now.
        stock: Stock,
    },
    /// Units are set aside.
    StockReserved {
        /// For which order, which try.
        reservation: ReservationId,
        /// How many.
        quantity: u32,
        /// When the hold lapses.
        expires_at: DateTime<Utc>,
        /// The time of asking; what is to be forgotten by then is forgotten.
        at: DateTime<Utc>,
        /// The counts now.
        stock: Stock,
    },
    /// A hold is firm.
    ReservationCommitted {
        /// Which hold.
        reservation: ReservationId,
        /// How many.
        quantity: u32,
        /// The counts now.
        stock: Stock,
    },
    /// Units are free again, or (quantity 0) a tombstone was left for a hold that never was.
    ReservationReleased {
        /// Which hold.
        reservation: ReservationId,
        /// How many; 0 = the hold was not known.
        quantity: u32,
        /// Why.
        reason: Reason,
        /// Until when the id is remembered.
        expires_at: DateTime<Utc>,
        /// The time of asking; what is to be forgotten by then is forgotten.
        at: DateTime<Utc>,
        /// The counts now.
        stock: Stock,
    },
    /// A hold lapsed, its units are free again.
    ReservationExpired {
        /// Which hold.
        reservation: ReservationId,
        /// How many.
        quantity: u32,
        /// The time of asking; what is to be forgotten by then is forgotten.
        at: DateTime<Utc>,
        /// The counts now.
        stock: Stock,
    },
    /// Committed units left the house.
    StockShipped {
        /// Which hold.
        reservation: ReservationId,
        /// How many.
        quantity: u32,
        /// The time of asking; what is to be forgotten by then is forgotten.
        at: DateTime<Utc>,
        /// The counts now.
        stock: Stock,
    },
    /// Goods that came back are on the shelf again.
    ReturnRestocked {
        /// Of which return.
        return_id: ReturnId,
        /// How many.
        quantity: u32,
        /// Until when it could be asked for.
        expires_at: DateTime<Utc>,
        /// The time of asking; what is to be forgotten by then is forgotten.
        at: DateTime<Utc>,
        /// The counts now.
        stock: Stock,
    },
    /// Fewer available units than this are low stock.
    LowStockThresholdSet {
        /// In units; 0 = stock is never low.
        threshold: u32,
        /// The counts now.
        stock: Stock,
    },
}

impl InventoryEvent {
    /// The counts after this fact.
    pub fn stock(&self) -> Stock {
        match self {
            Self::StockItemCreated {} => Stock::default(),
            Self::StockReceived { stock, .. }
            | Self::StockAdjusted { stock, .. }
            | Self::StockReserved { stock, .. }
            | Self::ReservationCommitted { stock, .. }
            | Self::ReservationReleased { stock, .. }
            | Self::ReservationExpired { stock, .. }
            | Self::StockShipped { stock, .. }
            | Self::ReturnRestocked { stock, .. }
            | Self::LowStockThresholdSet { stock, .. } => *stock,
        }
    }
}

kernel::fact!(InventoryEvent);
