//! A durable whose worker wants nothing of what comes.

use async_nats::Error;

use super::{DurableSubscription, Payload};

impl<T: Payload> DurableSubscription<T> {
    /// Asks for nothing more until the next [`Self::receive`]. What was handed out and is not acknowledged comes again
    /// then, unless it was passed over.
    pub(crate) fn leave_off(&mut self) {
        self.live = None;
        self.unbroken.broken();
    }

    /// Up to where there is something to pass over: to the end of its stream, as the stream's leader says. Nothing is
    /// where nothing has come, or where another process works.
    pub(crate) async fn to_pass_over(&self) -> Result<Option<u64>, Error> {
        let consumer = self.info().await?;
        let info = consumer.cached_info();
        let pins = info.priority_groups.iter();
        let mut pins = pins.filter_map(|group| group.pinned_client_id.as_deref());
        let another_works = pins.any(|pin| self.takeover.pin() != Some(pin));
        if another_works || (info.num_pending == 0 && info.num_ack_pending == 0) {
            return Ok(None);
        }
        let stream = self.jetstream.get_stream(&self.stream).await?;
        Ok(Some(stream.cached_info().state.last_sequence))
    }

    /// Counts everything up to `sequence` as acknowledged, also what is in others' hands.
    pub(crate) async fn pass_over(&mut self, sequence: u64) -> Result<(), Error> {
        self.reset_to(Some(sequence + 1)).await
    }
}
