//! Several aggregates of one context in one batch: all of their events, or none.

mod erased;

use std::any::Any;
use std::sync::Arc;

use kernel::{AggregateId, Decider, Position};
use serde_json::Value;
use thiserror::Error;

use super::Streams;
use super::conditional::ExecuteAtError;
use super::error::{AppendEnd, ExecuteError};
use super::execute::{CONFLICT_LOOKS_MAX, Outcome, pause_after_conflict};
use super::queue::{Turn, in_time};
use super::record::stored;
use crate::envelope::{CommandMeta, EncodeError, RecordedEvent};
use crate::log::{NewEvent, ReadError};
use erased::{Decided, Erased, Open, TypedStep};

/// One aggregate's command in [`Streams::execute_together`]; made by [`step`].
pub trait Step: Send + Sync {
    /// The step as the store takes it.
    #[doc(hidden)]
    fn into_part(self: Box<Self>) -> Part;
}

/// What a [`Step`] is inside.
#[doc(hidden)]
pub struct Part(Box<dyn Erased>);

/// `command` on the aggregate `id`, as a part of [`Streams::execute_together`].
pub fn step<A: Decider>(id: AggregateId, command: A::Command) -> Box<dyn Step> {
    Box::new(TypedStep::<A>::new(id, command))
}

/// Commands on several aggregates were done.
#[derive(Debug, Clone)]
pub struct ExecutedTogether {
    /// Where the last event stands; if there is none, the last of all the aggregates'.
    pub position: Position,
    /// What became of each step, in the order in which they were given.
    pub steps: Vec<StepDone>,
    /// How it came about, for all of them.
    pub outcome: Outcome,
}

/// What became of one step.
#[derive(Debug, Clone)]
pub struct StepDone {
    /// Which aggregate.
    pub aggregate_id: AggregateId,
    /// How many events it had right after.
    pub version: u64,
    /// Stream sequence of its last event right after; 0 = none.
    pub position: u64,
    /// The events of this command on it; none if it was already true.
    pub events: Vec<RecordedEvent>,
    /// `None` only while others wait for their turn: it is folded after that.
    state: Option<State>,
}

/// An aggregate of any type.
type State = Arc<dyn Any + Send + Sync>;

impl StepDone {
    /// The aggregate right after, if it is an `A`.
    pub fn state<A: Decider>(&self) -> Option<Arc<A>> {
        self.state.clone()?.downcast().ok()
    }
}

/// One step was refused, so none was done.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("step {step}: {message}")]
pub struct TogetherRefusal {
    /// Which one, from 0.
    pub step: usize,
    /// The refusal's code on the wire.
    pub code: String,
    /// The refusal in words.
    pub message: String,
    /// The refusal as it serializes.
    pub value: Value,
}

type Failure = ExecuteError<TogetherRefusal>;

impl Streams {
    /// Does several commands on different aggregates of one context: all or none.
    ///
    /// Everything that [`Streams::execute`] says holds for all of them at once. A step that has
    /// nothing to do is confirmed by the leader right before the others are appended.
    ///
    /// # Errors
    /// See [`ExecuteError`]. Steps of two contexts, or two on one aggregate, are
    /// [`EncodeError::NotTogether`].
    pub async fn execute_together(
        &self,
        steps: Vec<Box<dyn Step>>,
        meta: &CommandMeta,
    ) -> Result<ExecutedTogether, ExecuteError<TogetherRefusal>> {
        let done = self.execute_together_if(steps, |_| true, meta).await;
        done.map_err(|error| match error {
            ExecuteAtError::Failed(error) => error,
            // Every version fulfils that condition.
            ExecuteAtError::Stale { .. } => ExecuteError::Conflict,
        })
    }

    /// The same, if the version of the first step's aggregate fulfils the condition: as
    /// [`Streams::execute_if`] does for one.
    ///
    /// # Errors
    /// [`ExecuteAtError::Stale`]; what [`Streams::execute_together`] has.
    pub async fn execute_together_if(
        &self,
        steps: Vec<Box<dyn Step>>,
        condition: impl Fn(u64) -> bool + Send + Sync,
        meta: &CommandMeta,
    ) -> Result<ExecutedTogether, ExecuteAtError<TogetherRefusal>> {
        let parts: Vec<Part> = steps.into_iter().map(Step::into_part).collect();
        let mut done = self.carry_out_together(&parts, condition, meta).await?;
        // The turns are over: nobody waits for this.
        for (step, part) in done.steps.iter_mut().zip(&parts) {
            if step.state.is_none() {
                let state = part.0.state_at(self, step.position).await;
                step.state = Some(state.map_err(|error| done.outcome.unread(error))?);
            }
        }
        Ok(done)
    }

