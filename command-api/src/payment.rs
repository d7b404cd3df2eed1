//! `/v1/payments`: operators give money back, and explain what differs at the provider.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use edge::{Body, Id, Problem};
use kernel::{Money, OrderId, PaymentId, Reason, RefundId};
use order::{Order, OrderStatus};
use payment::{Payment, PaymentCommand, RefundStage};
use serde::{Deserialize, Serialize};
use streams::Executed;

use crate::api::Api;
use crate::call::Operators;
use crate::error;
use crate::problems::problem;
use crate::write::Written;

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/payments/{id}/refunds", post(refund))
        .route("/v1/payments/{id}/reconciliation", post(reconcile))
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refund {
    amount: Money,
    reason: Reason,
}

/// The body of the answer.
#[derive(Serialize)]
struct Refunded {
    id: RefundId,
    payment_id: PaymentId,
    order_id: OrderId,
    status: RefundStatus,
    amount: Money,
    version: u64,
}

/// How far a refund has come.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum RefundStatus {
    Requested,
    Done,
    Failed,
}

async fn refund(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<PaymentId>,
    Body(body): Body<Refund>,
) -> Result<Response, Problem> {
    let refund_id = RefundId(call.required_id("refund")?);
    let order_id = order_of(&api, id).await?;
    must_have_left(&api, order_id).await?;
    let command = PaymentCommand::RefundPayment {
        refund_id,
        amount: body.amount,
        reason: body.reason.clone(),
    };
    let meta = call
        .meta(&api, &body)
        .with_correlation(order_id.to_string());
    let executed: Executed<Payment> = api.write(&call, &id.into(), command, &meta).await?;
    let answer = Refunded {
        id: refund_id,
        payment_id: id,
        order_id,
        status: status(&executed.state, refund_id),
        amount: body.amount,
        version: executed.version,
    };
    Ok(Written::from(&executed).created(&format!("/v1/payments/{id}"), answer))
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reconcile {
    reason: Reason,
}

async fn reconcile(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<PaymentId>,
    Body(body): Body<Reconcile>,
) -> Result<Response, Problem> {
    let order_id = order_of(&api, id).await?;
    let command = PaymentCommand::RecordReconciliation {
        reason: body.reason.clone(),
    };
    let meta = call
        .meta(&api, &body)
        .with_correlation(order_id.to_string());
    let executed: Executed<Payment> = api.write(&call, &id.into(), command, &meta).await?;
    Ok(Written::from(&executed).acted(&id))
}

/// Of which order it is never changes, so a cached payment will do; one that this process has not
/// seen yet is asked of the leader.
async fn order_of(api: &Api, id: PaymentId) -> Result<OrderId, Problem> {
    let mut loaded = api.streams.load::<Payment>(&id.into()).await;
    if matches!(&loaded, Ok(payment) if payment.version == 0) {
        loaded = api.streams.load_current::<Payment>(&id.into()).await;
    }
    let order_id = loaded.map_err(error::of_load)?.state.order_id();
    order_id.ok_or_else(|| Problem::not_found("there is no such payment"))
}

/// Until it is shipped an order is canceled, which gives all of its money back. One that has left
/// the house can't be canceled any more, so looking once is enough.
async fn must_have_left(api: &Api, id: OrderId) -> Result<(), Problem> {
    let loaded = api.streams.load_current::<Order>(&id.into()).await;
    match loaded.map_err(error::of_load)?.state.status() {
        Some(OrderStatus::Shipped | OrderStatus::Delivered) => Ok(()),
        None
        | Some(
            OrderStatus::Placed
            | OrderStatus::Confirmed
            | OrderStatus::Rejected
            | OrderStatus::Canceled,
        ) => Err(problem(
            StatusCode::CONFLICT,
            "order_not_shipped",
            "the order has not left the house: canceling it gives all of its money back",
        )),
    }
}

fn status(payment: &Payment, id: RefundId) -> RefundStatus {
    let refund = payment.charge().and_then(|charge| charge.refunds.get(&id));
    match refund.map(|refund| &refund.stage) {
        Some(RefundStage::Done) => RefundStatus::Done,
        Some(RefundStage::Failed { .. }) => RefundStatus::Failed,
        Some(RefundStage::Pending) | None => RefundStatus::Requested,
    }
}
