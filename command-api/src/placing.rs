//! `POST /v1/orders`: from a basket to an order, and, if the client likes, to its outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use edge::openapi::{Calls, about};
use edge::{Body, FieldError, IdempotencyKey, Prefer, Problem};
use kernel::{Money, OrderId, PaymentMethod, Reason, Sku, purpose};
use order::{
    LINES_MAX, Line, Order, OrderCommand, OrderRefusal, OrderStatus, PaymentStatus, QUANTITY_MAX,
};
use payment::{Payment, payment_id};
use product::Offer;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use streams::{Executed, Outcome};
use user::Standing;

use crate::address::Address;
use crate::api::Api;
use crate::call::Call;
use crate::error::{self, refusals};
use crate::outcomes::{Acting, Ending, Waiter};
use crate::problems::problem;
use crate::questions::Age;
use crate::write::{Made, Waited, Written};

pub(crate) fn calls() -> Calls<Api> {
    let barred = [
        Standing::Suspended,
        Standing::Leaving,
        Standing::Erased,
        Standing::Unknown,
    ];
    Calls::default().post(
        "/v1/orders",
        about("Place an order")
            .more(
                "Payment and stock are seen to afterwards: the checkout tells how far that has come. \
                 With `Prefer: wait=n` the answer waits for the outcome, or until the customer must act \
                 (3-D Secure): then `payment_status` is `action_required`, and the customer's browser is to be \
                 sent to `action_url`. Sent again under the same key, it waits on, but answers at once as long as the \
                 customer must act.",
            )
            .refuses(barred.into_iter().filter_map(barred_from_ordering))
            .refuses([NotSold::Unknown, NotSold::OffSale, NotSold::PriceChanged].map(|why| why.at(0, "")))
            .refuses(refusals(wrong_orders()))
            .example(json!({
                "lines": [{
                    "sku": "MUG", "quantity": 2,
                    "expected_price": { "amount": 1299, "currency": "EUR" },
                }],
                "shipping_address": {
                    "name": "Ann Miller", "line1": "Main St 1", "city": "Berlin",
                    "postal_code": "10115", "country": "DE",
                },
                "payment_method": "pm_card_visa",
            })),
        place,
    )
}

/// What can be wrong with an order of things that are on sale.
fn wrong_orders() -> impl Iterator<Item = OrderRefusal> {
    let of_a_product = "MUG".parse().into_iter();
    let twice = of_a_product.map(|sku: Sku| OrderRefusal::DuplicateSku { line: 0, sku });
    let others = [
        OrderRefusal::NoLines,
        OrderRefusal::TooManyLines { max: LINES_MAX },
        OrderRefusal::QuantityOutOfRange {
            line: 0,
            max: QUANTITY_MAX,
        },
        OrderRefusal::MixedCurrencies { line: 0 },
        OrderRefusal::TotalOverflow,
    ];
    others.into_iter().chain(twice)
}

/// A basket that is to be an order.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PlaceOrder {
    /// What is bought, each product once.
    #[schemars(length(min = 1, max = LINES_MAX))]
    lines: Vec<OrderLine>,
    /// Where it goes.
    shipping_address: Address,
    /// The payment provider's name for a way to pay.
    payment_method: PaymentMethod,
}

/// Units of one product.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OrderLine {
    /// Which product.
    sku: Sku,
    /// How many units.
    #[schemars(range(min = 1, max = QUANTITY_MAX))]
    quantity: u32,
    /// The price that the client was shown: another one is refused rather than charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expected_price: Option<Money>,
}

/// An order that was placed.
#[derive(Serialize, JsonSchema)]
struct Placed {
    /// Its id.
    id: OrderId,
    /// How far it has come.
    status: OrderStatus,
    /// Why it was rejected or canceled.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// `action_required`: the customer must act (3-D Secure) before it goes on. Only where the outcome was
    /// waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_status: Option<PaymentStatus>,
    /// Where the customer acts: their browser is to be sent there.
    #[serde(skip_serializing_if = "Option::is_none")]
    action_url: Option<String>,
    /// The sum over all lines.
    total: Option<Money>,
    /// Where the order's progress can be read.
    checkout: String,
}

