//! The vocabulary that the scenarios of a payment are told in.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part of the vocabulary, and a scenario that can not go on fails"
)]

use kernel::{Decider, Money, OrderId, Reason, RefundId, TestFramework, UserId};
use payment::{Payment, PaymentCommand, PaymentEvent, PaymentRefusal};
use uuid::Uuid;

pub(crate) const ORDER: OrderId = OrderId(Uuid::from_u128(0x0D));
pub(crate) const ANN: UserId = UserId(Uuid::from_u128(0xA));

pub(crate) fn eur(amount: i64) -> Money {
    Money::new(amount, "EUR".parse().unwrap())
}

pub(crate) fn why() -> Reason {
    "order canceled".parse().unwrap()
}

pub(crate) fn refund_id(n: u128) -> RefundId {
    RefundId(Uuid::from_u128(n))
}

pub(crate) fn request(amount: Money) -> PaymentCommand {
    PaymentCommand::RequestPayment {
        order_id: ORDER,
        user_id: ANN,
        amount,
        method: "pm_card_visa".parse().unwrap(),
    }
}

pub(crate) fn requested() -> PaymentEvent {
    PaymentEvent::PaymentRequested {
        order_id: ORDER,
        user_id: ANN,
        amount: eur(2_500),
        method: "pm_card_visa".parse().unwrap(),
        provider_key: format!("create-{ORDER}"),
    }
}

pub(crate) fn record_authorization(amount: Money) -> PaymentCommand {
    PaymentCommand::RecordAuthorization { amount }
}

pub(crate) fn record_decline() -> PaymentCommand {
    PaymentCommand::RecordDecline {
        code: "card_declined".to_owned(),
        retryable: false,
    }
}

pub(crate) fn record_failure() -> PaymentCommand {
    PaymentCommand::RecordFailure {
        code: "charge_expired".to_owned(),
    }
}

pub(crate) fn capture() -> PaymentCommand {
    PaymentCommand::CapturePayment {}
}

pub(crate) fn record_capture(amount: Money) -> PaymentCommand {
    PaymentCommand::RecordCapture { amount }
}

pub(crate) fn void() -> PaymentCommand {
    PaymentCommand::VoidPayment { reason: why() }
}

pub(crate) fn record_void() -> PaymentCommand {
    PaymentCommand::RecordVoid {}
}

pub(crate) fn authorized() -> PaymentEvent {
    PaymentEvent::PaymentAuthorized { amount: eur(2_500) }
}

pub(crate) fn failed() -> PaymentEvent {
    PaymentEvent::PaymentFailed {
        code: "charge_expired".to_owned(),
    }
}

pub(crate) fn capture_requested() -> PaymentEvent {
    PaymentEvent::CaptureRequested {
        amount: eur(2_500),
        provider_key: format!("capture-{ORDER}"),
    }
}

pub(crate) fn captured() -> PaymentEvent {
    PaymentEvent::PaymentCaptured { amount: eur(2_500) }
}

pub(crate) fn void_requested() -> PaymentEvent {
    PaymentEvent::VoidRequested {
        reason: why(),
        provider_key: format!("cancel-{ORDER}"),
    }
}

pub(crate) fn voided() -> PaymentEvent {
    PaymentEvent::PaymentVoided {}
}

pub(crate) fn at_requested() -> Vec<PaymentEvent> {
    let intent_id = "pi_1".to_owned();
    vec![
        requested(),
        PaymentEvent::ProviderIntentCreated { intent_id },
    ]
}

pub(crate) fn at_authorized() -> Vec<PaymentEvent> {
    [at_requested(), vec![authorized()]].concat()
}

pub(crate) fn at_capturing() -> Vec<PaymentEvent> {
    [at_authorized(), vec![capture_requested()]].concat()
}

pub(crate) fn at_captured() -> Vec<PaymentEvent> {
    [at_capturing(), vec![captured()]].concat()
}

/// Void wanted before the provider answered.
pub(crate) fn at_voiding() -> Vec<PaymentEvent> {
    [at_requested(), vec![void_requested()]].concat()
}

pub(crate) fn at_voided() -> Vec<PaymentEvent> {
    [at_voiding(), vec![voided()]].concat()
}

pub(crate) fn at_declined() -> Vec<PaymentEvent> {
    let declined = PaymentEvent::PaymentDeclined {
        code: "card_declined".to_owned(),
        retryable: false,
    };
    [at_requested(), vec![declined]].concat()
}

/// The capture failed.
pub(crate) fn at_failed() -> Vec<PaymentEvent> {
    [at_capturing(), vec![failed()]].concat()
}

#[track_caller]
pub(crate) fn follows(given: Vec<PaymentEvent>, when: PaymentCommand, then: Vec<PaymentEvent>) {
    TestFramework::<Payment>::with(())
        .given(given)
        .when(when)
        .then_expect_events(then);
}

#[track_caller]
pub(crate) fn is_refused(given: Vec<PaymentEvent>, when: PaymentCommand, then: PaymentRefusal) {
    TestFramework::<Payment>::with(())
        .given(given)
        .when(when)
        .then_expect_error(then);
}

pub(crate) fn after(events: &[PaymentEvent]) -> Payment {
    let mut payment = Payment::default();
    for event in events {
        payment.evolve(event);
    }
    payment
}
