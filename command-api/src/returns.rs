//! `/v1/orders/{id}/returns`: customers send goods back; operators say which, and when they are here.

use axum::extract::State;
use checkout::settling::SagaId;
use edge::openapi::{Calls, about};
use edge::{Body, Id, IdempotencyKey, Ids, Prefer, Problem};
use kernel::{Money, OrderId, Reason, ReturnId, Sku};
use order::OrderRefusal::{
    DuplicateSku, NoLines, OrderCanceled, OrderNotDelivered, OrderRejected, OrderUnknown,
    QuantityOutOfRange, ReturnAlreadyReceived, ReturnDiffers, ReturnExceedsOrdered,
    ReturnNotApproved, ReturnRefused, ReturnUnknown, SkuNotOrdered, TooManyLines, TooManyReturns,
    TotalOverflow,
};
use order::{LINES_MAX, Order, OrderCommand, OrderRefusal, QUANTITY_MAX, RETURNS_MAX, ReturnStage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use streams::Executed;

use crate::api::Api;
use crate::call::{Call, Operators};
use crate::error::refusals;
use crate::order::must_be_theirs;
use crate::sagas::GoesOn;
use crate::write::{Done, Made, Waited, Written};

/// An order that didn't arrive has nothing to give back.
const NOT_DELIVERED: [OrderRefusal; 3] = [OrderCanceled, OrderRejected, OrderNotDelivered];

pub(crate) fn calls() -> Calls<Api> {
    let known = || {
        let mut all = refusals(NOT_DELIVERED);
        all.extend(refusals([OrderUnknown, ReturnUnknown]));
        all
    };
    Calls::default()
        .post(
            "/v1/orders/{id}/returns",
            about("Ask to send goods back")
                .more("Once the order has arrived.")
                .refuses(refusals(NOT_DELIVERED))
                .refuses(refusals(wrong_returns()))
                .example(json!({
                    "lines": [{ "sku": "MUG", "quantity": 1 }], "reason": "it leaks",
                })),
            request,
        )
        .post(
            "/v1/orders/{id}/returns/{return_id}/approve",
            about("Let goods be sent back")
                .refuses(known())
                .refuses(refusals([ReturnRefused]))
                .example(json!({})),
            approve,
        )
        .post(
            "/v1/orders/{id}/returns/{return_id}/refuse",
            about("Don't take goods back")
                .refuses(known())
                .refuses(refusals([ReturnAlreadyReceived]))
                .example(json!({ "reason": "worn" })),
            refuse,
        )
        .post(
            "/v1/orders/{id}/returns/{return_id}/receive",
            about("Say that returned goods are here")
                .more(
                    "They go back on the shelf, and their money goes back. With `Prefer: wait=n` the answer \
                     waits until that is done.",
                )
                .refuses(known())
                .refuses(refusals([ReturnRefused, ReturnNotApproved]))
                .example(json!({})),
            receive,
        )
}

/// What can be wrong with the wish to return something.
fn wrong_returns() -> impl Iterator<Item = OrderRefusal> {
    let of_a_product = "MUG".parse().into_iter().flat_map(|sku: Sku| {
        [
            DuplicateSku {
                line: 0,
                sku: sku.clone(),
            },
            SkuNotOrdered {
                line: 0,
                sku: sku.clone(),
            },
            ReturnExceedsOrdered {
                line: 0,
                sku,
                returnable: 0,
            },
        ]
    });
    let others = [
        ReturnDiffers,
        NoLines,
        TooManyLines { max: LINES_MAX },
        QuantityOutOfRange {
            line: 0,
            max: QUANTITY_MAX,
        },
        TooManyReturns { max: RETURNS_MAX },
        TotalOverflow,
    ];
    others.into_iter().chain(of_a_product)
}

/// Goods that are to come back.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RequestReturn {
    /// Which, each product once.
    #[schemars(length(min = 1, max = LINES_MAX))]
    lines: Vec<ReturnLine>,
    /// Why.
    reason: Reason,
}