async fn place(
    State(api): State<Api>,
    prefer: Prefer,
    call: Call,
    key: IdempotencyKey,
    Body(body): Body<PlaceOrder>,
) -> Result<Waited<Made<Placed>>, Problem> {
    let id = OrderId(call.derive("order", &key));
    let command = match compose(&api, &call, &body).await {
        Ok(command) => command,
        // What was placed stays placed, whatever product or user context say by now.
        Err(problem) => earlier(&api, id).await?.ok_or(problem)?,
    };
    // Listening begins before the order exists, so its outcome can't be missed.
    let waits = prefer.wait.and_then(|wait| Waits::begin(&api, id, wait));
    let executed = api.change::<Order, _>(&call, &id, command, &body).await?;
    let waited = match waits {
        Some(waits) => Some((waits.wait, waits.outcome(&api, &executed).await?)),
        None => None,
    };
    Ok(answer(id, &executed, waited))
}

/// The order that was placed under this id before: what it was placed with is not asked again (the
/// store tells a repetition by the command's id).
async fn earlier(api: &Api, id: OrderId) -> Result<Option<OrderCommand>, Problem> {
    // As the leader has it: it may have been placed by another process.
    let loaded = api.streams.load_current::<Order>(&id.into()).await;
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
    let standing = standing.map_err(error::of_question)?;
    barred_from_ordering(standing).map_or(Ok(()), Err)
}

