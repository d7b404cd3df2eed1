//! A notification: what may be asked of it, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use kernel::{EmailClaimId, NotificationId, OrderId, TestFramework, UserId};
use notification::{
    Channel, Details, Notification, NotificationCommand, NotificationEvent, NotificationRefusal,
    NotificationStatus, Template, message_id, notification_id,
};
use uuid::Uuid;

const ANN: UserId = UserId(Uuid::from_u128(0xA));

/// What a mail server says of a mailbox that isn't there.
const NO_MAILBOX: &str = "550 5.1.1 no such mailbox";

/// Where mail to Ann goes.
const MAILBOX: Option<EmailClaimId> = Some(EmailClaimId(Uuid::from_u128(0xE)));

fn details() -> Details {
    Details {
        order_id: Some(OrderId(Uuid::from_u128(1))),
        ..Details::default()
    }
}

fn request(template: Template) -> NotificationCommand {
    NotificationCommand::RequestNotification {
        user_id: ANN,
        template,
        channel: Channel::Email,
        details: details(),
    }
}

fn requested() -> NotificationEvent {
    NotificationEvent::NotificationRequested {
        user_id: ANN,
        template: Template::OrderConfirmed,
        channel: Channel::Email,
        details: details(),
    }
}

fn record_sent(message_id: &str) -> NotificationCommand {
    NotificationCommand::RecordSent {
        message_id: message_id.to_owned(),
        address: MAILBOX,
    }
}

fn sent() -> NotificationEvent {
    NotificationEvent::NotificationSent {
        message_id: "<1@x>".to_owned(),
        address: MAILBOX,
    }
}

fn record_failure() -> NotificationCommand {
    NotificationCommand::RecordFailure {
        reason: "554 5.6.0 message refused".to_owned(),
    }
}

fn failed() -> NotificationEvent {
    NotificationEvent::NotificationFailed {
        reason: "554 5.6.0 message refused".to_owned(),
    }
}

/// An operator reports it, who doesn't know where the mail went.
fn record_bounce() -> NotificationCommand {
    NotificationCommand::RecordBounce {
        reason: NO_MAILBOX.to_owned(),
        address: None,
    }
}

/// The mail server refuses it while it is sent.
fn record_bounce_of(address: Option<EmailClaimId>) -> NotificationCommand {
    NotificationCommand::RecordBounce {
        reason: NO_MAILBOX.to_owned(),
        address,
    }
}

fn bounced() -> NotificationEvent {
    NotificationEvent::NotificationBounced {
        reason: NO_MAILBOX.to_owned(),
        address: MAILBOX,
    }
}

fn record_suppression() -> NotificationCommand {
    NotificationCommand::RecordSuppression {
        reason: "complained".parse().unwrap(),
    }
}

fn suppressed() -> NotificationEvent {
    NotificationEvent::NotificationSuppressed {
        reason: "complained".parse().unwrap(),
    }
}

const RESEND: NotificationCommand = NotificationCommand::ResendNotification {};

fn resent() -> NotificationEvent {
    NotificationEvent::NotificationResendRequested {}
}

fn dismiss() -> NotificationCommand {
    NotificationCommand::DismissNotification {
        reason: "told by phone".parse().unwrap(),
    }
}

fn dismissed() -> NotificationEvent {
    NotificationEvent::NotificationDismissed {
        reason: "told by phone".parse().unwrap(),
    }
}

fn already_sent() -> NotificationRefusal {
    NotificationRefusal::NotificationAlreadySent {
        message_id: "<1@x>".to_owned(),
    }
}

#[track_caller]
fn follows(given: Vec<NotificationEvent>, when: NotificationCommand, then: Vec<NotificationEvent>) {
    TestFramework::<Notification>::with(())
        .given(given)
        .when(when)
        .then_expect_events(then);
}

#[track_caller]
fn is_refused(given: Vec<NotificationEvent>, when: NotificationCommand, then: NotificationRefusal) {
    TestFramework::<Notification>::with(())
        .given(given)
        .when(when)
        .then_expect_error(then);
}

