//! Where stream PARKED ends: one look for all subscriptions of a connection.

use std::time::Duration;

use async_nats::jetstream::Context;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::topology::PARKED_STREAM;

/// How old an answer may be.
const AGE_MAX: Duration = Duration::from_millis(900);

/// The last look.
#[derive(Debug, Default)]
pub(crate) struct End(Mutex<Option<(Instant, u64)>>);

impl End {
    /// The last sequence of PARKED, as of a moment ago.
    pub(super) async fn look(&self, jetstream: &Context) -> Result<u64, async_nats::Error> {
        let mut last = self.0.lock().await;
        if let Some((at, end)) = *last
            && at.elapsed() < AGE_MAX
        {
            return Ok(end);
        }
        let at = Instant::now();
        let stream = jetstream.get_stream(PARKED_STREAM).await?;
        let end = stream.cached_info().state.last_sequence;
        *last = Some((at, end));
        Ok(end)
    }
}
