//! Virtual time: what happens when, in one order.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

/// Milliseconds since the run began.
pub(crate) type Time = i64;

/// One second.
pub(crate) const SECOND: Time = 1_000;

/// One minute.
pub(crate) const MINUTE: Time = 60 * SECOND;

/// When every run begins, in seconds since 1970: some day, and the same always.
const BEGINNING: i64 = 1_790_000_000;

/// What is to happen, soonest first; of two at the same time, what was entered first.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    now: Time,
    entered: u64,
    entries: BTreeMap<(Time, u64), E>,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Self {
        Self {
            now: 0,
            entered: 0,
            entries: BTreeMap::new(),
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.now
    }

    /// Enters it, at `time` or at once when that has passed.
    pub(crate) fn at(&mut self, time: Time, entry: E) {
        self.entered += 1;
        self.entries
            .insert((time.max(self.now), self.entered), entry);
    }

    /// Enters it, so many milliseconds from now.
    pub(crate) fn after(&mut self, wait: Time, entry: E) {
        self.at(self.now.saturating_add(wait), entry);
    }

    /// The next, and it is that time now.
    pub(crate) fn next(&mut self) -> Option<E> {
        let ((time, _), entry) = self.entries.pop_first()?;
        self.now = time;
        Some(entry)
    }
}

/// As the domain writes it.
pub(crate) fn moment(time: Time) -> DateTime<Utc> {
    DateTime::from_timestamp(BEGINNING, 0).unwrap_or_default() + TimeDelta::milliseconds(time)
}

/// As the simulator counts it.
pub(crate) fn time_of(moment: DateTime<Utc>) -> Time {
    moment.timestamp_millis().saturating_sub(BEGINNING * SECOND)
}
