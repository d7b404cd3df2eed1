//! A time as rows hold it: RFC 3339 in UTC with six digits, so that text order is time order.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use cqrs_es::{Aggregate, EventEnvelope};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment in UTC, to the microsecond.
///
/// Lists are sorted by it in SQL as text, which is only right when every text is equally long;
/// chrono's own form drops trailing zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(description = "A moment in UTC, to the microsecond.")]
pub struct Moment(pub DateTime<Utc>);

impl Moment {
    /// When the event happened, as its command said (`ce-time`); none if the event doesn't say.
    pub fn of<A: Aggregate>(event: &EventEnvelope<A>) -> Option<Self> {
        let text = event.metadata.get("time")?;
        let time = DateTime::parse_from_rfc3339(text).ok()?;
        Some(Self(time.with_timezone(&Utc)))
    }

    /// The day on which the event happened, in UTC: `2026-01-31`. Every event that was appended says.
    pub(crate) fn day_of<A: Aggregate>(event: &EventEnvelope<A>) -> String {
        let time = Self::of(event).map_or(DateTime::UNIX_EPOCH, |moment| moment.0);
        time.date_naive().to_string()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DateTime::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_order_is_time_order() {
        let at =
            |nanos| Moment(DateTime::from_timestamp(1_700_000_000, nanos).unwrap()).to_string();
        assert_eq!(at(0), "2023-11-14T22:13:20.000000Z");
        assert!(at(0) < at(1_000) && at(1_000) < at(120_000_000));
        let back: Moment = serde_json::from_str("\"2023-11-14T22:13:20.000001Z\"").unwrap();
        assert_eq!(back.to_string(), at(1_000));
    }
}
