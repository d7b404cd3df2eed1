//! `/v1/orders`: customers buy and cancel; operators ship and deliver.

use axum::extract::State;
use checkout::settling::SagaId;
use edge::openapi::{Calls, about};
use edge::{Body, Id, Prefer, Problem};
use kernel::{OrderId, Reason, Tracking};
use order::OrderRefusal::{
    OrderAlreadyShipped, OrderCanceled, OrderNotConfirmed, OrderNotShipped, OrderRejected,
    OrderUnknown,
};
use order::{Order, OrderCommand};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::Api;
use crate::call::{Call, Operators};
use crate::error::refusals;
use crate::resource::{Asks, OrderTold, Resource, act};
use crate::sagas::GoesOn;
use crate::write::{Done, Waited, Written};
use crate::{placing, returns};

pub(crate) fn calls() -> Calls<Api> {
    placing::calls()
        .post(
            "/v1/orders/{id}/cancel",
            about("Cancel an order")
                .more(
                    "Until it is shipped. All of its money goes back. With `Prefer: wait=n` the answer waits \
                     until the checkout is over.",
                )
                .refuses(refusals([OrderRejected, OrderAlreadyShipped]))
                .example(json!({ "reason": "changed my mind" })),
            cancel,
        )
        .post(
            "/v1/orders/{id}/ship",
            about("Say that an order has left the house")
                .refuses(refusals([
                    OrderUnknown,
                    OrderCanceled,
                    OrderRejected,
                    OrderAlreadyShipped,
                    OrderNotConfirmed,
                ]))
                .example(json!({ "tracking": "1Z999AA10123456784" })),
            act::<Operators, Order, ShipOrder>,
        )
        .post(
            "/v1/orders/{id}/deliver",
            about("Say that an order has arrived")
                .refuses(refusals([
                    OrderUnknown,
                    OrderCanceled,
                    OrderRejected,
                    OrderNotShipped,
                ]))
                .example(json!({})),
            act::<Operators, Order, DeliverOrder>,
        )
        .merge(returns::calls())
}

/// Why it is called off.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CancelOrder {
    /// In the canceler's words.
    reason: Reason,
}

/// How it is on its way.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ShipOrder {
    /// The carrier's number.
    tracking: Tracking,
}

impl Asks<Order> for ShipOrder {
    fn command(&self) -> OrderCommand {
        let tracking = self.tracking.clone();
        OrderCommand::ShipOrder { tracking }
    }
}

/// Nothing to say.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DeliverOrder {}

impl Asks<Order> for DeliverOrder {
    fn command(&self) -> OrderCommand {
        OrderCommand::DeliverOrder {}
    }
}

async fn cancel(
    State(api): State<Api>,
    prefer: Prefer,
    call: Call,
    Id(id): Id<OrderId>,
    Body(body): Body<CancelOrder>,
) -> Result<Waited<Done<GoesOn<OrderTold>>>, Problem> {
    must_be_theirs(&api, &call, id).await?;
    let command = OrderCommand::CancelOrder {
        reason: body.reason.clone(),
    };
    let saga = SagaId::Checkout(id);
    let listens = api.listens(prefer, saga);
    let executed = api.change::<Order, _>(&call, &id, command, &body).await?;
    let told = api.ends(listens).await;
    let body = GoesOn::new(Order::told(&id, &executed), saga, told.as_ref());
    Ok(Waited {
        answer: Written::from(&executed).done(body),
        waited: told.map(|told| told.waited),
    })
}

/// The owner never changes.
pub(crate) async fn must_be_theirs(api: &Api, call: &Call, id: OrderId) -> Result<(), Problem> {
    let owner = api.seen::<Order>(&id.into()).await?.owner();
    let owner = owner.ok_or_else(|| Problem::not_found("there is no such order"))?;
    call.principal.require_owner_or_operator(owner, "order")
}
