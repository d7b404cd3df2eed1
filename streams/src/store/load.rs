//! Loads an aggregate: from memory, from the log, or as the leader confirms it.

use std::sync::Arc;
use std::time::Duration;

use kernel::{AggregateId, Decider};
use tokio::time::sleep;

use super::LoadError;
use super::Streams;
use super::held::{Held, Known};
use super::walk::Kind;
use crate::envelope::RecordedEvent;
use crate::log::{Last, Page, ReadError};
use crate::subject::{stream_name, subject, subject_of};

/// How often a replica that is behind its leader is asked again.
const CATCH_UP_LOOKS_MAX: u32 = 8;

/// Pause before the second look; doubles.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(2);

/// An aggregate as it was found.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    /// Its state.
    pub state: Arc<A>,
    /// How many events it has; 0 = it never happened.
    pub version: u64,
    /// Stream sequence of its last event; 0 = none.
    pub position: u64,
}

/// Where an aggregate lives.
#[derive(Debug, Clone)]
pub(super) struct Address {
    pub(super) stream: String,
    pub(super) subject: Arc<str>,
}

impl Address {
    pub(super) fn of<A: Decider>(id: &AggregateId) -> Self {
        Self {
            stream: stream_name(A::CONTEXT),
            subject: subject_of::<A>(id).into(),
        }
    }

    pub(super) fn of_kind(kind: Kind, id: &AggregateId) -> Self {
        Self {
            stream: stream_name(kind.context),
            subject: subject(kind.context, kind.kind, id).into(),
        }
    }
}

impl Streams {
    /// The aggregate as this process knows it, or as the log has it. Others may have changed it
    /// since.
    ///
    /// # Errors
    /// The log can't be reached, or holds something that can't be read.
    pub async fn load<A: Decider>(&self, id: &AggregateId) -> Result<Loaded<A>, LoadError> {
        let address = Address::of::<A>(id);
        if let Some(held) = self.inner.cache.get::<A>(&address.subject) {
            return Ok(loaded(&held));
        }
        let _turn = self.inner.queues.turn(&address.subject).await;
        let held = self.held::<A>(&address).await?;
        Ok(loaded(&held))
    }

    /// The aggregate as the stream's leader confirms it.
    ///
    /// # Errors
    /// The log can't be reached, or holds something that can't be read.
    pub async fn load_current<A: Decider>(&self, id: &AggregateId) -> Result<Loaded<A>, LoadError> {
        let address = Address::of::<A>(id);
        let log = &self.inner.log;
        // What was known before the leader was asked, it knows as well.
        let known = self.inner.cache.get::<A>(&address.subject);
        let known = known.map(|held| {
            let known = held.lock();
            (known.last(), loaded_from(&known))
        });
        let last = log.last(&address.stream, &address.subject).await?;
        match known {
            Some((known, loaded)) => {
                self.must_be_in(&address, known, last)?;
                if known == last {
                    return Ok(loaded);
                }
            }
            None if last.sequence == 0 => return Ok(loaded_from(&Known::new())),
            None => {}
        }
        if let Some(held) = self.inner.cache.get::<A>(&address.subject) {
            let meanwhile = held.lock();
            if meanwhile.last() == last {
                return Ok(loaded_from(&meanwhile));
            }
        }
        let _turn = self.inner.queues.turn(&address.subject).await;
        let held = self.held::<A>(&address).await?;
        self.catch_up(&address, &held, last.sequence).await?;
        Ok(loaded(&held))
    }

    /// Is what was the last event that was `known` part of a log whose leader then says which is the `last`? If not,
    /// the aggregate is forgotten.
    pub(super) fn must_be_in(
        &self,
        address: &Address,
        known: Last,
        last: Last,
    ) -> Result<(), ReadError> {
        if known.sequence < last.sequence || known == last {
            return Ok(());
        }
        self.inner.cache.evict(&address.subject);
        Err(log_changed())
    }

    /// The aggregate with `event` in it, which was read from its stream: a follower has the event in
    /// hand, so what is in memory right before it needs nothing of the log. Where something is missing in
    /// between, this is [`Self::load_current`]. Later events may be there; who follows the stream gets
    /// them next.
    ///
    /// # Errors
    /// The event can't be read; or, if it doesn't fit, the log can't be reached or holds something that
    /// can't be read.
    pub async fn load_with<A: Decider>(
        &self,
        event: &RecordedEvent,
    ) -> Result<Loaded<A>, LoadError> {
        let address = Address::of::<A>(&event.aggregate_id);
        let sequence = event.position.sequence;
        {
            let _turn = self.inner.queues.turn(&address.subject).await;
            let held = self.inner.cache.get::<A>(&address.subject);
            let mut known = held.map_or_else(Known::new, |held| held.lock().clone());
            if known.position < sequence && known.version + 1 == event.version {
                let before = known.version;
                known.read(event, self.inner.settings.recent_commands_max)?;
                self.keep_snapshot(&address, before, &known);
                return Ok(loaded(&self.inner.cache.insert(&address.subject, known)));
            }
            if known.position > sequence || known.event_id == event.id {
                return Ok(loaded_from(&known));
            }
        }
        self.load_current(&event.aggregate_id).await
    }

