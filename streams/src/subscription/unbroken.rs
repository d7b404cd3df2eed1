//! Is nothing missing between two deliveries?
//!
//! Where deliveries are acknowledged in bulk, one acknowledgement is also about those before it: a
//! delivery that got lost on the way must not be among them. Each delivery of a durable has a number,
//! one more than the one before, and from 1 again after a reset.

/// The deliveries of one durable to this process.
#[derive(Debug)]
pub(super) struct Unbroken {
    /// The number of the last one; `None` = some may be missing, nothing fits until a reset.
    last: Option<u64>,
    epoch: u64,
    /// Up to which sequence of the stream the server has confirmed acknowledgements since the reset.
    acknowledged: u64,
}

impl Default for Unbroken {
    fn default() -> Self {
        Self {
            last: Some(0),
            epoch: 0,
            acknowledged: 0,
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

    /// Whatever is not acknowledged comes again, numbered from 1.
    pub(super) fn begins_anew(&mut self) {
        self.last = Some(0);
        self.epoch += 1;
        self.acknowledged = 0;
    }

    /// How often it has begun anew.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The server has confirmed everything up to this sequence of the stream.
    pub(super) fn acknowledged(&mut self, sequence: u64) {
        self.acknowledged = self.acknowledged.max(sequence);
    }

    /// Does the server know less than it has confirmed?
    pub(super) fn is_behind(&self, floor: u64) -> bool {
        floor < self.acknowledged
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
        assert_eq!(unbroken.epoch(), 1);
    }

    #[test]
    fn what_was_confirmed_and_is_not_known_is_noticed() {
        let mut unbroken = Unbroken::default();
        unbroken.acknowledged(7);
        assert!(unbroken.is_behind(6) && !unbroken.is_behind(7));
        unbroken.begins_anew();
        assert!(!unbroken.is_behind(0), "it comes again");
    }
}
