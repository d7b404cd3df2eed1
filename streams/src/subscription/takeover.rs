//! A new active process gets what the old one left: first, and in order.
//!
//! The server pins one process per durable. When that process dies, another is pinned, and what
//! the dead one held would come again only after the acknowledgement time, behind newer events of
//! the same key. So the first delivery under a new pin makes the process reset the durable to its
//! acknowledgement floor: everything from the oldest that is not acknowledged on comes again at once, also
//! what was acknowledged behind it. So where a key has been waiting for long, all that was handled since is
//! repeated before anything new comes. The consumer sequence starts at 1 again, which tells old deliveries on the way from new
//! ones (measured on nats-server 2.15.1).

use std::time::Duration;

use tokio::time::Instant;

/// Longest that what was sent before a reset may be on its way.
const ON_ITS_WAY_MAX: Duration = Duration::from_secs(5);

/// What to do with a delivery.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Hand it out.
    Deliver,
    /// It was sent before the reset and comes again.
    Drop,
    /// The first under a new pin, and others may be outstanding: reset the durable, then say so.
    Reset,
}

/// Under which pin this process works.
#[derive(Debug, Default)]
pub(super) struct Takeover {
    pin: Option<String>,
    /// The number of the last delivery.
    last: u64,
    /// A reset was done behind that number, then, and its first delivery has not come yet.
    skipping: Option<(u64, Instant)>,
}

impl Takeover {
    /// Judges a delivery by the pin that it came under (`None`: a durable without pinning).
    pub(super) fn judge(&mut self, pin: Option<&str>, consumer_sequence: u64) -> Verdict {
        let Some(pin) = pin else {
            return Verdict::Deliver;
        };
        let first = consumer_sequence == 1;
        self.last = consumer_sequence;
        if self.pin.as_deref() != Some(pin) {
            if !first {
                return Verdict::Reset;
            }
            // Nothing was ever given out before it, so nobody left anything.
            self.begin(pin, false);
            return Verdict::Deliver;
        }
        if let Some((before, since)) = self.skipping.filter(|_| !first) {
            // The numbers begin anew with a reset. One from before it has come again, or what was on its way
            // must long be here: so the first got lost, and what was outstanding with it.
            let lost = consumer_sequence <= before || since.elapsed() > ON_ITS_WAY_MAX;
            return if lost { Verdict::Reset } else { Verdict::Drop };
        }
        self.skipping = None;
        Verdict::Deliver
    }

    /// Works under `pin` from now on; `reset` = the durable was reset for it.
    pub(super) fn begin(&mut self, pin: &str, reset: bool) {
        self.pin = Some(pin.to_owned());
        self.skipping = reset.then(|| (self.last, Instant::now()));
    }

    /// Is nobody working on the durable, given whom the server has pinned? Then whatever is
    /// outstanding was left by a dead worker.
    pub(super) fn nobody_works(&mut self, pinned: Option<&str>) -> bool {
        match pinned {
            // Nobody was active since this process was: what is outstanding is its own.
            None => self.pin.is_none(),
            Some(pinned) => {
                if self.pin() != Some(pinned) {
                    self.pin = None;
                }
                false
            }
        }
    }

    /// The pin, if there is one.
    pub(super) fn pin(&self) -> Option<&str> {
        self.pin.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_worker_of_all_starts_without_a_reset() {
        let mut takeover = Takeover::default();
        assert_eq!(takeover.judge(Some("a"), 1), Verdict::Deliver);
        assert_eq!(takeover.judge(Some("a"), 2), Verdict::Deliver);
    }

    #[test]
    fn a_new_pin_resets_and_skips_what_was_on_its_way() {
        let mut takeover = Takeover::default();
        assert_eq!(takeover.judge(Some("b"), 6), Verdict::Reset);
        takeover.begin("b", true);
        assert_eq!(takeover.judge(Some("b"), 7), Verdict::Drop);
        assert_eq!(takeover.judge(Some("b"), 1), Verdict::Deliver);
        assert_eq!(takeover.judge(Some("b"), 2), Verdict::Deliver);
    }

    #[test]
    fn a_first_delivery_that_got_lost_is_asked_for_again() {
        let mut takeover = Takeover::default();
        assert_eq!(takeover.judge(Some("b"), 6), Verdict::Reset);
        takeover.begin("b", true);
        assert_eq!(takeover.judge(Some("b"), 7), Verdict::Drop);
        assert_eq!(takeover.judge(Some("b"), 2), Verdict::Reset);
        takeover.begin("b", true);
        assert_eq!(takeover.judge(Some("b"), 1), Verdict::Deliver);
        assert_eq!(takeover.judge(Some("b"), 2), Verdict::Deliver);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_on_its_way_for_ever() {
        let mut takeover = Takeover::default();
        assert_eq!(takeover.judge(Some("b"), 2), Verdict::Reset);
        takeover.begin("b", true);
        assert_eq!(takeover.judge(Some("b"), 3), Verdict::Drop);
        tokio::time::advance(ON_ITS_WAY_MAX * 2).await;
        assert_eq!(takeover.judge(Some("b"), 4), Verdict::Reset);
    }

    #[test]
    fn a_reset_that_was_not_confirmed_is_asked_for_again() {
        let mut takeover = Takeover::default();
        assert_eq!(takeover.judge(Some("b"), 6), Verdict::Reset);
        assert_eq!(takeover.judge(Some("b"), 7), Verdict::Reset);
    }

    #[test]
    fn a_worker_that_lost_its_pin_takes_over_again() {
        let mut takeover = Takeover::default();
        takeover.begin("a", false);
        assert_eq!(takeover.judge(Some("c"), 9), Verdict::Reset);
    }

    #[test]
    fn only_a_dead_worker_leaves_something() {
        let mut takeover = Takeover::default();
        assert!(!takeover.nobody_works(Some("other")));
        assert!(takeover.nobody_works(None), "the other's pin ran out");
        takeover.begin("mine", false);
        assert!(
            !takeover.nobody_works(None),
            "it is in this process's hands"
        );
        assert!(
            !takeover.nobody_works(Some("other")),
            "this one lost its pin"
        );
        assert!(takeover.nobody_works(None));
    }

    #[test]
    fn a_durable_without_pinning_delivers() {
        assert_eq!(Takeover::default().judge(None, 9), Verdict::Deliver);
    }
}
