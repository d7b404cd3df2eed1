//! The stock of one SKU: what follows from a command, and what a fact changes.

use kernel::{Decider, Reason, ReservationId};
use serde::{Deserialize, Serialize};

use crate::{
    End, Hold, Holds, InventoryCommand, InventoryEvent, InventoryRefusal, Restocks, Stock,
};

/// Most units of one SKU: far above any warehouse, far below what a sum could overflow.
pub const ON_HAND_MAX: u64 = 1_000_000_000_000;

/// The stock of one SKU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StockItem {
    /// No stock of it is kept.
    #[default]
    Unknown,
    /// Stock of it is kept.
    Kept(Kept),
}

/// What is kept of one SKU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The counts.
    pub stock: Stock,
    /// For whom units are set aside.
    pub holds: Holds,
    /// Which returns were restocked lately.
    pub restocks: Restocks,
    /// Fewer available units are low stock; 0 = stock is never low.
    pub threshold: u32,
}

pub(crate) type Decision = Result<Vec<InventoryEvent>, InventoryRefusal>;

impl StockItem {
    /// The counts, if stock is kept.
    pub fn stock(&self) -> Option<Stock> {
        self.kept().map(|kept| kept.stock)
    }

    /// The hold, if it is open or remembered.
    pub fn hold(&self, id: &ReservationId) -> Option<&Hold> {
        self.kept().and_then(|kept| kept.holds.get(id))
    }

    /// What is kept, if stock is kept.
    pub fn kept(&self) -> Option<&Kept> {
        match self {
            Self::Unknown => None,
            Self::Kept(kept) => Some(kept),
        }
    }

    fn create(&self) -> Decision {
        match self {
            Self::Unknown => Ok(vec![InventoryEvent::StockItemCreated {}]),
            Self::Kept(_) => Err(InventoryRefusal::StockItemAlreadyExists),
        }
    }

    fn must_be_kept(&self) -> Result<&Kept, InventoryRefusal> {
        self.kept().ok_or(InventoryRefusal::StockItemUnknown)
    }
}

impl Kept {
    fn receive(&self, quantity: u32) -> Decision {
        must_be_positive(quantity)?;
        let on_hand = self.stock.on_hand.saturating_add(u64::from(quantity));
        must_be_countable(on_hand)?;
        Ok(vec![InventoryEvent::StockReceived {
            quantity,
            stock: Stock {
                on_hand,
                ..self.stock
            },
        }])
    }

    /// Units that are set aside can't be corrected away, not even those of a lapsed hold: expire
    /// it first.
    fn adjust(&self, delta: i64, reason: &Reason) -> Decision {
        if delta == 0 {
            return Err(InventoryRefusal::AdjustmentOfZero);
        }
        let available = self.stock.available();
        if delta < 0 && delta.unsigned_abs() > available {
            return Err(InventoryRefusal::AdjustmentTooLarge { available });
        }
        let on_hand = self.stock.on_hand.saturating_add_signed(delta);
        must_be_countable(on_hand)?;
        Ok(vec![InventoryEvent::StockAdjusted {
            delta,
            reason: reason.clone(),
            stock: Stock {
                on_hand,
                ..self.stock
            },
        }])
    }

    fn set_threshold(&self, threshold: u32) -> Vec<InventoryEvent> {
        if threshold == self.threshold {
            return vec![];
        }
        vec![InventoryEvent::LowStockThresholdSet {
            threshold,
            stock: self.stock,
        }]
    }
}

pub(crate) fn must_be_positive(quantity: u32) -> Result<(), InventoryRefusal> {
    if quantity == 0 {
        return Err(InventoryRefusal::QuantityNotPositive);
    }
    Ok(())
}

pub(crate) fn must_be_countable(on_hand: u64) -> Result<(), InventoryRefusal> {
    if on_hand > ON_HAND_MAX {
        return Err(InventoryRefusal::StockTooLarge { max: ON_HAND_MAX });
    }
    Ok(())
}

impl Decider for StockItem {
    const CONTEXT: &'static str = "inventory";
    /// 2: a hold that is over keeps its time in whole seconds, in the place of when it lapsed.
    const STATE_REVISION: u32 = 2;

