//! Which endpoints there are: all of them, in memory, from their events.
//!
//! An event must be held against the endpoints that were there when it happened. Streams don't wait
//! for each other, so before a match the follower is known to have read what the log held then. Whoever
//! asks for that at the same time shares one look, and there are a few a second.
//!
//! An event that can't be read is left out, and counted: its endpoint is taken for what it was before,
//! and whoever sends to it finds the same event, and is parked.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use chrono::{DateTime, Utc};
use domains::Aggregate;
use kernel::{Decider, Position, UserId, WebhookEndpointId};
use notification::webhook::{EndpointEvent, WebhookEndpoint};
use streams::subscription::{OrderedSubscription, SubscriptionError};
use streams::{Connection, LoadError, RecordedEvent, Streams};
use thiserror::Error;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::STREAM;

/// The endpoints' own events.
const SUBJECTS: &str = "event.notification.webhook_endpoint.*";

/// Pause after a look at a log that is not what it was.
const DAMAGED_PAUSE: Duration = Duration::from_secs(1);

/// Pause between two looks at the end of the log: what comes in meanwhile shares the next one, and is
/// told so much later.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

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

/// For whoever looks after it; the views of NOTIFICATION stop there too, and say so on the radar.
fn left_out(position: &Position, why: &(dyn std::error::Error + 'static)) {
    metrics::counter!("webhook_endpoint_events_left_out_total").increment(1);
    tracing::error!(%position, error = why, "no event of a webhook endpoint that can be read; it is left out");
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
                Err(error @ SubscriptionError::Unreadable { .. }) => {
                    let position = error.position();
                    left_out(position, &error);
                    self.read.send_replace(position.sequence);
                }
                Err(error @ (SubscriptionError::Gap { .. } | SubscriptionError::Ahead { .. })) => {
                    tracing::error!(%error, "the webhook endpoints can't be followed");
                    sleep(DAMAGED_PAUSE).await;
                }
            }
        }
    }

    fn take_in(&self, event: &RecordedEvent) {
        let id = match event.aggregate_id.as_str().parse::<WebhookEndpointId>() {
            Ok(id) => id,
            Err(error) => return left_out(&event.position, &error),
        };
        let fact = match event.decode::<WebhookEndpoint>() {
            Ok(fact) => fact,
            Err(error) => return left_out(&event.position, &error),
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

    /// Waits until every endpoint is known that the log held at `since`, which is not in the future.
    pub(crate) async fn current(&self, since: Instant) -> Result<(), NotCurrent> {
        let mut current_at = self.current_at.lock().await;
        if let Some(at) = *current_at {
            if at >= since {
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

    /// Is there none, as far as was read?
    pub(crate) fn are_none(&self) -> bool {
        self.all().is_empty()
    }

    /// Returns once there is one. Cancel-safe.
    pub(crate) async fn is_one(&self) {
        let mut read = self.read.subscribe();
        // Whoever reads on is in here.
        while self.are_none() && read.changed().await.is_ok() {}
    }

    fn all(&self) -> RwLockReadGuard<'_, HashMap<WebhookEndpointId, Known>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who wants to hear of this event, and whose each of them is. Whether the event is theirs as
    /// well is not asked here.
    pub(crate) fn wanting(
        &self,
        aggregate: &Aggregate,
        event: &RecordedEvent,
    ) -> Vec<(WebhookEndpointId, Option<UserId>)> {
        let all = self.all();
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
        let all = self.all();
        let theirs = |known: &Known| known.endpoint.owner() == Some(Some(person));
        let found = all.iter().filter(|(_, known)| theirs(known));
        found.map(|(id, _)| *id).collect()
    }
}