    /// All events of an aggregate, oldest first, as the stream's leader confirms them.
    ///
    /// # Errors
    /// The log can't be reached, or holds something that can't be read.
    pub async fn history<A: Decider>(
        &self,
        id: &AggregateId,
    ) -> Result<Vec<RecordedEvent>, LoadError> {
        let address = Address::of::<A>(id);
        let log = &self.inner.log;
        let last = log.last(&address.stream, &address.subject).await?.sequence;
        let mut events = Vec::new();
        while position_of(events.last()) < last {
            let after = position_of(events.last());
            let page = self.page_towards(&address, (after, last), u64::MAX);
            events.extend(page.await?.events);
        }
        Ok(events)
    }

    /// The aggregate in memory, loaded if it isn't there. Asks for the turn to be held.
    pub(super) async fn held<A: Decider>(
        &self,
        address: &Address,
    ) -> Result<Arc<Held<A>>, ReadError> {
        if let Some(held) = self.inner.cache.get::<A>(&address.subject) {
            return Ok(held);
        }
        let mut known = Known::new();
        self.read_on(address, &mut known).await?;
        Ok(self.inner.cache.insert(&address.subject, known))
    }

    /// Reads what came after what is known; says whether anything did. Asks for the turn.
    pub(super) async fn refresh<A: Decider>(
        &self,
        address: &Address,
        held: &Arc<Held<A>>,
    ) -> Result<bool, ReadError> {
        let mut known = held.lock().clone();
        let before = known.position;
        let read = self.read_on(address, &mut known).await;
        if read.is_err() {
            self.inner.cache.evict(&address.subject);
        }
        read?;
        let moved = known.position > before;
        if moved {
            *held.lock() = known;
            self.inner.cache.keep_changed(&address.subject, held);
        }
        Ok(moved)
    }

    /// Reads on until the leader's `last` is in: a replica may be behind it. Asks for the turn.
    pub(super) async fn catch_up<A: Decider>(
        &self,
        address: &Address,
        held: &Arc<Held<A>>,
        last: u64,
    ) -> Result<(), ReadError> {
        let mut pause = CATCH_UP_PAUSE;
        for _ in 0..CATCH_UP_LOOKS_MAX {
            if held.lock().position >= last {
                return Ok(());
            }
            if !self.refresh(address, held).await? {
                sleep(pause).await;
                pause *= 2;
            }
        }
        if held.lock().position >= last {
            return Ok(());
        }
        Err(behind())
    }

    /// The next events of an aggregate. A page that says "more" holds at least one event. When it is
    /// known how many there are: having found `count` the server looks for no more, which may be a long
    /// way over other aggregates' events.
    pub(super) async fn page_of(
        &self,
        address: &Address,
        after: u64,
        count: u64,
    ) -> Result<Page, ReadError> {
        let most = self.inner.settings.load_page_events;
        let max = usize::try_from(count).map_or(most, |count| count.min(most));
        let log = &self.inner.log;
        log.read(&address.stream, &address.subject, after, max)
            .await
    }

    /// The next events, `count` at most, of an aggregate that is known to have one at `last`, after `after`: at
    /// least one. A replica that doesn't have it yet is asked again.
    pub(super) async fn page_towards(
        &self,
        address: &Address,
        (after, last): (u64, u64),
        count: u64,
    ) -> Result<Page, ReadError> {
        let mut pause = CATCH_UP_PAUSE;
        for _ in 0..CATCH_UP_LOOKS_MAX {
            let page = self.page_of(address, after, count).await?;
            if !page.events.is_empty() || after >= last {
                return Ok(page);
            }
            sleep(pause).await;
            pause *= 2;
        }
        Err(behind())
    }
}

pub(super) fn log_changed() -> ReadError {
    ReadError::Unavailable("the log is not the one that was read: was it restored?".into())
}

fn behind() -> ReadError {
    ReadError::Unavailable("the replica that answers is behind the stream's leader".into())
}

pub(super) fn position_of(event: Option<&RecordedEvent>) -> u64 {
    event.map_or(0, |event| event.position.sequence)
}

fn loaded<A: Decider>(held: &Held<A>) -> Loaded<A> {
    loaded_from(&held.lock())
}

fn loaded_from<A>(known: &Known<A>) -> Loaded<A> {
    Loaded {
        state: Arc::clone(&known.state),
        version: known.version,
        position: known.position,
    }
}
