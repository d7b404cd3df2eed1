//! Up to where everything is done: what may be acknowledged in bulk.

use std::collections::BTreeMap;

/// One delivery that is not known to be acknowledged; `R` acknowledges it and all before it.
#[derive(Debug)]
struct Out<R> {
    receipt: R,
    /// In which epoch it came last: earlier receipts count for nothing.
    epoch: u64,
    done: bool,
}

/// The deliveries of one durable that are not known to be acknowledged.
#[derive(Debug)]
pub(super) struct Floor<R> {
    out: BTreeMap<u64, Out<R>>,
    epoch: u64,
    acknowledged: u64,
}

impl<R: Clone> Floor<R> {
    pub(super) fn new() -> Self {
        Self {
            out: BTreeMap::new(),
            epoch: 0,
            acknowledged: 0,
        }
    }

    /// Takes a delivery in; false = it is being worked on already, or done.
    ///
    /// A new epoch begins at what the server takes for the first that is not acknowledged: whatever lies
    /// before that is somebody's who was faster.
    pub(super) fn came(&mut self, sequence: u64, receipt: R, epoch: u64) -> bool {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.acknowledged = sequence.saturating_sub(1);
            self.out = self.out.split_off(&sequence);
        }
        if sequence <= self.acknowledged {
            return false;
        }
        if let Some(known) = self.out.get_mut(&sequence) {
            (known.receipt, known.epoch) = (receipt, epoch);
            return false;
        }
        let done = false;
        self.out.insert(
            sequence,
            Out {
                receipt,
                epoch,
                done,
            },
        );
        true
    }

    /// With what one that is out came last.
    pub(super) fn receipt(&self, sequence: u64) -> Option<&R> {
        self.out.get(&sequence).map(|out| &out.receipt)
    }

    /// It is handled, set aside, or concerns nobody.
    pub(super) fn done(&mut self, sequence: u64) {
        if let Some(out) = self.out.get_mut(&sequence) {
            out.done = true;
        }
    }

    /// The last before which everything is done, itself too.
    pub(super) fn ready(&self) -> Option<(u64, R)> {
        let done = |out: &Out<R>| out.done && out.epoch == self.epoch;
        let mut prefix = self.out.iter().take_while(|(_, out)| done(out));
        let (sequence, last) = prefix.by_ref().last()?;
        Some((*sequence, last.receipt.clone()))
    }

    /// How many are done and can't be acknowledged because this one alone is not.
    pub(super) fn wait_for(&self, sequence: u64) -> usize {
        let mut before = self.out.range(..sequence);
        if before.any(|(_, out)| !out.done) {
            return 0;
        }
        let behind = self.out.range(sequence..);
        behind.filter(|(_, out)| out.done).count()
    }

    /// Everything up to here is acknowledged.
    pub(super) fn acknowledged(&mut self, sequence: u64) {
        self.acknowledged = self.acknowledged.max(sequence);
        self.out = self.out.split_off(&(self.acknowledged + 1));
    }

    /// How many are not.
    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.out.len()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(came: &[u64]) -> Floor<u64> {
        let mut floor = Floor::new();
        for sequence in came {
            assert!(floor.came(*sequence, *sequence, 0));
        }
        floor
    }

    #[test]
    fn nothing_is_acknowledged_past_what_is_not_done() {
        let mut floor = floor(&[1, 2, 5, 6]);
        floor.done(2);
        floor.done(5);
        assert_eq!(floor.ready(), None);
        floor.done(1);
        assert_eq!(
            floor.ready(),
            Some((5, 5)),
            "3 and 4 are none of this durable's"
        );
        floor.acknowledged(5);
        assert_eq!((floor.ready(), floor.count()), (None, 1));
        floor.done(6);
        assert_eq!(floor.ready(), Some((6, 6)));
    }

    #[test]
    fn what_is_done_waits_for_the_first_that_is_not() {
        let mut floor = floor(&[1, 2, 3, 4, 5]);
        for done in [1, 3, 5] {
            floor.done(done);
        }
        assert_eq!((floor.wait_for(2), floor.wait_for(4)), (2, 0));
    }

    #[test]
    fn what_comes_again_is_not_begun_again_and_has_another_receipt() {
        let mut floor = floor(&[1, 2]);
        floor.done(1);
        assert!(!floor.came(1, 11, 1));
        assert_eq!(floor.ready(), Some((1, 11)));
        floor.done(2);
        assert_eq!(
            floor.ready(),
            Some((1, 11)),
            "the receipt of 2 is an old one"
        );
        assert!(!floor.came(2, 12, 1));
        assert_eq!(floor.ready(), Some((2, 12)));
        floor.acknowledged(2);
        assert!(
            !floor.came(2, 22, 1),
            "acknowledged, and on its way before that"
        );
    }

    #[test]
    fn a_new_epoch_begins_where_the_server_says() {
        let mut floor = floor(&[1, 2, 3]);
        floor.acknowledged(1);
        assert!(floor.came(7, 7, 1), "others have done 2 and 3");
        floor.done(7);
        assert_eq!(floor.ready(), Some((7, 7)));
        floor.acknowledged(7);
        assert!(floor.came(2, 2, 2), "that did not count");
        assert_eq!(floor.ready(), None);
    }
}
