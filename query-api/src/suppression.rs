//! `/v1/suppressions`: the addresses that nothing is sent to, as their keyed hashes, for operators.

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use edge::{Id, Principal, Problem};
use kernel::EmailClaimId;
use projections::{SUPPRESSION_ENTRY, SuppressionStatus};
use serde::Deserialize;
use strum::VariantNames;

use crate::asked::{Asked, NoParams, Params};
use crate::failure::nothing;
use crate::list::{Place, Wanted, Word};
use crate::{Api, answer};

/// What a suppression is called in an answer.
const WHAT: &str = "suppression";

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/suppressions", get(list))
        .route("/v1/suppressions/{id}", get(one))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
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
    principal.require_operator()?;
    let place = Place {
        limit: params.limit,
        cursor: params.cursor,
    };
    let wanted = Wanted::new(&SUPPRESSION_ENTRY, place)?.only_word(
        "status",
        params.status,
        SuppressionStatus::VARIANTS,
    )?;
    let (page, freshness) = wanted.read(&api, &asked).await?;
    let items: Vec<String> = page.rows.iter().map(|row| row.payload.clone()).collect();
    Ok(wanted.answer((&page, &freshness), &items, &uri))
}

async fn one(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Id(id): Id<EmailClaimId>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    principal.require_operator()?;
    let (found, freshness) = asked.get(&api, &SUPPRESSION_ENTRY, &id.to_string()).await?;
    let row = found.row.ok_or_else(|| nothing(WHAT))?;
    Ok(answer::versioned(
        row.payload,
        row.version,
        &asked,
        &freshness,
    ))
}
