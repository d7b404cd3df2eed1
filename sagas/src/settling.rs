//! An operator lets a suspended saga go on, has a step of it left out, or ends it.
//!
//! ```text
//!   operator ─► command-api ─► question.checkout.settle ─► one event: by whom, why
//!                                                               │
//!                     every worker follows CHECKOUT ◄───────────┘ and asks what is due again
//! ```
//!
//! The answer says that it is recorded. What is due then is asked by whoever follows the stream
//! ([`crate::sweep`]), so a worker that dies in between leaves nothing undone.

use std::sync::Arc;

use checkout::settling::{SagaId, Settled, Wish};
use checkout::{Definitions, Saga};
use serde::Deserialize;
use serde_json::Value;
use streams::bus::{Host, Hosts, QuestionError};
use streams::{CommandMeta, ExecuteAtError, ExecuteError, Outcome, Streams, clock};

use crate::intake::Sagas;
use crate::runner::Runner;

/// The context that the sagas are of.
const CONTEXT: &str = "checkout";

/// `question.checkout.settle`.
#[derive(Debug, Deserialize)]
struct AskSettle {
    saga: Whose,
    wish: Wish,
    #[serde(flatten)]
    terms: Terms,
}

/// Who wants it, and how it is to be understood.
#[derive(Debug, Deserialize)]
pub(crate) struct Terms {
    /// By whom, and under which command id.
    meta: CommandMeta,
    /// The versions of the saga that it was made for. `None` = whichever there is.
    #[serde(default)]
    versions: Option<Vec<u64>>,
}

impl Terms {
    fn hold(&self, version: u64) -> bool {
        let versions = self.versions.as_ref();
        versions.is_none_or(|versions| versions.contains(&version))
    }
}

/// One saga: of those that the API knows, or of the others.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Whose {
    Shop(SagaId),
    Other { saga: String, id: String },
}

/// Answers for the sagas on the bus.
pub(crate) fn hosts<D: Definitions>(streams: &Streams, sagas: &Arc<Sagas<D>>) -> Hosts {
    let sagas = Arc::clone(sagas);
    let host = Host::new(CONTEXT, streams.clone()).question("settle", move |payload| {
        let sagas = Arc::clone(&sagas);
        async move { settle(&sagas, payload).await }
    });
    Hosts::from_iter([host])
}

async fn settle<D: Definitions>(sagas: &Sagas<D>, payload: Value) -> Result<Value, QuestionError> {
    let AskSettle { saga, wish, terms } =
        serde_json::from_value(payload).map_err(QuestionError::bad_request)?;
    let (told, by) = (wish.clone(), terms.meta.actor.clone());
    let settled = match &saga {
        Whose::Shop(SagaId::Checkout(id)) => sagas.checkout.fulfil(*id, wish, terms).await?,
        Whose::Shop(SagaId::Returning(id)) => sagas.returning.fulfil(*id, wish, terms).await?,
        Whose::Shop(SagaId::Refunding(id)) => sagas.refunding.fulfil(*id, wish, terms).await?,
        Whose::Other { saga, id } => {
            let mut others = sagas.others.iter();
            match others.find(|other| other.name() == saga) {
                Some(other) => other.settle(id, wish, terms).await?,
                None => Settled::Unknown,
            }
        }
    };
    tracing::info!(?saga, wish = ?told, by, ?settled, "an operator settles it");
    serde_json::to_value(settled).map_err(QuestionError::bad_request)
}

impl<S: Saga> Runner<S> {
    /// Records what an operator wishes of this one.
    pub(crate) async fn fulfil(
        &self,
        id: S::Id,
        wish: Wish,
        terms: Terms,
    ) -> Result<Settled, QuestionError> {
        let Some(fact) = S::settled(wish, terms.meta.actor.clone(), clock::now()) else {
            return Ok(Settled::NotSuspended);
        };
        let (streams, id) = (self.streams(), id.into());
        let known = streams.load_current::<S>(&id).await;
        let known = known.map_err(QuestionError::unavailable)?;
        let Some(order_id) = known.state.order_id() else {
            return Ok(Settled::Unknown);
        };
        let hold = |version| terms.hold(version);
        let meta = terms.meta.clone().with_correlation(order_id.to_string());
        let executed = match streams.execute_if::<S>(&id, hold, fact, &meta).await {
            Ok(executed) => executed,
            Err(ExecuteAtError::Stale { version }) => return Ok(Settled::Stale { version }),
            Err(ExecuteAtError::Failed(ExecuteError::KeyReused)) => return Ok(Settled::KeyReused),
            Err(ExecuteAtError::Failed(ExecuteError::Unknown { .. })) => {
                return Ok(Settled::OutcomeUnknown);
            }
            Err(ExecuteAtError::Failed(error)) => return Err(QuestionError::unavailable(error)),
        };
        Ok(match executed.outcome {
            Outcome::AlreadyTrue => Settled::NotSuspended,
            Outcome::Appended | Outcome::Replayed => Settled::Recorded {
                version: executed.version,
                position: executed.position,
                replayed: executed.outcome == Outcome::Replayed,
            },
        })
    }
}
