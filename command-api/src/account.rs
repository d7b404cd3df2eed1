//! `/v1/users/{id}/…`: what people change of their own account, and that they want to be forgotten.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use chrono::TimeDelta;
use edge::auth::Token;
use edge::openapi::{Calls, about};
use edge::{Body, Client, Ids, Principal, Problem};
use kernel::{AddressId, Sealed, Title, UserId, purpose};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use streams::{Executed, Outcome};
use user::UserRefusal::{AddressDiffers, AddressUnknown, TooManyAddresses, UserUnknown};
use user::{ADDRESSES_MAX, Account, Standing, Topic, User, UserCommand, UserRefusal};
use uuid::Uuid;

use crate::address::Address;
use crate::api::Api;
use crate::call::{Call, Own};
use crate::error::{self, refusals};
use crate::password::{Attempt, NewPassword};
use crate::phone::Phone;
use crate::problems::problem;
use crate::resource::{Asks, act};
use crate::session::{principal, token};
use crate::throttle;
use crate::user::NOT_STAYING;
use crate::write::{Acted, Created, Done, Made, NotStored, Written};

/// How long open orders may keep somebody who asked to be erased (GDPR article 12 §3: a month).
const ERASURE_TIME_MAX: TimeDelta = TimeDelta::days(30);

pub(crate) fn calls() -> Calls<Api> {
    Calls::default()
        .post(
            "/v1/users/{id}/profile",
            about("Set one's name and phone number")
                .refuses(refusals(NOT_STAYING))
                .example(json!({ "name": "Ann Miller", "phone": "+49 30 123456" })),
            update_profile,
        )
        .post(
            "/v1/users/{id}/password",
            about("Change one's password")
                .more(
                    "Every token of before counts no longer. The answer has a new one, for who goes on; not when it \
                     is a replay.",
                )
                .refuses(refusals(NOT_STAYING))
                .refuses([password_wrong(), throttle::too_many_attempts()])
                .example(json!({
                    "current_password": "correct horse battery",
                    "new_password": "staple battery horse",
                })),
            change_password,
        )
        .merge(address_calls())
        .post(
            "/v1/users/{id}/notification-preferences",
            about("Say what one may be written to about")
                .refuses(refusals(NOT_STAYING))
                .example(json!({ "topic": "marketing", "allowed": true })),
            act::<Own, User, SetPreference>,
        )
        .post(
            "/v1/users/{id}/erasure",
            about("Ask to be forgotten")
                .more("Once no order is open any more, and after 30 days at the latest.")
                .refuses(refusals([UserUnknown]))
                .example(json!({})),
            act::<Own, User, RequestErasure>,
        )
}

fn address_calls() -> Calls<Api> {
    Calls::default()
        .post(
            "/v1/users/{id}/addresses",
            about("Add an address to one's address book")
                .refuses(refusals(NOT_STAYING))
                .refuses(refusals([
                    AddressDiffers,
                    TooManyAddresses { max: ADDRESSES_MAX },
                ]))
                .example(json!({
                    "name": "Ann Miller", "line1": "Main St 1", "city": "Berlin",
                    "postal_code": "10115", "country": "DE",
                })),
            add_address,
        )
        .post(
            "/v1/users/{id}/addresses/{address_id}/default",
            about("Make an address the default one")
                .refuses(refusals(NOT_STAYING))
                .refuses(refusals([AddressUnknown]))
                .example(json!({})),
            set_default_address,
        )
        .post(
            "/v1/users/{id}/addresses/{address_id}/remove",
            about("Remove an address from one's address book")
                .refuses(refusals(NOT_STAYING))
                .example(json!({})),
            remove_address,
        )
}

/// The whole profile: without a phone number there is none.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpdateProfile {
    /// How to address them.
    name: Title,
    /// With its country's code, 7 to 15 digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phone: Option<Phone>,
}

/// The password of now and the one from now on.
// Neither is in the digest: it would let somebody who has the digest key try passwords out.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    /// What they sign in with now.
    #[serde(skip_serializing)]
    current_password: Attempt,
    /// What they sign in with from now on.
    #[serde(skip_serializing)]
    new_password: NewPassword,
}

/// What was changed, and what the session goes on with.
#[derive(Serialize, JsonSchema)]
struct PasswordIsChanged {
    #[serde(flatten)]
    acted: Acted,
    #[serde(flatten)]
    session: Option<Token>,
}

/// Whether one may be written to about something.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetPreference {
    /// About what.
    topic: Topic,
    /// Whether.
    allowed: bool,
}

impl Asks<User> for SetPreference {
    fn command(&self) -> UserCommand {
        UserCommand::SetNotificationPreference {
            topic: self.topic,
            allowed: self.allowed,
        }
    }
}

/// Nothing to say.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RequestErasure {}

impl Asks<User> for RequestErasure {
    fn command(&self) -> UserCommand {
        let erase_by = streams::clock::now() + ERASURE_TIME_MAX;
        UserCommand::RequestErasure { erase_by }
    }
}

/// Nothing to say.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChangeAddress {}

async fn update_profile(
    State(api): State<Api>,
    Own { call, user_id }: Own,
    Body(body): Body<UpdateProfile>,
) -> Result<Done<Acted>, Problem> {
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
    change(&api, &call, user_id, command, &body).await
}

