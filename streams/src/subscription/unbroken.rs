//! Is nothing missing between two deliveries?
//!
//! Where deliveries are acknowledged in bulk, one acknowledgement is also about those before it: a
//! delivery that got lost on the way must not be among them. Each delivery of a durable has a number,
//! one more than the one before, and from 1 again after a reset.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The deliveries of one durable to this process.
#[derive(Debug)]
pub(super) struct Unbroken {
    /// The number of the last one; `None` = some may be missing, nothing fits until a reset.
    last: Option<u64>,
    confirmed: Arc<Confirmed>,
}

/// What the server has confirmed. Its worker says so while the subscription waits for the next delivery.
#[derive(Debug, Default)]
pub(crate) struct Confirmed(Mutex<SinceReset>);

#[derive(Debug, Default)]
struct SinceReset {
    /// How often it has begun anew.
    epoch: u64,
    /// Up to which sequence of the stream acknowledgements are confirmed since then.
    acknowledged: u64,
}

impl Confirmed {
    /// Changes whenever everything that is not acknowledged comes again; what came before acknowledges
    /// nothing then.
    pub(crate) fn epoch(&self) -> u64 {
        self.now().epoch
    }

    /// Everything up to `sequence` is known to be acknowledged. False when it may not count: it was said in
    /// an epoch that is over.
    pub(crate) fn up_to(&self, sequence: u64, epoch: u64) -> bool {
        let mut now = self.now();
        if now.epoch == epoch {
            now.acknowledged = now.acknowledged.max(sequence);
        }
        now.epoch == epoch
    }

    fn now(&self) -> MutexGuard<'_, SinceReset> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Unbroken {
    fn default() -> Self {
        Self {
            last: Some(0),
            confirmed: Arc::default(),
        }
    }
}

impl Unbroken {
    /// Takes the next delivery's number: does it follow the last one?
    pub(super) fn goes_on(&mut self, number: u64) -> bool {
        let follows = self.last.is_some_and(|last| last + 1 == number);
        self.last = follows.then_some(number);
        follows
    }

    /// Some may be missing.
    pub(super) fn broken(&mut self) {
        self.last = None;
    }

    /// May some be missing?
    pub(super) fn is_broken(&self) -> bool {
        self.last.is_none()
    }

    /// Whatever is not acknowledged comes again, numbered from 1.
    pub(super) fn begins_anew(&mut self) {
        self.last = Some(0);
        let mut confirmed = self.confirmed.now();
        confirmed.epoch += 1;
        confirmed.acknowledged = 0;
    }

    /// What its worker tells, and asks.
    pub(super) fn confirmed(&self) -> Arc<Confirmed> {
        Arc::clone(&self.confirmed)
    }

    /// Does the server know less than it has confirmed?
    pub(super) fn is_behind(&self, floor: u64) -> bool {
        floor < self.confirmed.now().acknowledged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_missing_delivery_nothing_fits_until_it_begins_anew() {
        let mut unbroken = Unbroken::default();
        assert!(unbroken.goes_on(1) && unbroken.goes_on(2));
        assert!(!unbroken.goes_on(4), "3 is missing");
        assert!(!unbroken.goes_on(5), "and still is");
        unbroken.begins_anew();
        assert!(unbroken.goes_on(1) && unbroken.goes_on(2));
        assert_eq!(unbroken.confirmed().epoch(), 1);
    }

    #[test]
    fn what_was_confirmed_and_is_not_known_is_noticed() {
        let mut unbroken = Unbroken::default();
        assert!(unbroken.confirmed().up_to(7, 0));
        assert!(unbroken.is_behind(6) && !unbroken.is_behind(7));
        unbroken.begins_anew();
        assert!(
            !unbroken.confirmed().up_to(9, 0),
            "of an epoch that is over"
        );
        assert!(!unbroken.is_behind(0), "it comes again");
    }
}
