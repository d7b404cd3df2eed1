//! What calls are about, and the handler of every call that is one command and no more.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::State;
use edge::{Body, Id, Problem};
use inventory::StockItem;
use kernel::{AggregateId, Decider, NotificationId, OrderId, Sku, UserId};
use notification::Notification;
use order::{Order, OrderStatus};
use product::Product;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use streams::Executed;
use user::User;

use crate::api::Api;
use crate::call::{Call, Caller};
use crate::error::Placed;
use crate::write::{Acted, Done, Written};

/// A kind of thing that calls name in their path.
pub(crate) trait Resource: Decider<Error: Placed> {
    /// What stands in the path.
    type Id: FromStr + Display + JsonSchema + Send + Sync;

    /// What an answer tells of it.
    type Told: Serialize + JsonSchema;

    /// As an aggregate's id.
    fn aggregate(id: &Self::Id) -> AggregateId;

    /// What is told after a command.
    fn told(id: &Self::Id, executed: &Executed<Self>) -> Self::Told;

    /// What belongs together with a change of it; `None` = only itself.
    fn correlation(_: &Self::Id) -> Option<String> {
        None
    }

    /// It may have changed: what is remembered of it is forgotten.
    fn changed(_: &Api, _: &Self::Id) {}
}

impl Resource for User {
    type Id = UserId;
    type Told = Acted;

    fn aggregate(id: &UserId) -> AggregateId {
        (*id).into()
    }

    fn told(id: &UserId, executed: &Executed<Self>) -> Acted {
        Acted::new(id, executed.version)
    }

    fn changed(api: &Api, id: &UserId) {
        api.questions.forget_user(*id);
    }
}

impl Resource for Product {
    type Id = Sku;
    type Told = Acted;

    fn aggregate(sku: &Sku) -> AggregateId {
        sku.into()
    }

    fn told(sku: &Sku, executed: &Executed<Self>) -> Acted {
        Acted::new(sku, executed.version)
    }

    fn changed(api: &Api, sku: &Sku) {
        api.questions.forget_product(sku);
    }
}

impl Resource for StockItem {
    type Id = Sku;
    type Told = Acted;

    fn aggregate(sku: &Sku) -> AggregateId {
        sku.into()
    }

    fn told(sku: &Sku, executed: &Executed<Self>) -> Acted {
        Acted::new(sku, executed.version)
    }
}

impl Resource for Order {
    type Id = OrderId;
    type Told = OrderTold;

    fn aggregate(id: &OrderId) -> AggregateId {
        (*id).into()
    }

    fn told(id: &OrderId, executed: &Executed<Self>) -> OrderTold {
        OrderTold {
            id: *id,
            status: executed.state.status(),
            version: executed.version,
        }
    }

    fn correlation(id: &OrderId) -> Option<String> {
        Some(id.to_string())
    }
}

impl Resource for Notification {
    type Id = NotificationId;
    type Told = Acted;

    fn aggregate(id: &NotificationId) -> AggregateId {
        (*id).into()
    }

    fn told(id: &NotificationId, executed: &Executed<Self>) -> Acted {
        Acted::new(id, executed.version)
    }
}

/// What is told of an order.
#[derive(Serialize, JsonSchema)]
pub(crate) struct OrderTold {
    /// Its id.
    id: OrderId,
    /// How far it has come.
    status: Option<OrderStatus>,
    /// How many events it has now.
    version: u64,
}

/// A body that is a command, once it is known on what.
pub(crate) trait Asks<A: Resource>: Serialize + DeserializeOwned + JsonSchema {
    /// Which command.
    fn command(&self) -> A::Command;

    /// What it is refused with, pointing at the fields of this body where they are called otherwise.
    fn pointed(problem: Problem) -> Problem {
        problem
    }
}

/// Has the command of a body done on what the path names.
///
/// # Errors
/// The refusal or the failure, as the client is to see it.
pub(crate) async fn act<W: Caller, A: Resource, B: Asks<A>>(
    State(api): State<Api>,
    who: W,
    Id(id): Id<A::Id>,
    Body(body): Body<B>,
) -> Result<Done<A::Told>, Problem> {
    let call = who.call();
    let executed = api.change::<A, _>(&call, &id, body.command(), &body);
    let executed = executed.await.map_err(B::pointed)?;
    Ok(told::<A>(&id, &executed))
}

/// The answer to a command that was done on `id`.
pub(crate) fn told<A: Resource>(id: &A::Id, executed: &Executed<A>) -> Done<A::Told> {
    Written::from(executed).done(A::told(id, executed))
}

impl Api {
    /// One command of a call on one thing; `body` is what the client sent.
    ///
    /// # Errors
    /// As [`Api::write`].
    pub(crate) async fn change<A: Resource, B: Serialize>(
        &self,
        call: &Call,
        id: &A::Id,
        command: A::Command,
        body: &B,
    ) -> Result<Executed<A>, Problem> {
        let mut meta = call.meta(self, body);
        if let Some(correlation) = A::correlation(id) {
            meta = meta.with_correlation(correlation);
        }
        let executed = self.write(call, &A::aggregate(id), command, &meta).await;
        // Also after a failure: it may have happened.
        A::changed(self, id);
        executed
    }
}
