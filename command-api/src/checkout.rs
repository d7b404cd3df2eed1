//! `/v1/checkouts`: an operator lets a saga go on that waits for a person.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use checkout::resuming::{Resumed, SagaId};
use edge::{Body, Id, Problem};
use kernel::{OrderId, RefundId, ReturnId};
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::call::{Call, Operators};
use crate::error::{key_reused, of_question};
use crate::problems::problem;
use crate::questions::AskResume;
use crate::write::Written;

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/checkouts/{id}/resume", post(checkout))
        .route("/v1/checkouts/returns/{id}/resume", post(returning))
        .route("/v1/checkouts/refunds/{id}/resume", post(refunding))
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn checkout(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<OrderId>,
    Body(body): Body<Nothing>,
) -> Result<Response, Problem> {
    resume(&api, &call, SagaId::Checkout(id), &body).await
}

async fn returning(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<ReturnId>,
    Body(body): Body<Nothing>,
) -> Result<Response, Problem> {
    resume(&api, &call, SagaId::Returning(id), &body).await
}

async fn refunding(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<RefundId>,
    Body(body): Body<Nothing>,
) -> Result<Response, Problem> {
    resume(&api, &call, SagaId::Refunding(id), &body).await
}

async fn resume(api: &Api, call: &Call, saga: SagaId, body: &Nothing) -> Result<Response, Problem> {
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
            Ok(written.answer(StatusCode::OK, Answer { saga, version }))
        }
        Resumed::NotSuspended => Err(problem(
            StatusCode::CONFLICT,
            "not_suspended",
            format!("{saga} waits for nobody, or was tried too often"),
        )),
        Resumed::Unknown => Err(Problem::not_found(format!("there is no {saga}"))),
        Resumed::KeyReused => Err(key_reused()),
    }
}

/// The body of every answer here. The version is the saga's.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    saga: SagaId,
    version: u64,
}
