//! The stock of one SKU: what follows from a command, and what a fact changes.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use kernel::{Decider, Reason, ReservationId};
use serde::{Deserialize, Serialize};

use crate::{End, Hold, Holds, InventoryCommand, InventoryEvent, InventoryRefusal, Stage, Stock};

/// Most units of one SKU: far above any warehouse, far below what a sum could overflow.
pub const ON_HAND_MAX: u64 = 1_000_000_000_000;

/// Most lapsed holds that one reserve may free: the batch that it is appended in stays small.
pub const LAPSED_TAKEN_MAX: usize = 100;

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
}

type Decision = Result<Vec<InventoryEvent>, InventoryRefusal>;

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

    /// One event, unless lapsed holds must give up their units first: then theirs come before, in
    /// the same batch.
    fn reserve(
        &self,
        id: ReservationId,
        quantity: u32,
        expires_at: DateTime<Utc>,
        at: DateTime<Utc>,
    ) -> Decision {
        must_be_positive(quantity)?;
        if let Some(hold) = self.holds.get(&id) {
            return hold.reserved_again(quantity, at);
        }
        if expires_at <= at {
            return Err(InventoryRefusal::ReservationAlreadyExpired);
        }
        let (mut events, free) = self.lapse_for(quantity, at)?;
        events.push(InventoryEvent::StockReserved {
            reservation: id,
            quantity,
            expires_at,
            at,
            stock: Stock {
                reserved: free.reserved.saturating_add(u64::from(quantity)),
                ..free
            },
        });
        Ok(events)
    }

    fn commit(&self, id: ReservationId, at: DateTime<Utc>) -> Decision {
        let hold = self.must_know(id)?;
        match hold.stage {
            Stage::Committed | Stage::Finished(End::Shipped) => Ok(vec![]),
            Stage::Finished(End::Expired) => Err(InventoryRefusal::ReservationExpired),
            Stage::Finished(End::Released) | Stage::Tombstone => {
                Err(InventoryRefusal::ReservationClosed)
            }
            Stage::Reserved if hold.lapsed(at) => Err(InventoryRefusal::ReservationExpired),
            Stage::Reserved => Ok(vec![InventoryEvent::ReservationCommitted {
                reservation: id,
                quantity: hold.quantity,
                stock: Stock {
                    committed: self.stock.committed.saturating_add(hold.units()),
                    ..self.stock.without_reserved(hold)
                },
            }]),
        }
    }

    /// An unknown hold was never made, or was finished and forgotten. Until `expires_at` a late
    /// reserve could still make it, so a tombstone stands in its way; afterwards that reserve is
    /// refused by its own `expires_at`, and nothing needs to be remembered.
    fn release(
        &self,
        id: ReservationId,
        reason: &Reason,
        expires_at: DateTime<Utc>,
        at: DateTime<Utc>,
    ) -> Decision {
        let released = |quantity, expires_at, stock| InventoryEvent::ReservationReleased {
            reservation: id,
            quantity,
            reason: reason.clone(),
            expires_at,
            at,
            stock,
        };
        let Some(hold) = self.holds.get(&id) else {
            if expires_at <= at {
                return Ok(vec![]);
            }
            return Ok(vec![released(0, expires_at, self.stock)]);
        };
        let stock = match hold.stage {
            Stage::Reserved => self.stock.without_reserved(hold),
            Stage::Committed => self.stock.without_committed(hold),
            Stage::Finished(End::Shipped) => return Err(InventoryRefusal::ReservationShipped),
            Stage::Finished(End::Released | End::Expired) | Stage::Tombstone => return Ok(vec![]),
        };
        Ok(vec![released(hold.quantity, hold.expires_at, stock)])
    }

    /// An unknown hold holds nothing: already true.
    fn expire(&self, id: ReservationId, at: DateTime<Utc>) -> Decision {
        let Some(hold) = self.holds.get(&id) else {
            return Ok(vec![]);
        };
        match hold.stage {
            Stage::Finished(_) | Stage::Tombstone => Ok(vec![]),
            Stage::Committed => Err(InventoryRefusal::ReservationCommitted),
            Stage::Reserved if !hold.lapsed(at) => Err(InventoryRefusal::ReservationNotLapsed),
            Stage::Reserved => Ok(vec![InventoryEvent::ReservationExpired {
                reservation: id,
                quantity: hold.quantity,
                at,
                stock: self.stock.without_reserved(hold),
            }]),
        }
    }

    fn ship(&self, id: ReservationId, at: DateTime<Utc>) -> Decision {
        let hold = self.must_know(id)?;
        match hold.stage {
            Stage::Finished(End::Shipped) => Ok(vec![]),
            Stage::Finished(End::Released | End::Expired) | Stage::Tombstone => {
                Err(InventoryRefusal::ReservationClosed)
            }
            Stage::Reserved => Err(InventoryRefusal::ReservationNotCommitted),
            Stage::Committed => Ok(vec![InventoryEvent::StockShipped {
                reservation: id,
                quantity: hold.quantity,
                at,
                stock: Stock {
                    on_hand: self.stock.on_hand.saturating_sub(hold.units()),
                    ..self.stock.without_committed(hold)
                },
            }]),
        }
    }

    /// Frees just as many lapsed holds as `quantity` needs, largest first so that they are few.
    /// Answers their events and the counts after them.
    fn lapse_for(
        &self,
        quantity: u32,
        at: DateTime<Utc>,
    ) -> Result<(Vec<InventoryEvent>, Stock), InventoryRefusal> {
        let wanted = u64::from(quantity);
        let mut stock = self.stock;
        let mut events = Vec::new();
        if stock.available() >= wanted {
            return Ok((events, stock));
        }
        let mut lapsed: Vec<_> = self.holds.iter().filter(|(_, h)| h.lapsed(at)).collect();
        lapsed.sort_by_key(|(id, hold)| (std::cmp::Reverse(hold.quantity), **id));
        for (id, hold) in lapsed.into_iter().take(LAPSED_TAKEN_MAX) {
            stock = stock.without_reserved(hold);
            events.push(InventoryEvent::ReservationExpired {
                reservation: *id,
                quantity: hold.quantity,
                at,
                stock,
            });
            if stock.available() >= wanted {
                return Ok((events, stock));
            }
        }
        Err(InventoryRefusal::OutOfStock {
            requested: quantity,
            available: stock.available(),
        })
    }

    fn must_know(&self, id: ReservationId) -> Result<&Hold, InventoryRefusal> {
        self.holds
            .get(&id)
            .ok_or(InventoryRefusal::ReservationUnknown { reservation: id })
    }
}

