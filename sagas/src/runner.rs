//! Takes a fact in, asks what is due, arms the timer: the loop around a pure saga, whichever it is.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use checkout::{Checkout, Due, Saga};
use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt};
use kernel::{AggregateId, OrderId};
use moka::sync::Cache;
use streams::bus::{Answer, Ask, Bus};
use streams::lanes::HandleError;
use streams::timers::{DueTimer, TimerError, TimerId, Timers};
use streams::{CommandMeta, ExecuteError, Outcome, Streams, clock};
use thiserror::Error;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::Config;
use crate::late::Late;

/// Longest wait for a context's answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Most asks of one saga that are under way at the same time (an order has up to 100 lines).
const ASKS_AT_ONCE: usize = 16;

/// How long an answered ask is remembered. Its fact comes within milliseconds; after that the ask
/// is sent again, and found in the log.
const ANSWERED_TTL: Duration = Duration::from_secs(10);

/// Most rounds of "ask, take refusals in, ask again" for one delivery: every refusal ends a step,
/// and there are fewer kinds of steps than this.
const ROUNDS_MAX: usize = 16;

/// Between a saga's name and its id in the id of a timer: no UUID has it.
const NAME_END: char = '_';

/// What the runner could not do; the delivery comes again.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// A context did not answer.
    #[error("{label} of {saga} {id} was not answered by {context}: {message}")]
    Unanswered {
        /// What was asked.
        label: String,
        /// By which saga.
        saga: &'static str,
        /// For which one of it.
        id: String,
        /// Whom.
        context: &'static str,
        /// Why.
        message: String,
    },
    /// The timer could not be set.
    #[error("the saga's timer can't be set")]
    Timer(#[from] TimerError),
    /// It follows a definition that this build does not know, and was left as it is.
    #[error(
        "{saga} {id} follows definition revision {revision}, which this build does not know: one that \
         knows it must handle this"
    )]
    RevisionUnknown {
        /// Which saga.
        saga: &'static str,
        /// Which one of it.
        id: String,
        /// Which definition.
        revision: u32,
    },
    /// More is due after every round.
    #[error("{saga} {id} has more due after {ROUNDS_MAX} rounds")]
    Endless {
        /// Which saga.
        saga: &'static str,
        /// Which one of it.
        id: String,
    },
}

/// Where a fact comes from: what identifies it, and what the log says of it.
pub(crate) struct Origin {
    /// The fact's own event or timer: every saga takes the same one in once.
    pub(crate) source_id: Uuid,
    /// The order that it is about, in the end: what everything is correlated by.
    pub(crate) order_id: OrderId,
    /// The event that the fact was read from.
    pub(crate) causation_id: Option<String>,
    /// The trace that it belongs to.
    pub(crate) traceparent: Option<String>,
    /// When it is. A timer that rings is proof that its time has come, whatever this machine's clock says.
    pub(crate) at: DateTime<Utc>,
}

/// What was asked has come to this.
struct Asked<F> {
    /// The answers that the streams will not tell, each with its ask.
    facts: Vec<(Uuid, F)>,
    /// Something that may be late was not answered.
    late: bool,
}

impl Origin {
    /// A role's clock may be wrong between two questions to the server: it never goes back behind what a
    /// timer has proven, or what failed would be tried again without a pause.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.at.max(clock::now())
    }

    fn meta<S: Saga>(&self, command_id: Uuid) -> CommandMeta {
        let actor = format!("saga:{}", S::NAME);
        let mut meta = CommandMeta::new(command_id, clock::now(), actor);
        meta.correlation_id = Some(self.order_id.to_string());
        meta.causation_id.clone_from(&self.causation_id);
        meta.traceparent.clone_from(&self.traceparent);
        meta
    }
}

