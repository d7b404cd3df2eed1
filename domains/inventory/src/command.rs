//! What can be asked of the inventory context.

use chrono::{DateTime, Utc};
use kernel::{Reason, ReservationId, ReturnId};
use serde::{Deserialize, Serialize};

/// Asked of the stock of one SKU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum InventoryCommand {
    /// An operator begins to keep stock of the SKU.
    CreateStockItem {},
    /// Goods came in.
    ReceiveStock {
        /// How many, from 1.
        quantity: u32,
    },
    /// An operator corrects the count, up or down.
    AdjustStock {
        /// The difference, not zero.
        delta: i64,
        /// Why.
        reason: Reason,
    },
    /// The saga sets units aside for an order.
    ReserveStock {
        /// For which order, which try.
        reservation: ReservationId,
        /// How many, from 1.
        quantity: u32,
        /// When the hold lapses.
        expires_at: DateTime<Utc>,
        /// The time of asking.
        at: DateTime<Utc>,
    },
    /// The saga makes a hold firm: it no longer lapses.
    CommitReservation {
        /// Which hold.
        reservation: ReservationId,
        /// The time of asking.
        at: DateTime<Utc>,
    },
    /// The saga gives units back, reserved or committed; of an unknown hold it leaves a tombstone,
    /// so that a late reserve is refused.
    ReleaseReservation {
        /// Which hold.
        reservation: ReservationId,
        /// Why.
        reason: Reason,
        /// How long the tombstone is kept: the hold's own `expires_at`.
        expires_at: DateTime<Utc>,
        /// The time of asking.
        at: DateTime<Utc>,
    },
    /// A hold has lapsed.
    ExpireReservation {
        /// Which hold.
        reservation: ReservationId,
        /// The time of asking.
        at: DateTime<Utc>,
    },
    /// Committed units left the house.
    ShipReservation {
        /// Which hold.
        reservation: ReservationId,
        /// The time of asking.
        at: DateTime<Utc>,
    },
    /// The return's saga puts goods that came back on the shelf.
    RestockReturn {
        /// Of which return.
        return_id: ReturnId,
        /// How many, from 1.
        quantity: u32,
        /// Until when it may be asked for.
        expires_at: DateTime<Utc>,
        /// The time of asking.
        at: DateTime<Utc>,
    },
    /// An operator says when stock of it is low.
    SetLowStockThreshold {
        /// Fewer available units are low stock; 0 = never.
        threshold: u32,
    },
}
