//! Goods that came back are put on the shelf once for each return, and that is remembered for as
//! long as it may be asked for again.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use kernel::ReturnId;
use serde::{Deserialize, Serialize};

use crate::aggregate::{Decision, must_be_countable, must_be_positive};
use crate::{FINISHED_KEPT_SECONDS, InventoryEvent, InventoryRefusal, Kept, Stock};

/// A return whose goods are on the shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restock {
    /// How many units.
    pub quantity: u32,
    /// How long a repeated command may still name it: a little longer than it may be asked for,
    /// because a command that was asked in time can arrive late.
    pub remembered_until: DateTime<Utc>,
}

/// The returns that were restocked lately. Copies share it: a SKU has far fewer returns than holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ById", into = "ById")]
pub struct Restocks(Arc<ById>);

type ById = BTreeMap<ReturnId, Restock>;

impl Restocks {
    /// The return, if it was restocked and is still remembered.
    pub fn get(&self, id: &ReturnId) -> Option<&Restock> {
        self.0.get(id)
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is none remembered?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// About how many bytes of memory they take; a map is about half full.
    pub(crate) fn bytes(&self) -> usize {
        2 * self.len() * size_of::<(ReturnId, Restock)>()
    }

    /// Remembers one, and forgets what no command can name any more.
    pub(crate) fn note(
        &mut self,
        id: ReturnId,
        quantity: u32,
        expires_at: DateTime<Utc>,
        at: DateTime<Utc>,
    ) {
        let late = TimeDelta::seconds(FINISHED_KEPT_SECONDS);
        let restock = Restock {
            quantity,
            remembered_until: expires_at.checked_add_signed(late).unwrap_or(expires_at),
        };
        let known = Arc::make_mut(&mut self.0);
        known.retain(|_, restock| restock.remembered_until > at);
        known.insert(id, restock);
    }
}

impl From<ById> for Restocks {
    fn from(known: ById) -> Self {
        Self(Arc::new(known))
    }
}

impl From<Restocks> for ById {
    fn from(restocks: Restocks) -> Self {
        Arc::unwrap_or_clone(restocks.0)
    }
}

impl Kept {
    pub(crate) fn restock(
        &self,
        id: ReturnId,
        quantity: u32,
        expires_at: DateTime<Utc>,
        at: DateTime<Utc>,
    ) -> Decision {
        must_be_positive(quantity)?;
        match self.restocks.get(&id) {
            Some(known) if known.quantity == quantity => return Ok(vec![]),
            Some(known) => {
                return Err(InventoryRefusal::RestockDiffers {
                    restocked: known.quantity,
                });
            }
            None => {}
        }
        if expires_at <= at {
            return Err(InventoryRefusal::RestockExpired);
        }
        let on_hand = self.stock.on_hand.saturating_add(u64::from(quantity));
        must_be_countable(on_hand)?;
        Ok(vec![InventoryEvent::ReturnRestocked {
            return_id: id,
            quantity,
            expires_at,
            at,
            stock: Stock {
                on_hand,
                ..self.stock
            },
        }])
    }
}
