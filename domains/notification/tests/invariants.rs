//! Whatever is recorded, in whatever order: a mail is sent once, what came back stays that, and what
//! is stored is what is read.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use kernel::{Decider, EmailClaimId, UserId};
use notification::{
    Channel, Details, Notification, NotificationCommand, NotificationEvent, NotificationStatus,
    Suppression, SuppressionCommand, Template,
};
use proptest::prelude::*;
use uuid::Uuid;

fn addresses() -> impl Strategy<Value = Option<EmailClaimId>> {
    proptest::option::of((1_u128..4).prop_map(|n| EmailClaimId(Uuid::from_u128(n))))
}

fn notification_commands() -> impl Strategy<Value = NotificationCommand> {
    let request = |template| NotificationCommand::RequestNotification {
        user_id: UserId(Uuid::from_u128(0xA)),
        template,
        channel: Channel::Email,
        details: Details::default(),
    };
    prop_oneof![
        Just(request(Template::Welcome)),
        Just(request(Template::OrderShipped)),
        (0_u8..2, addresses()).prop_map(|(n, address)| NotificationCommand::RecordSent {
            message_id: format!("<{n}@x>"),
            address,
        }),
        addresses().prop_map(|address| NotificationCommand::RecordBounce {
            reason: "550 5.1.1 no such mailbox".to_owned(),
            address,
        }),
        Just(NotificationCommand::RecordSuppression {
            reason: "complained".parse().unwrap(),
        }),
        Just(NotificationCommand::RecordFailure {
            reason: "554 5.6.0 message refused".to_owned(),
        }),
    ]
}

fn suppression_commands() -> impl Strategy<Value = SuppressionCommand> {
    prop_oneof![
        (0_u8..3).prop_map(|n| SuppressionCommand::SuppressAddress {
            reason: format!("reason {n}").parse().unwrap(),
        }),
        Just(SuppressionCommand::UnsuppressAddress {}),
    ]
}

/// Does `command`; a refusal is an answer as good as any here.
fn does<A: Decider>(aggregate: &mut A, command: &A::Command) -> Vec<A::Event> {
    let events = aggregate.decide(command).unwrap_or_default();
    for event in &events {
        aggregate.evolve(event);
    }
    events
}

/// What an event or state is after it was stored.
fn stored<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mail_is_sent_once_and_what_came_back_stays_that(
        commands in proptest::collection::vec(notification_commands(), 1..60),
    ) {
        let mut notification = Notification::default();
        let mut sent = 0;
        for command in commands {
            let before = notification.clone();
            for event in does(&mut notification, &command) {
                prop_assert_eq!(&stored(&event), &event);
                sent += u32::from(matches!(event, NotificationEvent::NotificationSent { .. }));
            }
            prop_assert!(sent <= 1);
            prop_assert!(does(&mut notification.clone(), &command).is_empty(), "{command:?} twice");
            if before.status() == Some(NotificationStatus::Bounced) {
                prop_assert_eq!(&notification, &before);
            }
            let requested = notification.status() == Some(NotificationStatus::Requested);
            prop_assert_eq!(notification.due().is_some(), requested);
            prop_assert_eq!(&stored(&notification), &notification);
        }
    }

    #[test]
    fn an_address_is_suppressed_as_the_last_command_says(
        commands in proptest::collection::vec(suppression_commands(), 1..40),
    ) {
        let mut suppression = Suppression::default();
        for command in commands {
            for event in does(&mut suppression, &command) {
                prop_assert_eq!(&stored(&event), &event);
            }
            let wanted = matches!(command, SuppressionCommand::SuppressAddress { .. });
            prop_assert_eq!(suppression.reason().is_some(), wanted);
            prop_assert_eq!(&stored(&suppression), &suppression);
        }
    }
}
