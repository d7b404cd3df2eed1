//! `/v1/users/{id}/…`: what people change of their own account, and that they want to be forgotten.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use chrono::TimeDelta;
use edge::{Body, Problem};
use kernel::{AddressId, Sealed, Title, UserId, purpose};
use serde::{Deserialize, Serialize};
use user::{Account, Standing, Topic, User, UserCommand, UserRefusal};
use uuid::Uuid;

use crate::address::Address;
use crate::api::Api;
use crate::call::Own;
use crate::error;
use crate::password::{Attempt, NewPassword};
use crate::phone::Phone;
use crate::problems::problem;
use crate::user::write;
use crate::write::Created;

/// How long open orders may keep somebody who asked to be erased (GDPR article 12 §3: a month).
const ERASURE_TIME_MAX: TimeDelta = TimeDelta::days(30);

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/users/{id}/profile", post(update_profile))
        .route("/v1/users/{id}/password", post(change_password))
        .route("/v1/users/{id}/addresses", post(add_address))
        .route(
            "/v1/users/{id}/addresses/{address_id}/remove",
            post(remove_address),
        )
        .route(
            "/v1/users/{id}/addresses/{address_id}/default",
            post(set_default_address),
        )
        .route(
            "/v1/users/{id}/notification-preferences",
            post(set_preference),
        )
        .route("/v1/users/{id}/erasure", post(request_erasure))
}

/// The whole profile: without a phone number there is none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateProfile {
    name: Title,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phone: Option<Phone>,
}

/// Neither is in the digest: it would let somebody who has the digest key try passwords out.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    #[serde(skip_serializing)]
    current_password: Attempt,
    #[serde(skip_serializing)]
    new_password: NewPassword,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetPreference {
    topic: Topic,
    allowed: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn update_profile(
    State(api): State<Api>,
    Own { call, user_id }: Own,
    Body(body): Body<UpdateProfile>,
) -> Result<Response, Problem> {
    must_be_there(&api, user_id).await?;
    let name = seal(&api, user_id, purpose::USER_NAME, body.name.as_str()).await?;
    let phone = match body.phone.clone() {
        Some(phone) => {
            let phone = String::from(phone);
            Some(seal(&api, user_id, purpose::USER_PHONE, &phone).await?)
        }
        None => None,
    };
    let command = UserCommand::UpdateProfile { name, phone };
    let written = write(&api, &call, user_id, command, &body).await?;
    Ok(written.acted(&user_id))
}

/// Whoever doesn't know the current password is slowed down as at the sign-in.
async fn change_password(
    State(api): State<Api>,
    Own { call, user_id }: Own,
    Body(body): Body<ChangePassword>,
) -> Result<Response, Problem> {
    let user = must_be_there(&api, user_id).await?;
    let account = account(&user)?;
    api.throttle.attempt(account.email_claim)?;
    let opened = api
        .personal
        .open(&account.password_hash, purpose::USER_PASSWORD);
    let known = opened.await.map_err(error::of_personal)?;
    let verify = |attempt| api.passwords.verify(attempt, known.clone());
    let password_hash = if verify(body.current_password.clone()).await? {
        let hash = api.passwords.hash(body.new_password.clone()).await?;
        seal(&api, user_id, purpose::USER_PASSWORD, &hash).await?
    } else if verify(body.new_password.as_attempt()).await? {
        // It was changed to this one before: an answer that got lost, for instance.
        account.password_hash.clone()
    } else {
        let detail = "the current password is another one";
        let wrong = problem(StatusCode::UNPROCESSABLE_ENTITY, "password_wrong", detail);
        return Err(wrong.at("/current_password", detail));
    };
    api.throttle.succeeded(account.email_claim);
    let command = UserCommand::ChangePassword { password_hash };
    let written = write(&api, &call, user_id, command, &body).await?;
    Ok(written.acted(&user_id))
}

async fn add_address(
    State(api): State<Api>,
    Own { call, user_id }: Own,
    Body(body): Body<Address>,
) -> Result<Response, Problem> {
    must_be_there(&api, user_id).await?;
    let address_id = AddressId(match &call.key {
        Some(_) => call.required_id("address")?,
        None => Uuid::now_v7(),
    });
    let text = body.to_json()?;
    let address = seal(&api, user_id, purpose::USER_ADDRESS, &text).await?;
    let command = UserCommand::AddAddress {
        address_id,
        address,
    };
    let written = write(&api, &call, user_id, command, &body).await?;
    let location = format!("/v1/users/{user_id}");
    Ok(written.created(&location, Created::new(&address_id)))
}

async fn remove_address(
    State(api): State<Api>,
    Own { call, user_id }: Own,
    Path(path): Path<(String, String)>,
    Body(body): Body<Nothing>,
) -> Result<Response, Problem> {
    let address_id = address_of(&path)?;
    let command = UserCommand::RemoveAddress { address_id };
    let written = write(&api, &call, user_id, command, &body).await?;
    Ok(written.acted(&user_id))
}

async fn set_default_address(
    State(api): State<Api>,
    Own { call, user_id }: Own,
    Path(path): Path<(String, String)>,
    Body(body): Body<Nothing>,
) -> Result<Response, Problem> {
    let address_id = address_of(&path)?;
    let command = UserCommand::SetDefaultAddress { address_id };
    let written = write(&api, &call, user_id, command, &body).await?;
    Ok(written.acted(&user_id))
}

async fn set_preference(
    State(api): State<Api>,
    Own { call, user_id }: Own,
    Body(body): Body<SetPreference>,
) -> Result<Response, Problem> {
    let command = UserCommand::SetNotificationPreference {
        topic: body.topic,
        allowed: body.allowed,
    };
    let written = write(&api, &call, user_id, command, &body).await?;
    Ok(written.acted(&user_id))
}

async fn request_erasure(
    State(api): State<Api>,
    Own { call, user_id }: Own,
    Body(body): Body<Nothing>,
) -> Result<Response, Problem> {
    let erase_by = chrono::Utc::now() + ERASURE_TIME_MAX;
    let command = UserCommand::RequestErasure { erase_by };
    let written = write(&api, &call, user_id, command, &body).await?;
    Ok(written.acted(&user_id))
}

/// The user as the stream's leader knows them. For somebody who isn't there nothing is sealed: it
/// would make a key.
pub(crate) async fn must_be_there(api: &Api, user_id: UserId) -> Result<Arc<User>, Problem> {
    let loaded = api.streams.load_current::<User>(&user_id.into()).await;
    let user = loaded.map_err(error::of_load)?.state;
    account(&user)?;
    Ok(user)
}

/// What the user has.
///
/// # Errors
/// Nobody registered, or they were erased.
pub(crate) fn account(user: &User) -> Result<&Account, Problem> {
    user.account().ok_or_else(|| {
        error::of_refusal(if user.standing() == Standing::Erased {
            &UserRefusal::UserErased
        } else {
            &UserRefusal::UserUnknown
        })
    })
}

/// Sealed with the person's own key.
pub(crate) async fn seal(
    api: &Api,
    user_id: UserId,
    purpose: &str,
    text: &str,
) -> Result<Sealed, Problem> {
    let sealed = api.personal.seal(user_id, purpose, text).await;
    sealed.map_err(error::of_personal)
}

/// The second id of the path.
fn address_of((_, address_id): &(String, String)) -> Result<AddressId, Problem> {
    let parsed = address_id.parse();
    parsed.map_err(|_error| error::of_refusal(&UserRefusal::AddressUnknown))
}
