//! `/v1/users/{id}/email`: another address, and the proof that mails to it are read.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use edge::{Body, Problem};
use kernel::{EmailClaimId, UserId, purpose};
use serde::{Deserialize, Serialize};
use streams::{CommandMeta, step};
use user::{EmailClaim, EmailCommand, User, UserCommand};

use crate::account::{account, must_be_there, seal};
use crate::api::Api;
use crate::call::{Call, Own};
use crate::email::Email;
use crate::error;
use crate::problems::problem;
use crate::user::{refused, write, written};
use crate::write::Written;

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/users/{id}/email", post(change))
        .route("/v1/users/{id}/email/verify", post(verify))
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeEmail {
    email: Email,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyEmail {
    /// What stands in the mail.
    token: String,
}

async fn change(
    State(api): State<Api>,
    Own { call, user_id }: Own,
    Body(body): Body<ChangeEmail>,
) -> Result<Response, Problem> {
    let user = must_be_there(&api, user_id).await?;
    let from = account(&user)?.email_claim;
    let to = body.email.claim(&api.digest);
    let email = String::from(body.email.clone());
    let command = UserCommand::ChangeEmail {
        from,
        email: seal(&api, user_id, purpose::USER_EMAIL, &email).await?,
        email_claim: to,
    };
    let written = if from == to {
        // Theirs already, or a request that was done before: the claim stays where it is.
        write(&api, &call, user_id, command, &body).await?
    } else {
        let meta = call.meta(&api, &body);
        let claims = Claims { from, to };
        move_to(&api, &call, (user_id, command, claims), &meta).await?
    };
    Ok(written.acted(&user_id))
}

/// The claim that is given up and the one that is taken.
struct Claims {
    from: EmailClaimId,
    to: EmailClaimId,
}

/// User and both claims in one batch: of two who want one address, one gets it.
async fn move_to(
    api: &Api,
    call: &Call,
    (user_id, command, claims): (UserId, UserCommand, Claims),
    meta: &CommandMeta,
) -> Result<Written, Problem> {
    let Claims { from, to } = claims;
    let steps = vec![
        step::<User>(user_id.into(), command),
        step::<EmailClaim>(from.into(), EmailCommand::ReleaseEmail { user_id }),
        step::<EmailClaim>(to.into(), EmailCommand::ClaimEmail { user_id }),
    ];
    let matches = |version| call.if_match.check(version).is_ok();
    let done = api.streams.execute_together_if(steps, matches, meta).await;
    let done = done.map_err(|error| error::of_together_if(error, refused))?;
    Ok(written(&done))
}

async fn verify(
    State(api): State<Api>,
    Own { call, user_id }: Own,
    Body(body): Body<VerifyEmail>,
) -> Result<Response, Problem> {
    let user = must_be_there(&api, user_id).await?;
    let email_claim = account(&user)?.email_claim;
    let fits = api
        .digest
        .is_verification_token(&body.token, user_id, email_claim);
    if !fits {
        let code = "verification_token_wrong";
        let detail = "it is not the token that was mailed to the present address";
        let wrong = problem(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
        return Err(wrong.at("/token", detail));
    }
    let command = UserCommand::VerifyEmail { email_claim };
    let written = write(&api, &call, user_id, command, &body).await?;
    Ok(written.acted(&user_id))
}
