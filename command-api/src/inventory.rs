//! `/v1/inventory`: the stock, by operators.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use edge::{Body, Id, Problem};
use inventory::{InventoryCommand, StockItem};
use kernel::{Reason, Sku};
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::call::{Call, Operators};
use crate::write::{Created, Written};

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/inventory", post(create))
        .route("/v1/inventory/{sku}/receive", post(receive))
        .route("/v1/inventory/{sku}/adjust", post(adjust))
        .route("/v1/inventory/{sku}/threshold", post(threshold))
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateStockItem {
    sku: Sku,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Receive {
    quantity: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Adjust {
    delta: i64,
    reason: Reason,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Threshold {
    /// Fewer available units are low stock; 0 = never.
    threshold: u32,
}

async fn create(
    State(api): State<Api>,
    Operators(call): Operators,
    Body(body): Body<CreateStockItem>,
) -> Result<Response, Problem> {
    let command = InventoryCommand::CreateStockItem {};
    let written = write(&api, &call, &body.sku, command, &body).await?;
    let location = format!("/v1/inventory/{}", body.sku);
    Ok(written.created(&location, Created::new(&body.sku)))
}

async fn receive(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(sku): Id<Sku>,
    Body(body): Body<Receive>,
) -> Result<Response, Problem> {
    let command = InventoryCommand::ReceiveStock {
        quantity: body.quantity,
    };
    let written = write(&api, &call, &sku, command, &body).await?;
    Ok(written.acted(&sku))
}

async fn adjust(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(sku): Id<Sku>,
    Body(body): Body<Adjust>,
) -> Result<Response, Problem> {
    let command = InventoryCommand::AdjustStock {
        delta: body.delta,
        reason: body.reason.clone(),
    };
    let written = write(&api, &call, &sku, command, &body).await?;
    Ok(written.acted(&sku))
}

async fn threshold(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(sku): Id<Sku>,
    Body(body): Body<Threshold>,
) -> Result<Response, Problem> {
    let command = InventoryCommand::SetLowStockThreshold {
        threshold: body.threshold,
    };
    let written = write(&api, &call, &sku, command, &body).await?;
    Ok(written.acted(&sku))
}

async fn write<B: Serialize>(
    api: &Api,
    call: &Call,
    sku: &Sku,
    command: InventoryCommand,
    body: &B,
) -> Result<Written, Problem> {
    let meta = call.meta(api, body);
    let executed = api
        .write::<StockItem>(call, &sku.into(), command, &meta)
        .await?;
    Ok(Written::from(&executed))
}
