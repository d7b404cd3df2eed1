//! `/v1/users/{id}/email`: another address, and the proof that mails to it are read.

use axum::extract::State;
use axum::http::StatusCode;
use edge::openapi::{Calls, about};
use edge::{Body, Problem};
use kernel::purpose;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use streams::step;
use user::{EmailClaim, EmailCommand, EmailRefusal, User, UserCommand, UserRefusal};

use crate::account::{account, change, must_be_there, seal};
use crate::api::Api;
use crate::call::Own;
use crate::email::Email;
use crate::error::{self, refusals};
use crate::problems::problem;
use crate::user::{NOT_STAYING, refused, written};
use crate::write::{Acted, Done, Written};

pub(crate) fn calls() -> Calls<Api> {
    let not_current = UserRefusal::EmailNotCurrent;
    Calls::default()
        .post(
            "/v1/users/{id}/email",
            about("Change one's email address")
                .refuses(refusals(NOT_STAYING))
                .refuses(refusals([not_current.clone()]))
                .refuses(refusals([
                    EmailRefusal::EmailTaken,
                    EmailRefusal::EmailHeldByAnother,
                ]))
                .example(json!({ "email": "ann.miller@example.com" })),
            change_email,
        )
        .post(
            "/v1/users/{id}/email/verify",
            about("Show that one reads mails to one's address")
                .refuses(refusals(NOT_STAYING))
                .refuses(refusals([not_current]))
                .refuses([token_wrong()])
                .example(json!({ "token": "what stands in the mail" })),
            verify_email,
        )
}

/// Another address.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChangeEmail {
    /// Whom to write to from now on.
    email: Email,
}

/// What proves it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VerifyEmail {
    /// What stands in the mail.
    token: String,
}

async fn change_email(
    State(api): State<Api>,
    Own { call, user_id }: Own,
    Body(body): Body<ChangeEmail>,
) -> Result<Done<Acted>, Problem> {
    let user = must_be_there(&api, user_id).await?;
    let from = account(&user)?.email_claim;
    let to = body.email.claim(&api.digest);
    let email = String::from(body.email.clone());
    let command = UserCommand::ChangeEmail {
        from,
        email: seal(&api, user_id, purpose::USER_EMAIL, &email).await?,
        email_claim: to,
    };
    // User and both claims in one batch: of two who want one address, one gets it.
    let mut steps = vec![step::<User>(user_id.into(), command)];
    // Where both are one it is theirs already, or the request was done before. The claim stays where
    // it is, and is asked all the same: what was done before ended with it.
    if from != to {
        let release = EmailCommand::ReleaseEmail { user_id };
        steps.push(step::<EmailClaim>(from.into(), release));
    }
    let claim = EmailCommand::ClaimEmail { user_id };
    steps.push(step::<EmailClaim>(to.into(), claim));
    let matches = |version| call.if_match.check(version).is_ok();
    let meta = call.meta(&api, &body);
    let done = api.streams.execute_together_if(steps, matches, &meta).await;
    let done = done.map_err(|error| error::of_together_if(error, refused))?;
    Ok(written(&done).acted(&user_id))
}

async fn verify_email(
    State(api): State<Api>,
    Own { call, user_id }: Own,
    Body(body): Body<VerifyEmail>,
) -> Result<Done<Acted>, Problem> {
    let user = must_be_there(&api, user_id).await?;
    let email_claim = account(&user)?.email_claim;
    let fits = api
        .digest
        .is_verification_token(&body.token, user_id, email_claim);
    if !fits {
        // It fitted when this request was done: they may have changed their address since.
        let meta = call.meta(&api, &body);
        let done = api
            .repeated::<User>(&user_id.into(), &meta, token_wrong())
            .await?;
        return Ok(Written::from(&done).acted(&user_id));
    }
    let command = UserCommand::VerifyEmail { email_claim };
    change(&api, &call, user_id, command, &body).await
}

fn token_wrong() -> Problem {
    let code = "verification_token_wrong";
    let detail = "it is not the token that was mailed to the present address";
    problem(StatusCode::UNPROCESSABLE_ENTITY, code, detail).at("/token", detail)
}
