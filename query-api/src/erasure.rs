//! `/v1/users/{id}/erasure`: how far the erasure of a person has come, and its receipt. Read from the
//! log itself: no read model stands between a person and what was done for them.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use edge::openapi::{Calls, about};
use edge::{Id, Principal, Problem};
use kernel::{Position, UserId};
use schemars::JsonSchema;
use serde::Serialize;
use streams::Loaded;
use user::{Erasure, Receipt, User};

use crate::asked::{Asked, Freshness, NoParams, Params};
use crate::failure::{internal, nothing, of_load};
use crate::{Api, answer};

/// What an erasure is called in an answer.
const WHAT: &str = "erasure";

/// What no erasure takes away.
const REMAINS: [&str; 5] = [
    "the ids of the person, of their orders, payments and mails, with amounts and times: without the \
     key they name nobody, and the books still add up",
    "a keyed hash of each email address that they had: it can't be turned back into the address, but \
     whoever has the digest key could test a guess (pseudonymous)",
    "a reason in somebody's own words is not sealed: where one repeats what the person told about \
     themselves, its place stands in readable",
    "the URLs and descriptions of webhook endpoints that they had, in the log: they are not sealed",
    "what is not sealed, and was taken out of a row, in the table that a rebuild of that read model has kept for \
     going back, until the next rebuild",
];

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ErasureStatus")]
enum Status {
    /// For the person's orders.
    Waiting,
    /// Nothing that was sealed can be read any more; the log is being looked through.
    KeyDestroyed,
    /// It is over.
    Completed,
}

/// How far an erasure has come, and its receipt.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ErasureProgress")]
struct Progress<'a> {
    user_id: UserId,
    status: Status,
    /// When at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    erase_by: Option<DateTime<Utc>>,
    /// What can't be read any more.
    destroyed: &'static [&'static str],
    #[serde(flatten)]
    receipt: Option<&'a Receipt>,
    remains: &'static [&'static str],
}

/// What is unreadable once the key is gone.
const DESTROYED: [&str; 2] = [
    "the key that everything personal was sealed with: name, email and postal addresses, phone number \
     and password hash, in every event, snapshot, row and backup of them",
    "the account's row, and the claim on its email address: the address is free",
];

pub(crate) fn calls() -> Calls<Api> {
    Calls::default().get(
        "/v1/users/{id}/erasure",
        about("Read how far an erasure has come")
            .more("And its receipt, once it is over. For the person and for operators.")
            .with(answer::is_versioned::<Progress<'static>>),
        one,
    )
}

async fn one(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Id(id): Id<UserId>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    principal.require_owner_or_operator(id, "user")?;
    let erasure = api.streams.load_current::<Erasure>(&id.into()).await;
    let erasure: Loaded<Erasure> = erasure.map_err(|error| of_load(&error))?;
    let progress = match erasure.state.as_ref() {
        Erasure::Unopened => waiting(id, requested(&api, id).await?),
        Erasure::Waiting { erase_by } => waiting(id, *erase_by),
        Erasure::KeyDestroyed => destroyed(id, Status::KeyDestroyed, None),
        Erasure::Completed { receipt } => destroyed(id, Status::Completed, Some(receipt)),
    };
    let body = serde_json::to_string(&progress).map_err(|error| internal(&error))?;
    let freshness = Freshness::of(&Position::new("USER", erasure.position));
    Ok(answer::versioned(body, erasure.version, &asked, &freshness))
}

/// The eraser has not heard of it yet: the user knows when at the latest.
async fn requested(api: &Api, id: UserId) -> Result<DateTime<Utc>, Problem> {
    let user = api.streams.load_current::<User>(&id.into()).await;
    match user.map_err(|error| of_load(&error))?.state.as_ref() {
        User::Leaving { erase_by, .. } => Ok(*erase_by),
        User::Unregistered | User::Active(_) | User::Suspended { .. } | User::Erased => {
            Err(nothing(WHAT))
        }
    }
}

fn waiting(user_id: UserId, erase_by: DateTime<Utc>) -> Progress<'static> {
    Progress {
        user_id,
        status: Status::Waiting,
        erase_by: Some(erase_by),
        destroyed: &[],
        receipt: None,
        remains: &REMAINS,
    }
}

fn destroyed(user_id: UserId, status: Status, receipt: Option<&Receipt>) -> Progress<'_> {
    Progress {
        user_id,
        status,
        erase_by: None,
        destroyed: &DESTROYED,
        receipt,
        remains: &REMAINS,
    }
}
