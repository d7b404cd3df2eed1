//! `/v1/products`: the catalogue. Everybody sees what is published, operators see all of it.

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use edge::{Id, Problem};
use kernel::{AggregateId, Money, Sku};
use projections::{CardStatus, Moment, PRICE_HISTORY, PRODUCT_CARD, PriceHistory};
use serde::{Deserialize, Serialize};
use strum::VariantNames;

use crate::asked::{Asked, Caller, NoParams, Params};
use crate::failure::{internal, nothing};
use crate::list::{Place, Wanted, Word};
use crate::{Api, answer, history};

/// What a product is called in an answer.
const WHAT: &str = "product";

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/products", get(list))
        .route("/v1/products/{sku}", get(one))
        .route("/v1/products/{sku}/prices", get(prices))
        .route("/v1/products/{sku}/events", get(events))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    category: Option<String>,
    status: Option<Word>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// The only field that decides who may see a row.
#[derive(Deserialize)]
struct Publication<'a> {
    #[serde(borrow)]
    status: std::borrow::Cow<'a, str>,
}

async fn list(
    State(api): State<Api>,
    caller: Caller,
    asked: Asked,
    Params(params): Params<ListParams>,
    uri: Uri,
) -> Result<Response, Problem> {
    let place = Place {
        limit: params.limit,
        cursor: params.cursor,
    };
    let published = || Some(Word("published".to_owned()));
    let status = if caller.is_operator() {
        params.status
    } else {
        params.status.or_else(published)
    };
    if !caller.is_operator() && status.as_ref().is_some_and(|word| word.0 != "published") {
        return Err(Problem::forbidden(
            "only an operator sees products that aren't published",
        ));
    }
    let wanted = Wanted::new(&PRODUCT_CARD, place)?
        .only("category", params.category)?
        .only_word("status", status, CardStatus::VARIANTS)?;
    let (page, freshness) = wanted.read(&api, &asked).await?;
    let items: Vec<String> = page.rows.iter().map(|row| row.payload.clone()).collect();
    Ok(caller.share(wanted.answer((&page, &freshness), &items, &uri)))
}

async fn one(
    State(api): State<Api>,
    caller: Caller,
    asked: Asked,
    Id(sku): Id<Sku>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    let (found, freshness) = asked.get(&api, &PRODUCT_CARD, sku.as_str()).await?;
    let row = found.row.ok_or_else(|| nothing(WHAT))?;
    if !caller.is_operator() && !is_published(&row.payload) {
        return Err(nothing(WHAT));
    }
    let answer = answer::versioned(row.payload, row.version, &asked, &freshness);
    Ok(caller.share(answer))
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
    let row = found.row.ok_or_else(|| nothing(WHAT))?;
    let body = if caller.is_operator() {
        row.payload
    } else if is_published(&row.payload) {
        public_prices(&row.payload)?
    } else {
        return Err(nothing(WHAT));
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

async fn events(
    State(api): State<Api>,
    principal: edge::Principal,
    Id(sku): Id<Sku>,
    Params(page): Params<history::PageParams>,
) -> Result<Response, Problem> {
    principal.require_operator()?;
    history::of::<product::Product>(&api, &AggregateId::from(&sku), page).await
}

fn is_published(payload: &str) -> bool {
    serde_json::from_str::<Publication<'_>>(payload)
        .is_ok_and(|publication| publication.status == "published")
}
