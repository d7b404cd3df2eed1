//! What the notification context has ever written stays readable.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use std::path::Path;

use kernel::{EmailClaimId, Money, OrderId, UserId, golden};
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
    golden::no_other_files(&folder, &files).unwrap();
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
