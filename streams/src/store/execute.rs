//! One command on one aggregate: load, decide, append; on a conflict once more.

use std::sync::Arc;
use std::time::Duration;

use kernel::{AggregateId, Decider, Position};
use tokio::time::sleep;

use super::Streams;
use super::error::{AppendEnd, ExecuteError};
use super::held::{Held, Known};
use super::load::Address;
use super::queue::in_time;
use super::record::{Part, record, stored};
use super::repetition::{Done, same_request};
use crate::clock;
use crate::envelope::{CommandMeta, RecordedEvent};
use crate::jitter::jittered;
use crate::log::{Appended, NewEvent, ReadError};

/// How often the log is asked for what a conflict was about: the other's event may not have
/// reached the replica that answers.
pub(super) const CONFLICT_LOOKS_MAX: u32 = 7;

/// Pause before the second look; doubles, with jitter.
const CONFLICT_PAUSE: Duration = Duration::from_millis(1);

/// A command was done.
#[derive(Debug, Clone)]
pub struct Executed<A> {
    /// The aggregate right after it.
    pub state: Arc<A>,
    /// How many events the aggregate had right after it.
    pub version: u64,
    /// Where the last event of the command stands; if there is none, the aggregate's last.
    pub position: Position,
    /// The command's events, as they are stored.
    pub events: Vec<RecordedEvent>,
    /// How it came about.
    pub outcome: Outcome,
}

/// How a command came to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done now.
    Appended,
    /// There was nothing to do: what it asks for is so, as the stream's leader confirmed.
    AlreadyTrue,
    /// It was done before, under the same command id. State, version and position are as of then.
    Replayed,
}

impl Outcome {
    /// What it means that the aggregate can't be read as it was right after.
    pub(super) fn unread<R: std::error::Error + 'static>(
        self,
        error: ReadError,
    ) -> ExecuteError<R> {
        match self {
            Self::Appended => ExecuteError::Unknown {
                source: error.into(),
            },
            Self::AlreadyTrue | Self::Replayed => error.into(),
        }
    }
}

impl Streams {
    /// Does `command` on the aggregate `id`: load, decide, append.
    ///
    /// A refusal, and that there is nothing to do, is only answered about the state that the
    /// stream's leader confirms. The same command id again is answered with what it did the first
    /// time. Commands on one aggregate queue up in this process, for 20 seconds at most; who loses a race with
    /// another process decides again, a bounded number of times.
    ///
    /// # Errors
    /// See [`ExecuteError`]: each variant says whether anything may have been appended.
    pub async fn execute<A: Decider>(
        &self,
        id: &AggregateId,
        command: A::Command,
        meta: &CommandMeta,
    ) -> Result<Executed<A>, ExecuteError<A::Error>> {
        let done = self.carry_out::<A>(id, command, meta).await?;
        self.with_state(id, done).await
    }

    /// The same for who needs no state: a command that was done before is answered with few reads, however
    /// much has happened since.
    pub(crate) async fn carry_out<A: Decider>(
        &self,
        id: &AggregateId,
        command: A::Command,
        meta: &CommandMeta,
    ) -> Result<Done<A>, ExecuteError<A::Error>> {
        let address = Address::of::<A>(id);
        let _turn = in_time(self.inner.queues.turn(&address.subject)).await?;
        if self.until.is_some_and(|until| until < clock::now()) {
            // What nobody waits for would keep those waiting who still do.
            let source = "the deadline has passed".into();
            return Err(ExecuteError::Unavailable { source });
        }
        let work = Work::<A> {
            streams: self,
            address: &address,
            id,
            command: &command,
            meta,
        };
        let mut known = self.inner.cache.get::<A>(&address.subject);
        if known.is_none()
            && let Some(done) = work.create().await?
        {
            return Ok(done);
        }
        for _ in 0..self.inner.settings.execute_attempts_max {
            let held = match known.take() {
                Some(held) => held,
                None => self.held::<A>(&address).await?,
            };
            if let Some(done) = work.attempt(held).await? {
                return Ok(done);
            }
        }
        Err(ExecuteError::Conflict)
    }

