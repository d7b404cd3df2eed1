//! Events in, row out: what the unit tests of the views share.

use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use cqrs_es::EventEnvelope;
use kernel::{Decider, Money};

use crate::view::EntityView;

/// When every story begins; each event comes a second after the one before.
pub(crate) fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

/// `amount` cents.
pub(crate) fn eur(amount: i64) -> Money {
    Money::new(amount, "EUR".parse().unwrap())
}

/// The row that the events make; it must also survive being stored between any two of them.
pub(crate) fn fold<A: Decider, V: EntityView<A> + PartialEq>(id: &str, events: Vec<A::Event>) -> V {
    let mut row = V::default();
    for (index, payload) in events.into_iter().enumerate() {
        let at = start() + TimeDelta::seconds(i64::try_from(index).unwrap());
        let time = at.to_rfc3339_opts(SecondsFormat::Millis, true);
        row.update(&EventEnvelope {
            aggregate_id: id.to_owned(),
            sequence: index + 1,
            payload,
            metadata: HashMap::from([("time".to_owned(), time)]),
        });
        let stored = serde_json::to_string(&row).unwrap();
        assert!(
            serde_json::from_str::<V>(&stored).unwrap() == row,
            "{stored}"
        );
    }
    row
}
