//! A command that was done before is answered with what it did then.

use std::sync::Arc;

use kernel::{AggregateId, Decider, Position};
use uuid::Uuid;

use super::Streams;
use super::error::ExecuteError;
use super::execute::{Executed, Outcome};
use super::held::Held;
use super::load::{Address, position_of};
use super::resume::Moment;
use crate::envelope::{CommandMeta, RecordedEvent};
use crate::log::ReadError;

/// Events that are asked for at first where those of one command stand: most have one or two.
const FIRST_PAGE_EVENTS: u64 = 4;

/// What a command did. Its events say all of it but the state.
#[derive(Debug)]
pub(crate) struct Done<A> {
    /// The aggregate right after; `None` = more has happened since, and [`Streams::state_at`] has to
    /// fold all that came before: not while others wait for their turn.
    pub(super) state: Option<Arc<A>>,
    pub(crate) version: u64,
    pub(crate) position: Position,
    pub(super) events: Vec<RecordedEvent>,
    pub(crate) outcome: Outcome,
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
    /// What the command of `meta` did on the aggregate before, answered again; `None` = nothing, as far as its id is
    /// remembered. For whoever refuses for reasons of their own, before the command is decided.
    ///
    /// # Errors
    /// [`ExecuteError::KeyReused`]; the log can't be reached, or holds something that can't be read.
    pub async fn repeated<A: Decider>(
        &self,
        id: &AggregateId,
        meta: &CommandMeta,
    ) -> Result<Option<Executed<A>>, ExecuteError<A::Error>> {
        let address = Address::of::<A>(id);
        let log = &self.inner.log;
        let last = log.last(&address.stream, &address.subject).await?.sequence;
        if last == 0 {
            return Ok(None);
        }
        let done = {
            let _turn = self.inner.queues.turn(&address.subject).await;
            let held = self.held::<A>(&address).await?;
            self.catch_up(&address, &held, last).await?;
            self.repetition(&address, &held, meta.command_id).await?
        };
        match done {
            Some(done) if !same_request(&done.events, meta) => Err(ExecuteError::KeyReused),
            Some(done) => self.with_state(id, done).await.map(Some),
            None => Ok(None),
        }
    }

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
        let mut count = FIRST_PAGE_EVENTS;
        let mut events: Vec<RecordedEvent> = Vec::new();
        loop {
            let page = self.page_towards(address, (after, last), count).await?;
            let (before, found) = (events.len(), page.events.len());
            let of_command = |event: &RecordedEvent| event.command_id == command_id;
            events.extend(page.events.into_iter().take_while(of_command));
            if !page.more || events.len() - before < found {
                break;
            }
            // All of the page was the command's, and there is more: maybe of the command, too.
            after = position_of(events.last());
            last = after + 1;
            count = u64::MAX;
        }
        // No events: another command, whose id has the same second half.
        Ok(done_by(events, held))
    }

    /// What command `id` did here, however long ago: reads all events.
    pub(super) async fn repetition_of_old<A: Decider>(
        &self,
        address: &Address,
        held: &Held<A>,
        command_id: Uuid,
    ) -> Result<Option<Done<A>>, ReadError> {
        let log = &self.inner.log;
        let last = log.last(&address.stream, &address.subject).await?.sequence;
        let mut after = 0;
        let mut events: Vec<RecordedEvent> = Vec::new();
        while after < last {
            let page = self.page_towards(address, (after, last), u64::MAX).await?;
            after = position_of(page.events.last());
            let of_command = |event: &RecordedEvent| event.command_id == command_id;
            events.extend(page.events.into_iter().filter(of_command));
        }
        Ok(done_by(events, held))
    }

    /// The aggregate right after the event at `position`. Where its snapshot is newer, all events before
    /// are read.
    pub(super) async fn state_at<A: Decider>(
        &self,
        address: &Address,
        position: u64,
    ) -> Result<Arc<A>, ReadError> {
        let moment = Moment::Position(position);
        let known = self.known_at::<A>(address, position, moment).await?;
        Ok(known.state)
    }
}

/// What a command did whose `events` these are; `None` = there are none. The state is told if it is the one
/// that is known.
fn done_by<A: Decider>(events: Vec<RecordedEvent>, held: &Held<A>) -> Option<Done<A>> {
    let (version, position) = {
        let last = events.last()?;
        (last.version, last.position.clone())
    };
    let state = {
        let known = held.lock();
        (known.position == position.sequence).then(|| Arc::clone(&known.state))
    };
    Some(Done {
        state,
        version,
        position,
        events,
        outcome: Outcome::Replayed,
    })
}
