//! `/v1/products/{sku}/prices`: what a product has cost. Everybody sees the prices at which they could
//! have bought, operators see all of them.

use axum::extract::State;
use axum::response::Response;
use edge::openapi::{Calls, about};
use edge::{Id, Problem};
use kernel::{Money, Sku};
use projections::{Moment, PRICE_HISTORY, PriceHistory};
use schemars::JsonSchema;
use serde::Serialize;

use crate::asked::{Asked, NoParams, Params};
use crate::caller::Caller;
use crate::failure::{internal, nothing};
use crate::resources::PRODUCTS;
use crate::{Api, answer, owner};

pub(crate) fn calls() -> Calls<Api> {
    Calls::default().get(
        "/v1/products/{sku}/prices",
        about("Read what a product has cost")
            .more("Everybody sees the prices at which they could have bought, operators see all of them.")
            .with(answer::is_versioned::<Prices>),
        prices,
    )
}

/// What is answered, to operators and to everybody.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(
    dead_code,
    reason = "an operator's row passes through as text; this says what is in it"
)]
enum Prices {
    All(PriceHistory),
    Public(PublicPrices<'static>),
}

/// What everybody may know of a price: while nobody could buy at it, it is the shop's own business.
#[derive(Serialize, JsonSchema)]
struct PublicPrices<'a> {
    id: &'a str,
    sku: &'a str,
    prices: Vec<PublicPrice>,
    version: u64,
}

/// A price at which everybody could have bought.
#[derive(Serialize, JsonSchema)]
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
    // Who signs in as an operator is not to hear that they have everything already.
    let (body, form) = if caller.is_operator() {
        (row.payload, "")
    } else if owner::is_published(&row.payload) {
        (public_prices(&row.payload)?, "-public")
    } else {
        return Err(nothing(PRODUCTS.what));
    };
    let answer = answer::versioned_in(body, (row.version, form), &asked, &freshness);
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