    async fn carry_out_together(
        &self,
        parts: &[Part],
        condition: impl Fn(u64) -> bool + Send + Sync,
        meta: &CommandMeta,
    ) -> Result<ExecutedTogether, ExecuteAtError<TogetherRefusal>> {
        let stream = stream_of(parts).map_err(ExecuteError::from)?;
        let _turns = in_time(self.turns(parts)).await?;
        for _ in 0..self.inner.settings.execute_attempts_max {
            let mut opened = Vec::with_capacity(parts.len());
            for part in parts {
                let part = part.0.open(self, meta).await;
                opened.push(part.map_err(ExecuteError::from)?);
            }
            let work = Work {
                streams: self,
                stream: &stream,
                opened: &opened,
            };
            let version = work.version();
            if !condition(version) && work.repeated(false).await.map_err(Failure::from)?.is_none() {
                // A stale cache must not say that the client is stale.
                if work.prove_first().await.map_err(Failure::from)? {
                    return Err(ExecuteAtError::Stale { version });
                }
                continue;
            }
            if let Some(done) = work.attempt().await? {
                return Ok(done);
            }
        }
        Err(ExecuteError::Conflict.into())
    }

    /// All turns, always in the same order, so that two callers can't wait for each other.
    async fn turns(&self, parts: &[Part]) -> Vec<Turn> {
        let mut subjects: Vec<_> = parts.iter().map(|p| &p.0.address().subject).collect();
        subjects.sort();
        let mut turns = Vec::with_capacity(subjects.len());
        for subject in subjects {
            turns.push(self.inner.queues.turn(subject).await);
        }
        turns
    }
}

/// The one stream of all parts, which must name different aggregates.
fn stream_of(parts: &[Part]) -> Result<String, EncodeError> {
    let mut subjects: Vec<_> = parts.iter().map(|p| &p.0.address().subject).collect();
    subjects.sort();
    let twice = subjects.windows(2).any(|pair| pair.first() == pair.last());
    let mut streams = parts.iter().map(|p| &p.0.address().stream);
    let first = streams.next().ok_or(EncodeError::NotTogether)?;
    if twice || streams.any(|stream| stream != first) {
        return Err(EncodeError::NotTogether);
    }
    Ok(first.clone())
}

/// Steps whose turn it is.
struct Work<'a> {
    streams: &'a Streams,
    stream: &'a str,
    opened: &'a [Box<dyn Open + 'a>],
}

