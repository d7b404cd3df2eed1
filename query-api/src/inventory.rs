//! `/v1/inventory`: stock. Operators only.

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use edge::{Id, Principal, Problem};
use kernel::{AggregateId, Sku};
use projections::STOCK_LEVEL;
use serde::Deserialize;

use crate::asked::{Asked, NoParams, Params};
use crate::failure::nothing;
use crate::list::{Place, Wanted};
use crate::{Api, answer, history};

/// What a stock item is called in an answer.
const WHAT: &str = "stock item";

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/inventory", get(list))
        .route("/v1/inventory/{sku}", get(one))
        .route("/v1/inventory/{sku}/events", get(events))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    low_stock: Option<bool>,
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
    principal.require_operator()?;
    let place = Place {
        limit: params.limit,
        cursor: params.cursor,
    };
    let wanted = Wanted::new(&STOCK_LEVEL, place)?.only("low_stock", params.low_stock)?;
    let (page, freshness) = wanted.read(&api, &asked).await?;
    let items: Vec<String> = page.rows.iter().map(|row| row.payload.clone()).collect();
    Ok(wanted.answer((&page, &freshness), &items, &uri))
}

async fn one(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Id(sku): Id<Sku>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    principal.require_operator()?;
    let (found, freshness) = asked.get(&api, &STOCK_LEVEL, sku.as_str()).await?;
    let row = found.row.ok_or_else(|| nothing(WHAT))?;
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
    Id(sku): Id<Sku>,
    Params(page): Params<history::PageParams>,
) -> Result<Response, Problem> {
    principal.require_operator()?;
    history::of::<inventory::StockItem>(&api, &AggregateId::from(&sku), page).await
}
