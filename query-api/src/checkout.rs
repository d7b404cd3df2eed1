//! `/v1/checkouts`: how an order went through every service, step by step with its time, for who bought and for operators.

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use edge::{Id, Principal, Problem};
use kernel::{OrderId, UserId};
use projections::{CHECKOUT_TIMELINE, CheckoutStage};
use serde::Deserialize;
use strum::VariantNames;

use crate::asked::{Asked, NoParams, Params};
use crate::failure::nothing;
use crate::list::{Place, Wanted, Word};
use crate::owner::{self, only_own};
use crate::{Api, answer, history};

/// What a checkout is called in an answer.
const WHAT: &str = "checkout";

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/checkouts", get(list))
        .route("/v1/checkouts/{order_id}", get(one))
        .route("/v1/checkouts/{order_id}/events", get(events))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    user_id: Option<UserId>,
    status: Option<Word>,
    limit: Option<u32>,
    cursor: Option<String>,
}

async fn list(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Params(params): Params<ListParams>,
    uri: Uri,
) -> Result<Response, Problem> {
    let place = Place {
        limit: params.limit,
        cursor: params.cursor,
    };
    let wanted = Wanted::new(&CHECKOUT_TIMELINE, place)?
        .only("user_id", only_own(&principal, params.user_id)?)?
        .only_word("status", params.status, CheckoutStage::VARIANTS)?;
    let (page, freshness) = wanted.read(&api, &asked).await?;
    let items: Vec<String> = page.rows.iter().map(|row| row.payload.clone()).collect();
    Ok(wanted.answer((&page, &freshness), &items, &uri))
}

async fn one(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Id(id): Id<OrderId>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    let (found, freshness) = asked.get(&api, &CHECKOUT_TIMELINE, &id.to_string()).await?;
    let row = found.row.ok_or_else(|| nothing(WHAT))?;
    owner::must_see(&principal, &row.payload, WHAT)?;
    Ok(answer::versioned(
        row.payload,
        row.version,
        &asked,
        &freshness,
    ))
}

async fn events(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Id(id): Id<OrderId>,
    Params(page): Params<history::PageParams>,
) -> Result<Response, Problem> {
    let (found, _) = asked.get(&api, &CHECKOUT_TIMELINE, &id.to_string()).await?;
    let row = found.row.ok_or_else(|| nothing(WHAT))?;
    owner::must_see(&principal, &row.payload, WHAT)?;
    history::of::<checkout::Checkout>(&api, &id.into(), page).await
}
