//! Money that goes back, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

mod words;

use kernel::Money;
use payment::{PaymentCommand, PaymentEvent, PaymentRefusal, PaymentStatus};
use words::{
    after, at_authorized, at_captured, at_voided, eur, follows, is_refused, refund_id, voided, why,
};

fn refund(n: u128, amount: Money) -> PaymentCommand {
    PaymentCommand::RefundPayment {
        refund_id: refund_id(n),
        amount,
        reason: why(),
    }
}

fn asked(n: u128, amount: Money) -> PaymentEvent {
    PaymentEvent::RefundRequested {
        refund_id: refund_id(n),
        amount,
        reason: why(),
        provider_key: format!("refund-{}", refund_id(n)),
    }
}

fn record(n: u128) -> PaymentCommand {
    PaymentCommand::RecordRefund {
        refund_id: refund_id(n),
    }
}

fn done(n: u128, amount: Money) -> PaymentEvent {
    PaymentEvent::PaymentRefunded {
        refund_id: refund_id(n),
        amount,
    }
}

fn record_failure(n: u128) -> PaymentCommand {
    PaymentCommand::RecordRefundFailure {
        refund_id: refund_id(n),
        code: "expired_card".to_owned(),
    }
}

fn failed(n: u128) -> PaymentEvent {
    not_given_back(n, None)
}

fn not_given_back(n: u128, came_back: Option<Money>) -> PaymentEvent {
    PaymentEvent::RefundFailed {
        refund_id: refund_id(n),
        code: "expired_card".to_owned(),
        came_back,
    }
}

fn refund_failed() -> PaymentRefusal {
    PaymentRefusal::RefundFailed {
        reason: "expired_card".to_owned(),
    }
}

/// Captured, and then this.
fn and(events: &[PaymentEvent]) -> Vec<PaymentEvent> {
    [at_captured(), events.to_vec()].concat()
}

#[test]
fn money_is_given_back_once_for_each_refund() {
    let amount = eur(1_000);
    let pending = [asked(1, amount)];
    let given_back = [asked(1, amount), done(1, amount)];
    follows(at_captured(), refund(1, amount), pending.to_vec());
    follows(and(&pending), refund(1, amount), vec![]);
    follows(and(&given_back), refund(1, amount), vec![]);
}

#[test]
fn a_refund_has_one_amount() {
    is_refused(
        and(&[asked(1, eur(1_000))]),
        refund(1, eur(999)),
        PaymentRefusal::RefundDiffers {
            requested: eur(1_000),
        },
    );
}

#[test]
fn only_captured_money_is_given_back() {
    is_refused(vec![], refund(1, eur(1)), PaymentRefusal::PaymentUnknown);
    for history in [at_authorized(), at_voided(), vec![voided()]] {
        is_refused(
            history,
            refund(1, eur(1)),
            PaymentRefusal::PaymentNotCaptured,
        );
    }
}

#[test]
fn nothing_is_no_refund() {
    for amount in [eur(0), eur(-1)] {
        is_refused(
            at_captured(),
            refund(1, amount),
            PaymentRefusal::AmountNotPositive,
        );
    }
}

#[test]
fn two_refunds_at_once_never_give_back_more_than_was_captured() {
    let pending = and(&[asked(1, eur(2_000))]);
    let exceeds = |amount| PaymentRefusal::RefundExceedsCaptured {
        available: eur(amount),
    };
    is_refused(pending.clone(), refund(2, eur(501)), exceeds(500));
    follows(pending, refund(2, eur(500)), vec![asked(2, eur(500))]);
    let given_back = and(&[asked(1, eur(2_500)), done(1, eur(2_500))]);
    is_refused(given_back, refund(2, eur(1)), exceeds(0));
    let dollars = Money::new(1, "USD".parse().unwrap());
    is_refused(at_captured(), refund(1, dollars), exceeds(2_500));
}

#[test]
fn a_payment_has_at_most_a_hundred_refunds() {
    let mut history = at_captured();
    for n in 0..100 {
        history.extend([asked(n, eur(1)), failed(n)]);
    }
    is_refused(
        history,
        refund(100, eur(1)),
        PaymentRefusal::TooManyRefunds { max: 100 },
    );
}

#[test]
fn what_the_provider_gave_back_is_recorded_once() {
    let pending = and(&[asked(1, eur(1_000))]);
    follows(pending, record(1), vec![done(1, eur(1_000))]);
    let given_back = and(&[asked(1, eur(1_000)), done(1, eur(1_000))]);
    follows(given_back, record(1), vec![]);
}

#[test]
fn what_nobody_asked_to_give_back_was_not_given_back() {
    for command in [record(1), record_failure(1)] {
        is_refused(at_captured(), command, PaymentRefusal::RefundUnknown);
    }
}

#[test]
fn a_failed_refund_is_recorded_once_and_frees_its_amount() {
    let pending = and(&[asked(1, eur(2_500))]);
    follows(pending, record_failure(1), vec![failed(1)]);
    let free_again = and(&[asked(1, eur(2_500)), failed(1)]);
    follows(free_again.clone(), record_failure(1), vec![]);
    follows(
        free_again,
        refund(2, eur(2_500)),
        vec![asked(2, eur(2_500))],
    );
}

#[test]
fn a_failed_refund_is_not_tried_again_under_its_id() {
    let history = and(&[asked(1, eur(1_000)), failed(1)]);
    for command in [refund(1, eur(1_000)), record(1)] {
        is_refused(history.clone(), command, refund_failed());
    }
}

#[test]
fn money_that_the_bank_sent_back_is_ours_again() {
    let given_back = and(&[asked(1, eur(1_000)), done(1, eur(1_000))]);
    let came_back = vec![not_given_back(1, Some(eur(1_000)))];
    follows(given_back.clone(), record_failure(1), came_back.clone());
    let payment = after(&[given_back, came_back].concat());
    assert_eq!(payment.status(), Some(PaymentStatus::Captured));
}

#[test]
fn the_status_says_how_much_went_back() {
    let status = |events: &[PaymentEvent]| after(&and(events)).status();
    let part = [asked(1, eur(1_000)), done(1, eur(1_000))];
    let rest = [asked(2, eur(1_500)), done(2, eur(1_500))];
    assert_eq!(status(&part[..1]), Some(PaymentStatus::Captured));
    assert_eq!(status(&part), Some(PaymentStatus::PartiallyRefunded));
    assert_eq!(
        status(&[part, rest].concat()),
        Some(PaymentStatus::Refunded)
    );
}