    /// `done`, and the aggregate right after. The turn is over by now: nobody waits while it is folded.
    pub(super) async fn with_state<A: Decider>(
        &self,
        id: &AggregateId,
        done: Done<A>,
    ) -> Result<Executed<A>, ExecuteError<A::Error>> {
        let state = match done.state {
            Some(state) => state,
            None => self
                .state_at(&Address::of::<A>(id), done.position.sequence)
                .await
                .map_err(|error| done.outcome.unread(error))?,
        };
        Ok(Executed {
            state,
            version: done.version,
            position: done.position,
            events: done.events,
            outcome: done.outcome,
        })
    }

    /// A turn at the aggregate that nothing is done in.
    #[cfg(test)]
    pub(crate) async fn turn<A: Decider>(&self, id: &AggregateId) -> impl Sized {
        let address = Address::of::<A>(id);
        self.inner.queues.turn(&address.subject).await
    }
}

/// A command whose turn it is.
pub(super) struct Work<'a, A: Decider> {
    pub(super) streams: &'a Streams,
    pub(super) address: &'a Address,
    pub(super) id: &'a AggregateId,
    pub(super) command: &'a A::Command,
    pub(super) meta: &'a CommandMeta,
}

/// `None` = the aggregate has moved: decide again.
pub(super) type Attempt<A, R> = Result<Option<Done<A>>, ExecuteError<R>>;

