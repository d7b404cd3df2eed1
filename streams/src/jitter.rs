//! Pauses that differ: what failed at the same time is not tried again at the same time.

use std::time::Duration;

use rand::Rng;

/// Between half of `longest` and all of it.
pub fn jittered(longest: Duration) -> Duration {
    longest.mul_f64(rand::rng().random_range(0.5..=1.0))
}
