//! `/v1/users`: anyone opens an account; operators say who may do what. What people change of their
//! own is in `account` and `mailbox`.

use axum::extract::State;
use axum::http::StatusCode;
use edge::idempotency::derive_id;
use edge::openapi::{Calls, about};
use edge::{Body, IdempotencyKey, Problem, Trace};
use kernel::{Decider, EmailClaimId, Reason, Title, UserId, purpose};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use streams::{CommandMeta, ExecutedTogether, Outcome, TogetherRefusal, clock, step};
use user::UserRefusal::{CustomerRoleImplied, UserErased, UserLeaving, UserUnknown};
use user::{EmailClaim, EmailCommand, EmailRefusal, Role, User, UserCommand, UserRefusal};
use uuid::Uuid;

use crate::account::{must_be_same_password, seal};
use crate::api::Api;
use crate::call::{NoParams, Operators};
use crate::email::Email;
use crate::error::{self, failures, refusals};
use crate::password::NewPassword;
use crate::problems::problem;
use crate::resource::{Asks, act};
use crate::write::{Created, Made, Written};

/// Whoever isn't there, or is about to go.
pub(crate) const NOT_STAYING: [UserRefusal; 3] = [UserUnknown, UserErased, UserLeaving];

pub(crate) fn calls() -> Calls<Api> {
    Calls::default()
        .post(
            "/v1/users",
            about("Open an account")
                .refuses(refusals([EmailRefusal::EmailTaken]))
                .refuses(refusals([UserErased]))
                .refuses([error::key_reused()])
                .refuses(failures())
                .example(json!({
                    "email": "ann@example.com", "name": "Ann", "password": "correct horse battery",
                })),
            register,
        )
        .post(
            "/v1/users/{id}/suspend",
            about("Bar a user from ordering and signing in")
                .refuses(refusals(NOT_STAYING))
                .example(json!({ "reason": "chargebacks" })),
            act::<Operators, User, SuspendUser>,
        )
        .post(
            "/v1/users/{id}/reactivate",
            about("Let a suspended user in again")
                .refuses(refusals(NOT_STAYING))
                .example(json!({})),
            act::<Operators, User, ReactivateUser>,
        )
        .post(
            "/v1/users/{id}/roles",
            about("Give a user a role, or take it")
                .more("It counts from the next sign-in on.")
                .refuses(refusals(NOT_STAYING))
                .refuses(refusals([CustomerRoleImplied]))
                .example(json!({ "role": "operator", "action": "grant" })),
            act::<Operators, User, ChangeRole>,
        )
}

/// A new account.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RegisterUser {
    /// Whom to write to; one account an address.
    email: Email,
    /// How to address them. As long as a title may be, and held to the same rules.
    name: Title,
    /// What they sign in with.
    // Not in the digest: it would let somebody who has the digest key try passwords out.
    #[serde(skip_serializing)]
    password: NewPassword,
}

/// Why somebody is barred.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SuspendUser {
    /// In the operator's words.
    reason: Reason,
}

impl Asks<User> for SuspendUser {
    fn command(&self) -> UserCommand {
        let reason = self.reason.clone();
        UserCommand::SuspendUser { reason }
    }
}

/// Nothing to say.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReactivateUser {}

impl Asks<User> for ReactivateUser {
    fn command(&self) -> UserCommand {
        UserCommand::ReactivateUser {}
    }
}

/// One role, given or taken.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChangeRole {
    /// Which.
    role: Role,
    /// Which way.
    action: RoleAction,
}

/// What is done with a role.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum RoleAction {
    /// It is given.
    Grant,
    /// It is taken.
    Revoke,
}

impl Asks<User> for ChangeRole {
    fn command(&self) -> UserCommand {
        let role = self.role;
        match self.action {
            RoleAction::Grant => UserCommand::GrantRole { role },
            RoleAction::Revoke => UserCommand::RevokeRole { role },
        }
    }
}

async fn register(
    State(api): State<Api>,
    _: NoParams,
    key: Option<IdempotencyKey>,
    trace: Trace,
    Body(body): Body<RegisterUser>,
) -> Result<Made<Created>, Problem> {
    let claim = body.email.claim(&api.digest);
    let (user_id, meta) = identity(claim, key.as_ref());
    let meta = meta.with_traceparent(trace.traceparent());
    let meta = match key {
        Some(_) => api.digested(meta, &body),
        None => meta,
    };
    if let Err(problem) = must_be_free(&api, claim, user_id).await {
        // It was free when this request was done, if it was: they may have another address since.
        api.repeated::<User>(&user_id.into(), &meta, problem)
            .await?;
    }
    let password = body.password.clone();
    let command = compose(&api, user_id, claim, body).await?;
    let steps = vec![
        step::<User>(user_id.into(), command),
        step::<EmailClaim>(claim.into(), EmailCommand::ClaimEmail { user_id }),
    ];
    let done = api.streams.execute_together(steps, &meta).await;
    let done = done.map_err(|error| error::of_together(error, refused))?;
    if let (Outcome::Replayed, Some(user)) = (done.outcome, done.steps.first()) {
        let then = user.state::<User>().ok_or_else(Problem::internal)?;
        must_be_same_password(&api, &then, password).await?;
    }
    let location = format!("/v1/users/{user_id}");
    Ok(written(&done).made(location, Created::new(&user_id)))
}

/// Looked at before anything is sealed, for sealing makes a key, which stays: of two who want an
/// address at the same moment one may still leave theirs behind.
async fn must_be_free(api: &Api, claim: EmailClaimId, user_id: UserId) -> Result<(), Problem> {
    let known = api.streams.load_current::<EmailClaim>(&claim.into()).await;
    let known = known.map_err(error::of_load)?;
    let wanted = known.state.decide(&EmailCommand::ClaimEmail { user_id });
    wanted.map_err(|refusal| error::of_refusal(&refusal))?;
    Ok(())
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
    let meta = CommandMeta::new(id("command"), clock::now(), format!("user:{user_id}"));
    (user_id, meta)
}

async fn compose(
    api: &Api,
    user_id: UserId,
    email_claim: EmailClaimId,
    body: RegisterUser,
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