impl Hold {
    fn units(&self) -> u64 {
        u64::from(self.quantity)
    }

    fn reserved_again(&self, quantity: u32, at: DateTime<Utc>) -> Decision {
        match self.stage {
            Stage::Tombstone => Err(InventoryRefusal::ReservationClosed),
            Stage::Reserved | Stage::Committed | Stage::Finished(_)
                if self.quantity != quantity =>
            {
                Err(InventoryRefusal::ReservationDiffers {
                    held: self.quantity,
                })
            }
            Stage::Finished(_) => Err(InventoryRefusal::ReservationClosed),
            Stage::Committed => Ok(vec![]),
            Stage::Reserved if self.lapsed(at) => Err(InventoryRefusal::ReservationAlreadyExpired),
            Stage::Reserved => Ok(vec![]),
        }
    }
}

impl Stock {
    fn without_reserved(self, hold: &Hold) -> Self {
        Self {
            reserved: self.reserved.saturating_sub(hold.units()),
            ..self
        }
    }

    fn without_committed(self, hold: &Hold) -> Self {
        Self {
            committed: self.committed.saturating_sub(hold.units()),
            ..self
        }
    }
}

fn must_be_positive(quantity: u32) -> Result<(), InventoryRefusal> {
    if quantity == 0 {
        return Err(InventoryRefusal::QuantityNotPositive);
    }
    Ok(())
}

fn must_be_countable(on_hand: u64) -> Result<(), InventoryRefusal> {
    if on_hand > ON_HAND_MAX {
        return Err(InventoryRefusal::StockTooLarge { max: ON_HAND_MAX });
    }
    Ok(())
}

impl Decider for StockItem {
    const CONTEXT: &'static str = "inventory";

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
        }
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
    /// Every event says the counts after it; what is left is which holds there are.
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
                self.holds.forget_until(*at);
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
                    self.holds.finish(*reservation, End::Released, *at);
                }
                self.holds.forget_until(*at);
            }
            InventoryEvent::ReservationExpired {
                reservation, at, ..
            } => {
                self.holds.finish(*reservation, End::Expired, *at);
                self.holds.forget_until(*at);
            }
            InventoryEvent::StockShipped {
                reservation, at, ..
            } => {
                self.holds.finish(*reservation, End::Shipped, *at);
                self.holds.forget_until(*at);
            }
        }
    }
}

impl Aggregate for StockItem {
    const TYPE: &'static str = "inventory";
    type Command = InventoryCommand;
    type Event = InventoryEvent;
    type Error = InventoryRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: InventoryCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), InventoryRefusal> {
        kernel::bridge(self, command, sink).await
    }

    fn apply(&mut self, event: InventoryEvent) {
        self.evolve(&event);
    }
}
