//! Events in, a delivery for each endpoint that wants to hear of one out.

use std::sync::Arc;

use async_trait::async_trait;
use domains::{Aggregate, Hearers};
use kernel::{Decider, UserId, WebhookEndpointId};
use notification::webhook::{
    DeliveryCommand, EndpointCommand, EventRef, WebhookDelivery, WebhookEndpoint, delivery_id,
};
use streams::lanes::{HandleError, Handler};
use streams::subscription::Delivery;
use streams::{RecordedEvent, Streams};
use tokio::time::Instant;
use user::{User, UserEvent};

use super::owner::owner_of;
use super::{ACTOR, Endpoints};
use crate::recorder::{Cause, Record, Recorder};

/// Holds events against the endpoints.
pub(crate) struct Matcher {
    streams: Streams,
    recorder: Recorder,
    endpoints: Arc<Endpoints>,
}

impl Matcher {
    pub(crate) fn new(streams: Streams, recorder: Recorder, endpoints: Arc<Endpoints>) -> Self {
        Self {
            streams,
            recorder,
            endpoints,
        }
    }

    /// Waits until every endpoint is known that the log held then.
    async fn look(&self, since: Instant) -> Result<(), HandleError> {
        let current = self.endpoints.current(since).await;
        current.map_err(HandleError::retryable)
    }

    /// Who is to be told of it.
    async fn told(
        &self,
        aggregate: &Aggregate,
        event: &RecordedEvent,
    ) -> Result<Vec<(WebhookEndpointId, Option<UserId>)>, HandleError> {
        let mut wanting = self.endpoints.wanting(aggregate, event);
        if wanting.iter().any(|(_, of)| of.is_some()) {
            let owner = owner_of(&self.streams, event).await?;
            wanting.retain(|(_, of)| of.is_none() || *of == owner);
        }
        Ok(wanting)
    }

    async fn request(
        &self,
        aggregate: &Aggregate,
        event: &RecordedEvent,
        (endpoint_id, user_id): (WebhookEndpointId, Option<UserId>),
    ) -> Result<(), HandleError> {
        let command = DeliveryCommand::RequestWebhookDelivery {
            endpoint_id,
            user_id,
            event: EventRef {
                event_type: format!("{}.{}", aggregate.name, event.event_type),
                event_id: event.id,
                occurred_at: event.time,
                position: Some(event.position.clone()),
            },
        };
        // A refusal means that it was asked for before.
        self.recorder
            .record::<WebhookDelivery>(Record {
                id: &delivery_id(endpoint_id, event.id).into(),
                command: &command,
                label: "request",
                cause: &apart(event),
                actor: ACTOR,
            })
            .await?;
        Ok(())
    }

    /// Who is erased owns nothing any more.
    async fn remove_all_of(
        &self,
        person: UserId,
        event: &RecordedEvent,
    ) -> Result<(), HandleError> {
        for endpoint_id in self.endpoints.of(person) {
            self.recorder
                .record::<WebhookEndpoint>(Record {
                    id: &endpoint_id.into(),
                    command: &EndpointCommand::RemoveWebhookEndpoint {},
                    label: "owner erased",
                    cause: &apart(event),
                    actor: ACTOR,
                })
                .await?;
        }
        Ok(())
    }
}

/// Without the flow that the event belongs to: deliveries of one order would wait for each other.
fn apart(event: &RecordedEvent) -> Cause {
    Cause {
        correlation_id: None,
        ..Cause::from(event)
    }
}

/// What it is about, if anybody at all may be told of it.
fn tellable(event: &RecordedEvent) -> Option<&'static Aggregate> {
    let aggregate = domains::aggregate(&event.context, event.kind.as_deref())?;
    (aggregate.hearers() != Hearers::Nobody).then_some(aggregate)
}

fn erases(event: &RecordedEvent) -> bool {
    event.context == User::CONTEXT
        && matches!(event.decode::<User>(), Ok(UserEvent::UserErased { .. }))
}

#[async_trait]
impl Handler for Matcher {
    /// What some endpoint wants to hear of: one look at the endpoints for all of the batch.
    async fn sift(&self, batch: &[Delivery]) -> Result<Vec<bool>, HandleError> {
        let tellable = |delivery: &Delivery| tellable(&delivery.event);
        let told = batch.iter().filter(|delivery| tellable(delivery).is_some());
        if let Some(latest) = told.map(|delivery| delivery.arrived).max() {
            self.look(latest).await?;
        }
        let concerns = |delivery: &Delivery| {
            let event = &delivery.event;
            let wanted = |aggregate| !self.endpoints.wanting(aggregate, event).is_empty();
            tellable(delivery).is_some_and(wanted) || erases(event)
        };
        Ok(batch.iter().map(concerns).collect())
    }

    /// While there is no endpoint; who is erased has none then either.
    async fn rests(&self) -> Result<bool, HandleError> {
        if !self.endpoints.are_none() {
            return Ok(false);
        }
        self.look(Instant::now()).await?;
        Ok(self.endpoints.are_none())
    }

    async fn wakes(&self) {
        self.endpoints.is_one().await;
    }

    async fn handle(&self, delivery: &Delivery) -> Result<(), HandleError> {
        let event = &delivery.event;
        let Some(aggregate) = tellable(event) else {
            return Ok(());
        };
        // As it was sifted, there was a look since; what was parked before needs one.
        self.look(delivery.arrived).await?;
        for told in self.told(aggregate, event).await? {
            self.request(aggregate, event, told).await?;
        }
        if erases(event) {
            let person = event.aggregate_id.as_str().parse();
            let person = person.map_err(HandleError::permanent)?;
            self.remove_all_of(person, event).await?;
        }
        Ok(())
    }
}