/// 403 for who may not order.
fn barred_from_ordering(standing: Standing) -> Option<Problem> {
    let (code, why) = match standing {
        Standing::Active => return None,
        Standing::Suspended => ("user_suspended", "the account is suspended"),
        Standing::Leaving => ("user_leaving", "the account is about to be erased"),
        Standing::Erased => ("user_erased", "the user was erased"),
        Standing::Unknown => (
            "user_unknown",
            "nobody is registered under the token's subject",
        ),
    };
    let detail = format!("{why}: it can't place orders");
    Some(problem(StatusCode::FORBIDDEN, code, detail))
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
async fn priced(api: &Api, call: &Call, wanted: &[OrderLine]) -> Result<Vec<Line>, Problem> {
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

fn lines(wanted: &[OrderLine], offers: &BTreeMap<Sku, Offer>) -> Result<Vec<Line>, Problem> {
    let numbered = wanted.iter().enumerate();
    numbered
        .map(|(index, wanted)| line(index, wanted, offers.get(&wanted.sku)))
        .collect()
}

fn line(index: usize, wanted: &OrderLine, offer: Option<&Offer>) -> Result<Line, Problem> {
    let sku = &wanted.sku;
    let offer =
        offer.ok_or_else(|| NotSold::Unknown.at(index, format!("there is no product {sku}")))?;
    if !offer.published {
        return Err(NotSold::OffSale.at(index, format!("{sku} is not on sale")));
    }
    if wanted
        .expected_price
        .is_some_and(|price| price != offer.price)
    {
        let detail = format!("{sku} costs {} now", offer.price);
        return Err(NotSold::PriceChanged.at(index, detail));
    }
    Ok(Line {
        sku: sku.clone(),
        title: offer.title.clone(),
        quantity: wanted.quantity,
        unit_price: offer.price,
    })
}

/// Why a line can't be bought.
#[derive(Clone, Copy)]
enum NotSold {
    Unknown,
    OffSale,
    PriceChanged,
}

impl NotSold {
    /// 422, at the line's field that it is about.
    fn at(self, line: usize, detail: impl Into<String>) -> Problem {
        let (code, field) = match self {
            Self::Unknown => ("sku_unknown", "sku"),
            Self::OffSale => ("product_not_on_sale", "sku"),
            Self::PriceChanged => ("price_changed", "expected_price"),
        };
        let detail = detail.into();
        let error = FieldError::new(format!("/lines/{line}/{field}"), detail.clone());
        Problem {
            errors: vec![error],
            ..problem(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
        }
    }
}

/// What there is to tell of an order once it is placed.
enum News {
    /// It has ended.
    Ended(Ending),
    /// It waits for its buyer.
    MustAct(Acting),
}

/// Somebody who waits for that.
struct Waits {
    wait: Duration,
    ending: Waiter<Ending>,
    acting: Option<Waiter<Acting>>,
}

impl Waits {
    /// `None` = too many wait already.
    fn begin(api: &Api, id: OrderId, wait: Duration) -> Option<Self> {
        Some(Self {
            wait,
            ending: api.outcomes.waiter(id)?,
            acting: api.actions.waiter(payment_id(id)),
        })
    }

    /// What comes first within the time, if anything does.
    async fn outcome(self, api: &Api, executed: &Executed<Order>) -> Result<Option<News>, Problem> {
        let Self {
            wait,
            ending,
            acting,
        } = self;
        if executed.outcome == Outcome::Replayed {
            // It may have come long ago, before anybody listened.
            let known = already(api, ending.id()).await?;
            if known.is_some() {
                return Ok(known);
            }
        }
        let (id, before) = (ending.id(), executed.outcome == Outcome::Replayed);
        let acting = must_act(api, (id, before), acting, wait);
        let news = async {
            tokio::select! {
                Some(ending) = ending.wait(wait) => Ok(Some(News::Ended(ending))),
                Some(news) = async { acting.await.transpose() } => news.map(Some),
                else => Ok(None),
            }
        };
        tokio::time::timeout(wait, news).await.unwrap_or(Ok(None))
    }
}

/// What there is to tell once the buyer of an order must act. Of one that was placed `before` they may long have: what
/// is heard begins with what came before anybody waited.
async fn must_act(
    api: &Api,
    (id, before): (OrderId, bool),
    mut waiter: Option<Waiter<Acting>>,
    wait: Duration,
) -> Result<Option<News>, Problem> {
    while let Some(waits) = waiter {
        let payment = waits.id();
        let Some(acting) = waits.wait(wait).await else {
            return Ok(None);
        };
        if !before {
            return Ok(Some(News::MustAct(acting)));
        }
        // First, so that nothing is missed behind the look.
        waiter = api.actions.waiter(payment);
        let known = already(api, id).await?;
        if known.is_some() {
            return Ok(known);
        }
    }
    Ok(None)
}

/// What is there already to tell of an order, as the leaders of its streams have it.
async fn already(api: &Api, id: OrderId) -> Result<Option<News>, Problem> {
    let order = api.streams.load_current::<Order>(&id.into()).await;
    let order = order.map_err(error::of_load)?;
    if let Some(ending) = Ending::of_state(&order) {
        return Ok(Some(News::Ended(ending)));
    }
    let payment = payment_id(id).into();
    let payment = api.streams.load_current::<Payment>(&payment).await;
    let payment = payment.map_err(error::of_load)?;
    Ok(Acting::of_state(&payment.state).map(News::MustAct))
}

fn answer(
    id: OrderId,
    executed: &Executed<Order>,
    waited: Option<(Duration, Option<News>)>,
) -> Waited<Made<Placed>> {
    let mut written = Written::from(executed);
    let mut body = Placed {
        id,
        status: OrderStatus::Placed,
        reason: None,
        payment_status: None,
        action_url: None,
        total: executed.state.total(),
        checkout: format!("/v1/checkouts/{id}"),
    };
    let time = waited.as_ref().map(|(wait, _)| *wait);
    match waited.and_then(|(_, news)| news) {
        Some(News::Ended(ending)) => {
            body.status = ending.status;
            body.reason = ending.reason;
            written.version = ending.version;
            written.position.sequence = ending.position;
        }
        Some(News::MustAct(acting)) => {
            body.payment_status = Some(PaymentStatus::ActionRequired);
            body.action_url = acting.action_url;
        }
        None => {}
    }
    Waited {
        answer: written.made(format!("/v1/orders/{id}"), body),
        waited: time,
    }
}
