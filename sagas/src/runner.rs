//! Takes a fact in, asks what is due, arms the timer: the loop around the pure saga.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use checkout::{Checkout, CheckoutFact, Due};
use chrono::{DateTime, Utc};
use futures::stream::{self, StreamExt};
use kernel::{AggregateId, OrderId};
use moka::sync::Cache;
use streams::bus::{Answer, Ask, Bus};
use streams::lanes::HandleError;
use streams::timers::{TimerId, Timers};
use streams::{CommandMeta, Outcome, Streams};
use thiserror::Error;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::Config;

/// As whom the saga asks.
const ACTOR: &str = "saga:checkout";

/// The saga's name in timers.
pub(crate) const SAGA: &str = "checkout";

/// Longest wait for a context's answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Most asks of one order that are under way at the same time (an order has up to 100 lines).
const ASKS_AT_ONCE: usize = 16;

/// How long an answered ask is remembered. Its fact comes within milliseconds; after that the ask
/// is sent again, and found in the log.
const ANSWERED_TTL: Duration = Duration::from_secs(10);

/// Most rounds of "ask, take refusals in, ask again" for one delivery: every refusal ends a step,
/// and there are fewer kinds of steps than this.
const ROUNDS_MAX: usize = 16;

/// What the runner could not do; the delivery comes again.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// A context did not answer.
    #[error("{label} of order {order_id} was not answered by {context}: {message}")]
    Unanswered {
        /// What was asked.
        label: String,
        /// For which order.
        order_id: OrderId,
        /// Whom.
        context: &'static str,
        /// Why.
        message: String,
    },
    /// The timer could not be set.
    #[error("the saga's timer can't be set")]
    Timer(#[from] streams::timers::TimerError),
    /// More is due after every round.
    #[error("order {0} has more due after {ROUNDS_MAX} rounds")]
    Endless(OrderId),
}

/// Where a fact comes from: what identifies it, and what the log says of it.
pub(crate) struct Origin {
    /// Derived from the fact's own event, so that the same fact is taken in once.
    pub(crate) fact_id: Uuid,
    /// The event that the fact was read from.
    pub(crate) causation_id: Option<String>,
    /// The trace that it belongs to.
    pub(crate) traceparent: Option<String>,
}

impl Origin {
    fn meta(&self, order_id: OrderId, command_id: Uuid) -> CommandMeta {
        let mut meta = CommandMeta::new(command_id, Utc::now(), ACTOR);
        meta.correlation_id = Some(order_id.to_string());
        meta.causation_id.clone_from(&self.causation_id);
        meta.traceparent.clone_from(&self.traceparent);
        meta
    }
}

/// Runs checkouts.
pub(crate) struct Runner {
    streams: Streams,
    bus: Bus,
    timers: Timers,
    /// One order at a time: facts of several streams meet here.
    turns: Cache<OrderId, Arc<Mutex<()>>>,
    answered: Cache<Uuid, ()>,
    armed: Cache<OrderId, DateTime<Utc>>,
}

impl Runner {
    pub(crate) fn new(streams: Streams, bus: Bus, timers: Timers, config: &Config) -> Self {
        Self {
            streams,
            bus,
            timers,
            turns: Cache::new(config.memory),
            answered: Cache::builder()
                .max_capacity(config.memory.saturating_mul(4))
                .time_to_live(ANSWERED_TTL)
                .build(),
            armed: Cache::new(config.memory),
        }
    }

    /// Takes `fact` in, asks everything that is due, and returns once all of it was answered.
    pub(crate) async fn advance(
        &self,
        order_id: OrderId,
        fact: CheckoutFact,
        origin: &Origin,
    ) -> Result<(), HandleError> {
        if matches!(fact, CheckoutFact::DeadlineReached { .. }) {
            // The timer is gone by now, whatever it was set to.
            self.armed.invalidate(&order_id);
        }
        let turn = self.turns.get_with(order_id, Arc::default);
        let _turn = turn.lock().await;
        let mut state = self.take_in(order_id, fact, origin.fact_id, origin).await?;
        // An ask whose refusal changes nothing stays due; it waits for the next fact.
        let mut refused = HashSet::new();
        for _ in 0..ROUNDS_MAX {
            let answers = self.ask_all(order_id, &state, &refused, origin).await?;
            if answers.is_empty() {
                return self
                    .arm(order_id, &state)
                    .await
                    .map_err(HandleError::retryable);
            }
            for (ask_id, fact) in answers {
                refused.insert(ask_id);
                let fact_id = Uuid::new_v5(&ask_id, b"answer");
                state = self.take_in(order_id, fact, fact_id, origin).await?;
            }
        }
        Err(HandleError::retryable(Error::Endless(order_id)))
    }

