//! Outgoing webhooks: the servers that are told of events, and how each telling went.

use cqrs_es::{EventEnvelope, View};
use kernel::{Reason, UserId, WebhookEndpointId, WebhookUrl};
use notification::webhook::{
    Attempt, DeliveryEvent, DisabledBecause, EndpointEvent, Interest, Outcome, WebhookDelivery,
    WebhookEndpoint,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantNames;
use uuid::Uuid;

use crate::moment::Moment;
use crate::view::{EntityView, Sort};

/// Attempts that a row tells of, the latest: the schedule is shorter, redeliveries may add to it.
const ATTEMPTS_TOLD_MAX: usize = 20;

/// Whether an endpoint is told anything.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum EndpointStatus {
    /// It is.
    #[default]
    Enabled,
    /// Not until it is enabled again.
    Disabled,
    /// Never again.
    Removed,
}

/// One endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WebhookEndpointEntry {
    /// The endpoint's id.
    pub id: String,
    /// Whose it is; none = the operators'.
    pub user_id: Option<UserId>,
    /// Where it listens; none = it was removed.
    pub url: Option<WebhookUrl>,
    /// Of what it wants to hear.
    pub event_types: Vec<Interest>,
    /// What it is for.
    pub description: Option<Reason>,
    /// Whether it is told anything.
    pub status: EndpointStatus,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled_because: Option<DisabledBecause>,
    /// Why not, in somebody's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Since when every attempt was in vain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Moment>,
    /// Is it failing, or was it disabled because it did? Then somebody should look.
    pub in_trouble: bool,
    /// The number of its signing secret.
    pub secret_generation: u32,
    /// Until when the secret before that signs as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_secret_until: Option<Moment>,
    /// How many events the endpoint has.
    pub version: u64,
    /// When it was registered.
    pub registered_at: Option<Moment>,
    /// When something about it changed last.
    pub updated_at: Option<Moment>,
}

impl WebhookEndpointEntry {
    fn well(&mut self, status: EndpointStatus) {
        self.status = status;
        self.disabled_because = None;
        self.reason = None;
        self.failing_since = None;
        self.in_trouble = false;
    }
}

impl EntityView<WebhookEndpoint> for WebhookEndpointEntry {
    const NAME: &'static str = "webhook_endpoint_entry";
    const FILTERS: &'static [&'static str] = &["user_id", "status", "in_trouble"];
    const FIXED: &'static [&'static str] = &["user_id"];
    const SORT: Sort = Sort::Latest("registered_at");
    const REVISION: u32 = 2;
}

impl View<WebhookEndpoint> for WebhookEndpointEntry {
    fn update(&mut self, event: &EventEnvelope<WebhookEndpoint>) {
        let at = Moment::of(event);
        self.id.clone_from(&event.aggregate_id);
        self.version = event.sequence as u64;
        self.updated_at = at;
        match &event.payload {
            EndpointEvent::WebhookEndpointRegistered {
                user_id,
                subscription,
            } => {
                self.user_id = *user_id;
                self.url = Some(subscription.url.clone());
                self.event_types.clone_from(&subscription.event_types);
                self.description.clone_from(&subscription.description);
                self.secret_generation = 1;
                self.registered_at = at;
            }
            EndpointEvent::WebhookEndpointChanged { subscription } => {
                self.url = Some(subscription.url.clone());
                self.event_types.clone_from(&subscription.event_types);
                self.description.clone_from(&subscription.description);
            }
            EndpointEvent::WebhookSecretRotated {
                generation,
                previous_until,
            } => {
                self.secret_generation = *generation;
                self.previous_secret_until = Some(Moment(*previous_until));
            }
            EndpointEvent::WebhookEndpointFailing { since } => {
                self.failing_since = Some(Moment(*since));
                self.in_trouble = true;
            }
            EndpointEvent::WebhookEndpointDisabled { because, reason } => {
                self.status = EndpointStatus::Disabled;
                self.disabled_because = Some(*because);
                self.reason.clone_from(reason);
                self.in_trouble = match because {
                    DisabledBecause::Asked => false,
                    DisabledBecause::Gone | DisabledBecause::Failing => true,
                };
            }
            EndpointEvent::WebhookEndpointRecovered {}
            | EndpointEvent::WebhookEndpointEnabled {} => self.well(EndpointStatus::Enabled),
            EndpointEvent::WebhookEndpointRemoved {} => {
                self.well(EndpointStatus::Removed);
                self.url = None;
                self.description = None;
            }
        }
    }
}