/// Runs all of one saga.
pub(crate) struct Runner<S: Saga> {
    streams: Streams,
    bus: Bus,
    timers: Timers,
    /// One fact at a time: those of several streams meet here.
    turns: Cache<S::Id, Arc<Mutex<()>>>,
    answered: Cache<Uuid, ()>,
    armed: Cache<S::Id, DateTime<Utc>>,
    /// When one was met first whose definition this build does not know.
    met_unknown: OnceLock<Instant>,
    /// For how long after that it is taken for an upgrade.
    unknown_patience: Duration,
    late: Late<S::Id>,
}

impl<S: Saga> Runner<S> {
    pub(crate) fn new(streams: &Streams, bus: &Bus, timers: &Timers, config: &Config) -> Self {
        Self {
            streams: streams.clone(),
            bus: bus.clone(),
            timers: timers.clone(),
            turns: Cache::new(config.memory),
            answered: Cache::builder()
                .max_capacity(config.memory.saturating_mul(4))
                .time_to_live(ANSWERED_TTL)
                .build(),
            armed: Cache::new(config.memory),
            met_unknown: OnceLock::new(),
            unknown_patience: config.unknown_patience(),
            late: Late::new(config.memory, config.late_pause()),
        }
    }

    pub(crate) fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Takes `fact` in, asks everything that is due, and returns once all of it was answered.
    pub(crate) async fn advance(
        &self,
        id: S::Id,
        fact: S::Command,
        origin: &Origin,
    ) -> Result<(), HandleError> {
        let turn = self.turns.get_with(id, Arc::default);
        let _turn = turn.lock().await;
        let fact_id = Uuid::new_v5(&origin.source_id, S::NAME.as_bytes());
        let state = self.take_in(id, fact, fact_id, origin).await?;
        self.settle(id, state, origin).await
    }

    /// Asks everything that is due, without a fact: a person lets it go on.
    pub(crate) async fn wake(&self, id: S::Id, origin: &Origin) -> Result<(), HandleError> {
        let turn = self.turns.get_with(id, Arc::default);
        let _turn = turn.lock().await;
        let state = self.current(id).await?;
        self.must_know(id, &state)?;
        self.settle(id, state, origin).await
    }

    async fn settle(
        &self,
        id: S::Id,
        mut state: Arc<S>,
        origin: &Origin,
    ) -> Result<(), HandleError> {
        // An ask whose refusal changes nothing stays due; it waits for the next fact.
        let mut refused = HashSet::new();
        for _ in 0..ROUNDS_MAX {
            let Asked { facts, late } = self.ask_all(id, &state, &refused, origin).await?;
            if facts.is_empty() {
                let again = late.then(|| origin.at + self.late.again(id));
                if !late {
                    self.late.answered(&id);
                }
                let traceparent = origin.traceparent.as_deref();
                let armed = self.arm(id, &state, again, traceparent).await;
                return armed.map_err(HandleError::retryable);
            }
            for (ask_id, fact) in facts {
                refused.insert(ask_id);
                let fact_id = Uuid::new_v5(&ask_id, b"answer");
                state = self.take_in(id, fact, fact_id, origin).await?;
            }
        }
        Err(HandleError::retryable(Error::Endless {
            saga: S::NAME,
            id: id.to_string(),
        }))
    }

    /// What the saga knows, as its stream's leader says.
    pub(crate) async fn current(&self, id: S::Id) -> Result<Arc<S>, HandleError> {
        Ok(self.streams.load_current::<S>(&id.into()).await?.state)
    }

    /// Its timer has rung, and is gone by now. One that rang before its deadline is set again; one that
    /// rang in time is not: what it was for is asked now, and until that is settled it would ring
    /// without end.
    fn forget_deadline(&self, id: S::Id, at: DateTime<Utc>) {
        let in_time = |deadline: DateTime<Utc>| deadline <= at;
        if !self.armed.get(&id).is_some_and(in_time) {
            self.armed.invalidate(&id);
        }
    }