impl<A: Decider> Work<'_, A> {
    /// Where nothing is known of the aggregate, and the command would do something to a new one: tries
    /// just that. The expectation 0 proves it, and spares a creation the load of nothing.
    pub(super) async fn create(&self) -> Attempt<A, A::Error> {
        let known = Known::<A>::new();
        match known.state.decide(self.command) {
            Ok(events) if !events.is_empty() => self.append(Held::new(known).into(), events).await,
            Ok(_) | Err(_) => Ok(None),
        }
    }

    pub(super) async fn attempt(&self, held: Arc<Held<A>>) -> Attempt<A, A::Error> {
        match self.replayed(&held).await? {
            Some(done) => Ok(Some(done)),
            None => self.decide(held).await,
        }
    }

    /// What the command did here before; `None` = nothing, as far as is remembered.
    pub(super) async fn replayed(&self, held: &Held<A>) -> Attempt<A, A::Error> {
        let done = self.repeated(held).await?;
        done.map(|done| self.of_this_request(done)).transpose()
    }

    pub(super) async fn decide(&self, held: Arc<Held<A>>) -> Attempt<A, A::Error> {
        let decided = held.lock().state.decide(self.command);
        match decided {
            Ok(events) if events.is_empty() => {
                let proven = self.prove(&held).await?;
                Ok(proven.then(|| self.already_true(&held)))
            }
            Err(refusal) => {
                if self.prove(&held).await? {
                    Err(ExecuteError::Refused(refusal))
                } else {
                    Ok(None)
                }
            }
            Ok(events) => self.append(held, events).await,
        }
    }

    async fn append(&self, held: Arc<Held<A>>, events: Vec<A::Event>) -> Attempt<A, A::Error> {
        let basis = held.lock().basis();
        let part = Part {
            address: self.address,
            id: self.id,
            basis,
            index_from: 0,
        };
        let new = record::<A>(part, &events, self.meta)?;
        match self.streams.append(&new).await {
            Ok(Appended {
                uncertain: true, ..
            }) => {
                let done = self.find_appended(&held).await;
                let done = done.map_err(|error| ExecuteError::Unknown {
                    source: error.into(),
                })?;
                let outcome = Outcome::Appended;
                self.of_this_request(Done { outcome, ..done }).map(Some)
            }
            Ok(Appended { last, .. }) => Ok(Some(self.take(&held, new, last, &events))),
            Err(error) => match AppendEnd::from(error) {
                AppendEnd::Conflict => {
                    self.moved(&held).await?;
                    Ok(None)
                }
                AppendEnd::Duplicate => self.done_before(&held).await.map(Some),
                AppendEnd::Failed(error) => {
                    self.forget();
                    Err(error)
                }
            },
        }
    }

    /// A plain acknowledgement proves that the state was current: fold on in memory.
    fn take(
        &self,
        held: &Arc<Held<A>>,
        new: Vec<NewEvent>,
        last: u64,
        decided: &[A::Event],
    ) -> Done<A> {
        let events = stored(new, last);
        let recent_max = self.streams.inner.settings.recent_commands_max;
        let (state, version) = {
            let mut known = held.lock();
            let before = known.version;
            for (event, decided) in events.iter().zip(decided) {
                known.take(event, decided, recent_max);
            }
            self.streams.keep_snapshot(self.address, before, &known);
            (Arc::clone(&known.state), known.version)
        };
        let cache = &self.streams.inner.cache;
        cache.keep_changed(&self.address.subject, held);
        Done {
            state: Some(state),
            version,
            position: self.position(last),
            events,
            outcome: Outcome::Appended,
        }
    }

    pub(super) async fn repeated(&self, held: &Held<A>) -> Result<Option<Done<A>>, ReadError> {
        let command_id = self.meta.command_id;
        self.streams
            .repetition(self.address, held, command_id)
            .await
    }

    /// What the command did, if the log has it: everything that the leader knows is looked through.
    async fn find(&self, held: &Arc<Held<A>>) -> Result<Option<Done<A>>, ReadError> {
        self.sync(held).await?;
        if let Some(done) = self.repeated(held).await? {
            return Ok(Some(done));
        }
        let command_id = self.meta.command_id;
        self.streams
            .repetition_of_old(self.address, held, command_id)
            .await
    }

    /// The events are in the log for certain, but their acknowledgement isn't: answer from there.
    async fn find_appended(&self, held: &Arc<Held<A>>) -> Result<Done<A>, ReadError> {
        self.find(held).await?.ok_or_else(|| {
            self.forget();
            ReadError::Unavailable("the appended events are not to be found yet".into())
        })
    }

    /// The log knows the event ids: the command was done before, here or on another aggregate.
    async fn done_before(&self, held: &Arc<Held<A>>) -> Result<Done<A>, ExecuteError<A::Error>> {
        let done = self.find(held).await?.ok_or(ExecuteError::KeyReused)?;
        self.of_this_request(done)
    }

    /// Reads on until everything that the leader knows is in.
    pub(super) async fn sync(&self, held: &Arc<Held<A>>) -> Result<(), ReadError> {
        self.prove(held).await?;
        self.streams.inner.cache.keep(&self.address.subject, held);
        Ok(())
    }

    /// Does the leader know nothing newer than what was decided on? If it does, reads on.
    pub(super) async fn prove(&self, held: &Arc<Held<A>>) -> Result<bool, ReadError> {
        let log = &self.streams.inner.log;
        let last = log
            .last(&self.address.stream, &self.address.subject)
            .await?;
        let known = held.lock().last();
        self.streams.must_be_in(self.address, known, last)?;
        self.streams
            .catch_up(self.address, held, last.sequence)
            .await?;
        Ok(last == known)
    }

    /// Somebody else was faster: reads what they did.
    async fn moved(&self, held: &Arc<Held<A>>) -> Result<(), ReadError> {
        self.streams.inner.cache.keep(&self.address.subject, held);
        for look in 0..CONFLICT_LOOKS_MAX {
            if self.streams.refresh(self.address, held).await? {
                return Ok(());
            }
            pause_after_conflict(look).await;
        }
        // Nothing is to be seen yet, and the next attempt finds out; or the log has lost what was read.
        self.sync(held).await
    }

    fn of_this_request(&self, done: Done<A>) -> Result<Done<A>, ExecuteError<A::Error>> {
        if !same_request(&done.events, self.meta) {
            return Err(ExecuteError::KeyReused);
        }
        Ok(done)
    }

    fn already_true(&self, held: &Held<A>) -> Done<A> {
        let known = held.lock();
        Done {
            state: Some(Arc::clone(&known.state)),
            version: known.version,
            position: self.position(known.position),
            events: Vec::new(),
            outcome: Outcome::AlreadyTrue,
        }
    }

    fn position(&self, sequence: u64) -> Position {
        Position::new(self.address.stream.clone(), sequence)
    }

    pub(super) fn forget(&self) {
        self.streams.inner.cache.evict(&self.address.subject);
    }
}

/// Before another look at what a conflict was about, after so many.
pub(super) async fn pause_after_conflict(looks: u32) {
    let longest = CONFLICT_PAUSE * (1 << looks);
    sleep(jittered(longest)).await;
}
