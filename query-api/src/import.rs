//! `/v1/products/imports`: how the bulk imports go, for operators.

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use edge::{Id, Principal, Problem};
use kernel::ImportId;
use projections::{IMPORT_REPORT, ImportStage};
use serde::Deserialize;
use strum::VariantNames;

use crate::asked::{Asked, NoParams, Params};
use crate::failure::nothing;
use crate::list::{Place, Wanted, Word};
use crate::{Api, answer, history};

/// What an import is called in an answer.
const WHAT: &str = "import";

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/products/imports", get(list))
        .route("/v1/products/imports/{id}", get(one))
        .route("/v1/products/imports/{id}/events", get(events))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    key: Option<String>,
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
    let wanted = Wanted::new(&IMPORT_REPORT, place)?
        .only("key", params.key)?
        .only_word("status", params.status, ImportStage::VARIANTS)?;
    let (page, freshness) = wanted.read(&api, &asked).await?;
    let items: Vec<String> = page.rows.iter().map(|row| row.payload.clone()).collect();
    Ok(wanted.answer((&page, &freshness), &items, &uri))
}

async fn one(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Id(id): Id<ImportId>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    principal.require_operator()?;
    let (found, freshness) = asked.get(&api, &IMPORT_REPORT, &id.to_string()).await?;
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
    Id(id): Id<ImportId>,
    Params(page): Params<history::PageParams>,
) -> Result<Response, Problem> {
    principal.require_operator()?;
    history::of::<product::Import>(&api, &id.into(), page).await
}