impl Work<'_> {
    /// Of the first step's aggregate, as this process knows it.
    fn version(&self) -> u64 {
        self.opened
            .first()
            .map_or(0, |step| step.unchanged().version)
    }

    /// Is that what the leader knows? If not, reads on.
    async fn prove_first(&self) -> Result<bool, ReadError> {
        match self.opened.first() {
            Some(step) => step.prove().await,
            None => Ok(true),
        }
    }

    /// `None` = an aggregate has moved: decide again.
    async fn attempt(&self) -> Result<Option<ExecutedTogether>, Failure> {
        if let Some(done) = self.repeated(false).await? {
            return self.answer(done, Outcome::Replayed).map(Some);
        }
        let Some((new, counts)) = self.decide().await? else {
            return Ok(None);
        };
        if new.is_empty() {
            let done = self.opened.iter().map(|step| step.unchanged()).collect();
            return self.answer(done, Outcome::AlreadyTrue).map(Some);
        }
        match self.streams.append(&new).await {
            Ok(appended) if appended.uncertain => self.find_appended().await.map(Some),
            Ok(appended) => self.take(stored(new, appended.last), &counts).map(Some),
            Err(error) => match AppendEnd::from(error) {
                AppendEnd::Conflict => {
                    self.moved().await?;
                    Ok(None)
                }
                AppendEnd::Duplicate => self.done_before().await.map(Some),
                AppendEnd::Failed(error) => {
                    self.forget();
                    Err(error)
                }
            },
        }
    }

    /// The events of all steps, and how many each has.
    async fn decide(&self) -> Result<Option<(Vec<NewEvent>, Vec<usize>)>, Failure> {
        let (mut new, mut counts) = (Vec::new(), Vec::new());
        for (index, step) in self.opened.iter().enumerate() {
            match step.decide(new.len())? {
                Decided::Events(events) => {
                    if events.is_empty() && !step.prove().await? {
                        return Ok(None);
                    }
                    counts.push(events.len());
                    new.extend(events);
                }
                Decided::Refused(refusal) => {
                    if !step.prove().await? {
                        return Ok(None);
                    }
                    let step = index;
                    return Err(ExecuteError::Refused(TogetherRefusal { step, ..refusal }));
                }
            }
        }
        Ok(Some((new, counts)))
    }

    /// Folds what was appended on in memory.
    fn take(
        &self,
        events: Vec<RecordedEvent>,
        counts: &[usize],
    ) -> Result<ExecutedTogether, Failure> {
        let mut events = events.into_iter();
        let mut done = Vec::with_capacity(counts.len());
        for (step, count) in self.opened.iter().zip(counts) {
            let own = events.by_ref().take(*count).collect();
            // It is in the log, but our own code can't read it back.
            done.push(step.take(own).map_err(|error| ExecuteError::Unknown {
                source: error.into(),
            })?);
        }
        self.answer(done, Outcome::Appended)
    }

    /// What the command did before on all steps, if it did anything on one of them.
    async fn repeated(&self, however_old: bool) -> Result<Option<Vec<StepDone>>, ReadError> {
        let mut all = Vec::with_capacity(self.opened.len());
        let mut any = false;
        for step in self.opened {
            let found = step.repetition(however_old).await?;
            any |= found.is_some();
            all.push(found.unwrap_or_else(|| step.unchanged()));
        }
        Ok(any.then_some(all))
    }

    /// The events are in the log for certain, but their acknowledgement isn't: answer from there.
    async fn find_appended(&self) -> Result<ExecutedTogether, Failure> {
        let found = async {
            self.sync().await?;
            match self.repeated(false).await? {
                Some(done) => Ok(Some(done)),
                None => self.repeated(true).await,
            }
        };
        let unknown = |error: ReadError| ExecuteError::Unknown {
            source: error.into(),
        };
        let done = found.await.map_err(unknown)?;
        let done = done.ok_or_else(|| {
            self.forget();
            ExecuteError::Unknown {
                source: "the appended events are not to be found yet".into(),
            }
        })?;
        self.answer(done, Outcome::Appended)
    }

    /// The log knows an event id: the command was done before, here or on other aggregates.
    async fn done_before(&self) -> Result<ExecutedTogether, Failure> {
        self.sync().await?;
        let done = self.repeated(true).await?;
        self.answer(done.ok_or(ExecuteError::KeyReused)?, Outcome::Replayed)
    }

    async fn sync(&self) -> Result<(), ReadError> {
        for step in self.opened {
            step.sync().await?;
        }
        Ok(())
    }

    /// Somebody else was faster on one of them: reads what they did, once it is to be seen. On
    /// replicas a batch conflicts with one that is still in flight.
    async fn moved(&self) -> Result<(), ReadError> {
        let positions = || self.opened.iter().map(|step| step.unchanged().position);
        let before: Vec<u64> = positions().collect();
        for look in 0..CONFLICT_LOOKS_MAX {
            self.sync().await?;
            if positions().ne(before.iter().copied()) {
                return Ok(());
            }
            pause_after_conflict(look).await;
        }
        // Nothing is to be seen yet; the next attempt finds out.
        Ok(())
    }

    fn forget(&self) {
        for step in self.opened {
            step.forget();
        }
    }

    fn answer(&self, steps: Vec<StepDone>, outcome: Outcome) -> Result<ExecutedTogether, Failure> {
        if !steps
            .iter()
            .zip(self.opened)
            .all(|(done, step)| step.is_of(done))
        {
            return Err(ExecuteError::KeyReused);
        }
        let events = steps.iter().filter_map(|step| step.events.last());
        let last = events.map(|event| event.position.sequence).max();
        let held = steps.iter().map(|step| step.position).max();
        Ok(ExecutedTogether {
            position: Position::new(self.stream, last.or(held).unwrap_or(0)),
            steps,
            outcome,
        })
    }
}
