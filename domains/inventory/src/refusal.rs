//! Why the inventory context says no.

use kernel::ReservationId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Reasons to refuse, in the order in which they are checked.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum InventoryRefusal {
    /// Stock of the SKU is kept already.
    #[error("stock of this product is already kept")]
    StockItemAlreadyExists,
    /// No stock of the SKU is kept.
    #[error("no stock of this product is kept")]
    StockItemUnknown,
    /// Nothing was asked for.
    #[error("the quantity must be at least 1")]
    QuantityNotPositive,
    /// A correction that corrects nothing.
    #[error("an adjustment must not be zero")]
    AdjustmentOfZero,
    /// No such hold is remembered.
    #[error("there is no reservation {reservation}")]
    ReservationUnknown {
        /// The hold that was named.
        reservation: ReservationId,
    },
    /// The id was used for another quantity.
    #[error("the reservation exists with the quantity {held}")]
    ReservationDiffers {
        /// The quantity that it was made with.
        held: u32,
    },
    /// The hold was shipped: nothing can be given back.
    #[error("the reservation was shipped")]
    ReservationShipped,
    /// The hold lapsed, so it can't be made firm.
    #[error("the reservation has expired")]
    ReservationExpired,
    /// The hold is finished, or was released before it was made.
    #[error("the reservation is closed")]
    ReservationClosed,
    /// The hold would have lapsed before it is made.
    #[error("the reservation's time was over before it was made")]
    ReservationAlreadyExpired,
    /// The hold's time is not over.
    #[error("the reservation has not lapsed yet")]
    ReservationNotLapsed,
    /// The hold is firm: it does not lapse.
    #[error("the reservation is committed")]
    ReservationCommitted,
    /// Only firm holds are shipped.
    #[error("the reservation is not committed")]
    ReservationNotCommitted,
    /// The return was restocked with another quantity.
    #[error("{restocked} units of this return were restocked")]
    RestockDiffers {
        /// The quantity then.
        restocked: u32,
    },
    /// Its time is over: whether it was done before may be forgotten.
    #[error("the time to restock the return is over")]
    RestockExpired,
    /// Fewer units are available than were asked for.
    #[error("out of stock: {requested} requested, {available} available")]
    OutOfStock {
        /// Asked for.
        requested: u32,
        /// What could have been had.
        available: u64,
    },
    /// The correction would take units that are set aside.
    #[error("the adjustment takes more than the {available} available units")]
    AdjustmentTooLarge {
        /// What could have been taken.
        available: u64,
    },
    /// More units than the shop can count.
    #[error("there can't be more than {max} units of one product")]
    StockTooLarge {
        /// The bound, in units.
        max: u64,
    },
}
