//! `POST /v1/orders`: from a basket to an order, and, if the client likes, to its outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use edge::{Body, FieldError, Prefer, Problem};
use kernel::{Money, OrderId, PaymentMethod, Reason, Sku, purpose};
use order::{LINES_MAX, Line, Order, OrderCommand, OrderRefusal, OrderStatus};
use product::Offer;
use serde::{Deserialize, Serialize};
use streams::{Executed, Outcome};
use user::Standing;

use crate::address::Address;
use crate::api::Api;
use crate::call::Call;
use crate::error;
use crate::outcomes::{Ending, Waiter};
use crate::problems::problem;
use crate::questions::Age;
use crate::write::Written;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlaceOrder {
    lines: Vec<Wanted>,
    shipping_address: Address,
    payment_method: PaymentMethod,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    sku: Sku,
    quantity: u32,
    /// The price that the client was shown: another one is refused rather than charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expected_price: Option<Money>,
}

/// The body of the answer.
#[derive(Serialize)]
struct Placed {
    id: OrderId,
    status: OrderStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    total: Option<Money>,
    /// Where the order's progress can be read.
    checkout: String,
}

pub(crate) async fn place(
    State(api): State<Api>,
    prefer: Prefer,
    call: Call,
    Body(body): Body<PlaceOrder>,
) -> Result<Response, Problem> {
    let id = OrderId(call.required_id("order")?);
    let meta = call.meta(&api, &body).with_correlation(id.to_string());
    let command = match compose(&api, &call, &body).await {
        Ok(command) => command,
        // What was placed stays placed, whatever product or user context say by now.
        Err(problem) => earlier(&api, id).await?.ok_or(problem)?,
    };
    // Listening begins before the order exists, so its outcome can't be missed.
    let waiter = prefer.wait.and_then(|_| api.outcomes.waiter(id));
    let executed: Executed<Order> = api.write(&call, &id.into(), command, &meta).await?;
    let ending = match (prefer.wait, waiter) {
        (Some(wait), Some(waiter)) => Some((wait, end(&api, &executed, waiter, wait).await?)),
        (Some(_) | None, _) => None,
    };
    Ok(answer(id, &executed, ending))
}

/// The order that was placed under this id before: what it was placed with is not asked again (the
/// store tells a repetition by the command's id).
async fn earlier(api: &Api, id: OrderId) -> Result<Option<OrderCommand>, Problem> {
    let loaded = api.streams.load::<Order>(&id.into()).await;
    let loaded = loaded.map_err(error::of_load)?;
    Ok(loaded
        .state
        .purchase()
        .map(|purchase| OrderCommand::PlaceOrder {
            user_id: purchase.user_id,
            lines: purchase.lines.clone(),
            shipping_address: purchase.shipping_address.clone(),
            payment_method: purchase.payment_method.clone(),
        }))
}

async fn compose(api: &Api, call: &Call, body: &PlaceOrder) -> Result<OrderCommand, Problem> {
    // The order itself checks this too; here it bounds how much is asked.
    if body.lines.len() > LINES_MAX as usize {
        let refusal = OrderRefusal::TooManyLines { max: LINES_MAX };
        return Err(error::of_refusal(&refusal));
    }
    let (standing, lines) = tokio::join!(may_order(api, call), priced(api, call, &body.lines));
    standing?;
    let lines = lines?;
    let user_id = call.principal.user_id;
    let address = body.shipping_address.to_json()?;
    let sealed = api
        .personal
        .seal(user_id, purpose::ORDER_SHIPPING_ADDRESS, &address);
    Ok(OrderCommand::PlaceOrder {
        user_id,
        lines,
        shipping_address: sealed.await.map_err(error::of_personal)?,
        payment_method: body.payment_method.clone(),
    })
}