fn after(events: &[NotificationEvent]) -> Notification {
    let mut notification = Notification::default();
    for event in events {
        kernel::Decider::evolve(&mut notification, event);
    }
    notification
}

#[test]
fn somebody_is_to_be_told_once() {
    let ask = request(Template::OrderConfirmed);
    follows(vec![], ask.clone(), vec![requested()]);
    follows(vec![requested()], ask.clone(), vec![]);
    follows(vec![requested(), sent()], ask.clone(), vec![]);
    follows(vec![requested(), failed()], ask, vec![]);
}

#[test]
fn one_id_stands_for_one_message() {
    is_refused(
        vec![requested()],
        request(Template::OrderShipped),
        NotificationRefusal::NotificationDiffers,
    );
}

#[test]
fn a_mail_is_recorded_as_sent_once() {
    follows(vec![requested()], record_sent("<1@x>"), vec![sent()]);
    follows(vec![requested(), sent()], record_sent("<1@x>"), vec![]);
}

#[test]
fn a_mail_has_one_message_id() {
    is_refused(
        vec![requested(), sent()],
        record_sent("<2@x>"),
        already_sent(),
    );
}

#[test]
fn a_mail_that_the_server_took_after_all_was_sent() {
    for given_up in [failed(), suppressed(), dismissed()] {
        follows(
            vec![requested(), given_up],
            record_sent("<1@x>"),
            vec![sent()],
        );
    }
}

#[test]
fn a_mail_comes_back_once_from_where_it_went() {
    let back = vec![requested(), sent()];
    follows(back.clone(), record_bounce(), vec![bounced()]);
    let elsewhere = Some(EmailClaimId(Uuid::from_u128(0xF)));
    follows(back.clone(), record_bounce_of(elsewhere), vec![bounced()]);
    follows([back, vec![bounced()]].concat(), record_bounce(), vec![]);
}

#[test]
fn a_mailbox_that_is_not_there_bounces_at_once() {
    follows(
        vec![requested()],
        record_bounce_of(MAILBOX),
        vec![bounced()],
    );
}

#[test]
fn a_bounce_shows_that_an_address_is_dead() {
    let dead = after(&[requested(), sent(), bounced()]);
    assert_eq!(dead.dead_address(), MAILBOX.map(|at| (at, NO_MAILBOX)));
    assert_eq!(dead.status(), Some(NotificationStatus::Bounced));
    for alive in [sent(), failed(), suppressed()] {
        assert_eq!(after(&[requested(), alive]).dead_address(), None);
    }
}

#[test]
fn what_never_went_out_does_not_come_back() {
    for given_up in [failed(), suppressed(), dismissed()] {
        is_refused(
            vec![requested(), given_up],
            record_bounce(),
            NotificationRefusal::NotificationNotSent,
        );
    }
}

#[test]
fn nothing_else_becomes_of_what_came_back() {
    for command in [record_sent("<1@x>"), record_failure(), record_suppression()] {
        is_refused(
            vec![requested(), bounced()],
            command,
            NotificationRefusal::NotificationAlreadyBounced,
        );
    }
}

#[test]
fn a_mail_to_a_suppressed_address_is_given_up_once() {
    follows(vec![requested()], record_suppression(), vec![suppressed()]);
    follows(
        vec![requested(), suppressed()],
        record_suppression(),
        vec![],
    );
    follows(vec![requested(), suppressed()], record_failure(), vec![]);
    follows(vec![requested(), failed()], record_suppression(), vec![]);
}

#[test]
fn a_failure_is_recorded_once() {
    follows(vec![requested()], record_failure(), vec![failed()]);
    follows(vec![requested(), failed()], record_failure(), vec![]);
}

