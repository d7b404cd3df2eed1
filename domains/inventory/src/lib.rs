//! The inventory context: how many units of a SKU there are, and for whom they are set aside.
//!
//! ```text
//!   stock item   Unknown ──CreateStockItem──► Kept { stock, holds, restocks, threshold }
//!
//!   a hold       (none) ──Reserve──► Reserved ──Commit──► Committed ──Ship──► Finished(Shipped)
//!                  │                   │  └──Expire──► Finished(Expired)
//!                  │                   └──Release──► Finished(Released) ◄──Release── Committed
//!                  └──Release──► Tombstone
//!
//!   available = on_hand − reserved − committed, never below zero
//!   on_hand   = received + adjusted + restocked − shipped
//! ```
//!
//! One aggregate per SKU: its stream position serializes all who want the last unit. A hold lapses
//! at its `expires_at` unless it was committed. That is lazy: a lapsed hold keeps its units until
//! somebody needs them (the reserve that does emits `ReservationExpired` for it in the same batch),
//! expires or releases it, but it can't be committed any more.
//!
//! ```text
//!   command    InventoryCommand              what can be asked
//!   event      InventoryEvent, Stock         what has happened, as it stands on the wire
//!   refusal    InventoryRefusal              why not
//!   aggregate  StockItem: decide, evolve     read this first
//!   reservation                              the life of a hold: what each command does to it
//!   holds      Holds                         the holds of one SKU, and when they are forgotten
//!   packed                                   how they are written into a snapshot
//!   restock    Restocks                      goods that came back, once for each return
//! ```

mod aggregate;
mod command;
mod event;
mod holds;
mod packed;
mod refusal;
mod reservation;
mod restock;

pub use aggregate::{Kept, ON_HAND_MAX, StockItem};
pub use command::InventoryCommand;
pub use event::{InventoryEvent, Stock};
pub use holds::{End, FINISHED_KEPT_SECONDS, Hold, Holds, Stage};
pub use refusal::InventoryRefusal;
pub use reservation::LAPSED_TAKEN_MAX;
pub use restock::{Restock, Restocks};
