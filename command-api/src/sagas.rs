//! How far a saga has come that a command sets going: for who prefers to wait for its end.

use std::time::Duration;

use checkout::settling::SagaId;
use checkout::{
    Checkout, CheckoutEvent, Refunding, RefundingEvent, Returning, ReturningEvent, Saga,
};
use edge::{Prefer, Problem};
use schemars::JsonSchema;
use serde::Serialize;
use streams::RecordedEvent;

use crate::api::Api;
use crate::error;
use crate::outcomes::{End, Waiter};

/// A saga goes no further by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Over;

impl End for Over {
    type Of = SagaId;

    const STREAM: &'static str = "CHECKOUT";

    const SUBJECTS: &'static str = "event.checkout.>";

    fn about(event: &RecordedEvent) -> Option<SagaId> {
        let id = event.aggregate_id.as_str();
        match event.kind.as_deref() {
            None => id.parse().ok().map(SagaId::Checkout),
            Some("return") => id.parse().ok().map(SagaId::Returning),
            Some("refund") => id.parse().ok().map(SagaId::Refunding),
            Some(_) => None,
        }
    }

    fn of_event(event: &RecordedEvent) -> Option<Self> {
        let over = match Self::about(event)? {
            SagaId::Checkout(_) => {
                let fact = event.decode::<Checkout>().ok()?;
                fact.closes() || matches!(fact, CheckoutEvent::CheckoutSuspended { .. })
            }
            SagaId::Returning(_) => {
                let fact = event.decode::<Returning>().ok()?;
                fact.closes() || matches!(fact, ReturningEvent::ReturningSuspended { .. })
            }
            SagaId::Refunding(_) => {
                let fact = event.decode::<Refunding>().ok()?;
                fact.closes() || matches!(fact, RefundingEvent::RefundingSuspended { .. })
            }
        };
        over.then_some(Self)
    }
}

/// What was done, and what follows from it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{B}AndSaga")]
pub(crate) struct GoesOn<B> {
    #[serde(flatten)]
    done: B,
    /// Where it can be read what follows.
    checkout: String,
    /// How far that has come, where it was waited for: `ended`, `suspended` (a person sees to it),
    /// `resolved` (one has), or where it was when the time was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkout_status: Option<&'static str>,
}

impl<B> GoesOn<B> {
    pub(crate) fn new(done: B, saga: SagaId, told: Option<&Told>) -> Self {
        let checkout = match saga {
            SagaId::Checkout(id) => format!("/v1/checkouts/{id}"),
            SagaId::Returning(id) => format!("/v1/checkouts/returns/{id}"),
            SagaId::Refunding(id) => format!("/v1/checkouts/refunds/{id}"),
        };
        let checkout_status = told.map(|told| told.status);
        Self {
            done,
            checkout,
            checkout_status,
        }
    }
}

/// How far a saga had come after somebody waited for its end.
pub(crate) struct Told {
    pub(crate) waited: Duration,
    status: &'static str,
}

impl Api {
    /// Begins to wait for the end of `saga`, before the command that leads to it is done; `None` = that is
    /// not preferred, or too many wait already.
    pub(crate) fn listens(&self, prefer: Prefer, saga: SagaId) -> Option<(Duration, Waiter<Over>)> {
        let wait = prefer.wait?;
        Some((wait, self.sagas.waiter(saga)?))
    }

    /// Where the saga is when it is over, or the time is. `None` = nobody waits, or it can't be said: the
    /// command was done all the same.
    pub(crate) async fn ends(&self, listens: Option<(Duration, Waiter<Over>)>) -> Option<Told> {
        let (time, waiter) = listens?;
        let saga = waiter.id();
        // It may have been over before anybody listened.
        let mut status = self.status(saga).await.ok()?;
        if !["ended", "suspended", "resolved"].contains(&status) {
            // Also when the time is over it has come further.
            let _end = waiter.wait(time).await;
            status = self.status(saga).await.unwrap_or(status);
        }
        Some(Told {
            waited: time,
            status,
        })
    }

    /// Where a saga is, as its leader confirms.
    async fn status(&self, saga: SagaId) -> Result<&'static str, Problem> {
        Ok(match saga {
            SagaId::Checkout(id) => self.saga::<Checkout>(id).await?.status().into(),
            SagaId::Returning(id) => self.saga::<Returning>(id).await?.stage(),
            SagaId::Refunding(id) => self.saga::<Refunding>(id).await?.stage(),
        })
    }

    async fn saga<S: Saga>(&self, id: S::Id) -> Result<std::sync::Arc<S>, Problem> {
        let loaded = self.streams.load_current::<S>(&id.into()).await;
        Ok(loaded.map_err(error::of_load)?.state)
    }
}
