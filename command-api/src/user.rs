//! `/v1/users`: anyone opens an account; operators say who may do what. What people change of their
//! own is in `account` and `mailbox`.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use chrono::Utc;
use edge::idempotency::derive_id;
use edge::{Body, Id, IdempotencyKey, Problem, Trace};
use kernel::{EmailClaimId, Reason, Title, UserId, purpose};
use serde::{Deserialize, Serialize};
use streams::{CommandMeta, ExecutedTogether, Outcome, TogetherRefusal, step};
use user::{EmailClaim, EmailCommand, EmailRefusal, Role, User, UserCommand, UserRefusal};
use uuid::Uuid;

use crate::account::seal;
use crate::api::Api;
use crate::call::{Call, Operators};
use crate::email::Email;
use crate::error;
use crate::password::NewPassword;
use crate::problems::problem;
use crate::write::{Created, Written};

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/users", post(register))
        .route("/v1/users/{id}/suspend", post(suspend))
        .route("/v1/users/{id}/reactivate", post(reactivate))
        .route("/v1/users/{id}/roles", post(change_role))
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Register {
    email: Email,
    /// As long as a title may be, and held to the same rules: no control characters.
    name: Title,
    /// Not in the digest: it would let somebody who has the digest key try passwords out.
    #[serde(skip_serializing)]
    password: NewPassword,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Suspend {
    reason: Reason,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Gives or takes one role.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeRole {
    role: Role,
    action: RoleAction,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RoleAction {
    Grant,
    Revoke,
}

async fn register(
    State(api): State<Api>,
    key: Option<IdempotencyKey>,
    trace: Trace,
    Body(body): Body<Register>,
) -> Result<Response, Problem> {
    let claim = body.email.claim(&api.digest);
    let (user_id, meta) = identity(claim, key.as_ref());
    let meta = meta.with_traceparent(trace.traceparent());
    let meta = match key {
        Some(_) => api.digested(meta, &body),
        None => meta,
    };
    let command = compose(&api, user_id, claim, body).await?;
    let steps = vec![
        step::<User>(user_id.into(), command),
        step::<EmailClaim>(claim.into(), EmailCommand::ClaimEmail { user_id }),
    ];
    let done = api.streams.execute_together(steps, &meta).await;
    let done = done.map_err(|error| error::of_together(error, refused))?;
    let location = format!("/v1/users/{user_id}");
    Ok(written(&done).created(&location, Created::new(&user_id)))
}

/// The user's id and the command's. Without a principal a key's scope is the address itself, as its
/// keyed hash; without a key both ids are new.
fn identity(claim: EmailClaimId, key: Option<&IdempotencyKey>) -> (UserId, CommandMeta) {
    let scope = format!("email:{claim}");
    let id = |purpose: &str| match key {
        Some(key) => derive_id(purpose, &scope, "/v1/users", key),
        None => Uuid::now_v7(),
    };
    let user_id = UserId(id("user"));
    let meta = CommandMeta::new(id("command"), Utc::now(), format!("user:{user_id}"));
    (user_id, meta)
}

async fn compose(
    api: &Api,
    user_id: UserId,
    email_claim: EmailClaimId,
    body: Register,
) -> Result<UserCommand, Problem> {
    let hash = api.passwords.hash(body.password).await?;
    let seal = |purpose, text: String| async move { seal(api, user_id, purpose, &text).await };
    // The first one makes the person's key, so they go one after another.
    Ok(UserCommand::RegisterUser {
        email: seal(purpose::USER_EMAIL, body.email.into()).await?,
        email_claim,
        name: seal(purpose::USER_NAME, body.name.into()).await?,
        password_hash: seal(purpose::USER_PASSWORD, hash).await?,
    })
}

pub(crate) fn refused(refusal: &TogetherRefusal) -> Problem {
    error::of_value::<EmailRefusal>(&refusal.value)
        .or_else(|| error::of_value::<UserRefusal>(&refusal.value))
        .unwrap_or_else(|| {
            let code = refusal.code.clone();
            problem(StatusCode::CONFLICT, code, refusal.message.clone())
        })
}

pub(crate) fn written(done: &ExecutedTogether) -> Written {
    Written {
        version: done.steps.first().map_or(0, |user| user.version),
        position: done.position.clone(),
        replayed: done.outcome == Outcome::Replayed,
    }
}

async fn suspend(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<UserId>,
    Body(body): Body<Suspend>,
) -> Result<Response, Problem> {
    let command = UserCommand::SuspendUser {
        reason: body.reason.clone(),
    };
    let written = write(&api, &call, id, command, &body).await?;
    Ok(written.acted(&id))
}

async fn reactivate(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<UserId>,
    Body(body): Body<Nothing>,
) -> Result<Response, Problem> {
    let written = write(&api, &call, id, UserCommand::ReactivateUser {}, &body).await?;
    Ok(written.acted(&id))
}

async fn change_role(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<UserId>,
    Body(body): Body<ChangeRole>,
) -> Result<Response, Problem> {
    let command = match body.action {
        RoleAction::Grant => UserCommand::GrantRole { role: body.role },
        RoleAction::Revoke => UserCommand::RevokeRole { role: body.role },
    };
    let written = write(&api, &call, id, command, &body).await?;
    Ok(written.acted(&id))
}

/// What a call on a user changes may be cached as a standing.
pub(crate) async fn write<B: Serialize>(
    api: &Api,
    call: &Call,
    id: UserId,
    command: UserCommand,
    body: &B,
) -> Result<Written, Problem> {
    let meta = call.meta(api, body);
    let executed = api.write::<User>(call, &id.into(), command, &meta).await;
    // Also after a failure: it may have happened.
    api.questions.forget_user(id);
    Ok(Written::from(&executed?))
}
