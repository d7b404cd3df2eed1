//! The suppression of an address: what may be asked of it, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use kernel::TestFramework;
use notification::{Suppression, SuppressionCommand, SuppressionEvent};

fn suppress(reason: &str) -> SuppressionCommand {
    SuppressionCommand::SuppressAddress {
        reason: reason.parse().unwrap(),
    }
}

fn lift() -> SuppressionCommand {
    SuppressionCommand::UnsuppressAddress {}
}

fn suppressed() -> SuppressionEvent {
    SuppressionEvent::AddressSuppressed {
        reason: "complained".parse().unwrap(),
    }
}

fn lifted() -> SuppressionEvent {
    SuppressionEvent::AddressUnsuppressed {}
}

#[track_caller]
fn follows(given: Vec<SuppressionEvent>, when: SuppressionCommand, then: Vec<SuppressionEvent>) {
    TestFramework::<Suppression>::with(())
        .given(given)
        .when(when)
        .then_expect_events(then);
}

fn reason_after(events: &[SuppressionEvent]) -> Option<String> {
    let mut suppression = Suppression::default();
    for event in events {
        kernel::Decider::evolve(&mut suppression, event);
    }
    suppression.reason().map(ToString::to_string)
}

#[test]
fn an_address_is_suppressed_once_for_its_first_reason() {
    follows(vec![], suppress("complained"), vec![suppressed()]);
    follows(vec![suppressed()], suppress("bounced"), vec![]);
    assert_eq!(reason_after(&[suppressed()]).as_deref(), Some("complained"));
}

#[test]
fn a_suppression_is_lifted_once_and_may_come_again() {
    follows(vec![suppressed()], lift(), vec![lifted()]);
    follows(vec![suppressed(), lifted()], lift(), vec![]);
    follows(vec![], lift(), vec![]);
    follows(
        vec![suppressed(), lifted()],
        suppress("complained"),
        vec![suppressed()],
    );
    assert_eq!(reason_after(&[suppressed(), lifted()]), None);
}