/// How far a delivery has come.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, VariantNames, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum DeliveryStatus {
    /// It is to be tried, or tried again.
    #[default]
    Pending,
    /// It was taken.
    Delivered,
    /// It is not tried any more.
    Failed,
}

/// One event for one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WebhookDeliveryEntry {
    /// The delivery's id.
    pub id: String,
    /// To which endpoint.
    pub endpoint_id: Option<WebhookEndpointId>,
    /// Whose that is; none = the operators'.
    pub user_id: Option<UserId>,
    /// The event's full type.
    pub event_type: String,
    /// The event's id, the `webhook-id` of every attempt.
    pub event_id: Option<Uuid>,
    /// Where the event stands; none = it is a test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// When it happened.
    pub occurred_at: Option<Moment>,
    /// How far it has come.
    pub status: DeliveryStatus,
    /// How often it was tried.
    pub attempt_count: u32,
    /// The latest attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// When it is tried again; none = at once, or not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Moment>,
    /// Why it was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// How many events the delivery has.
    pub version: u64,
    /// When it was asked for.
    pub requested_at: Option<Moment>,
    /// When that changed last.
    pub updated_at: Option<Moment>,
}

impl WebhookDeliveryEntry {
    fn attempted(&mut self, attempt: &Attempt, next_at: Option<Moment>) {
        self.attempt_count = attempt.number;
        if self.attempts.len() >= ATTEMPTS_TOLD_MAX {
            self.attempts.remove(0);
        }
        self.attempts.push(attempt.clone());
        self.next_attempt_at = next_at;
        self.status = match (&attempt.outcome, next_at) {
            (Outcome::Accepted { .. }, _) => DeliveryStatus::Delivered,
            (Outcome::Rejected { .. } | Outcome::Unanswered { .. }, Some(_)) => {
                DeliveryStatus::Pending
            }
            (Outcome::Rejected { .. } | Outcome::Unanswered { .. }, None) => DeliveryStatus::Failed,
        };
    }
}

impl EntityView<WebhookDelivery> for WebhookDeliveryEntry {
    const NAME: &'static str = "webhook_delivery_entry";
    const FILTERS: &'static [&'static str] = &["endpoint_id", "user_id", "event_type", "status"];
    const FIXED: &'static [&'static str] = &["endpoint_id", "user_id", "event_type"];
    const SORT: Sort = Sort::Latest("requested_at");
}