async fn may_order(api: &Api, call: &Call) -> Result<(), Problem> {
    let user_id = call.principal.user_id;
    let standing = api.questions.standing(user_id, age(call, "USER")).await;
    match standing.map_err(error::of_question)? {
        Standing::Active => Ok(()),
        Standing::Suspended => Err(problem(
            StatusCode::FORBIDDEN,
            "user_suspended",
            "the account is suspended: it can't place orders",
        )),
        Standing::Leaving => Err(problem(
            StatusCode::FORBIDDEN,
            "user_leaving",
            "the account is about to be erased: it can't place orders",
        )),
        Standing::Erased => Err(problem(
            StatusCode::FORBIDDEN,
            "user_erased",
            "the user was erased: they can't place orders",
        )),
        Standing::Unknown => Err(problem(
            StatusCode::FORBIDDEN,
            "user_unknown",
            "nobody is registered under the token's subject: it can't place orders",
        )),
    }
}

/// What the client has seen, no cache may be behind.
fn age(call: &Call, stream: &str) -> Age {
    if call.has_seen(stream) {
        Age::Fresh
    } else {
        Age::Cached
    }
}

/// The lines at the prices of now. Whatever a cached offer would refuse is asked again first.
async fn priced(api: &Api, call: &Call, wanted: &[Wanted]) -> Result<Vec<Line>, Problem> {
    let skus: Vec<Sku> = wanted.iter().map(|line| line.sku.clone()).collect();
    let first = age(call, "PRODUCT");
    let offers = api.questions.offers(&skus, first).await;
    match lines(wanted, &offers.map_err(error::of_question)?) {
        Err(_) if first == Age::Cached => {
            let offers = api.questions.offers(&skus, Age::Fresh).await;
            lines(wanted, &offers.map_err(error::of_question)?)
        }
        lines => lines,
    }
}

fn lines(wanted: &[Wanted], offers: &BTreeMap<Sku, Offer>) -> Result<Vec<Line>, Problem> {
    let numbered = wanted.iter().enumerate();
    numbered
        .map(|(index, wanted)| line(index, wanted, offers.get(&wanted.sku)))
        .collect()
}

fn line(index: usize, wanted: &Wanted, offer: Option<&Offer>) -> Result<Line, Problem> {
    let refuse = |code, field: &str, detail: String| {
        let pointer = format!("/lines/{index}/{field}");
        Problem {
            errors: vec![FieldError::new(pointer, detail.clone())],
            ..problem(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
        }
    };
    let sku = &wanted.sku;
    let offer =
        offer.ok_or_else(|| refuse("sku_unknown", "sku", format!("there is no product {sku}")))?;
    if !offer.published {
        let detail = format!("{sku} is not on sale");
        return Err(refuse("product_not_on_sale", "sku", detail));
    }
    if wanted
        .expected_price
        .is_some_and(|price| price != offer.price)
    {
        let detail = format!("{sku} costs {} now", offer.price);
        return Err(refuse("price_changed", "expected_price", detail));
    }
    Ok(Line {
        sku: sku.clone(),
        title: offer.title.clone(),
        quantity: wanted.quantity,
        unit_price: offer.price,
    })
}

/// How the order ended, if it did within `wait`.
async fn end(
    api: &Api,
    executed: &Executed<Order>,
    waiter: Waiter,
    wait: Duration,
) -> Result<Option<Ending>, Problem> {
    if executed.outcome == Outcome::Replayed {
        // It may have ended long ago, before anybody listened.
        let id = waiter.order_id();
        let now = api.streams.load_current::<Order>(&id.into()).await;
        let now = now.map_err(error::of_load)?;
        if let Some(ending) = Ending::of_state(&now) {
            return Ok(Some(ending));
        }
    }
    Ok(waiter.wait(executed.position.sequence, wait).await)
}

fn answer(
    id: OrderId,
    executed: &Executed<Order>,
    waited: Option<(Duration, Option<Ending>)>,
) -> Response {
    let mut written = Written::from(executed);
    let mut body = Placed {
        id,
        status: OrderStatus::Placed,
        reason: None,
        total: executed.state.total(),
        checkout: format!("/v1/checkouts/{id}"),
    };
    let applied = waited.as_ref().map(|(wait, _)| Prefer::applied_wait(*wait));
    if let Some((_, Some(ending))) = waited {
        body.status = ending.status;
        body.reason = ending.reason;
        written.version = ending.version;
        written.position.sequence = ending.position;
    }
    let mut response = written.created(&format!("/v1/orders/{id}"), body);
    response.headers_mut().extend(applied);
    response
}
