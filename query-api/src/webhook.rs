//! `/v1/webhook-endpoints/{id}/…`: what an endpoint was told, attempt by attempt, and what that is
//! signed with.

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, Uri};
use axum::response::Response;
use chrono::{DateTime, Utc};
use edge::openapi::{Calls, about};
use edge::{Id, Ids, Principal, Problem};
use kernel::{Position, WebhookDeliveryId, WebhookEndpointId};
use notification::webhook::WebhookEndpoint;
use projections::WebhookDeliveryEntry;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::asked::{Asked, Freshness, NoParams, Params};
use crate::caller::{Caller, Known};
use crate::failure::{internal, nothing, of_load};
use crate::listing::Listing;
use crate::resources::{WEBHOOK_DELIVERIES, WEBHOOK_ENDPOINTS};
use crate::{Api, answer};

/// Of which endpoint a delivery is.
const ENDPOINT_ID: &str = "endpoint_id";

pub(crate) fn calls() -> Calls<Api> {
    let list = |api, Known(caller), asked, id, params, uri| {
        deliveries(api, (caller, asked), id, params, uri)
    };
    Calls::default()
        .get(
            "/v1/webhook-endpoints/{id}/secret",
            about("Read what an endpoint's webhooks are signed with")
                .more("For whom it belongs to and for operators. No cache keeps it.")
                .with(answer::is_versioned::<Signing>),
            secret,
        )
        .get(
            "/v1/webhook-endpoints/{id}/deliveries",
            about("List what an endpoint was told")
                .more("The latest first, each with its attempts.")
                .refuses([Problem::not_found("")])
                .with(|call| listing().describe(call)),
            list,
        )
        .get(
            "/v1/webhook-endpoints/{id}/deliveries/{delivery_id}",
            about("Read one delivery")
                .more("Attempt by attempt: when, how long it took, and what the endpoint answered.")
                .with(answer::is_versioned::<WebhookDeliveryEntry>),
            delivery,
        )
}

/// The endpoint stands in the path: a list is not narrowed by it.
fn listing() -> Listing {
    let mut listing = WEBHOOK_DELIVERIES.listing();
    listing.narrows.retain(|narrow| narrow.name != ENDPOINT_ID);
    listing
}

/// What an endpoint's webhooks are signed with.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WebhookSigning")]
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
    WEBHOOK_ENDPOINTS
        .live(&api, &caller, &asked, &id.into())
        .await?;
    given.push((ENDPOINT_ID.to_owned(), id.to_string()));
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
    Known(caller): Known,
    asked: Asked,
    Ids(id, delivery_id): Ids<WebhookEndpointId, WebhookDeliveryId>,
    _: Params<NoParams>,
) -> Result<Response, Problem> {
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
