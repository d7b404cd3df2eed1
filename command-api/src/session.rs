//! `POST /v1/sessions`: email and password for an access token.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use edge::auth::Token;
use edge::openapi::{self, Answer, Calls, about};
use edge::{Body, Client, Principal, Problem};
use kernel::{EmailClaimId, UserId};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use streams::Loaded;
use user::{EmailClaim, Standing, User};
use uuid::Uuid;

use crate::account::known_hash;
use crate::api::Api;
use crate::call::NoParams;
use crate::email::Email;
use crate::error;
use crate::password::Attempt;
use crate::problems::problem;
use crate::throttle;
use crate::write::NotStored;

pub(crate) fn calls() -> Calls<Api> {
    Calls::default().post(
        "/v1/sessions",
        about("Sign in")
            .more("Whether nobody has the address or the password is wrong, it is the same answer.")
            .refuses([
                credentials_wrong(),
                suspended(),
                throttle::too_many_attempts(),
                error::part_down(),
            ])
            .example(json!({ "email": "ann@example.com", "password": "correct horse battery" })),
        open,
    )
}

/// Who signs in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OpenSession {
    /// The address of the account.
    email: Email,
    /// Its password.
    password: Attempt,
}

/// A token.
struct Opened(Token);

impl IntoResponse for Opened {
    fn into_response(self) -> Response {
        NotStored(Json(self.0)).into_response()
    }
}

impl Answer for Opened {
    fn describe(call: &mut openapi::Call<'_>) {
        call.answer::<Token>(StatusCode::OK, "A token for 15 minutes");
    }
}

/// Whether nobody has the address or the password is wrong: the answer and its time are the same.
async fn open(
    State(api): State<Api>,
    _: NoParams,
    client: Client,
    Body(body): Body<OpenSession>,
) -> Result<Opened, Problem> {
    let claim = body.email.claim(&api.digest);
    let attempt = throttle::Attempt {
        account: claim,
        address: client.address(&api.proxies),
    };
    api.throttle.attempt(attempt)?;
    let judged = judged(&api, claim, body.password).await;
    let judged = judged.inspect_err(|_ours| api.throttle.unjudged(attempt))?;
    let (user_id, user) = judged.ok_or_else(credentials_wrong)?;
    api.throttle.succeeded(attempt);
    if user.state.standing() == Standing::Suspended {
        return Err(suspended());
    }
    let principal = principal(user_id, &user.state);
    token(&api, &principal, user.version).map(Opened)
}

/// A token for who signs in to an account that has `version` events.
pub(crate) fn token(api: &Api, principal: &Principal, version: u64) -> Result<Token, Problem> {
    let token = api.signer.sign_as_of(principal, version);
    token.map_err(|error| {
        tracing::error!(%error, "a token could not be signed");
        Problem::internal()
    })
}

/// Whose account it is, if the password is theirs; the error is ours.
async fn judged(
    api: &Api,
    claim: EmailClaimId,
    password: Attempt,
) -> Result<Option<(UserId, Loaded<User>)>, Problem> {
    let (user_id, user) = holder(api, claim).await?;
    let known = known_hash(api, &user.state).await?;
    let is_theirs = api.passwords.verify(password, known).await?;
    Ok(is_theirs.then_some((user_id, user)))
}

fn credentials_wrong() -> Problem {
    let detail = "no account has this email address and password";
    problem(StatusCode::UNAUTHORIZED, "credentials_wrong", detail)
}

fn suspended() -> Problem {
    let detail = "the account is suspended";
    problem(StatusCode::FORBIDDEN, "user_suspended", detail)
}

/// Who holds the address, as the stream's leader confirms. When nobody does, nobody is loaded, in
/// the same two steps.
async fn holder(api: &Api, claim: EmailClaimId) -> Result<(UserId, Loaded<User>), Problem> {
    let held = api.streams.load_current::<EmailClaim>(&claim.into()).await;
    let held = held.map_err(error::of_load)?.state.holder();
    let user_id = held.unwrap_or(UserId(Uuid::nil()));
    let user = api.streams.load_current::<User>(&user_id.into()).await;
    Ok((user_id, user.map_err(error::of_load)?))
}

pub(crate) fn principal(user_id: UserId, user: &User) -> Principal {
    let roles = user.account().map(|account| &account.roles);
    Principal {
        user_id,
        roles: roles
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect(),
        scopes: None,
    }
}