impl View<WebhookDelivery> for WebhookDeliveryEntry {
    fn update(&mut self, envelope: &EventEnvelope<WebhookDelivery>) {
        let at = Moment::of(envelope);
        self.id.clone_from(&envelope.aggregate_id);
        self.version = envelope.sequence as u64;
        self.updated_at = at;
        match &envelope.payload {
            DeliveryEvent::WebhookDeliveryRequested {
                endpoint_id,
                user_id,
                event,
            } => {
                self.endpoint_id = Some(*endpoint_id);
                self.user_id = *user_id;
                self.event_type.clone_from(&event.event_type);
                self.event_id = Some(event.event_id);
                self.position = event.position.as_ref().map(ToString::to_string);
                self.occurred_at = Some(Moment(event.occurred_at));
                self.requested_at = at;
            }
            DeliveryEvent::WebhookAttempted { attempt, next_at } => {
                self.attempted(attempt, next_at.map(Moment));
            }
            DeliveryEvent::WebhookDeliveryAbandoned { reason } => {
                self.status = DeliveryStatus::Failed;
                self.reason = Some(reason.clone());
                self.next_attempt_at = None;
            }
            DeliveryEvent::WebhookRedeliveryRequested {} => {
                self.status = DeliveryStatus::Pending;
                self.reason = None;
                self.next_attempt_at = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use notification::webhook::{EventRef, Subscription};

    use super::*;
    use crate::testkit::fold;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn endpoint(events: &[EndpointEvent]) -> WebhookEndpointEntry {
        let registered = EndpointEvent::WebhookEndpointRegistered {
            user_id: None,
            subscription: Subscription {
                url: "https://a.example".parse().unwrap(),
                event_types: vec!["*".parse().unwrap()],
                description: None,
            },
        };
        let all = [&[registered], events].concat();
        fold::<WebhookEndpoint, _>("e-1", all)
    }

    fn disabled(because: DisabledBecause) -> EndpointEvent {
        EndpointEvent::WebhookEndpointDisabled {
            because,
            reason: None,
        }
    }

    #[test]
    fn an_endpoint_that_fails_or_was_given_up_is_in_trouble() {
        let failing = EndpointEvent::WebhookEndpointFailing { since: at(1) };
        assert!(!endpoint(&[]).in_trouble);
        let row = endpoint(std::slice::from_ref(&failing));
        assert!(row.in_trouble && row.status == EndpointStatus::Enabled);
        let recovered = EndpointEvent::WebhookEndpointRecovered {};
        let row = endpoint(&[failing.clone(), recovered]);
        assert!(!row.in_trouble && row.failing_since.is_none());
        let row = endpoint(&[failing, disabled(DisabledBecause::Failing)]);
        assert!(row.in_trouble && row.status == EndpointStatus::Disabled);
        let enabled = EndpointEvent::WebhookEndpointEnabled {};
        let row = endpoint(&[disabled(DisabledBecause::Gone), enabled]);
        assert!(!row.in_trouble && row.disabled_because.is_none());
        assert!(!endpoint(&[disabled(DisabledBecause::Asked)]).in_trouble);
        let row = endpoint(&[EndpointEvent::WebhookEndpointRemoved {}]);
        assert_eq!(row.status, EndpointStatus::Removed);
        assert_eq!((row.url, row.description), (None, None));
    }

    #[test]
    fn a_rotation_shows_its_number_and_until_when_the_old_secret_counts() {
        let rotated = EndpointEvent::WebhookSecretRotated {
            generation: 2,
            previous_until: at(9),
        };
        let row = endpoint(&[rotated]);
        assert_eq!(row.secret_generation, 2);
        assert_eq!(row.previous_secret_until, Some(Moment(at(9))));
    }

    fn requested() -> DeliveryEvent {
        DeliveryEvent::WebhookDeliveryRequested {
            endpoint_id: WebhookEndpointId(Uuid::from_u128(1)),
            user_id: None,
            event: EventRef {
                event_type: "order.order_placed".to_owned(),
                event_id: Uuid::from_u128(2),
                occurred_at: at(0),
                position: Some("ORDER:7".parse().unwrap()),
            },
        }
    }

    fn attempted(number: u32, next: Option<i64>) -> DeliveryEvent {
        let error = "no answer".to_owned();
        DeliveryEvent::WebhookAttempted {
            attempt: Attempt {
                number,
                at: at(1),
                duration_ms: 5,
                outcome: Outcome::Unanswered { error },
            },
            next_at: next.map(at),
        }
    }

    fn delivery(events: &[DeliveryEvent]) -> WebhookDeliveryEntry {
        let all = [&[requested()], events].concat();
        fold::<WebhookDelivery, _>("d-1", all)
    }

    #[test]
    fn a_delivery_tells_every_attempt_and_what_comes_next() {
        let row = delivery(&[attempted(1, Some(5))]);
        assert_eq!(
            (row.status, row.attempts.len()),
            (DeliveryStatus::Pending, 1)
        );
        assert_eq!(row.next_attempt_at, Some(Moment(at(5))));
        assert_eq!(row.position.as_deref(), Some("ORDER:7"));
        let row = delivery(&[attempted(1, Some(5)), attempted(2, None)]);
        assert_eq!((row.status, row.attempt_count), (DeliveryStatus::Failed, 2));
        let again = DeliveryEvent::WebhookRedeliveryRequested {};
        let row = delivery(&[attempted(1, None), again]);
        assert_eq!(
            (row.status, row.next_attempt_at),
            (DeliveryStatus::Pending, None)
        );
        let reason: Reason = "disabled".parse().unwrap();
        let abandoned = DeliveryEvent::WebhookDeliveryAbandoned {
            reason: reason.clone(),
        };
        let row = delivery(&[abandoned]);
        assert_eq!(
            (row.status, row.reason),
            (DeliveryStatus::Failed, Some(reason))
        );
    }

    #[test]
    fn a_row_tells_of_the_latest_attempts_only() {
        let many: Vec<_> = (1..=25).map(|number| attempted(number, Some(9))).collect();
        let row = delivery(&many);
        assert_eq!(
            (row.attempts.len(), row.attempt_count),
            (ATTEMPTS_TOLD_MAX, 25)
        );
        assert_eq!(row.attempts[0].number, 6);
    }
}
