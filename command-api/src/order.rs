//! `/v1/orders`: customers buy and cancel; operators ship and deliver.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use edge::{Body, Id, Problem};
use kernel::{OrderId, Reason, Tracking};
use order::{Order, OrderCommand, OrderStatus};
use serde::{Deserialize, Serialize};
use streams::Executed;

use crate::api::Api;
use crate::call::{Call, Operators};
use crate::error;
use crate::write::Written;
use crate::{placing, returns};

pub(crate) fn routes() -> Router<Api> {
    returns::routes()
        .route("/v1/orders", post(placing::place))
        .route("/v1/orders/{id}/cancel", post(cancel))
        .route("/v1/orders/{id}/ship", post(ship))
        .route("/v1/orders/{id}/deliver", post(deliver))
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancel {
    reason: Reason,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ship {
    tracking: Tracking,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn cancel(
    State(api): State<Api>,
    call: Call,
    Id(id): Id<OrderId>,
    Body(body): Body<Cancel>,
) -> Result<Response, Problem> {
    must_be_theirs(&api, &call, id).await?;
    let command = OrderCommand::CancelOrder {
        reason: body.reason.clone(),
    };
    write(&api, &call, id, command, &body).await
}

async fn ship(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<OrderId>,
    Body(body): Body<Ship>,
) -> Result<Response, Problem> {
    let command = OrderCommand::ShipOrder {
        tracking: body.tracking.clone(),
    };
    write(&api, &call, id, command, &body).await
}

async fn deliver(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<OrderId>,
    Body(body): Body<Nothing>,
) -> Result<Response, Problem> {
    write(&api, &call, id, OrderCommand::DeliverOrder {}, &body).await
}

/// The owner never changes, so a cached order will do; one that this process has not seen yet is
/// asked of the leader.
pub(crate) async fn must_be_theirs(api: &Api, call: &Call, id: OrderId) -> Result<(), Problem> {
    let mut loaded = api.streams.load::<Order>(&id.into()).await;
    if matches!(&loaded, Ok(order) if order.version == 0) {
        loaded = api.streams.load_current::<Order>(&id.into()).await;
    }
    let owner = loaded.map_err(error::of_load)?.state.owner();
    let owner = owner.ok_or_else(|| Problem::not_found("there is no such order"))?;
    call.principal.require_owner_or_operator(owner, "order")
}

/// The body of an act's answer.
#[derive(Serialize)]
struct Acted {
    id: OrderId,
    status: Option<OrderStatus>,
    version: u64,
}

async fn write<B: Serialize>(
    api: &Api,
    call: &Call,
    id: OrderId,
    command: OrderCommand,
    body: &B,
) -> Result<Response, Problem> {
    let meta = call.meta(api, body).with_correlation(id.to_string());
    let executed: Executed<Order> = api.write(call, &id.into(), command, &meta).await?;
    let body = Acted {
        id,
        status: executed.state.status(),
        version: executed.version,
    };
    Ok(Written::from(&executed).answer(StatusCode::OK, body))
}
