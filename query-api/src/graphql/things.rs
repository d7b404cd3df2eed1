//! What there is in the graph, and what leads where. Words and fields are those of REST.

use async_graphql::{ComplexObject, Context, Result, SimpleObject};
use checkout::CheckoutEvent;
use notification::{Channel, Template};
use order::{LINES_MAX, PaymentStatus, ReturnStatus};
use projections::{
    AccountStatus, CardStatus, CheckoutStage, Delivery, PaymentStage, SummaryStatus,
};
use serde::Deserialize;
use user::Role;

use super::limits::PRODUCT_COST;
use super::rows::{EACH_MAX, Loaders, all, one};
use super::words::Word;

/// An amount in minor units.
#[derive(SimpleObject, Deserialize)]
pub(super) struct Money {
    amount: i64,
    /// ISO 4217.
    currency: String,
}

/// Where goods go.
#[derive(SimpleObject, Deserialize)]
pub(super) struct Address {
    name: Option<String>,
    line1: Option<String>,
    line2: Option<String>,
    city: Option<String>,
    postal_code: Option<String>,
    region: Option<String>,
    country: Option<String>,
    /// Nobody can read it any more.
    #[serde(default)]
    erased: bool,
}

/// What was bought, as it was then.
#[derive(SimpleObject, Deserialize)]
#[graphql(complex)]
pub(super) struct Line {
    sku: String,
    title: String,
    quantity: u32,
    unit_price: Money,
}

#[ComplexObject]
impl Line {
    /// The product as it is now; null when it is not on sale any more.
    #[graphql(complexity = "PRODUCT_COST * child_complexity + 1")]
    async fn product(&self, ctx: &Context<'_>) -> Result<Option<Product>> {
        one(&ctx.data::<Loaders>()?.products, &self.sku).await
    }
}

/// One order.
#[derive(SimpleObject, Deserialize)]
#[graphql(complex)]
pub(super) struct Order {
    id: String,
    user_id: Option<String>,
    status: Word<SummaryStatus>,
    /// Why it was rejected or canceled.
    reason: Option<String>,
    payment_status: Word<PaymentStatus>,
    /// Where the customer is to be sent, when `paymentStatus` is `ACTION_REQUIRED`.
    action_url: Option<String>,
    return_status: Word<ReturnStatus>,
    #[graphql(skip)]
    lines: Vec<Line>,
    total: Option<Money>,
    refunded: Option<Money>,
    shipping_address: Option<Address>,
    tracking: Option<String>,
    version: u64,
    placed_at: Option<String>,
    confirmed_at: Option<String>,
    shipped_at: Option<String>,
    delivered_at: Option<String>,
}

#[ComplexObject]
impl Order {
    /// What is bought.
    #[graphql(complexity = "LINES_MAX as usize * child_complexity + 1")]
    async fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// What was held, taken and given back for it.
    #[graphql(complexity = "EACH_MAX * child_complexity + 1")]
    async fn payments(&self, ctx: &Context<'_>) -> Result<Vec<Payment>> {
        all(&ctx.data::<Loaders>()?.payments, &self.id).await
    }

    /// How it goes through all services.
    async fn checkout(&self, ctx: &Context<'_>) -> Result<Option<Checkout>> {
        one(&ctx.data::<Loaders>()?.checkouts, &self.id).await
    }

    /// What its buyer was told.
    #[graphql(complexity = "EACH_MAX * child_complexity + 1")]
    async fn notifications(&self, ctx: &Context<'_>) -> Result<Vec<Notification>> {
        all(&ctx.data::<Loaders>()?.notifications, &self.id).await
    }

    /// Who bought.
    async fn user(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        match &self.user_id {
            Some(id) => one(&ctx.data::<Loaders>()?.users, id).await,
            None => Ok(None),
        }
    }
}

/// One payment.
#[derive(SimpleObject, Deserialize)]
pub(super) struct Payment {
    id: String,
    order_id: Option<String>,
    status: Word<PaymentStage>,
    /// The provider's code of a decline or failure.
    code: Option<String>,
    /// Where the customer must act, if they must.
    action_url: Option<String>,
    amount: Option<Money>,
    authorized: Option<Money>,
    captured: Option<Money>,
    refunded: Option<Money>,
    version: u64,
}

/// How an order goes through all services.
#[derive(SimpleObject, Deserialize)]
pub(super) struct Checkout {
    id: String,
    status: Word<CheckoutStage>,
    outcome: Option<Outcome>,
    steps: Vec<TimelineEntry>,
    started_at: Option<String>,
    updated_at: Option<String>,
    version: u64,
}

/// How a checkout has ended.
#[derive(SimpleObject, Deserialize)]
pub(super) struct Outcome {
    name: Word<checkout::Outcome>,
    reason: Option<String>,
}

/// A step of a checkout.
#[derive(SimpleObject, Deserialize)]
pub(super) struct Step {
    name: Word<checkout::Step>,
    /// Of which product, if it is about one.
    sku: Option<String>,
}

/// Something that happened in a checkout.
#[derive(SimpleObject, Deserialize)]
pub(super) struct TimelineEntry {
    event: Word<CheckoutEvent>,
    at: Option<String>,
    step: Option<Step>,
    /// The refusal's code.
    code: Option<String>,
    message: Option<String>,
}

/// A message to somebody.
#[derive(SimpleObject, Deserialize)]
pub(super) struct Notification {
    id: String,
    order_id: Option<String>,
    template: Option<Word<Template>>,
    channel: Option<Word<Channel>>,
    status: Word<Delivery>,
    /// Why it bounced, was suppressed or failed.
    reason: Option<String>,
    requested_at: Option<String>,
    sent_at: Option<String>,
    version: u64,
}

/// Something to buy.
#[derive(SimpleObject, Deserialize)]
pub(super) struct Product {
    sku: String,
    title: Option<String>,
    description: Option<String>,
    category: Option<String>,
    price: Option<Money>,
    status: Word<CardStatus>,
    version: u64,
}

/// Somebody.
#[derive(SimpleObject, Deserialize)]
#[graphql(complex)]
pub(super) struct User {
    id: String,
    name: Option<String>,
    email: Option<String>,
    email_verified: bool,
    phone: Option<String>,
    status: Word<AccountStatus>,
    roles: Vec<Word<Role>>,
    registered_at: Option<String>,
    version: u64,
}

#[ComplexObject]
impl User {
    /// What they bought last. All of it, page by page: `orders(userId)`.
    #[graphql(complexity = "EACH_MAX * child_complexity + 1")]
    async fn orders(&self, ctx: &Context<'_>) -> Result<Vec<Order>> {
        all(&ctx.data::<Loaders>()?.orders_of, &self.id).await
    }
}
