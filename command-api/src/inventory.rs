//! `/v1/inventory`: the stock, by operators.

use axum::extract::State;
use edge::openapi::{Calls, about};
use edge::{Body, Problem};
use inventory::InventoryRefusal::{
    AdjustmentOfZero, AdjustmentTooLarge, QuantityNotPositive, StockItemAlreadyExists,
    StockItemUnknown, StockTooLarge,
};
use inventory::{InventoryCommand, ON_HAND_MAX, StockItem};
use kernel::{Reason, Sku};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::Api;
use crate::call::Operators;
use crate::error::{QUANTITY, refusals};
use crate::resource::{Asks, act};
use crate::write::{Created, Made, Written};

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
