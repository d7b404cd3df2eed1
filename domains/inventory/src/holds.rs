//! The holds on one SKU: open ones, and finished ones for as long as a late command may name them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use kernel::ReservationId;
use serde::{Deserialize, Serialize};

/// How long a finished hold is remembered at the least, in seconds: a retried command finds its
/// answer. A hold that is shipped days after it was made has its `expires_at` long behind it.
pub const FINISHED_KEPT_SECONDS: i64 = 600;

/// Units set aside for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// How many, from 1; 0 = a tombstone.
    pub quantity: u32,
    /// When it lapses, unless it is committed.
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
}

/// All holds on one SKU that are open or still remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    by_id: BTreeMap<ReservationId, Hold>,
    /// When finished ones and tombstones are forgotten, soonest first.
    forget: BTreeSet<(DateTime<Utc>, ReservationId)>,
}

impl Holds {
    /// The hold, if it is open or remembered.
    pub fn get(&self, id: &ReservationId) -> Option<&Hold> {
        self.by_id.get(id)
    }

    /// How many are open or remembered.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Is none open or remembered?
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&ReservationId, &Hold)> {
        self.by_id.iter()
    }

    pub(crate) fn open(&mut self, id: ReservationId, quantity: u32, expires_at: DateTime<Utc>) {
        let hold = Hold {
            quantity,
            expires_at,
            stage: Stage::Reserved,
        };
        self.by_id.insert(id, hold);
    }

    pub(crate) fn commit(&mut self, id: &ReservationId) {
        if let Some(hold) = self.by_id.get_mut(id) {
            hold.stage = Stage::Committed;
        }
    }

    pub(crate) fn finish(&mut self, id: ReservationId, end: End, at: DateTime<Utc>) {
        if let Some(hold) = self.by_id.get_mut(&id) {
            hold.stage = Stage::Finished(end);
            let least = at
                .checked_add_signed(TimeDelta::seconds(FINISHED_KEPT_SECONDS))
                .unwrap_or(at);
            self.forget.insert((hold.expires_at.max(least), id));
        }
    }

    pub(crate) fn bury(&mut self, id: ReservationId, expires_at: DateTime<Utc>) {
        let hold = Hold {
            quantity: 0,
            expires_at,
            stage: Stage::Tombstone,
        };
        self.by_id.insert(id, hold);
        self.forget.insert((expires_at, id));
    }

    /// Forgets what no command can name any more: a reserve that late is refused by its own
    /// `expires_at`.
    pub(crate) fn forget_until(&mut self, now: DateTime<Utc>) {
        while let Some((until, id)) = self.forget.first().copied() {
            if until > now {
                break;
            }
            self.forget.pop_first();
            self.by_id.remove(&id);
        }
    }
}
