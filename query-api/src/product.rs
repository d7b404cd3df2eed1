//! `/v1/products/{sku}/prices`: what a product has cost. Everybody sees the prices at which they could
//! have bought, operators see all of them.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use edge::{Id, Problem};
use kernel::{Money, Sku};
use projections::{Moment, PRICE_HISTORY, PriceHistory};
use serde::Serialize;

use crate::asked::{Asked, Caller, NoParams, Params};
use crate::failure::{internal, nothing};
use crate::resources::PRODUCTS;
use crate::{Api, answer, owner};

pub(crate) fn routes() -> Router<Api> {
    Router::new().route("/v1/products/{id}/prices", get(prices))
}

/// What everybody may know of a price: while nobody could buy at it, it is the shop's own business.
#[derive(Serialize)]
struct PublicPrices<'a> {
    id: &'a str,
    sku: &'a str,
    prices: Vec<PublicPrice>,
    version: u64,
}

#[derive(Serialize)]
struct PublicPrice {
    price: Money,
    since: Option<Moment>,
    until: Option<Moment>,
}

async fn prices(
    State(api): State<Api>,
    caller: Caller,
    asked: Asked,
    Id(sku): Id<Sku>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    let (found, freshness) = asked.get(&api, &PRICE_HISTORY, sku.as_str()).await?;
    let row = found.row.ok_or_else(|| nothing(PRODUCTS.what))?;
    let body = if caller.is_operator() {
        row.payload
    } else if owner::is_published(&row.payload) {
        public_prices(&row.payload)?
    } else {
        return Err(nothing(PRODUCTS.what));
    };
    let answer = answer::versioned(body, row.version, &asked, &freshness);
    Ok(caller.share(answer))
}

fn public_prices(payload: &str) -> Result<String, Problem> {
    let history: PriceHistory = serde_json::from_str(payload).map_err(|error| internal(&error))?;
    let offered = history.prices.iter().filter(|entry| entry.offered);
    let public = PublicPrices {
        id: &history.id,
        sku: &history.sku,
        prices: offered
            .map(|entry| PublicPrice {
                price: entry.price,
                since: entry.since,
                until: entry.until,
            })
            .collect(),
        version: history.version,
    };
    serde_json::to_string(&public).map_err(|error| internal(&error))
}