    fn decide(&self, command: &InventoryCommand) -> Decision {
        match command {
            InventoryCommand::CreateStockItem {} => self.create(),
            InventoryCommand::ReceiveStock { quantity } => self.must_be_kept()?.receive(*quantity),
            InventoryCommand::AdjustStock { delta, reason } => {
                self.must_be_kept()?.adjust(*delta, reason)
            }
            InventoryCommand::ReserveStock {
                reservation,
                quantity,
                expires_at,
                at,
            } => self
                .must_be_kept()?
                .reserve(*reservation, *quantity, *expires_at, *at),
            InventoryCommand::CommitReservation { reservation, at } => {
                self.must_be_kept()?.commit(*reservation, *at)
            }
            // Of a SKU that isn't kept there are no units to give back and no log to put a
            // tombstone in. Should the SKU be created and the late reserve arrive all the same,
            // the saga sees StockReserved as a late success and releases it; and it lapses.
            InventoryCommand::ReleaseReservation {
                reservation,
                reason,
                expires_at,
                at,
            } => self.kept().map_or(Ok(vec![]), |kept| {
                kept.release(*reservation, reason, *expires_at, *at)
            }),
            InventoryCommand::ExpireReservation { reservation, at } => {
                self.must_be_kept()?.expire(*reservation, *at)
            }
            InventoryCommand::ShipReservation { reservation, at } => {
                self.must_be_kept()?.ship(*reservation, *at)
            }
            InventoryCommand::RestockReturn {
                return_id,
                quantity,
                expires_at,
                at,
            } => self
                .must_be_kept()?
                .restock(*return_id, *quantity, *expires_at, *at),
            InventoryCommand::SetLowStockThreshold { threshold } => {
                Ok(self.must_be_kept()?.set_threshold(*threshold))
            }
        }
    }

    fn remembered_bytes(&self) -> usize {
        self.kept()
            .map_or(0, |kept| kept.holds.bytes() + kept.restocks.bytes())
    }

    fn evolve(&mut self, event: &InventoryEvent) {
        if let InventoryEvent::StockItemCreated {} = event {
            *self = Self::Kept(Kept::default());
        }
        if let Self::Kept(kept) = self {
            kept.evolve(event);
        }
    }
}

impl Kept {
    /// Every event says the counts after it; what is left is what is remembered beside them.
    fn evolve(&mut self, event: &InventoryEvent) {
        self.stock = event.stock();
        match event {
            InventoryEvent::StockItemCreated {}
            | InventoryEvent::StockReceived { .. }
            | InventoryEvent::StockAdjusted { .. } => {}
            InventoryEvent::StockReserved {
                reservation,
                quantity,
                expires_at,
                at,
                stock: _,
            } => {
                self.holds.open(*reservation, *quantity, *expires_at);
                self.holds.sweep(reservation, *at);
            }
            InventoryEvent::ReservationCommitted { reservation, .. } => {
                self.holds.commit(reservation);
            }
            InventoryEvent::ReservationReleased {
                reservation,
                quantity,
                expires_at,
                at,
                ..
            } => {
                if *quantity == 0 {
                    self.holds.bury(*reservation, *expires_at);
                } else {
                    self.holds.finish(reservation, End::Released, *at);
                }
                self.holds.sweep(reservation, *at);
            }
            InventoryEvent::ReservationExpired {
                reservation, at, ..
            } => {
                self.holds.finish(reservation, End::Expired, *at);
                self.holds.sweep(reservation, *at);
            }
            InventoryEvent::StockShipped {
                reservation, at, ..
            } => {
                self.holds.finish(reservation, End::Shipped, *at);
                self.holds.sweep(reservation, *at);
            }
            InventoryEvent::ReturnRestocked {
                return_id,
                quantity,
                expires_at,
                at,
                stock: _,
            } => self.restocks.note(*return_id, *quantity, *expires_at, *at),
            InventoryEvent::LowStockThresholdSet { threshold, .. } => self.threshold = *threshold,
        }
    }
}

kernel::aggregate!(
    StockItem,
    "inventory",
    InventoryCommand,
    InventoryEvent,
    InventoryRefusal
);
