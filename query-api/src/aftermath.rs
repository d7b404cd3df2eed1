//! `/v1/checkouts/returns` and `/v1/checkouts/refunds`: the sagas after the checkout, for operators.

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use checkout::{Refunding, Returning};
use edge::{Id, Principal, Problem};
use kernel::{OrderId, RefundId, ReturnId};
use projections::{AftermathStage, REFUND_HANDLING, RETURN_HANDLING, ViewSpec};
use serde::Deserialize;
use strum::VariantNames;

use crate::asked::{Asked, NoParams, Params};
use crate::failure::nothing;
use crate::list::{Place, Wanted, Word};
use crate::{Api, answer, history};

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/checkouts/returns", get(returns))
        .route("/v1/checkouts/returns/{return_id}", get(one_return))
        .route(
            "/v1/checkouts/returns/{return_id}/events",
            get(return_events),
        )
        .route("/v1/checkouts/refunds", get(refunds))
        .route("/v1/checkouts/refunds/{refund_id}", get(one_refund))
        .route(
            "/v1/checkouts/refunds/{refund_id}/events",
            get(refund_events),
        )
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    order_id: Option<OrderId>,
    status: Option<Word>,
    limit: Option<u32>,
    cursor: Option<String>,
}

async fn returns(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Params(params): Params<ListParams>,
    uri: Uri,
) -> Result<Response, Problem> {
    principal.require_operator()?;
    list(&api, &RETURN_HANDLING, &asked, params, &uri).await
}

async fn refunds(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Params(params): Params<ListParams>,
    uri: Uri,
) -> Result<Response, Problem> {
    principal.require_operator()?;
    list(&api, &REFUND_HANDLING, &asked, params, &uri).await
}

async fn list(
    api: &Api,
    view: &'static ViewSpec,
    asked: &Asked,
    params: ListParams,
    uri: &Uri,
) -> Result<Response, Problem> {
    let place = Place {
        limit: params.limit,
        cursor: params.cursor,
    };
    let wanted = Wanted::new(view, place)?
        .only("order_id", params.order_id)?
        .only_word("status", params.status, AftermathStage::VARIANTS)?;
    let (page, freshness) = wanted.read(api, asked).await?;
    let items: Vec<String> = page.rows.iter().map(|row| row.payload.clone()).collect();
    Ok(wanted.answer((&page, &freshness), &items, uri))
}

async fn one_return(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Id(id): Id<ReturnId>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    principal.require_operator()?;
    one(&api, &RETURN_HANDLING, &asked, &id.to_string()).await
}

async fn one_refund(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Id(id): Id<RefundId>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    principal.require_operator()?;
    one(&api, &REFUND_HANDLING, &asked, &id.to_string()).await
}

async fn one(
    api: &Api,
    view: &'static ViewSpec,
    asked: &Asked,
    id: &str,
) -> Result<Response, Problem> {
    let (found, freshness) = asked.get(api, view, id).await?;
    let row = found.row.ok_or_else(|| nothing("saga"))?;
    Ok(answer::versioned(
        row.payload,
        row.version,
        asked,
        &freshness,
    ))
}

async fn return_events(
    State(api): State<Api>,
    principal: Principal,
    Id(id): Id<ReturnId>,
    Params(page): Params<history::PageParams>,
) -> Result<Response, Problem> {
    principal.require_operator()?;
    history::of::<Returning>(&api, &id.into(), page).await
}

async fn refund_events(
    State(api): State<Api>,
    principal: Principal,
    Id(id): Id<RefundId>,
    Params(page): Params<history::PageParams>,
) -> Result<Response, Problem> {
    principal.require_operator()?;
    history::of::<Refunding>(&api, &id.into(), page).await
}
