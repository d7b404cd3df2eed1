//! `/v1/notifications` and `/v1/suppressions`: what operators hear of mails that came back.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use edge::{Body, Id, Problem};
use kernel::{EmailClaimId, NotificationId, Reason};
use notification::{Notification, NotificationCommand, Suppression, SuppressionCommand};
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::call::{Call, Operators};
use crate::email::Email;
use crate::write::{Created, Written};

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/notifications/{id}/bounce", post(bounce))
        .route("/v1/suppressions", post(suppress))
        .route("/v1/suppressions/remove", post(remove))
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounce {
    reason: Reason,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Suppress {
    email: Email,
    reason: Reason,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    email: Email,
}

async fn bounce(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<NotificationId>,
    Body(body): Body<Bounce>,
) -> Result<Response, Problem> {
    let command = NotificationCommand::RecordBounce {
        reason: body.reason.to_string(),
        // Where it went stands in the notification.
        address: None,
    };
    let meta = call.meta(&api, &body);
    let executed = api
        .write::<Notification>(&call, &id.into(), command, &meta)
        .await?;
    Ok(Written::from(&executed).acted(&id))
}

async fn suppress(
    State(api): State<Api>,
    Operators(call): Operators,
    Body(body): Body<Suppress>,
) -> Result<Response, Problem> {
    let address = body.email.claim(&api.digest);
    let command = SuppressionCommand::SuppressAddress {
        reason: body.reason.clone(),
    };
    let written = write(&api, &call, address, command, &body).await?;
    let location = format!("/v1/suppressions/{address}");
    Ok(written.created(&location, Created::new(&address)))
}

async fn remove(
    State(api): State<Api>,
    Operators(call): Operators,
    Body(body): Body<Remove>,
) -> Result<Response, Problem> {
    let address = body.email.claim(&api.digest);
    let command = SuppressionCommand::UnsuppressAddress {};
    let written = write(&api, &call, address, command, &body).await?;
    Ok(written.acted(&address))
}

async fn write<B: Serialize>(
    api: &Api,
    call: &Call,
    address: EmailClaimId,
    command: SuppressionCommand,
    body: &B,
) -> Result<Written, Problem> {
    let meta = call.meta(api, body);
    let executed = api
        .write::<Suppression>(call, &address.into(), command, &meta)
        .await?;
    Ok(Written::from(&executed))
}
