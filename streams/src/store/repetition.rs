//! A command that was done before is answered with what it did then.

use std::sync::Arc;

use kernel::Decider;
use uuid::Uuid;

use super::Streams;
use super::held::Held;
use super::load::{Address, position_of};
use super::resume::Moment;
use crate::envelope::{CommandMeta, RecordedEvent};
use crate::log::ReadError;

/// What a command did, and the aggregate as it was right after.
#[derive(Debug)]
pub(super) struct Done<A> {
    pub(super) state: Arc<A>,
    pub(super) version: u64,
    pub(super) position: u64,
    pub(super) events: Vec<RecordedEvent>,
}

/// Does `meta` belong to the request that these events follow from? Only two digests can
/// contradict.
pub(super) fn same_request(events: &[RecordedEvent], meta: &CommandMeta) -> bool {
    events.iter().all(
        |event| match (&event.request_digest, &meta.request_digest) {
            (Some(stored), Some(given)) => stored == given,
            (None, _) | (_, None) => true,
        },
    )
}

impl Streams {
    /// What command `id` did here, as far as its id is remembered. Asks for the turn.
    pub(super) async fn repetition<A: Decider>(
        &self,
        address: &Address,
        held: &Held<A>,
        command_id: Uuid,
    ) -> Result<Option<Done<A>>, ReadError> {
        let Some(sequence) = held.lock().recent.find(command_id) else {
            return Ok(None);
        };
        let (mut after, mut last) = (sequence.saturating_sub(1), sequence);
        let mut events: Vec<RecordedEvent> = Vec::new();
        loop {
            let page = self.page_towards(address, after, last).await?;
            let (before, found) = (events.len(), page.events.len());
            let of_command = |event: &RecordedEvent| event.command_id == command_id;
            events.extend(page.events.into_iter().take_while(of_command));
            if !page.more || events.len() - before < found {
                break;
            }
            // All of the page was the command's, and there is more: maybe of the command, too.
            after = position_of(events.last());
            last = after + 1;
        }
        let position = position_of(events.last());
        if position == 0 {
            // Another command, whose id has the same second half.
            return Ok(None);
        }
        let current = {
            let known = held.lock();
            (known.position == position).then(|| (Arc::clone(&known.state), known.version))
        };
        let (state, version) = match current {
            Some(current) => current,
            None => self.as_of(address, position).await?,
        };
        Ok(Some(Done {
            state,
            version,
            position,
            events,
        }))
    }

    /// What command `id` did here, however long ago: reads all events.
    pub(super) async fn repetition_of_old<A: Decider>(
        &self,
        address: &Address,
        command_id: Uuid,
    ) -> Result<Option<Done<A>>, ReadError> {
        let log = &self.inner.log;
        let last = log.last(&address.stream, &address.subject).await?;
        let mut after = 0;
        let mut events: Vec<RecordedEvent> = Vec::new();
        while after < last {
            let page = self.page_towards(address, after, last).await?;
            after = position_of(page.events.last());
            let of_command = |event: &RecordedEvent| event.command_id == command_id;
            events.extend(page.events.into_iter().filter(of_command));
        }
        let position = position_of(events.last());
        if position == 0 {
            return Ok(None);
        }
        let (state, version) = self.as_of(address, position).await?;
        Ok(Some(Done {
            state,
            version,
            position,
            events,
        }))
    }

    /// State and version right after the event at `position`.
    async fn as_of<A: Decider>(
        &self,
        address: &Address,
        position: u64,
    ) -> Result<(Arc<A>, u64), ReadError> {
        let moment = Moment::Position(position);
        let known = self.known_at::<A>(address, position, moment).await?;
        Ok((known.state, known.version))
    }
}