/// Units of one product.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReturnLine {
    /// Which product.
    sku: Sku,
    /// How many units.
    #[schemars(range(min = 1, max = QUANTITY_MAX))]
    quantity: u32,
}

/// Nothing to say.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ApproveReturn {}

/// Why it is not taken back.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RefuseReturn {
    /// In the operator's words.
    reason: Reason,
}

/// Nothing to say.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReceiveReturn {}

async fn request(
    State(api): State<Api>,
    call: Call,
    key: IdempotencyKey,
    Id(id): Id<OrderId>,
    Body(body): Body<RequestReturn>,
) -> Result<Made<Returned>, Problem> {
    let return_id = ReturnId(call.derive("return", &key));
    must_be_theirs(&api, &call, id).await?;
    let lines = body.lines.iter().map(|line| order::ReturnLine {
        sku: line.sku.clone(),
        quantity: line.quantity,
    });
    let command = OrderCommand::RequestReturn {
        return_id,
        lines: lines.collect(),
        reason: body.reason.clone(),
    };
    let executed = api.change::<Order, _>(&call, &id, command, &body).await?;
    let location = format!("/v1/orders/{id}/returns/{return_id}");
    Ok(Written::from(&executed).made(location, Returned::new(id, return_id, &executed)))
}

async fn approve(
    State(api): State<Api>,
    Operators(call): Operators,
    Ids(id, return_id): Ids<OrderId, ReturnId>,
    Body(body): Body<ApproveReturn>,
) -> Result<Done<Returned>, Problem> {
    let command = OrderCommand::ApproveReturn { return_id };
    act(&api, &call, (id, return_id), command, &body).await
}

async fn refuse(
    State(api): State<Api>,
    Operators(call): Operators,
    Ids(id, return_id): Ids<OrderId, ReturnId>,
    Body(body): Body<RefuseReturn>,
) -> Result<Done<Returned>, Problem> {
    let command = OrderCommand::RefuseReturn {
        return_id,
        reason: body.reason.clone(),
    };
    act(&api, &call, (id, return_id), command, &body).await
}

async fn receive(
    State(api): State<Api>,
    prefer: Prefer,
    Operators(call): Operators,
    Ids(id, return_id): Ids<OrderId, ReturnId>,
    Body(body): Body<ReceiveReturn>,
) -> Result<Waited<Done<GoesOn<Returned>>>, Problem> {
    let saga = SagaId::Returning(return_id);
    let listens = api.listens(prefer, saga);
    let command = OrderCommand::ReceiveReturn { return_id };
    let Done { written, body } = act(&api, &call, (id, return_id), command, &body).await?;
    let told = api.ends(listens).await;
    Ok(Waited {
        answer: written.done(GoesOn::new(body, saga, told.as_ref())),
        waited: told.map(|told| told.waited),
    })
}

/// A return. The version is the order's.
#[derive(Serialize, JsonSchema)]
struct Returned {
    /// Its id.
    id: ReturnId,
    /// Of which order.
    order_id: OrderId,
    /// How far it has come.
    status: Option<ReturnStage>,
    /// What these goods cost.
    amount: Option<Money>,
    /// How many events the order has now.
    version: u64,
}

impl Returned {
    fn new(order_id: OrderId, id: ReturnId, executed: &Executed<Order>) -> Self {
        let purchase = executed.state.purchase();
        let known = purchase.and_then(|purchase| purchase.returns.get(&id));
        Self {
            id,
            order_id,
            status: known.map(|known| known.stage),
            amount: known.map(|known| known.amount),
            version: executed.version,
        }
    }
}

async fn act<B: Serialize>(
    api: &Api,
    call: &Call,
    (id, return_id): (OrderId, ReturnId),
    command: OrderCommand,
    body: &B,
) -> Result<Done<Returned>, Problem> {
    let executed = api.change::<Order, _>(call, &id, command, body).await?;
    let body = Returned::new(id, return_id, &executed);
    Ok(Written::from(&executed).done(body))
}
