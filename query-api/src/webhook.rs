//! `/v1/webhook-endpoints/{id}/…`: what an endpoint was told, attempt by attempt, and what that is
//! signed with.

use axum::Router;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, Uri};
use axum::response::Response;
use axum::routing::get;
use chrono::{DateTime, Utc};
use edge::{Id, Ids, Principal, Problem};
use kernel::{Position, WebhookDeliveryId, WebhookEndpointId};
use notification::webhook::WebhookEndpoint;
use serde::{Deserialize, Serialize};

use crate::asked::{Asked, Caller, Freshness, NoParams, Params};
use crate::failure::{internal, nothing, of_load};
use crate::resources::{WEBHOOK_DELIVERIES, WEBHOOK_ENDPOINTS};
use crate::{Api, answer};

pub(crate) fn routes() -> Router<Api> {
    let list =
        |api, caller, asked, id, params, uri| deliveries(api, (caller, asked), id, params, uri);
    Router::new()
        .route("/v1/webhook-endpoints/{id}/secret", get(secret))
        .route("/v1/webhook-endpoints/{id}/deliveries", get(list))
        .route(
            "/v1/webhook-endpoints/{id}/deliveries/{delivery_id}",
            get(delivery),
        )
}

/// What an endpoint's webhooks are signed with.
#[derive(Serialize)]
struct Signing {
    /// `whsec_` and base64.
    secret: String,
    /// Its number.
    generation: u32,
    /// Until when the one before signs as well.
    previous_until: Option<DateTime<Utc>>,
}

/// From the log itself: a secret that was just rotated is the new one.
async fn secret(
    State(api): State<Api>,
    principal: Principal,
    asked: Asked,
    Id(id): Id<WebhookEndpointId>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    let what = WEBHOOK_ENDPOINTS.what;
    let loaded = api
        .streams
        .load_current::<WebhookEndpoint>(&id.into())
        .await;
    let loaded = loaded.map_err(|error| of_load(&error))?;
    let endpoint = loaded.state.endpoint().ok_or_else(|| nothing(what))?;
    if endpoint.user_id != Some(principal.user_id) && !principal.is_operator() {
        return Err(nothing(what));
    }
    let body = serde_json::to_string(&Signing {
        secret: api.digest.webhook_secret(id, endpoint.generation),
        generation: endpoint.generation,
        previous_until: endpoint.previous_until,
    });
    let freshness = Freshness::of(&Position::new("NOTIFICATION", loaded.position));
    let body = body.map_err(|error| internal(&error))?;
    let mut response = answer::versioned(body, loaded.version, &asked, &freshness);
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    Ok(response)
}

async fn deliveries(
    State(api): State<Api>,
    (caller, asked): (Caller, Asked),
    Id(id): Id<WebhookEndpointId>,
    Params(mut given): Params<Vec<(String, String)>>,
    uri: Uri,
) -> Result<Response, Problem> {
    caller.principal()?;
    WEBHOOK_ENDPOINTS
        .live(&api, &caller, &asked, &id.into())
        .await?;
    given.push(("endpoint_id".to_owned(), id.to_string()));
    let listed = WEBHOOK_DELIVERIES.listed(&api, (&caller, &asked), given);
    Ok(listed.await?.answer(&uri))
}

/// The part of a row that tells to whom it was told.
#[derive(Deserialize)]
struct To {
    endpoint_id: Option<WebhookEndpointId>,
}

async fn delivery(
    State(api): State<Api>,
    caller: Caller,
    asked: Asked,
    Ids(id, delivery_id): Ids<WebhookEndpointId, WebhookDeliveryId>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
    caller.principal()?;
    let aggregate = delivery_id.into();
    let row = WEBHOOK_DELIVERIES.live(&api, &caller, &asked, &aggregate);
    let (row, freshness) = row.await?;
    let to: To = serde_json::from_str(&row.payload).map_err(|error| internal(&error))?;
    if to.endpoint_id != Some(id) {
        return Err(nothing(WEBHOOK_DELIVERIES.what));
    }
    Ok(answer::versioned(
        row.payload,
        row.version,
        &asked,
        &freshness,
    ))
}
