//! `/v1/payments`: operators give money back, and explain what differs at the provider.

use axum::extract::State;
use axum::http::StatusCode;
use checkout::settling::SagaId;
use edge::openapi::{Calls, about};
use edge::{Body, Id, IdempotencyKey, Prefer, Problem};
use kernel::{Money, OrderId, PaymentId, Reason, RefundId};
use order::{Order, OrderStatus};
use payment::{Payment, PaymentCommand, PaymentRefusal, REFUNDS_MAX, RefundStage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use streams::Executed;

use crate::api::Api;
use crate::call::Operators;
use crate::error::{self, refusals};
use crate::problems::problem;
use crate::sagas::GoesOn;
use crate::write::{Acted, Done, Made, Waited, Written};

pub(crate) fn calls() -> Calls<Api> {
    Calls::default()
        .post(
            "/v1/payments/{id}/refunds",
            about("Give money back")
                .more(
                    "Once the order has left the house: until then it is canceled. With `Prefer: wait=n` the \
                     answer waits until the money has gone back and the order knows, or it can't.",
                )
                .refuses([not_shipped()])
                .refuses(refusals(wrong_refunds()))
                .example(json!({
                    "amount": { "amount": 500, "currency": "EUR" }, "reason": "a scratch",
                })),
            refund,
        )
        .post(
            "/v1/payments/{id}/reconciliation",
            about("Accept what differs at the provider")
                .refuses(refusals([PaymentRefusal::NoMismatch]))
                .example(json!({ "reason": "refunded by hand on the provider's page" })),
            accept,
        )
}

/// What can be wrong with the wish to give money back.
fn wrong_refunds() -> impl Iterator<Item = PaymentRefusal> {
    let of_an_amount = "EUR".parse().into_iter().flat_map(|currency| {
        let amount = Money::zero(currency);
        [
            PaymentRefusal::RefundDiffers { requested: amount },
            PaymentRefusal::RefundExceedsCaptured { available: amount },
        ]
    });
    let others = [
        PaymentRefusal::PaymentNotCaptured,
        PaymentRefusal::RefundFailed {
            reason: String::new(),
        },
        PaymentRefusal::AmountNotPositive,
        PaymentRefusal::TooManyRefunds { max: REFUNDS_MAX },
    ];
    others.into_iter().chain(of_an_amount)
}

/// Money that goes back.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RefundPayment {
    /// How much, above zero, in the payment's currency.
    amount: Money,
    /// Why.
    reason: Reason,
}

/// A refund.
#[derive(Serialize, JsonSchema)]
struct Refunded {
    /// Its id.
    id: RefundId,
    /// Of which payment.
    payment_id: PaymentId,
    /// For which order.
    order_id: OrderId,
    /// How far it has come.
    status: RefundStatus,
    /// How much.
    amount: Money,
    /// How many events the payment has now.
    version: u64,
}

/// How far a refund has come.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum RefundStatus {
    /// The provider is to be asked.
    Requested,
    /// The money is on its way.
    Done,
    /// It won't be.
    Failed,
}

async fn refund(
    State(api): State<Api>,
    (prefer, Operators(call)): (Prefer, Operators),
    key: IdempotencyKey,
    Id(id): Id<PaymentId>,
    Body(body): Body<RefundPayment>,
) -> Result<Waited<Made<GoesOn<Refunded>>>, Problem> {
    let refund_id = RefundId(call.derive("refund", &key));
    let saga = SagaId::Refunding(refund_id);
    let listens = api.listens(prefer, saga);
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
    let told = api.ends(listens).await;
    let answer = GoesOn::new(answer, saga, told.as_ref());
    Ok(Waited {
        answer: Written::from(&executed).made(format!("/v1/payments/{id}"), answer),
        waited: told.map(|told| told.waited),
    })
}

/// What explains the difference.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AcceptMismatch {
    /// In the operator's words.
    reason: Reason,
}

async fn accept(
    State(api): State<Api>,
    Operators(call): Operators,
    Id(id): Id<PaymentId>,
    Body(body): Body<AcceptMismatch>,
) -> Result<Done<Acted>, Problem> {
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

/// Of which order it is never changes.
async fn order_of(api: &Api, id: PaymentId) -> Result<OrderId, Problem> {
    let order_id = api.seen::<Payment>(&id.into()).await?.order_id();
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
        ) => Err(not_shipped()),
    }
}

fn not_shipped() -> Problem {
    problem(
        StatusCode::CONFLICT,
        "order_not_shipped",
        "the order has not left the house: canceling it gives all of its money back",
    )
}

fn status(payment: &Payment, id: RefundId) -> RefundStatus {
    let refund = payment.charge().and_then(|charge| charge.refunds.get(&id));
    match refund.map(|refund| &refund.stage) {
        Some(RefundStage::Done) => RefundStatus::Done,
        Some(RefundStage::Failed { .. }) => RefundStatus::Failed,
        Some(RefundStage::Pending) | None => RefundStatus::Requested,
    }
}
