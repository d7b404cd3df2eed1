//! `/v1/users/{id}`: an account, with its personal fields opened for its owner and operators.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use edge::{Id, Principal, Problem};
use kernel::{UserId, purpose};
use projections::USER_ACCOUNT;

use crate::asked::{Asked, NoParams, Params};
use crate::failure::nothing;
use crate::unseal::{self, Field, Plain};
use crate::{Api, answer, history};

/// What a user is called in an answer.
const WHAT: &str = "user";

/// What is sealed in a row.
const SEALED: [Field; 4] = [
    Field {
        name: "name",
        purpose: purpose::USER_NAME,
        plain: Plain::Text,
        erased: "null",
    },
    Field {
        name: "email",
        purpose: purpose::USER_EMAIL,
        plain: Plain::Text,
        erased: "null",
    },
    Field {
        name: "phone",
        purpose: purpose::USER_PHONE,
        plain: Plain::Text,
        erased: "null",
    },
    Field {
        name: "addresses",
        purpose: purpose::USER_ADDRESS,
        plain: Plain::ObjectIn("address"),
        erased: "null",
    },
];

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/users/{id}", get(one))
        .route("/v1/users/{id}/events", get(events))
}

async fn one(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Id(id): Id<UserId>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    principal.require_owner_or_operator(id, WHAT)?;
    let (found, freshness) = asked.get(&api, &USER_ACCOUNT, &id.to_string()).await?;
    let row = found.row.ok_or_else(|| nothing(WHAT))?;
    let opened = unseal::open_one(&api.keys, &SEALED, row.payload).await?;
    let body = if opened.erased {
        unseal::with_status(&opened.body, "erased")?
    } else {
        opened.body
    };
    Ok(answer::versioned(body, row.version, &asked, &freshness))
}

async fn events(
    State(api): State<Api>,
    principal: Principal,
    Id(id): Id<UserId>,
    Params(page): Params<history::PageParams>,
) -> Result<Response, Problem> {
    principal.require_owner_or_operator(id, WHAT)?;
    history::of::<user::User>(&api, &id.into(), page).await
}
