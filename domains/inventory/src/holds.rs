//! The holds on one SKU: open ones, and finished ones for as long as a late command may name them.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use kernel::ReservationId;
use serde::{Deserialize, Serialize};

use crate::packed::{Written, whole_seconds};

/// How long a finished hold is remembered at the least, in seconds: a retried command finds its
/// answer. A hold that is shipped days after it was made has its `expires_at` long behind it.
pub const FINISHED_KEPT_SECONDS: i64 = 600;

/// Entries that a node of the standard library's map has room for.
const NODE_ENTRIES: usize = 11;

/// Units set aside for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// How many, from 1; 0 = a tombstone.
    pub quantity: u32,
    /// When it lapses, unless it is committed. Once it is over: how long a late command may still
    /// name it, in whole seconds.
    pub expires_at: DateTime<Utc>,
    /// Where it stands.
    pub stage: Stage,
}

/// Where a hold stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Set aside until it lapses.
    Reserved,
    /// Firm.
    Committed,
    /// Over.
    Finished(End),
    /// Released before it was made: the late reserve is refused.
    Tombstone,
}

/// How a hold ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Given back.
    Released,
    /// Lapsed.
    Expired,
    /// Left the house.
    Shipped,
}

impl Hold {
    /// Is it reserved, with its time over?
    pub fn lapsed(&self, at: DateTime<Utc>) -> bool {
        self.stage == Stage::Reserved && self.expires_at <= at
    }

    /// Over, or never begun: only remembered.
    pub(crate) fn is_over(&self) -> bool {
        match self.stage {
            Stage::Reserved | Stage::Committed => false,
            Stage::Finished(_) | Stage::Tombstone => true,
        }
    }

    fn is_forgotten(&self, now: DateTime<Utc>) -> bool {
        self.is_over() && self.expires_at <= now
    }
}

/// All holds on one SKU that are open or still remembered.
///
/// A command on a SKU copies its state, and a hot SKU has thousands of holds. So they are kept in
/// up to 256 shards (the last byte of the order's id) that copies share: a change copies one shard,
/// and sweeps out of it what may be forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Holds {
    shards: BTreeMap<u8, Arc<ById>>,
}

pub(crate) type ById = BTreeMap<ReservationId, Hold>;

impl Holds {
    /// The hold, if it is open or remembered.
    pub fn get(&self, id: &ReservationId) -> Option<&Hold> {
        self.shards.get(&shard_of(id))?.get(id)
    }

    /// How many are open or remembered.
    pub fn len(&self) -> usize {
        self.shards.values().map(|shard| shard.len()).sum()
    }

    /// Is none open or remembered?
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// About how many bytes of memory they take: each shard has a node of its own, and those after the first are
    /// half full at the least.
    pub(crate) fn bytes(&self) -> usize {
        let nodes = |shard: &ById| 1 + shard.len() / (NODE_ENTRIES / 2);
        let nodes: usize = self.shards.values().map(|shard| nodes(shard)).sum();
        nodes * NODE_ENTRIES * size_of::<(ReservationId, Hold)>()
    }

    /// All of them, shard by shard.
    pub fn iter(&self) -> impl Iterator<Item = (&ReservationId, &Hold)> {
        self.shards.values().flat_map(|shard| shard.iter())
    }

    pub(crate) fn open(&mut self, id: ReservationId, quantity: u32, expires_at: DateTime<Utc>) {
        let hold = Hold {
            quantity,
            expires_at,
            stage: Stage::Reserved,
        };
        self.shard_mut(&id).insert(id, hold);
    }

    pub(crate) fn commit(&mut self, id: &ReservationId) {
        if let Some(hold) = self.hold_mut(id) {
            hold.stage = Stage::Committed;
        }
    }

    pub(crate) fn finish(&mut self, id: &ReservationId, end: End, at: DateTime<Utc>) {
        if let Some(hold) = self.hold_mut(id) {
            hold.stage = Stage::Finished(end);
            let least = at.checked_add_signed(TimeDelta::seconds(FINISHED_KEPT_SECONDS));
            hold.expires_at = whole_seconds(hold.expires_at.max(least.unwrap_or(at)));
        }
    }

    pub(crate) fn bury(&mut self, id: ReservationId, expires_at: DateTime<Utc>) {
        let hold = Hold {
            quantity: 0,
            expires_at: whole_seconds(expires_at),
            stage: Stage::Tombstone,
        };
        self.shard_mut(&id).insert(id, hold);
    }

    /// Sweeps the shard of `id`: what no command can name any more, because a reserve that late is
    /// refused by its own `expires_at`.
    pub(crate) fn sweep(&mut self, id: &ReservationId, now: DateTime<Utc>) {
        let shard = self.shard_mut(id);
        shard.retain(|_, hold| !hold.is_forgotten(now));
        if shard.is_empty() {
            self.shards.remove(&shard_of(id));
        }
    }

    fn hold_mut(&mut self, id: &ReservationId) -> Option<&mut Hold> {
        let shard = self.shards.get_mut(&shard_of(id))?;
        Arc::make_mut(shard).get_mut(id)
    }

    fn shard_mut(&mut self, id: &ReservationId) -> &mut ById {
        Arc::make_mut(self.shards.entry(shard_of(id)).or_default())
    }
}

fn shard_of(id: &ReservationId) -> u8 {
    let [.., last] = *id.order_id.0.as_bytes();
    last
}

impl FromIterator<(ReservationId, Hold)> for Holds {
    fn from_iter<I: IntoIterator<Item = (ReservationId, Hold)>>(all: I) -> Self {
        let mut holds = Self::default();
        for (id, hold) in all {
            holds.shard_mut(&id).insert(id, hold);
        }
        holds
    }
}
