//! How the holds on a SKU are written into a snapshot.
//!
//! A SKU that everybody buys has few open holds and thousands that are over and only remembered, for
//! half an hour each. As JSON each of those would take 180 bytes and the state outgrow every message;
//! packed it takes 39.
//!
//! ```text
//!   open        JSON, by id
//!   over        base64url of records of 29 bytes, by id: order 16 · attempt 4 · quantity 4 ·
//!               stage 1 · remembered until 4 (seconds since 1970), all big-endian
//! ```

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use kernel::{OrderId, ReservationId};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::holds::ById;
use crate::{End, Hold, Holds, Stage};

/// Bytes of one hold that is over.
const RECORD_BYTES: usize = 29;

/// The holds as they serialize.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    open: ById,
    over: String,
}

/// What was written are no holds.
#[derive(Debug, Error)]
pub(crate) enum NotHolds {
    #[error("not base64url")]
    Base64(#[from] base64::DecodeError),
    #[error("no records of {RECORD_BYTES} bytes")]
    Records,
}

impl From<Holds> for Written {
    fn from(holds: Holds) -> Self {
        let (over, open): (ById, ById) = holds
            .iter()
            .map(|(id, hold)| (*id, *hold))
            .partition(|(_, hold)| hold.is_over());
        let records = over.iter().flat_map(|(id, hold)| record(*id, hold));
        let bytes: Vec<u8> = records.collect();
        Self {
            open,
            over: URL_SAFE_NO_PAD.encode(bytes),
        }
    }
}

impl TryFrom<Written> for Holds {
    type Error = NotHolds;

    fn try_from(written: Written) -> Result<Self, NotHolds> {
        let bytes = URL_SAFE_NO_PAD.decode(&written.over)?;
        let records = bytes.chunks(RECORD_BYTES).map(|record| {
            let record = record.try_into().map_err(|_| NotHolds::Records)?;
            read(record).ok_or(NotHolds::Records)
        });
        let over: Result<Vec<_>, _> = records.collect();
        Ok(written.open.into_iter().chain(over?).collect())
    }
}

fn record(id: ReservationId, hold: &Hold) -> [u8; RECORD_BYTES] {
    let stage = match hold.stage {
        // Not written this way.
        Stage::Reserved | Stage::Committed | Stage::Tombstone => 0,
        Stage::Finished(End::Released) => 1,
        Stage::Finished(End::Expired) => 2,
        Stage::Finished(End::Shipped) => 3,
    };
    let mut record = [0; RECORD_BYTES];
    let fields = [
        id.order_id.0.as_bytes().as_slice(),
        &id.attempt.to_be_bytes(),
        &hold.quantity.to_be_bytes(),
        &[stage],
        &seconds(hold.expires_at).to_be_bytes(),
    ];
    let bytes = fields.into_iter().flatten();
    record
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    record
}

fn read(record: &[u8; RECORD_BYTES]) -> Option<(ReservationId, Hold)> {
    let (order, rest) = record.split_first_chunk::<16>()?;
    let (attempt, rest) = rest.split_first_chunk::<4>()?;
    let (quantity, rest) = rest.split_first_chunk::<4>()?;
    let (stage, rest) = rest.split_first()?;
    let until = rest.first_chunk::<4>()?;
    let stage = match stage {
        0 => Stage::Tombstone,
        1 => Stage::Finished(End::Released),
        2 => Stage::Finished(End::Expired),
        3 => Stage::Finished(End::Shipped),
        _ => return None,
    };
    let id = ReservationId {
        order_id: OrderId(Uuid::from_bytes(*order)),
        attempt: u32::from_be_bytes(*attempt),
    };
    let hold = Hold {
        quantity: u32::from_be_bytes(*quantity),
        expires_at: DateTime::from_timestamp(u32::from_be_bytes(*until).into(), 0)?,
        stage,
    };
    Some((id, hold))
}

/// Never earlier, so nothing is forgotten too soon; between 1970 and 2106.
pub(crate) fn whole_seconds(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds(time).into(), 0).unwrap_or(time)
}

fn seconds(time: DateTime<Utc>) -> u32 {
    let begun = i64::from(time.timestamp_subsec_nanos() > 0);
    let seconds = time.timestamp().saturating_add(begun);
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn id(number: u128) -> ReservationId {
        ReservationId {
            order_id: OrderId(Uuid::from_u128(number)),
            attempt: 2,
        }
    }

    fn hold(stage: Stage) -> Hold {
        let until = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        Hold {
            quantity: 7,
            expires_at: until,
            stage,
        }
    }

    #[test]
    fn every_hold_comes_back_and_what_is_over_takes_little() {
        let stages = [
            Stage::Reserved,
            Stage::Committed,
            Stage::Tombstone,
            Stage::Finished(End::Released),
            Stage::Finished(End::Expired),
            Stage::Finished(End::Shipped),
        ];
        let all = stages.iter().zip(1_u128..);
        let holds: Holds = all.map(|(stage, n)| (id(n), hold(*stage))).collect();
        let json = serde_json::to_string(&holds).unwrap();
        assert_eq!(serde_json::from_str::<Holds>(&json).unwrap(), holds);
        let over = (0..5_400_u128).map(|n| (id(n), hold(Stage::Finished(End::Shipped))));
        let over: Holds = over.collect();
        let bytes = serde_json::to_vec(&over).unwrap().len();
        assert!(bytes < 5_400 * 39, "{bytes}");
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for over in ["*", "AAAA", &URL_SAFE_NO_PAD.encode([9; RECORD_BYTES])] {
            let text = format!("{{\"open\":{{}},\"over\":\"{over}\"}}");
            assert!(serde_json::from_str::<Holds>(&text).is_err(), "{over}");
        }
    }

    #[test]
    fn a_begun_second_counts_whole() {
        let time = DateTime::from_timestamp(10, 1).unwrap();
        assert_eq!(
            whole_seconds(time),
            DateTime::from_timestamp(11, 0).unwrap()
        );
        let early = DateTime::UNIX_EPOCH - TimeDelta::days(1);
        assert_eq!(whole_seconds(early), DateTime::UNIX_EPOCH);
        let late = whole_seconds(DateTime::<Utc>::MAX_UTC);
        assert_eq!(late.timestamp(), i64::from(u32::MAX));
    }
}