    async fn take_in(
        &self,
        order_id: OrderId,
        fact: CheckoutFact,
        fact_id: Uuid,
        origin: &Origin,
    ) -> Result<Arc<Checkout>, HandleError> {
        let id = AggregateId::from(order_id);
        let meta = origin.meta(order_id, fact_id);
        match self.streams.execute::<Checkout>(&id, fact, &meta).await {
            // A replay answers the state as of its append; what is due follows from the latest.
            Ok(executed) if executed.outcome == Outcome::Replayed => {}
            Ok(executed) => return Ok(executed.state),
            Err(error) => return Err(error.into()),
        }
        Ok(self.streams.load::<Checkout>(&id).await?.state)
    }

    /// Sends what is due and was not just answered. What comes back are the answers that the
    /// streams will not tell: a refusal, or that there was nothing to undo.
    async fn ask_all(
        &self,
        order_id: OrderId,
        state: &Checkout,
        refused: &HashSet<Uuid>,
        origin: &Origin,
    ) -> Result<Vec<(Uuid, CheckoutFact)>, HandleError> {
        let due: Vec<Due> = state
            .pending(Utc::now())
            .into_iter()
            .filter(|due| !refused.contains(&due.ask_id))
            .filter(|due| !self.answered.contains_key(&due.ask_id))
            .collect();
        let answers = stream::iter(due)
            .map(|due| self.ask(order_id, due, origin))
            .buffer_unordered(ASKS_AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        let mut facts = Vec::new();
        for answer in answers {
            facts.extend(answer?);
        }
        Ok(facts)
    }

    async fn ask(
        &self,
        order_id: OrderId,
        due: Due,
        origin: &Origin,
    ) -> Result<Option<(Uuid, CheckoutFact)>, HandleError> {
        let ask = Ask {
            context: due.context.to_owned(),
            kind: due.kind.map(str::to_owned),
            id: due.aggregate_id.clone(),
            command: due.command.clone(),
            meta: origin.meta(order_id, due.ask_id),
        };
        let unanswered = |message: String| Error::Unanswered {
            label: due.label.to_string(),
            order_id,
            context: due.context,
            message,
        };
        match self.bus.ask(&ask, ASK_TIMEOUT).await {
            Ok(Answer::Done { already, .. }) => {
                let fact = if already { due.already() } else { None };
                if fact.is_none() {
                    // Its fact comes by a stream. An answer that is a fact itself is asked for
                    // again until it is taken in.
                    self.answered.insert(due.ask_id, ());
                }
                Ok(fact.map(|fact| (due.ask_id, fact)))
            }
            Ok(Answer::Refused { code, message, .. }) => {
                Ok(Some((due.ask_id, due.refused(code, message, Utc::now()))))
            }
            Ok(Answer::Failed { message, retryable }) if retryable => {
                Err(HandleError::retryable(unanswered(message)))
            }
            Ok(Answer::Failed { message, .. }) => Err(HandleError::permanent(unanswered(message))),
            Err(error) => Err(HandleError::retryable(unanswered(error.to_string()))),
        }
    }

    /// Sets the saga's one timer if it should be set and isn't.
    pub(crate) async fn arm_again(&self, order_id: OrderId) -> Result<(), HandleError> {
        let turn = self.turns.get_with(order_id, Arc::default);
        let _turn = turn.lock().await;
        let id = AggregateId::from(order_id);
        let loaded = self.streams.load_current::<Checkout>(&id).await?;
        if loaded.state.deadline().is_none() {
            return Ok(());
        }
        let pending = self.timers.is_pending(&timer_of(order_id)).await;
        if pending.map_err(HandleError::retryable)? {
            return Ok(());
        }
        self.armed.invalidate(&order_id);
        let armed = self.arm(order_id, &loaded.state).await;
        armed.map_err(HandleError::retryable)
    }

    /// Sets the saga's one timer to its next deadline. A timer that is no longer needed is left:
    /// a due timer is a hint, the state decides.
    async fn arm(&self, order_id: OrderId, state: &Checkout) -> Result<(), Error> {
        let Some(deadline) = state.deadline() else {
            return Ok(());
        };
        if self.armed.get(&order_id) == Some(deadline) {
            return Ok(());
        }
        self.timers.set(&timer_of(order_id), deadline).await?;
        self.armed.insert(order_id, deadline);
        Ok(())
    }
}

/// The one timer of a checkout.
fn timer_of(order_id: OrderId) -> TimerId {
    TimerId {
        saga: SAGA.to_owned(),
        id: AggregateId::from(order_id),
    }
}
