//! Rows that others lead to: all that one level of an answer asks of a view are read with one
//! statement, and opened together.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::dataloader::{DataLoader, Loader};
use edge::Problem;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;

use super::turns::{self, Read};
use super::{Session, refused};
use crate::failure::internal;
use crate::resource::Resource;
use crate::resources::{CHECKOUTS, NOTIFICATIONS, ORDERS, PAYMENTS, PRODUCTS, USERS};

/// Most rows that one thing leads to.
pub(super) const EACH_MAX: usize = 20;

/// Most that are read with one statement.
const BATCH_MAX: usize = 500;

/// The rows of one resource that belong to something.
pub(super) struct Rows {
    session: Arc<Session>,
    resource: &'static Resource,
    /// By what.
    column: &'static str,
}

/// The id of a row.
const ID: &str = "view_id";

impl Loader<String> for Rows {
    type Value = Vec<String>;
    type Error = Arc<Problem>;

    async fn load(&self, keys: &[String]) -> Result<HashMap<String, Self::Value>, Self::Error> {
        metrics::counter!("graphql_batches_total", "view" => self.resource.view.name).increment(1);
        let Session { api, caller, asked } = &*self.session;
        let mut keys = keys.to_vec();
        if self.column == ID {
            keys.retain(|id| self.resource.may_ask(caller, id).is_ok());
        }
        let view = self.resource.view;
        let found = asked.belonging(api, view, (self.column, &keys), EACH_MAX);
        let mut found = found.await?;
        found.retain(|(_, row)| self.resource.may_see(caller, &row.payload).is_ok());
        let (keys, mut rows): (Vec<_>, Vec<_>) = found
            .into_iter()
            .map(|(key, row)| (key, row.payload))
            .unzip();
        self.resource.tell_action(api, &mut rows).await?;
        let rows = self.resource.open(api, rows).await?;
        let mut by_key: HashMap<_, Vec<_>> = HashMap::new();
        for (key, row) in keys.into_iter().zip(rows) {
            by_key.entry(key).or_default().push(row);
        }
        Ok(by_key)
    }
}

/// One for each way from a thing to another, for as long as a request lasts.
pub(super) struct Loaders {
    pub(super) orders: DataLoader<Rows>,
    pub(super) orders_of: DataLoader<Rows>,
    pub(super) payments: DataLoader<Rows>,
    pub(super) notifications: DataLoader<Rows>,
    pub(super) checkouts: DataLoader<Rows>,
    pub(super) products: DataLoader<Rows>,
    pub(super) users: DataLoader<Rows>,
}

impl Loaders {
    /// `reads` is where they put what they have to read.
    pub(super) fn new(session: &Arc<Session>, reads: &UnboundedSender<Read>) -> Self {
        let loader = |resource, column| {
            let rows = Rows {
                session: Arc::clone(session),
                resource,
                column,
            };
            turns::loader(rows, reads).max_batch_size(BATCH_MAX)
        };
        Self {
            orders: loader(&ORDERS, ID),
            orders_of: loader(&ORDERS, "user_id"),
            payments: loader(&PAYMENTS, "order_id"),
            notifications: loader(&NOTIFICATIONS, "order_id"),
            checkouts: loader(&CHECKOUTS, ID),
            products: loader(&PRODUCTS, ID),
            users: loader(&USERS, ID),
        }
    }
}

/// All that belong to `key`.
pub(super) async fn all<T: DeserializeOwned>(
    loader: &DataLoader<Rows>,
    key: &str,
) -> async_graphql::Result<Vec<T>> {
    let rows = loader.load_one(key.to_owned()).await;
    let rows = rows.map_err(|problem| refused(&problem))?;
    rows.unwrap_or_default()
        .iter()
        .map(|row| read(row))
        .collect()
}

/// The one with this id, if it is there and this caller may see it.
pub(super) async fn one<T: DeserializeOwned>(
    loader: &DataLoader<Rows>,
    id: &str,
) -> async_graphql::Result<Option<T>> {
    Ok(all(loader, id).await?.pop())
}

/// A row as a thing.
pub(super) fn read<T: DeserializeOwned>(row: &str) -> async_graphql::Result<T> {
    serde_json::from_str(row).map_err(|error| refused(&internal(&error)))
}