#[test]
fn what_failed_is_tried_again_as_the_same_mail() {
    let failure = vec![requested(), failed()];
    follows(failure.clone(), RESEND, vec![resent()]);
    let again = [failure, vec![resent()]].concat();
    assert_eq!(after(&again), after(&[requested()]), "all of it is due");
    follows(again.clone(), RESEND, vec![]);
    follows(again.clone(), record_failure(), vec![failed()]);
    follows(again, record_sent("<1@x>"), vec![sent()]);
}

#[test]
fn what_failed_is_left_at_that_until_somebody_thinks_better_of_it() {
    let failure = vec![requested(), failed()];
    follows(failure.clone(), dismiss(), vec![dismissed()]);
    let left = [failure, vec![dismissed()]].concat();
    assert_eq!(after(&left).status(), Some(NotificationStatus::Dismissed));
    assert!(after(&left).due().is_none());
    follows(left.clone(), dismiss(), vec![]);
    follows(left.clone(), record_failure(), vec![]);
    follows(left, RESEND, vec![resent()]);
}

#[test]
fn only_what_failed_is_tried_again_or_left() {
    let refusal = NotificationRefusal::NotificationNotFailed;
    for became in [sent(), bounced(), suppressed()] {
        let given = vec![requested(), became];
        is_refused(given.clone(), RESEND, refusal.clone());
        is_refused(given, dismiss(), refusal.clone());
    }
}

#[test]
fn what_can_not_be_sent_is_left_at_that_and_may_turn_out_to_be_sent() {
    let waits = vec![requested()];
    follows(waits.clone(), dismiss(), vec![dismissed()]);
    let left = [waits, vec![dismissed()]].concat();
    assert!(after(&left).due().is_none());
    follows(left.clone(), record_sent("<1@x>"), vec![sent()]);
    follows(left, RESEND, vec![resent()]);
}

#[test]
fn what_was_sent_did_not_fail() {
    for command in [record_failure(), record_suppression()] {
        is_refused(vec![requested(), sent()], command, already_sent());
    }
}

#[test]
fn nothing_comes_of_what_nobody_asked_for() {
    for command in [
        record_sent("<1@x>"),
        record_bounce(),
        record_suppression(),
        record_failure(),
        RESEND,
        dismiss(),
    ] {
        is_refused(vec![], command, NotificationRefusal::NotificationUnknown);
    }
    let facts = [
        sent(),
        bounced(),
        suppressed(),
        failed(),
        resent(),
        dismissed(),
    ];
    assert_eq!(after(&facts), Notification::default());
}

#[test]
fn only_a_requested_mail_is_due() {
    assert!(after(&[]).due().is_none());
    assert!(after(&[requested()]).due().is_some());
    assert!(after(&[requested(), sent()]).due().is_none());
    assert!(after(&[requested(), bounced()]).due().is_none());
    assert!(after(&[requested(), suppressed()]).due().is_none());
    assert!(after(&[requested(), failed()]).due().is_none());
    assert_eq!(
        after(&[requested(), failed(), sent()]).status(),
        Some(NotificationStatus::Sent)
    );
}

#[test]
fn the_same_cause_is_the_same_notification_and_the_same_mail() {
    let cause = Uuid::from_u128(7);
    let id = |cause, template| notification_id(cause, template, Channel::Email, ANN);
    let confirmed = id(cause, Template::OrderConfirmed);
    assert_eq!(confirmed, id(cause, Template::OrderConfirmed));
    assert_ne!(confirmed, id(cause, Template::OrderCanceled));
    assert_ne!(confirmed, id(Uuid::from_u128(8), Template::OrderConfirmed));
    assert_eq!(
        message_id(NotificationId(Uuid::nil())),
        "<00000000-0000-0000-0000-000000000000@notification.millrace.invalid>"
    );
}

#[test]
fn the_derivation_of_ids_is_pinned() {
    let id = notification_id(Uuid::from_u128(7), Template::Welcome, Channel::Email, ANN);
    assert_eq!(id.to_string(), "f89db40f-5241-57c5-b1f7-41e0a3c95782");
}
