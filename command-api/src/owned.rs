//! Which webhook endpoints each customer has, for the bound on how many.
//!
//! All of them are in memory, from their events. Of two registrations in one process the second sees the
//! first, for one waits for the other; one in another process is heard of within milliseconds. So at the
//! same moment each further process may let one in too many, and none after that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kernel::{Decider, UserId, WebhookEndpointId};
use notification::webhook::{EndpointEvent, WebhookEndpoint};
use streams::barrier::Reading;
use streams::subscription::SubscriptionError;
use streams::{Connection, RecordedEvent};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

/// The endpoints' own events.
const SUBJECTS: &str = "event.notification.webhook_endpoint.*";

/// The stream that they are in.
const STREAM: &str = "NOTIFICATION";

/// What is not read yet, as readiness tells it.
pub(crate) const WEBHOOK_ENDPOINTS: &str = "the customers' webhook endpoints";

/// Pause after a look at a log that is not what it was.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// There is no room for another endpoint.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// Whose turn it is to register one.
#[derive(Debug)]
pub(crate) struct Turn {
    _only: OwnedMutexGuard<()>,
}

/// Who has which endpoints. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Owned(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    owners: Mutex<HashMap<WebhookEndpointId, UserId>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Owned {
    /// Follows the endpoints' events until `shutdown`; `reading` is done once it has read what is there.
    pub(crate) async fn follow(
        &self,
        connection: &Connection,
        reading: Reading,
        shutdown: CancellationToken,
    ) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.read_on(connection, reading) => {}
        }
    }

    async fn read_on(&self, connection: &Connection, reading: Reading) {
        let mut events = connection.ordered_matching(STREAM, SUBJECTS, 0);
        let mut reading = Some(reading);
        loop {
            match events.started_or_next().await {
                Ok(event) => {
                    if let Some(event) = event {
                        self.hear(&event);
                    }
                }
                Err(error @ SubscriptionError::Unreadable { .. }) => {
                    tracing::error!(%error, "a webhook endpoint that can't be read is not counted");
                }
                Err(error @ (SubscriptionError::Gap { .. } | SubscriptionError::Ahead { .. })) => {
                    tracing::error!(%error, "the customers' webhook endpoints can't be followed");
                    tokio::time::sleep(FAILURE_PAUSE).await;
                }
            }
            if events.caught_up()
                && let Some(reading) = reading.take()
            {
                reading.done();
            }
        }
    }

    /// An event of an endpoint.
    fn hear(&self, event: &RecordedEvent) {
        if event.kind.as_deref() != WebhookEndpoint::KIND {
            return;
        }
        let id = event.aggregate_id.as_str().parse();
        let (Ok(id), Ok(fact)) = (id, event.decode::<WebhookEndpoint>()) else {
            return;
        };
        match fact {
            EndpointEvent::WebhookEndpointRegistered { user_id, .. } => self.add(user_id, id),
            EndpointEvent::WebhookEndpointRemoved {} => self.remove(id),
            EndpointEvent::WebhookEndpointChanged { .. }
            | EndpointEvent::WebhookSecretRotated { .. }
            | EndpointEvent::WebhookEndpointFailing { .. }
            | EndpointEvent::WebhookEndpointRecovered {}
            | EndpointEvent::WebhookEndpointDisabled { .. }
            | EndpointEvent::WebhookEndpointEnabled {} => {}
        }
    }

    /// A turn to register `id`, if its owner has fewer than `max` or has this one already. One of the
    /// operators' needs none.
    pub(crate) async fn turn(
        &self,
        owner: Option<UserId>,
        id: WebhookEndpointId,
        max: usize,
    ) -> Result<Option<Turn>, NoRoom> {
        let Some(owner) = owner else {
            return Ok(None);
        };
        let turn = Arc::clone(&self.0.turn).lock_owned().await;
        let owners = self.owners();
        let count = owners.values().filter(|other| **other == owner).count();
        if count < max || owners.contains_key(&id) {
            Ok(Some(Turn { _only: turn }))
        } else {
            Err(NoRoom)
        }
    }

    /// One was registered.
    pub(crate) fn add(&self, owner: Option<UserId>, id: WebhookEndpointId) {
        if let Some(owner) = owner {
            self.owners().insert(id, owner);
        }
    }

    /// One was removed.
    pub(crate) fn remove(&self, id: WebhookEndpointId) {
        self.owners().remove(&id);
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<WebhookEndpointId, UserId>> {
        self.0.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn the_second_of_two_at_the_same_time_sees_the_first() {
        let (all, ada) = (Owned::default(), Some(UserId(Uuid::from_u128(9))));
        let [first, second] = [1, 2].map(|id| WebhookEndpointId(Uuid::from_u128(id)));
        let turn = all.turn(ada, first, 1).await.unwrap();
        let other = all.clone();
        let waits = tokio::spawn(async move { other.turn(ada, second, 1).await.err() });
        tokio::task::yield_now().await;
        all.add(ada, first);
        drop(turn);
        assert_eq!(waits.await.unwrap(), Some(NoRoom));
        assert!(all.turn(ada, first, 1).await.is_ok(), "it is there");
        let bob = Some(UserId(Uuid::from_u128(8)));
        assert!(all.turn(bob, second, 1).await.is_ok());
        all.remove(first);
        assert!(all.turn(ada, second, 1).await.is_ok());
    }
}
