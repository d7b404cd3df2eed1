//! Which endpoints there are: all of them, in memory, from their events.
//!
//! An event must be held against the endpoints that were there when it happened. Streams don't wait
//! for each other, so before a match the follower is known to have read what the log held then; events
//! that ask for that at the same time share one look.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use domains::Aggregate;
use kernel::{Decider, UserId, WebhookEndpointId};
use notification::webhook::{EndpointEvent, WebhookEndpoint};
use streams::subscription::OrderedSubscription;
use streams::{Connection, LoadError, RecordedEvent, Streams};
use thiserror::Error;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::STREAM;

/// The endpoints' own events.
const SUBJECTS: &str = "event.notification.webhook_endpoint.*";

/// Pause after something that can't be read.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(1);

/// Pause between two looks at the end of the log: what comes in meanwhile shares the next one.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Longest wait until the follower has read what the log holds.
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(10);

/// It is not known whether all endpoints are known.
#[derive(Debug, Error)]
pub(crate) enum NotCurrent {
    /// The end of the log is not known.
    #[error("the end of the endpoints' events is not known")]
    End(#[from] LoadError),
    /// The follower has not got there.
    #[error("the endpoints' events are not read up to {end} yet")]
    Behind {
        /// A sequence of NOTIFICATION.
        end: u64,
    },
}

/// An endpoint, and since when.
struct Known {
    endpoint: WebhookEndpoint,
    registered_at: DateTime<Utc>,
}

/// Every endpoint.
pub(crate) struct Endpoints {
    streams: Streams,
    all: RwLock<HashMap<WebhookEndpointId, Known>>,
    /// Up to where their events are read.
    read: watch::Sender<u64>,
    /// When it was last certain that all of them were read.
    current_at: Mutex<Option<Instant>>,
}

impl Endpoints {
    pub(crate) fn new(streams: Streams) -> Self {
        Self {
            streams,
            all: RwLock::default(),
            read: watch::Sender::new(0),
            current_at: Mutex::default(),
        }
    }

    /// Follows their events until `shutdown`.
    pub(crate) async fn follow(&self, connection: &Connection, shutdown: CancellationToken) {
        let events = connection.ordered_matching(STREAM, SUBJECTS, 0);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.read_on(events) => {}
        }
    }

    async fn read_on(&self, mut events: OrderedSubscription) {
        loop {
            match events.next().await {
                Ok(event) => {
                    self.take_in(&event);
                    self.read.send_replace(event.position.sequence);
                }
                Err(error) => {
                    tracing::error!(%error, "an event of a webhook endpoint can't be read");
                    sleep(UNREADABLE_PAUSE).await;
                }
            }
        }
    }

    fn take_in(&self, event: &RecordedEvent) {
        let id = event.aggregate_id.as_str().parse::<WebhookEndpointId>();
        let (Ok(id), Ok(fact)) = (id, event.decode::<WebhookEndpoint>()) else {
            let position = &event.position;
            tracing::error!(%position, "no event of a webhook endpoint; it is left out");
            return;
        };
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if fact == (EndpointEvent::WebhookEndpointRemoved {}) {
            all.remove(&id);
            return;
        }
        let known = all.entry(id).or_insert_with(|| Known {
            endpoint: WebhookEndpoint::default(),
            registered_at: event.recorded_at,
        });
        known.endpoint.evolve(&fact);
    }

    /// Waits until every endpoint is known that the log held when this was called.
    pub(crate) async fn current(&self) -> Result<(), NotCurrent> {
        let asked = Instant::now();
        let mut current_at = self.current_at.lock().await;
        if let Some(at) = *current_at {
            if at >= asked {
                return Ok(());
            }
            sleep_until(at + LOOK_INTERVAL).await;
        }
        let looked = Instant::now();
        let end = self.streams.last_matching(STREAM, SUBJECTS).await?;
        let mut read = self.read.subscribe();
        let caught_up = read.wait_for(|read| *read >= end);
        match timeout(CATCH_UP_TIME_MAX, caught_up).await {
            Ok(Ok(_)) => {
                *current_at = Some(looked);
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(NotCurrent::Behind { end }),
        }
    }

    /// Who wants to hear of this event, and whose each of them is. Whether the event is theirs as
    /// well is not asked here.
    pub(crate) fn wanting(
        &self,
        aggregate: &Aggregate,
        event: &RecordedEvent,
    ) -> Vec<(WebhookEndpointId, Option<UserId>)> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let wants = |known: &Known| {
            let endpoint = known.endpoint.enabled()?;
            let owner = endpoint.user_id;
            let since = event.recorded_at >= known.registered_at;
            let mut interests = endpoint.subscription.event_types.iter();
            let meant = interests.any(|i| i.covers(aggregate.name, &event.event_type));
            (since && meant && aggregate.is_told_to(owner.is_some())).then_some(owner)
        };
        let found = all
            .iter()
            .filter_map(|(id, known)| Some((*id, wants(known)?)));
        found.collect()
    }

    /// The endpoints of a person.
    pub(crate) fn of(&self, person: UserId) -> Vec<WebhookEndpointId> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let theirs = |known: &Known| known.endpoint.owner() == Some(Some(person));
        let found = all.iter().filter(|(_, known)| theirs(known));
        found.map(|(id, _)| *id).collect()
    }
}
