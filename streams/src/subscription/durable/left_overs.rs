//! What a dead worker left, and what this one acknowledged in vain: the durable begins at its floor.

use std::time::Duration;

use async_nats::jetstream::consumer;
use tokio::time::Instant;

use super::{DurableSubscription, Payload};
use crate::topology::{Acks, PIN_TIMEOUT};

/// How often a standby that gets nothing looks whether a dead worker has left something.
pub(super) const STANDBY_CHECK: Duration = Duration::from_secs(1);
/// How often the active one looks whether it still is, and whether what it acknowledged counts.
const ACTIVE_CHECK: Duration = Duration::from_secs(5);
/// How often a standby looks where nobody is active and nothing is out: whoever becomes active meanwhile,
/// and dies, keeps its pin at least as long.
const QUIET_CHECK: Duration = PIN_TIMEOUT;

impl<T: Payload> DurableSubscription<T> {
    /// After a message. An active one that is acknowledged in bulk looks also while it is busy.
    pub(super) fn check_later(&mut self) {
        let now = Instant::now();
        match (self.takeover.pin(), self.acks) {
            (None, _) => self.next_check = now + STANDBY_CHECK,
            (Some(_), Acks::Each) => self.next_check = now + ACTIVE_CHECK,
            (Some(_), Acks::InBulk) => {}
        }
    }

    /// Nothing comes. That may be because a worker died with deliveries in its hands: without a
    /// newer event nobody is pinned, and they would rest until the acknowledgement time.
    pub(super) async fn check_left_overs(&mut self) {
        let mut quiet = false;
        if let Ok(consumer) = self.info().await {
            quiet = is_quiet(consumer.cached_info());
            self.take_left_overs(consumer.cached_info()).await;
        }
        let pause = match self.takeover.pin() {
            None if quiet => QUIET_CHECK,
            None => STANDBY_CHECK,
            Some(_) => ACTIVE_CHECK,
        };
        self.next_check = Instant::now() + pause;
    }

    pub(super) async fn take_left_overs(&mut self, info: &consumer::Info) {
        let Some(state) = info.priority_groups.first() else {
            return;
        };
        let pinned = state.pinned_client_id.as_deref();
        let waits = self.takeover.nobody_works(pinned) || self.has_let_go(pinned);
        let left = waits && info.num_ack_pending > 0;
        if !left && !self.acknowledges_in_vain(pinned, info) {
            return;
        }
        match (self.reset().await, self.takeover.pin().map(str::to_owned)) {
            (Ok(()), Some(pin)) => self.takeover.begin(&pin, true),
            (Ok(()), None) => {}
            (Err(error), _) => {
                let durable = &self.durable;
                tracing::warn!(durable, error, "what a dead worker left comes late");
            }
        }
    }

    /// Was it the last active one, and is not certain that it has all that was handed out to it?
    fn has_let_go(&self, pinned: Option<&str>) -> bool {
        let ours = self.takeover.pin();
        let was_last = ours.is_some() && (pinned.is_none() || pinned == ours);
        was_last && self.acks == Acks::InBulk && self.unbroken.is_broken()
    }

    /// Does the server stand behind what it has confirmed? A worker that was taken for dead and says
    /// something afterwards can make it count like that; beginning anew mends it.
    fn acknowledges_in_vain(&self, pinned: Option<&str>, info: &consumer::Info) -> bool {
        let active = pinned.is_some() && self.takeover.pin() == pinned;
        let floor = info.ack_floor.stream_sequence;
        let in_vain = active && self.acks == Acks::InBulk && self.unbroken.is_behind(floor);
        if in_vain {
            let durable = &self.durable;
            tracing::warn!(
                durable,
                floor,
                "acknowledgements don't count: it begins at its floor"
            );
        }
        in_vain
    }

    /// The first delivery under `pin`: others may be outstanding. False when the server refuses a
    /// reset: what the last worker left comes after the acknowledgement time then.
    pub(super) async fn begin(&mut self, pin: &str) -> bool {
        let reset = self.reset().await;
        self.takeover.begin(pin, reset.is_ok());
        let (durable, stream) = (&self.durable, &self.stream);
        match &reset {
            Ok(()) => {
                tracing::info!(
                    durable,
                    stream,
                    "active: begins at the acknowledgement floor"
                );
            }
            Err(error) => {
                tracing::warn!(durable, error, "active, but the durable could not be reset");
            }
        }
        reset.is_ok()
    }

    /// Makes the durable give everything out again from the oldest on that is not acknowledged.
    async fn reset(&mut self) -> Result<(), String> {
        let reset = self.reset_to(None).await;
        reset.map_err(|error| error.to_string())
    }

    /// Makes the durable give out everything from `sequence` on, or from the oldest on that is not acknowledged.
    pub(super) async fn reset_to(
        &mut self,
        sequence: Option<u64>,
    ) -> Result<(), async_nats::Error> {
        self.unbroken.broken();
        let stream = self.jetstream.get_stream_no_info(&self.stream).await?;
        stream.reset_consumer(&self.durable, sequence).await?;
        self.unbroken.begins_anew();
        Ok(())
    }
}

/// Nobody is active, and nothing is out.
fn is_quiet(info: &consumer::Info) -> bool {
    let mut groups = info.priority_groups.iter();
    info.num_ack_pending == 0 && groups.all(|group| group.pinned_client_id.is_none())
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in super::super) fn info(pinned: Option<&str>, out: usize) -> consumer::Info {
        let group = match pinned {
            Some(id) => json!({ "group": "workers", "pinned_client_id": id }),
            None => json!({ "group": "workers" }),
        };
        serde_json::from_value(json!({
            "stream_name": "ORDER",
            "name": "worker",
            "created": "2026-01-01T00:00:00Z",
            "config": { "ack_policy": "explicit", "deliver_policy": "all", "replay_policy": "instant" },
            "delivered": { "consumer_seq": 0, "stream_seq": 0 },
            "ack_floor": { "consumer_seq": 0, "stream_seq": 0 },
            "num_ack_pending": out,
            "num_redelivered": 0,
            "num_waiting": 1,
            "num_pending": 0,
            "priority_groups": [group],
        }))
        .unwrap()
    }

    #[test]
    fn it_is_quiet_only_where_nobody_can_have_left_anything() {
        assert!(is_quiet(&info(None, 0)));
        assert!(!is_quiet(&info(None, 1)), "somebody has died");
        assert!(!is_quiet(&info(Some("other"), 0)), "somebody may die");
    }
}
