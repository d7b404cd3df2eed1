//! `POST /v1/sessions`: email and password for an access token.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use edge::{Body, Principal, Problem};
use kernel::{EmailClaimId, UserId, purpose};
use serde::Deserialize;
use user::{EmailClaim, Standing, User};
use uuid::Uuid;

use crate::api::Api;
use crate::email::Email;
use crate::error;
use crate::password::Attempt;
use crate::problems::problem;

pub(crate) fn routes() -> Router<Api> {
    Router::new().route("/v1/sessions", post(open))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenSession {
    email: Email,
    password: Attempt,
}

/// Whether nobody has the address or the password is wrong: the answer and its time are the same.
async fn open(State(api): State<Api>, Body(body): Body<OpenSession>) -> Result<Response, Problem> {
    let claim = body.email.claim(&api.digest);
    api.throttle.attempt(claim)?;
    let (user_id, user) = holder(&api, claim).await?;
    let known = known_hash(&api, &user).await?;
    if !api.passwords.verify(body.password, known).await? {
        let detail = "no account has this email address and password";
        return Err(problem(
            StatusCode::UNAUTHORIZED,
            "credentials_wrong",
            detail,
        ));
    }
    api.throttle.succeeded(claim);
    if user.standing() == Standing::Suspended {
        let detail = "the account is suspended";
        return Err(problem(StatusCode::FORBIDDEN, "user_suspended", detail));
    }
    let token = api
        .signer
        .sign(&principal(user_id, &user))
        .map_err(|error| {
            tracing::error!(%error, "a token could not be signed");
            Problem::internal()
        })?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(token)).into_response())
}

/// Who holds the address, as the stream's leader confirms. When nobody does, nobody is loaded, in
/// the same two steps.
async fn holder(api: &Api, claim: EmailClaimId) -> Result<(UserId, Arc<User>), Problem> {
    let held = api.streams.load_current::<EmailClaim>(&claim.into()).await;
    let held = held.map_err(error::of_load)?.state.holder();
    let user_id = held.unwrap_or(UserId(Uuid::nil()));
    let user = api.streams.load_current::<User>(&user_id.into()).await;
    Ok((user_id, user.map_err(error::of_load)?.state))
}

async fn known_hash(api: &Api, user: &User) -> Result<Option<String>, Problem> {
    let Some(account) = user.account() else {
        return Ok(None);
    };
    let opened = api
        .personal
        .open(&account.password_hash, purpose::USER_PASSWORD);
    opened.await.map_err(error::of_personal)
}

fn principal(user_id: UserId, user: &User) -> Principal {
    let roles = user.account().map(|account| &account.roles);
    Principal {
        user_id,
        roles: roles
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect(),
    }
}
