//! The life of a hold: reserved, then committed, released, expired or shipped.

use chrono::{DateTime, Utc};
use kernel::{Reason, ReservationId};

use crate::aggregate::{Decision, must_be_positive};
use crate::{End, Hold, InventoryEvent, InventoryRefusal, Kept, Stage, Stock};

/// Most lapsed holds that one reserve may free: the batch that it is appended in stays small.
pub const LAPSED_TAKEN_MAX: usize = 100;

impl Kept {
    /// One event, unless lapsed holds must give up their units first: then theirs come before, in
    /// the same batch.
    pub(crate) fn reserve(
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

    pub(crate) fn commit(&self, id: ReservationId, at: DateTime<Utc>) -> Decision {
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
    pub(crate) fn release(
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
    pub(crate) fn expire(&self, id: ReservationId, at: DateTime<Utc>) -> Decision {
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

    pub(crate) fn ship(&self, id: ReservationId, at: DateTime<Utc>) -> Decision {
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

    /// A reserve under a known id never sets units aside twice.
    fn reserved_again(&self, quantity: u32, at: DateTime<Utc>) -> Decision {
        let differs = self.quantity != quantity;
        match self.stage {
            Stage::Reserved | Stage::Committed | Stage::Finished(_) if differs => {
                Err(InventoryRefusal::ReservationDiffers {
                    held: self.quantity,
                })
            }
            Stage::Tombstone | Stage::Finished(_) => Err(InventoryRefusal::ReservationClosed),
            Stage::Reserved if self.lapsed(at) => Err(InventoryRefusal::ReservationAlreadyExpired),
            Stage::Reserved | Stage::Committed => Ok(vec![]),
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
