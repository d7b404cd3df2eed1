//! An operator lets a suspended saga go on.
//!
//! ```text
//!   operator ─► command-api ─► question.checkout.resume ─► one event: by whom
//!                                                               │
//!                     every worker follows CHECKOUT ◄───────────┘ and asks what is due again
//! ```
//!
//! The answer says that it is recorded. What is due then is asked by whoever follows the stream
//! ([`crate::sweep`]), so a worker that dies in between leaves nothing undone.

use checkout::resuming::{Resumed, SagaId};
use checkout::{Checkout, CheckoutFact, Refunding, RefundingFact, Returning, ReturningFact, Saga};
use serde::Deserialize;
use serde_json::Value;
use streams::bus::{Host, Hosts, QuestionError};
use streams::{CommandMeta, ExecuteError, Outcome, Streams};

/// The context that the sagas are of.
const CONTEXT: &str = "checkout";

/// `question.checkout.resume`.
#[derive(Debug, Deserialize)]
struct AskResume {
    saga: SagaId,
    /// Who wants it, and under which command id.
    meta: CommandMeta,
}

/// Answers for the sagas on the bus.
pub(crate) fn hosts(streams: &Streams) -> Hosts {
    let answering = streams.clone();
    let host = Host::new(CONTEXT, streams.clone()).question("resume", move |payload| {
        let streams = answering.clone();
        async move { resume(&streams, payload).await }
    });
    Hosts::from_iter([host])
}

async fn resume(streams: &Streams, payload: Value) -> Result<Value, QuestionError> {
    let AskResume { saga, meta } =
        serde_json::from_value(payload).map_err(QuestionError::bad_request)?;
    let by = meta.actor.clone();
    let resumed = match saga {
        SagaId::Checkout(id) => {
            record::<Checkout>(streams, id, CheckoutFact::Resumed { by: by.clone() }, meta).await?
        }
        SagaId::Returning(id) => {
            record::<Returning>(streams, id, ReturningFact::Resumed { by: by.clone() }, meta)
                .await?
        }
        SagaId::Refunding(id) => {
            record::<Refunding>(streams, id, RefundingFact::Resumed { by: by.clone() }, meta)
                .await?
        }
    };
    tracing::info!(%saga, by, ?resumed, "an operator lets it go on");
    serde_json::to_value(resumed).map_err(QuestionError::bad_request)
}

async fn record<S: Saga>(
    streams: &Streams,
    id: S::Id,
    fact: S::Command,
    meta: CommandMeta,
) -> Result<Resumed, QuestionError> {
    let id = id.into();
    let known = streams.load_current::<S>(&id).await;
    let known = known.map_err(QuestionError::unavailable)?;
    let Some(order_id) = known.state.order_id() else {
        return Ok(Resumed::Unknown);
    };
    let meta = meta.with_correlation(order_id.to_string());
    let executed = match streams.execute::<S>(&id, fact, &meta).await {
        Ok(executed) => executed,
        Err(ExecuteError::KeyReused) => return Ok(Resumed::KeyReused),
        Err(error) => return Err(QuestionError::unavailable(error)),
    };
    Ok(match executed.outcome {
        Outcome::AlreadyTrue => Resumed::NotSuspended,
        Outcome::Appended | Outcome::Replayed => Resumed::GoesOn {
            version: executed.version,
            position: executed.position,
            replayed: executed.outcome == Outcome::Replayed,
        },
    })
}