    /// Its timer has rung: it is told so, and what is due by now is asked.
    pub(crate) async fn on_timer(&self, id: S::Id, timer: &DueTimer) -> Result<(), HandleError> {
        let Some(order_id) = self.current(id).await?.order_id() else {
            return Ok(());
        };
        let origin = Origin::of_timer(timer, order_id);
        self.forget_deadline(id, origin.at);
        match S::timed_out(origin.at) {
            Some(fact) => self.advance(id, fact, &origin).await,
            None => self.wake(id, &origin).await,
        }
    }

    async fn take_in(
        &self,
        id: S::Id,
        fact: S::Command,
        fact_id: Uuid,
        origin: &Origin,
    ) -> Result<Arc<S>, HandleError> {
        let aggregate_id: AggregateId = id.into();
        let meta = origin.meta::<S>(fact_id);
        let executed = self.streams.execute::<S>(&aggregate_id, fact, &meta).await;
        let executed = match executed {
            Ok(executed) => executed,
            Err(error) => {
                if matches!(error, ExecuteError::Refused(_)) {
                    let known = self.streams.load::<S>(&aggregate_id).await?;
                    self.must_know(id, &known.state)?;
                }
                return Err(error.into());
            }
        };
        if executed.outcome == Outcome::Replayed {
            // A replay answers the state as of its append; what is due follows from the latest.
            return Ok(self.streams.load::<S>(&aggregate_id).await?.state);
        }
        if executed.outcome == Outcome::Appended
            && let Some(why) = executed.state.suspended()
        {
            tracing::warn!(saga = S::NAME, %id, why, "it waits for a person");
            metrics::counter!("sagas_suspended_total", "saga" => S::NAME).increment(1);
        }
        Ok(executed.state)
    }

    /// A saga of a definition that this build does not know is left to one that does.
    fn must_know(&self, id: S::Id, state: &S) -> Result<(), HandleError> {
        let Some(revision) = state.unknown_revision() else {
            return Ok(());
        };
        metrics::counter!(
            "sagas_unknown_revision_total",
            "saga" => S::NAME, "revision" => revision.to_string()
        )
        .increment(1);
        let met = self.met_unknown.get_or_init(Instant::now);
        Err(HandleError {
            permanent: met.elapsed() >= self.unknown_patience,
            source: Box::new(Error::RevisionUnknown {
                saga: S::NAME,
                id: id.to_string(),
                revision,
            }),
        })
    }

