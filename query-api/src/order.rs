//! `/v1/orders`: what was bought, for who bought it and for operators.

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use edge::{Id, Ids, Principal, Problem};
use kernel::{OrderId, ReturnId, UserId, purpose};
use projections::{ORDER_SUMMARY, ReturnEntry, SummaryStatus};
use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::asked::{Asked, Freshness, NoParams, Params};
use crate::failure::{internal, nothing};
use crate::list::{Place, Wanted, Word};
use crate::owner::{self, only_own};
use crate::unseal::{self, Field, Plain};
use crate::{Api, answer, history};

/// What an order is called in an answer.
const WHAT: &str = "order";

/// What is sealed in a row.
const SEALED: [Field; 1] = [Field {
    name: "shipping_address",
    purpose: purpose::ORDER_SHIPPING_ADDRESS,
    plain: Plain::Object,
    erased: "{\"erased\":true}",
}];

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/orders", get(list))
        .route("/v1/orders/{id}", get(one))
        .route("/v1/orders/{id}/events", get(events))
        .route("/v1/orders/{id}/returns", get(returns))
        .route("/v1/orders/{id}/returns/{return_id}", get(one_return))
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
    let wanted = Wanted::new(&ORDER_SUMMARY, place)?
        .only("user_id", only_own(&principal, params.user_id)?)?
        .only_word("status", params.status, SummaryStatus::VARIANTS)?;
    let (page, freshness) = wanted.read(&api, &asked).await?;
    let rows = page.rows.iter().map(|row| row.payload.clone()).collect();
    let opened = unseal::open(&api.keys, &SEALED, rows).await?;
    let items: Vec<String> = opened.into_iter().map(|row| row.body).collect();
    Ok(wanted.answer((&page, &freshness), &items, &uri))
}

async fn one(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Id(id): Id<OrderId>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    let (found, freshness) = asked.get(&api, &ORDER_SUMMARY, &id.to_string()).await?;
    let row = found.row.ok_or_else(|| nothing(WHAT))?;
    owner::must_see(&principal, &row.payload, WHAT)?;
    let opened = unseal::open_one(&api.keys, &SEALED, row.payload).await?;
    Ok(answer::versioned(
        opened.body,
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
    let (found, _) = asked.get(&api, &ORDER_SUMMARY, &id.to_string()).await?;
    let row = found.row.ok_or_else(|| nothing(WHAT))?;
    owner::must_see(&principal, &row.payload, WHAT)?;
    history::of::<order::Order>(&api, &id.into(), page).await
}

/// The part of a row that tells what comes back.
#[derive(Deserialize)]
struct Returns {
    #[serde(default)]
    returns: Vec<ReturnEntry>,
}

/// All returns of an order: few enough for one page.
#[derive(Serialize)]
struct ReturnPage {
    items: Vec<ReturnEntry>,
    next: Option<String>,
}

async fn returns(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Id(id): Id<OrderId>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    let (items, version, freshness) = returns_of(&api, &principal, &asked, id).await?;
    let page = ReturnPage { items, next: None };
    let body = serde_json::to_string(&page).map_err(|error| internal(&error))?;
    Ok(answer::versioned(body, version, &asked, &freshness))
}

async fn one_return(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Ids(id, return_id): Ids<OrderId, ReturnId>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    let (items, version, freshness) = returns_of(&api, &principal, &asked, id).await?;
    let entry = items.into_iter().find(|entry| entry.id == return_id);
    let entry = entry.ok_or_else(|| nothing("return"))?;
    let body = serde_json::to_string(&entry).map_err(|error| internal(&error))?;
    Ok(answer::versioned(body, version, &asked, &freshness))
}

/// What comes back of an order, and the order's version.
async fn returns_of(
    api: &Api,
    principal: &Principal,
    asked: &Asked,
    id: OrderId,
) -> Result<(Vec<ReturnEntry>, u64, Freshness), Problem> {
    let (found, freshness) = asked.get(api, &ORDER_SUMMARY, &id.to_string()).await?;
    let row = found.row.ok_or_else(|| nothing(WHAT))?;
    owner::must_see(principal, &row.payload, WHAT)?;
    let row_returns = serde_json::from_str::<Returns>(&row.payload);
    let Returns { returns } = row_returns.map_err(|error| internal(&error))?;
    Ok((returns, row.version, freshness))
}