/// Whoever doesn't know the current password is slowed down as at the sign-in.
async fn change_password(
    State(api): State<Api>,
    client: Client,
    Own { call, user_id }: Own,
    Body(body): Body<ChangePassword>,
) -> Result<NotStored<Done<PasswordIsChanged>>, Problem> {
    let user = must_be_there(&api, user_id).await?;
    let account = account(&user)?;
    let attempt = throttle::Attempt {
        account: account.email_claim,
        address: client.address(&api.proxies),
    };
    api.throttle.attempt(attempt)?;
    let judged = judged(&api, user_id, &user, &body).await;
    let judged = judged.inspect_err(|_ours| api.throttle.unjudged(attempt))?;
    let password_hash = judged.ok_or_else(password_wrong)?;
    api.throttle.succeeded(attempt);
    let command = UserCommand::ChangePassword { password_hash };
    let executed = api
        .change::<User, _>(&call, &user_id, command, &body)
        .await?;
    if executed.outcome == Outcome::Replayed {
        must_be_same_password(&api, &executed.state, body.new_password).await?;
    }
    let told = PasswordIsChanged {
        acted: Acted::new(&user_id, executed.version),
        session: session(&api, &call, user_id, &executed)?,
    };
    Ok(NotStored(Written::from(&executed).done(told)))
}

/// A token for who has just changed their password. What they were when a replayed request was done is not
/// what they are.
fn session(
    api: &Api,
    call: &Call,
    user_id: UserId,
    executed: &Executed<User>,
) -> Result<Option<Token>, Problem> {
    let is_now = executed.outcome != Outcome::Replayed;
    if !is_now || executed.state.standing() != Standing::Active {
        return Ok(None);
    }
    let principal = Principal {
        // It is good for no more than the one of before.
        scopes: call.principal.scopes.clone(),
        ..principal(user_id, &executed.state)
    };
    token(api, &principal, executed.version).map(Some)
}

/// The new password as it is kept, if the current one is right, or the new one is the current one: it was
/// changed to this one before, and the answer got lost, for instance. The error is ours.
async fn judged(
    api: &Api,
    user_id: UserId,
    user: &User,
    body: &ChangePassword,
) -> Result<Option<Sealed>, Problem> {
    let known = known_hash(api, user).await?;
    let verify = |attempt| api.passwords.verify(attempt, known.clone());
    if verify(body.current_password.clone()).await? {
        let hash = api.passwords.hash(body.new_password.clone()).await?;
        let sealed = seal(api, user_id, purpose::USER_PASSWORD, &hash).await?;
        return Ok(Some(sealed));
    }
    let again = verify(body.new_password.as_attempt()).await?;
    let account = account(user)?;
    Ok(again.then(|| account.password_hash.clone()))
}

/// What the password is checked against; `None` = there is no account, or it can't be opened any more.
pub(crate) async fn known_hash(api: &Api, user: &User) -> Result<Option<String>, Problem> {
    let Some(account) = user.account() else {
        return Ok(None);
    };
    let opened = api
        .personal
        .open(&account.password_hash, purpose::USER_PASSWORD);
    opened.await.map_err(error::of_personal)
}

/// Under a key that was used before the password must be the one that was set then. The digest can't
/// tell: no password is in it.
///
/// # Errors
/// It is another one (422), or can't be compared.
pub(crate) async fn must_be_same_password(
    api: &Api,
    then: &User,
    password: NewPassword,
) -> Result<(), Problem> {
    // Of who was erased since, nothing can be compared any more.
    let Some(known) = known_hash(api, then).await? else {
        return Ok(());
    };
    let same = api.passwords.verify(password.as_attempt(), Some(known));
    if same.await? {
        Ok(())
    } else {
        Err(error::key_reused())
    }
}

async fn add_address(
    State(api): State<Api>,
    Own { call, user_id }: Own,
    Body(body): Body<Address>,
) -> Result<Made<Created>, Problem> {
    must_be_there(&api, user_id).await?;
    let address_id = AddressId(match &call.key {
        Some(key) => call.derive("address", key),
        None => Uuid::now_v7(),
    });
    let text = body.to_json()?;
    let address = seal(&api, user_id, purpose::USER_ADDRESS, &text).await?;
    let command = UserCommand::AddAddress {
        address_id,
        address,
    };
    let executed = api
        .change::<User, _>(&call, &user_id, command, &body)
        .await?;
    let location = format!("/v1/users/{user_id}");
    Ok(Written::from(&executed).made(location, Created::new(&address_id)))
}

async fn remove_address(
    State(api): State<Api>,
    Own { call, .. }: Own,
    Ids(user_id, address_id): Ids<UserId, AddressId>,
    Body(body): Body<ChangeAddress>,
) -> Result<Done<Acted>, Problem> {
    let command = UserCommand::RemoveAddress { address_id };
    change(&api, &call, user_id, command, &body).await
}

async fn set_default_address(
    State(api): State<Api>,
    Own { call, .. }: Own,
    Ids(user_id, address_id): Ids<UserId, AddressId>,
    Body(body): Body<ChangeAddress>,
) -> Result<Done<Acted>, Problem> {
    let command = UserCommand::SetDefaultAddress { address_id };
    change(&api, &call, user_id, command, &body).await
}

/// One command on an account, and the answer to it.
pub(crate) async fn change<B: Serialize>(
    api: &Api,
    call: &Call,
    user_id: UserId,
    command: UserCommand,
    body: &B,
) -> Result<Done<Acted>, Problem> {
    let executed = api.change::<User, _>(call, &user_id, command, body).await?;
    Ok(Written::from(&executed).acted(&user_id))
}

fn password_wrong() -> Problem {
    let detail = "the current password is another one";
    let wrong = problem(StatusCode::UNPROCESSABLE_ENTITY, "password_wrong", detail);
    wrong.at("/current_password", detail)
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
