//! `/v1/inventory`: the stock, by operators.

use axum::extract::State;
use edge::openapi::{Calls, about};
use edge::{Body, Id, Problem};
use inventory::InventoryRefusal::{
    AdjustmentOfZero, AdjustmentTooLarge, QuantityNotPositive, ReservationCommitted,
    ReservationNotLapsed, StockItemAlreadyExists, StockItemUnknown, StockTooLarge,
};
use inventory::{InventoryCommand, ON_HAND_MAX, StockItem};
use kernel::{AggregateId, OrderId, Reason, ReservationId, Sku};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use streams::clock;

use crate::api::Api;
use crate::call::Operators;
use crate::error::{QUANTITY, refusals};
use crate::resource::{Asks, act, told};
use crate::write::{Acted, Created, Done, Made, Written};

pub(crate) fn calls() -> Calls<Api> {
    let too_many = StockTooLarge { max: ON_HAND_MAX };
    Calls::default()
        .post(
            "/v1/inventory",
            about("Keep stock of a product")
                .refuses(refusals([StockItemAlreadyExists]))
                .example(json!({ "sku": "MUG" })),
            create,
        )
        .post(
            "/v1/inventory/{sku}/receive",
            about("Receive units")
                .refuses(refusals([
                    StockItemUnknown,
                    QuantityNotPositive,
                    too_many.clone(),
                ]))
                .example(json!({ "quantity": 100 })),
            act::<Operators, StockItem, ReceiveStock>,
        )
        .post(
            "/v1/inventory/{sku}/adjust",
            about("Correct the count of units")
                .more("Units that are set aside for orders can't be corrected away.")
                .refuses(refusals([
                    StockItemUnknown,
                    AdjustmentOfZero,
                    AdjustmentTooLarge { available: 0 },
                    too_many,
                ]))
                .example(json!({ "delta": 2, "reason": "found behind the shelf" })),
            act::<Operators, StockItem, AdjustStock>,
        )
        .post(
            "/v1/inventory/{sku}/threshold",
            about("Say when stock is low")
                .refuses(refusals([StockItemUnknown]))
                .example(json!({ "threshold": 10 })),
            act::<Operators, StockItem, SetThreshold>,
        )
        .post(
            "/v1/inventory/{sku}/expire",
            about("End a hold whose time is over")
                .more("Its units can be sold again. `GET /v1/system/stuck` names such holds.")
                .refuses(refusals([
                    StockItemUnknown,
                    ReservationCommitted,
                    ReservationNotLapsed,
                ]))
                .example(json!({
                    "order_id": "0198c1d2-8b5c-7d42-8a6f-3c7d9eaf102b", "attempt": 1,
                })),
            expire,
        )
}

/// What stock is kept of.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CreateStockItem {
    /// The product.
    sku: Sku,
}

/// Units that came in.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReceiveStock {
    /// How many.
    #[schemars(range(min = 1))]
    quantity: u32,
}

impl Asks<StockItem> for ReceiveStock {
    fn command(&self) -> InventoryCommand {
        let quantity = self.quantity;
        InventoryCommand::ReceiveStock { quantity }
    }
}

/// Units that were found or lost.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AdjustStock {
    /// How many more there are (below zero: fewer), not 0.
    delta: i64,
    /// Why.
    reason: Reason,
}

impl Asks<StockItem> for AdjustStock {
    fn command(&self) -> InventoryCommand {
        InventoryCommand::AdjustStock {
            delta: self.delta,
            reason: self.reason.clone(),
        }
    }

    fn pointed(mut problem: Problem) -> Problem {
        for error in &mut problem.errors {
            if error.pointer == QUANTITY {
                "/delta".clone_into(&mut error.pointer);
            }
        }
        problem
    }
}

/// From when on stock is low.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetThreshold {
    /// Fewer available units are low stock; 0 = never.
    threshold: u32,
}

impl Asks<StockItem> for SetThreshold {
    fn command(&self) -> InventoryCommand {
        let threshold = self.threshold;
        InventoryCommand::SetLowStockThreshold { threshold }
    }
}

/// Units that were set aside for an order.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExpireReservation {
    /// Which order.
    order_id: OrderId,
    /// Which of its tries, from 1.
    attempt: u32,
}

async fn expire(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(sku): Id<Sku>,
    Body(body): Body<ExpireReservation>,
) -> Result<Done<Acted>, Problem> {
    let command = InventoryCommand::ExpireReservation {
        reservation: ReservationId {
            order_id: body.order_id,
            attempt: body.attempt,
        },
        at: clock::now(),
    };
    // It is part of the order's flow, as the hold was.
    let meta = call
        .meta(&api, &body)
        .with_correlation(body.order_id.to_string());
    let item = AggregateId::from(&sku);
    let executed = api.write::<StockItem>(&call, &item, command, &meta);
    Ok(told::<StockItem>(&sku, &executed.await?))
}

async fn create(
    State(api): State<Api>,
    Operators(call): Operators,
    Body(body): Body<CreateStockItem>,
) -> Result<Made<Created>, Problem> {
    let command = InventoryCommand::CreateStockItem {};
    let executed = api
        .change::<StockItem, _>(&call, &body.sku, command, &body)
        .await?;
    let location = format!("/v1/inventory/{}", body.sku);
    Ok(Written::from(&executed).made(location, Created::new(&body.sku)))
}
