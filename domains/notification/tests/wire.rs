//! What the notification context has ever written stays readable.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use std::path::Path;

use kernel::{Money, OrderId, UserId, golden};
use notification::{Channel, Details, Notification, NotificationEvent, Template};
use strum::VariantNames;
use uuid::uuid;

#[test]
fn every_event_version_has_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire");
    let files = golden::check::<Notification>(
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
            },
            NotificationEvent::NotificationFailed {
                reason: "550 no such mailbox".to_owned(),
            },
        ],
    )
    .unwrap();
    golden::no_other_files(&folder, &files).unwrap();
}
