//! `/v1/orders/{id}/returns`: customers send goods back; operators say which, and when they are here.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use edge::{Body, Id, Ids, Problem};
use kernel::{Money, OrderId, Reason, ReturnId, Sku};
use order::{Order, OrderCommand, ReturnLine, ReturnStage};
use serde::{Deserialize, Serialize};
use streams::Executed;

use crate::api::Api;
use crate::call::{Call, Operators};
use crate::order::must_be_theirs;
use crate::write::Written;

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/orders/{id}/returns", post(request))
        .route("/v1/orders/{id}/returns/{return_id}/approve", post(approve))
        .route("/v1/orders/{id}/returns/{return_id}/refuse", post(refuse))
        .route("/v1/orders/{id}/returns/{return_id}/receive", post(receive))
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestReturn {
    lines: Vec<Line>,
    reason: Reason,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    sku: Sku,
    quantity: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refuse {
    reason: Reason,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn request(
    State(api): State<Api>,
    call: Call,
    Id(id): Id<OrderId>,
    Body(body): Body<RequestReturn>,
) -> Result<Response, Problem> {
    let return_id = ReturnId(call.required_id("return")?);
    must_be_theirs(&api, &call, id).await?;
    let lines = body.lines.iter().map(|line| ReturnLine {
        sku: line.sku.clone(),
        quantity: line.quantity,
    });
    let command = OrderCommand::RequestReturn {
        return_id,
        lines: lines.collect(),
        reason: body.reason.clone(),
    };
    let executed = write(&api, &call, id, command, &body).await?;
    let location = format!("/v1/orders/{id}/returns/{return_id}");
    Ok(Written::from(&executed).created(&location, Returned::new(id, return_id, &executed)))
}

async fn approve(
    State(api): State<Api>,
    Operators(call): Operators,
    Ids(id, return_id): Ids<OrderId, ReturnId>,
    Body(body): Body<Nothing>,
) -> Result<Response, Problem> {
    let command = OrderCommand::ApproveReturn { return_id };
    act(&api, &call, (id, return_id), command, &body).await
}

async fn refuse(
    State(api): State<Api>,
    Operators(call): Operators,
    Ids(id, return_id): Ids<OrderId, ReturnId>,
    Body(body): Body<Refuse>,
) -> Result<Response, Problem> {
    let command = OrderCommand::RefuseReturn {
        return_id,
        reason: body.reason.clone(),
    };
    act(&api, &call, (id, return_id), command, &body).await
}

async fn receive(
    State(api): State<Api>,
    Operators(call): Operators,
    Ids(id, return_id): Ids<OrderId, ReturnId>,
    Body(body): Body<Nothing>,
) -> Result<Response, Problem> {
    let command = OrderCommand::ReceiveReturn { return_id };
    act(&api, &call, (id, return_id), command, &body).await
}

/// The body of every answer here. The version is the order's.
#[derive(Serialize)]
struct Returned {
    id: ReturnId,
    order_id: OrderId,
    status: Option<ReturnStage>,
    amount: Option<Money>,
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
) -> Result<Response, Problem> {
    let executed = write(api, call, id, command, body).await?;
    let body = Returned::new(id, return_id, &executed);
    Ok(Written::from(&executed).answer(StatusCode::OK, body))
}

async fn write<B: Serialize>(
    api: &Api,
    call: &Call,
    id: OrderId,
    command: OrderCommand,
    body: &B,
) -> Result<Executed<Order>, Problem> {
    let meta = call.meta(api, body).with_correlation(id.to_string());
    api.write(call, &id.into(), command, &meta).await
}
