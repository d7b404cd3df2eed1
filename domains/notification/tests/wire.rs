//! What the notification context has ever written stays readable.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use std::path::Path;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use kernel::{EmailClaimId, Money, OrderId, UserId, WebhookEndpointId, golden};
use notification::webhook::{
    Attempt, DeliveryEvent, DisabledBecause, EndpointEvent, EventRef, Outcome, Subscription,
    WebhookDelivery, WebhookEndpoint,
};
use notification::{
    Channel, Details, Notification, NotificationEvent, Suppression, SuppressionEvent, Template,
};
use strum::VariantNames;
use uuid::uuid;

#[test]
fn every_event_version_has_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire");
    let address = Some(EmailClaimId(uuid!("5b6c1f0e-9d2a-8c47-b1e3-0a9f8e7d6c5b")));
    let mut files = golden::check::<Notification>(
        &folder,
        NotificationEvent::VARIANTS,
        &[
            NotificationEvent::NotificationRequested {
                user_id: UserId(uuid!("0198c1d2-7a4b-7c31-9f5e-2b6c8d9e0f1a")),
                template: Template::OrderRejected,
                channel: Channel::Email,
                details: Details {
                    order_id: Some(OrderId(uuid!("0198c1d2-8b5c-7d42-8a6f-3c7d9eaf102b"))),
                    amount: Some(Money::new(49_900, "EUR".parse().unwrap())),
                    reason: Some("out_of_stock".parse().unwrap()),
                    tracking: None,
                },
            },
            NotificationEvent::NotificationRequested {
                user_id: UserId(uuid!("0198c1d2-7a4b-7c31-9f5e-2b6c8d9e0f1a")),
                template: Template::OrderShipped,
                channel: Channel::Email,
                details: Details {
                    tracking: Some("1Z999".parse().unwrap()),
                    ..Details::default()
                },
            },
            NotificationEvent::NotificationSent {
                message_id: "<0198c1d2@notification.millrace.invalid>".to_owned(),
                address,
            },
            NotificationEvent::NotificationBounced {
                reason: "550 5.1.1 no such mailbox".to_owned(),
                address,
            },
            NotificationEvent::NotificationSuppressed {
                reason: "bounced: 550 5.1.1 no such mailbox".parse().unwrap(),
            },
            NotificationEvent::NotificationFailed {
                reason: "550 no such mailbox".to_owned(),
            },
            NotificationEvent::NotificationResendRequested {},
            NotificationEvent::NotificationDismissed {
                reason: "told by phone".parse().unwrap(),
            },
        ],
    )
    .unwrap();
    let suppressions = golden::check::<Suppression>(
        &folder,
        SuppressionEvent::VARIANTS,
        &[
            SuppressionEvent::AddressSuppressed {
                reason: "bounced: 550 5.1.1 no such mailbox".parse().unwrap(),
            },
            SuppressionEvent::AddressUnsuppressed {},
        ],
    )
    .unwrap();
    files.extend(suppressions);
    files.extend(endpoints(&folder));
    files.extend(deliveries(&folder));
    golden::no_other_files(&folder, &files).unwrap();
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn endpoints(folder: &Path) -> BTreeSet<String> {
    let subscription = |url: &str, event_types: &[&str]| Subscription {
        url: url.parse().unwrap(),
        event_types: event_types.iter().map(|t| t.parse().unwrap()).collect(),
        description: None,
    };
    let examples = [
        EndpointEvent::WebhookEndpointRegistered {
            user_id: Some(UserId(uuid!("0198c1d2-7a4b-7c31-9f5e-2b6c8d9e0f1a"))),
            subscription: Subscription {
                description: Some("the books".parse().unwrap()),
                ..subscription(
                    "https://hooks.example.com/millrace?shop=1",
                    &["order.order_placed", "payment.*"],
                )
            },
        },
        EndpointEvent::WebhookEndpointChanged {
            subscription: subscription("https://hooks.example.com/v2", &["*"]),
        },
        EndpointEvent::WebhookSecretRotated {
            generation: 2,
            previous_until: time("2026-02-01T12:00:00Z"),
        },
        EndpointEvent::WebhookEndpointFailing {
            since: time("2026-01-31T12:00:00Z"),
        },
        EndpointEvent::WebhookEndpointRecovered {},
        EndpointEvent::WebhookEndpointDisabled {
            because: DisabledBecause::Asked,
            reason: Some("moving house".parse().unwrap()),
        },
        EndpointEvent::WebhookEndpointEnabled {},
        EndpointEvent::WebhookEndpointRemoved {},
    ];
    golden::check::<WebhookEndpoint>(folder, EndpointEvent::VARIANTS, &examples).unwrap()
}

fn deliveries(folder: &Path) -> BTreeSet<String> {
    let examples = [
        DeliveryEvent::WebhookDeliveryRequested {
            endpoint_id: WebhookEndpointId(uuid!("0198c1d2-9c6d-7e53-9b70-4d8eafb0213c")),
            user_id: None,
            event: EventRef {
                event_type: "order.order_placed".to_owned(),
                event_id: uuid!("0198c1d2-ad7e-5f64-8c81-5e9fb0c1324d"),
                occurred_at: time("2026-01-31T12:00:00Z"),
                position: Some("ORDER:42".parse().unwrap()),
            },
        },
        DeliveryEvent::WebhookAttempted {
            attempt: Attempt {
                number: 1,
                at: time("2026-01-31T12:00:01Z"),
                duration_ms: 87,
                outcome: Outcome::Rejected {
                    status: 503,
                    excerpt: "busy".to_owned(),
                },
            },
            next_at: Some(time("2026-01-31T12:00:06Z")),
        },
        DeliveryEvent::WebhookDeliveryAbandoned {
            reason: "the webhook endpoint is disabled".parse().unwrap(),
        },
        DeliveryEvent::WebhookRedeliveryRequested {},
    ];
    golden::check::<WebhookDelivery>(folder, DeliveryEvent::VARIANTS, &examples).unwrap()
}

#[test]
fn where_a_mail_went_is_not_known_of_the_first_version() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire/notification_sent.v1.json");
    let data = std::fs::read(file).unwrap();
    let event = kernel::wire::decode::<Notification>("notification_sent", 1, &data).unwrap();
    let sent = NotificationEvent::NotificationSent {
        message_id: "<0198c1d2@notification.millrace.invalid>".to_owned(),
        address: None,
    };
    assert_eq!(event, sent);
}
