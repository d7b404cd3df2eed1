//! `/v1/orders/{id}/returns`: the goods of an order that come back, a part of its row.

use axum::extract::State;
use axum::response::Response;
use edge::openapi::{Calls, about};
use edge::{Id, Ids, Problem};
use kernel::{OrderId, ReturnId};
use projections::ReturnEntry;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::asked::{Asked, Freshness, NoParams, Params};
use crate::caller::{Caller, Known};
use crate::failure::{internal, nothing};
use crate::resources::ORDERS;
use crate::{Api, answer};

pub(crate) fn calls() -> Calls<Api> {
    Calls::default()
        .get(
            "/v1/orders/{id}/returns",
            about("List the returns of an order").with(answer::is_versioned::<ReturnPage>),
            returns,
        )
        .get(
            "/v1/orders/{id}/returns/{return_id}",
            about("Read one return of an order").with(answer::is_versioned::<ReturnEntry>),
            one_return,
        )
}

/// The part of a row that tells what comes back.
#[derive(Deserialize)]
struct Returns {
    #[serde(default)]
    returns: Vec<ReturnEntry>,
}

/// All returns of an order: few enough for one page.
#[derive(Serialize, JsonSchema)]
struct ReturnPage {
    items: Vec<ReturnEntry>,
    /// Always null.
    next: Option<String>,
}

async fn returns(
    State(api): State<Api>,
    Known(caller): Known,
    asked: Asked,
    Id(id): Id<OrderId>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    let (items, version, freshness) = returns_of(&api, &caller, &asked, id).await?;
    let page = ReturnPage { items, next: None };
    let body = serde_json::to_string(&page).map_err(|error| internal(&error))?;
    Ok(answer::versioned(body, version, &asked, &freshness))
}

async fn one_return(
    State(api): State<Api>,
    Known(caller): Known,
    asked: Asked,
    Ids(id, return_id): Ids<OrderId, ReturnId>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    let (items, version, freshness) = returns_of(&api, &caller, &asked, id).await?;
    let entry = items.into_iter().find(|entry| entry.id == return_id);
    let entry = entry.ok_or_else(|| nothing("return"))?;
    let body = serde_json::to_string(&entry).map_err(|error| internal(&error))?;
    Ok(answer::versioned(body, version, &asked, &freshness))
}

/// What comes back of an order, and the order's version.
async fn returns_of(
    api: &Api,
    caller: &Caller,
    asked: &Asked,
    id: OrderId,
) -> Result<(Vec<ReturnEntry>, u64, Freshness), Problem> {
    let (row, freshness) = ORDERS.live(api, caller, asked, &id.into()).await?;
    let row_returns = serde_json::from_str::<Returns>(&row.payload);
    let Returns { returns } = row_returns.map_err(|error| internal(&error))?;
    Ok((returns, row.version, freshness))
}
