//! Chance that repeats: what happens at a place follows from the seed and the place alone.
//!
//! A generator that is drawn from in turn would have every later choice depend on every earlier
//! one, and a run with one fault less would be another run altogether. Here the fault at "the third
//! try of this ask" is the same whatever happened before, which is what makes shrinking work.

use uuid::Uuid;

/// A place in a run at which chance decides.
pub(crate) type Site = u64;

/// Mixes numbers into one (the finalizer of `SplitMix64`; Steele, Lea, Flood 2014).
pub(crate) fn mix<const N: usize>(parts: [u64; N]) -> Site {
    parts
        .into_iter()
        .fold(0x5851_f42d_4c95_7f2d, |mixed, part| {
            let mut z = (mixed ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
}

/// An id as a part of a place.
pub(crate) fn of_id(id: Uuid) -> u64 {
    let (high, low) = id.as_u64_pair();
    mix([high, low])
}

/// Chance in turn, for what is drawn once before a run begins.
#[derive(Debug, Clone)]
pub(crate) struct Draw {
    seed: u64,
    drawn: u64,
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.drawn += 1;
        mix([self.seed, self.drawn])
    }

    /// One of `0..count`; 0 of nothing.
    pub(crate) fn below(&mut self, count: u64) -> u64 {
        self.next() % count.max(1)
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    pub(crate) fn of<T: Copy, const N: usize>(&mut self, choices: [T; N]) -> T {
        const { assert!(N > 0) };
        let count = u64::try_from(N).unwrap_or(1);
        let index = usize::try_from(self.below(count)).unwrap_or_default();
        let [first, ..] = choices.as_slice() else {
            unreachable!("it has a first one, as asserted above");
        };
        *choices.get(index).unwrap_or(first)
    }
}
