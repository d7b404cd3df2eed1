//! Where a question begins.

#![expect(
    clippy::too_many_arguments,
    reason = "a field of the graph has as many arguments as its list has filters"
)]

use std::sync::Arc;

use async_graphql::{Context, Object, Result, SimpleObject};
use projections::SummaryStatus;
use serde::de::DeserializeOwned;

use super::limits::{FIRST_DEFAULT, FIRST_MAX, page};
use super::rows::{Loaders, one, read};
use super::things::{Order, Product, User};
use super::words::Word;
use super::{Session, refused};
use crate::failure::parameter;
use crate::resource::Resource;
use crate::resources::{ORDERS, PRODUCTS};

/// The beginning of every question.
pub(crate) struct Query;

/// A page of orders.
#[derive(SimpleObject)]
pub(crate) struct OrderPage {
    items: Vec<Order>,
    /// What to send as `after` for the next page; null = this is the last.
    next: Option<String>,
}

/// A page of products.
#[derive(SimpleObject)]
pub(crate) struct ProductPage {
    items: Vec<Product>,
    /// What to send as `after` for the next page; null = this is the last.
    next: Option<String>,
}

#[Object]
impl Query {
    /// Who asks; null without a token.
    async fn me(&self, ctx: &Context<'_>) -> Result<Option<User>> {
        let session = ctx.data::<Arc<Session>>()?;
        let Some(me) = &session.caller.0 else {
            return Ok(None);
        };
        let id = me.user_id.to_string();
        one(&ctx.data::<Loaders>()?.users, &id).await
    }

    /// A user: yourself, or for operators anybody.
    async fn user(&self, ctx: &Context<'_>, id: String) -> Result<Option<User>> {
        must_be_known(ctx)?;
        one(&ctx.data::<Loaders>()?.users, &normal(&id)).await
    }

    /// An order: one of your own, or for operators any.
    async fn order(&self, ctx: &Context<'_>, id: String) -> Result<Option<Order>> {
        must_be_known(ctx)?;
        one(&ctx.data::<Loaders>()?.orders, &normal(&id)).await
    }

    /// Orders, the latest first: your own, or for operators all.
    #[graphql(complexity = "page(first, child_complexity)")]
    async fn orders(
        &self,
        ctx: &Context<'_>,
        #[graphql(default_with = "FIRST_DEFAULT")] first: i32,
        after: Option<String>,
        status: Option<Word<SummaryStatus>>,
        user_id: Option<String>,
    ) -> Result<OrderPage> {
        let more = vec![
            ("status", status.map(Word::into_text)),
            ("user_id", user_id),
        ];
        let (items, next) = listed(ctx, &ORDERS, (first, after), more).await?;
        Ok(OrderPage { items, next })
    }

    /// A product of the catalogue.
    async fn product(&self, ctx: &Context<'_>, sku: String) -> Result<Option<Product>> {
        one(&ctx.data::<Loaders>()?.products, &sku).await
    }

    /// The catalogue.
    #[graphql(complexity = "page(first, child_complexity)")]
    async fn products(
        &self,
        ctx: &Context<'_>,
        #[graphql(default_with = "FIRST_DEFAULT")] first: i32,
        after: Option<String>,
        category: Option<String>,
        #[graphql(desc = "Words to search for.")] q: Option<String>,
    ) -> Result<ProductPage> {
        let more = vec![("category", category), ("q", q)];
        let (items, next) = listed(ctx, &PRODUCTS, (first, after), more).await?;
        Ok(ProductPage { items, next })
    }
}

async fn listed<T: DeserializeOwned>(
    ctx: &Context<'_>,
    resource: &'static Resource,
    (first, after): (i32, Option<String>),
    more: Vec<(&str, Option<String>)>,
) -> Result<(Vec<T>, Option<String>)> {
    let Session { api, caller, asked } = &**ctx.data::<Arc<Session>>()?;
    if !(1..=FIRST_MAX).contains(&first) {
        let problem = parameter(format!("first must be 1 to {FIRST_MAX}"));
        return Err(refused(&problem));
    }
    let place = [("limit", Some(first.to_string())), ("cursor", after)];
    let given = place.into_iter().chain(more);
    let given = given.filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let listed = resource.listed(api, (caller, asked), given.collect()).await;
    let listed = listed.map_err(|problem| refused(&problem))?;
    let items = listed.items.iter().map(|row| read(row));
    Ok((items.collect::<Result<_>>()?, listed.next()))
}

/// 401, as REST has it.
fn must_be_known(ctx: &Context<'_>) -> Result<()> {
    let session = ctx.data::<Arc<Session>>()?;
    let known = session.caller.principal();
    known.map(|_| ()).map_err(|problem| refused(&problem))
}

/// An id as rows have it.
fn normal(id: &str) -> String {
    id.to_ascii_lowercase()
}
