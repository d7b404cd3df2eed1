//! `/v1/notifications`: who was told what, for who was told and for operators.

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use edge::{Id, Principal, Problem};
use kernel::{NotificationId, OrderId, UserId};
use projections::{Delivery, NOTIFICATION_ENTRY};
use serde::Deserialize;
use strum::VariantNames;

use crate::asked::{Asked, NoParams, Params};
use crate::failure::nothing;
use crate::list::{Place, Wanted, Word};
use crate::owner::{self, only_own};
use crate::{Api, answer, history};

/// What a notification is called in an answer.
const WHAT: &str = "notification";

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/notifications", get(list))
        .route("/v1/notifications/{id}", get(one))
        .route("/v1/notifications/{id}/events", get(events))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParams {
    order_id: Option<OrderId>,
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
    let wanted = Wanted::new(&NOTIFICATION_ENTRY, place)?
        .only("order_id", params.order_id)?
        .only("user_id", only_own(&principal, params.user_id)?)?
        .only_word("status", params.status, Delivery::VARIANTS)?;
    let (page, freshness) = wanted.read(&api, &asked).await?;
    let items: Vec<String> = page.rows.iter().map(|row| row.payload.clone()).collect();
    Ok(wanted.answer((&page, &freshness), &items, &uri))
}

async fn one(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Id(id): Id<NotificationId>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    let (found, freshness) = asked
        .get(&api, &NOTIFICATION_ENTRY, &id.to_string())
        .await?;
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
    Id(id): Id<NotificationId>,
    Params(page): Params<history::PageParams>,
) -> Result<Response, Problem> {
    let (found, _) = asked
        .get(&api, &NOTIFICATION_ENTRY, &id.to_string())
        .await?;
    let row = found.row.ok_or_else(|| nothing(WHAT))?;
    owner::must_see(&principal, &row.payload, WHAT)?;
    history::of::<notification::Notification>(&api, &id.into(), page).await
}