    /// Sends what is due and was not just answered. What comes back are the answers that the
    /// streams will not tell: a refusal, or that there was nothing to undo.
    ///
    /// What may be late and is not answered now keeps nobody waiting.
    async fn ask_all(
        &self,
        id: S::Id,
        state: &S,
        refused: &HashSet<Uuid>,
        origin: &Origin,
    ) -> Result<Asked<S::Command>, HandleError> {
        let due: Vec<Due<S::Ask>> = state
            .pending(origin.at)
            .into_iter()
            .filter(|due| !refused.contains(&due.ask_id))
            .filter(|due| !self.answered.contains_key(&due.ask_id))
            .collect();
        let answers = stream::iter(due)
            .map(|due| async move {
                let may_be_late = S::may_be_late(&due.label);
                (may_be_late, self.ask(id, due, origin).await)
            })
            .buffer_unordered(ASKS_AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        let (mut facts, mut late) = (Vec::new(), false);
        for answer in answers {
            match answer {
                // Whatever the error: a host of an older version that can't read it will be another's tomorrow.
                (true, Err(error)) => {
                    let error: &dyn std::error::Error = error.source.as_ref();
                    tracing::warn!(saga = S::NAME, %id, error, "it is asked again later");
                    metrics::counter!("sagas_asks_late_total", "saga" => S::NAME).increment(1);
                    late = true;
                }
                (_, answer) => facts.extend(answer?),
            }
        }
        Ok(Asked { facts, late })
    }

    async fn ask(
        &self,
        id: S::Id,
        due: Due<S::Ask>,
        origin: &Origin,
    ) -> Result<Option<(Uuid, S::Command)>, HandleError> {
        let ask = Ask {
            context: due.context.to_owned(),
            kind: due.kind.map(str::to_owned),
            id: due.aggregate_id.clone(),
            command: due.command.clone(),
            meta: origin.meta::<S>(due.ask_id),
        };
        let unanswered = |message: String| Error::Unanswered {
            label: due.label.to_string(),
            saga: S::NAME,
            id: id.to_string(),
            context: due.context,
            message,
        };
        match self.bus.ask(&ask, ASK_TIMEOUT).await {
            Ok(Answer::Done { already, .. }) => {
                let fact = S::answered(&due, already, origin.now());
                if fact.is_none() {
                    // Its fact comes by a stream. An answer that is a fact itself is asked for
                    // again until it is taken in.
                    self.answered.insert(due.ask_id, ());
                }
                Ok(fact.map(|fact| (due.ask_id, fact)))
            }
            Ok(Answer::Refused { code, message, .. }) => {
                let fact = S::refused(&due, code, message, origin.now());
                Ok(Some((due.ask_id, fact)))
            }
            Ok(Answer::Failed { message, retryable }) if retryable => {
                Err(HandleError::retryable(unanswered(message)))
            }
            Ok(Answer::Failed { message, .. }) => Err(HandleError::permanent(unanswered(message))),
            Err(error) => Err(HandleError::retryable(unanswered(error.to_string()))),
        }
    }

    /// Sets the saga's one timer if it should be set and isn't; false = it has no deadline. Whoever has its turn
    /// sets it when they are done.
    pub(crate) async fn arm_again(&self, id: S::Id) -> Result<bool, HandleError> {
        let turn = self.turns.get_with(id, Arc::default);
        let Ok(_turn) = turn.try_lock() else {
            return Ok(true);
        };
        let state = self.current(id).await?;
        if state.deadline().is_none() {
            return Ok(false);
        }
        let timer = timer_of::<S>(id).map_err(HandleError::permanent)?;
        let pending = self.timers.is_pending(&timer).await;
        if !pending.map_err(HandleError::retryable)? {
            self.armed.invalidate(&id);
            // Whose trace it was is lost with it.
            let armed = self.arm(id, &state, None, None).await;
            armed.map_err(HandleError::retryable)?;
        }
        Ok(true)
    }

    /// Sets the saga's one timer to its next deadline, or to `again` if that is sooner. A timer that is no longer needed is left:
    /// a due timer is a hint, the state decides.
    async fn arm(
        &self,
        id: S::Id,
        state: &S,
        again: Option<DateTime<Utc>>,
        traceparent: Option<&str>,
    ) -> Result<(), Error> {
        let Some(deadline) = state.deadline().into_iter().chain(again).min() else {
            return Ok(());
        };
        if self.armed.get(&id) == Some(deadline) {
            return Ok(());
        }
        let timer = timer_of::<S>(id)?;
        let set = self.timers.set_in_trace(&timer, deadline, traceparent);
        set.await?;
        self.armed.insert(id, deadline);
        Ok(())
    }
}

/// The one timer of a saga. All share the checkout's durable: the others' ids have their name in front,
/// which no order's id has.
pub(crate) fn timer_of<S: Saga>(id: S::Id) -> Result<TimerId, TimerError> {
    let saga = Checkout::NAME.to_owned();
    let id = if S::NAME == Checkout::NAME {
        id.into()
    } else {
        let named = format!("{}{NAME_END}{id}", S::NAME);
        let name = |_| TimerError::Name {
            saga: named.clone(),
        };
        named.parse().map_err(name)?
    };
    Ok(TimerId { saga, id })
}

/// The rest of a timer's id, if it is one of the saga of this name.
pub(crate) fn id_of<'a>(timer: &'a TimerId, name: &str) -> Option<&'a str> {
    let rest = timer.id.as_str().strip_prefix(name)?;
    rest.strip_prefix(NAME_END)
}
