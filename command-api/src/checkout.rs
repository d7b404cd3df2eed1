//! `/v1/checkouts`: an operator lets a saga go on that waits for a person.

use axum::extract::State;
use axum::http::StatusCode;
use checkout::resuming::{Resumed, SagaId};
use edge::openapi::{Calls, about};
use edge::{Body, Id, Problem};
use kernel::{OrderId, RefundId, ReturnId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::Api;
use crate::call::{Call, Operators};
use crate::error::{key_reused, of_question};
use crate::problems::problem;
use crate::questions::AskResume;
use crate::write::{Done, Written};

pub(crate) fn calls() -> Calls<Api> {
    let about = |summary| {
        about(summary)
            .refuses([not_suspended("it")])
            .example(json!({}))
    };
    Calls::default()
        .post(
            "/v1/checkouts/{id}/resume",
            about("Let a checkout go on that waits for a person"),
            checkout,
        )
        .post(
            "/v1/checkouts/returns/{id}/resume",
            about("Let a return's saga go on that waits for a person"),
            returning,
        )
        .post(
            "/v1/checkouts/refunds/{id}/resume",
            about("Let a refund's saga go on that waits for a person"),
            refunding,
        )
}

/// Nothing to say.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResumeSaga {}

async fn checkout(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<OrderId>,
    Body(body): Body<ResumeSaga>,
) -> Result<Done<SagaTold>, Problem> {
    resume(&api, &call, SagaId::Checkout(id), &body).await
}

async fn returning(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<ReturnId>,
    Body(body): Body<ResumeSaga>,
) -> Result<Done<SagaTold>, Problem> {
    resume(&api, &call, SagaId::Returning(id), &body).await
}

async fn refunding(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<RefundId>,
    Body(body): Body<ResumeSaga>,
) -> Result<Done<SagaTold>, Problem> {
    resume(&api, &call, SagaId::Refunding(id), &body).await
}

async fn resume(
    api: &Api,
    call: &Call,
    saga: SagaId,
    body: &ResumeSaga,
) -> Result<Done<SagaTold>, Problem> {
    let ask = AskResume {
        saga,
        meta: call.meta(api, body),
    };
    match api.questions.resume(&ask).await.map_err(of_question)? {
        Resumed::GoesOn {
            version,
            position,
            replayed,
        } => {
            let written = Written {
                version,
                position,
                replayed,
            };
            Ok(written.done(SagaTold { saga, version }))
        }
        Resumed::NotSuspended => Err(not_suspended(&saga.to_string())),
        Resumed::Unknown => Err(Problem::not_found(format!("there is no {saga}"))),
        Resumed::KeyReused => Err(key_reused()),
    }
}

fn not_suspended(saga: &str) -> Problem {
    let detail = format!("{saga} waits for nobody, or was tried too often");
    problem(StatusCode::CONFLICT, "not_suspended", detail)
}

/// A saga.
#[derive(Serialize, JsonSchema)]
struct SagaTold {
    /// Which.
    #[serde(flatten)]
    saga: SagaId,
    /// How many events it has now.
    version: u64,
}
