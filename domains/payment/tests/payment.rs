//! A payment: what may be asked of it and what is recorded of it, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

mod words;

use kernel::{Money, PaymentId};
use payment::{PaymentCommand, PaymentEvent, PaymentRefusal, PaymentStatus, payment_id};
use words::{
    ORDER, after, at_authorized, at_captured, at_capturing, at_declined, at_failed, at_requested,
    at_voided, at_voiding, authorized, capture, capture_requested, captured, eur, failed, follows,
    is_refused, record_authorization, record_capture, record_decline, record_failure, record_void,
    request, requested, void, void_requested, voided,
};

fn record_intent(intent_id: &str) -> PaymentCommand {
    PaymentCommand::RecordIntent {
        intent_id: intent_id.to_owned(),
    }
}

fn record_action() -> PaymentCommand {
    PaymentCommand::RecordActionRequired { action_url: None }
}

fn action_required() -> PaymentEvent {
    PaymentEvent::PaymentActionRequired { action_url: None }
}

#[test]
fn a_payment_is_requested_once() {
    follows(vec![], request(eur(2_500)), vec![requested()]);
    for history in [
        at_requested(),
        at_authorized(),
        at_capturing(),
        at_captured(),
        at_voiding(),
        at_declined(),
        at_failed(),
    ] {
        follows(history, request(eur(2_500)), vec![]);
    }
}

#[test]
fn one_id_stands_for_one_payment() {
    for history in [at_requested(), at_captured(), at_declined()] {
        is_refused(history, request(eur(1)), PaymentRefusal::PaymentDiffers);
    }
}

#[test]
fn nothing_is_no_payment() {
    for amount in [eur(0), eur(-1)] {
        is_refused(vec![], request(amount), PaymentRefusal::AmountNotPositive);
    }
}

#[test]
fn a_late_request_after_the_void_is_refused() {
    follows(vec![], void(), vec![voided()]);
    follows(vec![voided()], void(), vec![]);
    for history in [vec![voided()], at_voided()] {
        is_refused(history, request(eur(2_500)), PaymentRefusal::PaymentVoided);
    }
}

#[test]
fn nothing_is_recorded_of_a_payment_that_nobody_asked_for() {
    for command in [
        record_intent("pi_1"),
        record_action(),
        record_authorization(eur(1)),
        record_decline(),
        record_failure(),
        record_capture(eur(1)),
    ] {
        is_refused(vec![], command.clone(), PaymentRefusal::PaymentUnknown);
        is_refused(vec![voided()], command, PaymentRefusal::PaymentVoided);
    }
    for command in [capture(), record_void()] {
        is_refused(vec![], command, PaymentRefusal::PaymentUnknown);
    }
    follows(vec![voided()], record_void(), vec![]);
}

#[test]
fn the_providers_intent_is_recorded_once() {
    let intent_id = "pi_1".to_owned();
    follows(
        vec![requested()],
        record_intent("pi_1"),
        vec![PaymentEvent::ProviderIntentCreated { intent_id }],
    );
    for history in [at_requested(), at_captured(), at_voided()] {
        follows(history, record_intent("pi_1"), vec![]);
    }
    is_refused(
        at_requested(),
        record_intent("pi_2"),
        PaymentRefusal::IntentDiffers {
            intent_id: "pi_1".to_owned(),
        },
    );
}

#[test]
fn the_customer_must_act_and_may_be_sent_to_another_page() {
    follows(at_requested(), record_action(), vec![action_required()]);
    let waiting = [at_requested(), vec![action_required()]].concat();
    follows(waiting.clone(), record_action(), vec![]);
    let action_url = Some("https://provider.example/3ds".to_owned());
    follows(
        waiting,
        PaymentCommand::RecordActionRequired {
            action_url: action_url.clone(),
        },
        vec![PaymentEvent::PaymentActionRequired { action_url }],
    );
}

#[test]
fn an_action_that_is_asked_for_late_is_stale() {
    for history in [
        at_authorized(),
        at_capturing(),
        at_captured(),
        at_voiding(),
        at_voided(),
        at_declined(),
        at_failed(),
    ] {
        follows(history, record_action(), vec![]);
    }
}

#[test]
fn held_money_is_recorded_once() {
    let record = record_authorization(eur(2_500));
    follows(at_requested(), record.clone(), vec![authorized()]);
    let acted = [at_requested(), vec![action_required()]].concat();
    follows(acted, record.clone(), vec![authorized()]);
    for history in [
        at_authorized(),
        at_capturing(),
        at_captured(),
        at_failed(),
        [at_authorized(), vec![void_requested(), voided()]].concat(),
    ] {
        follows(history, record.clone(), vec![]);
    }
}

#[test]
fn money_that_is_held_late_is_recorded_and_let_go() {
    for history in [at_voiding(), at_voided()] {
        follows(
            history.clone(),
            record_authorization(eur(2_500)),
            vec![authorized()],
        );
        let payment = after(&[history, vec![authorized()]].concat());
        assert_eq!(payment.status(), Some(PaymentStatus::VoidRequested));
        assert!(payment.due().is_some(), "somebody must let it go");
    }
    follows(
        at_declined(),
        record_authorization(eur(2_500)),
        vec![authorized()],
    );
    let late = [at_declined(), vec![authorized()]].concat();
    follows(late, void(), vec![void_requested()]);
}

#[test]
fn another_amount_is_not_this_payments_authorization() {
    let dollars = Money::new(2_500, "USD".parse().unwrap());
    for amount in [eur(2_499), eur(2_501), dollars] {
        is_refused(
            at_requested(),
            record_authorization(amount),
            PaymentRefusal::AmountDiffers {
                expected: eur(2_500),
            },
        );
    }
}

#[test]
fn a_decline_is_an_outcome_recorded_once() {
    let declined = PaymentEvent::PaymentDeclined {
        code: "card_declined".to_owned(),
        retryable: false,
    };
    follows(at_requested(), record_decline(), vec![declined.clone()]);
    let acted = [at_requested(), vec![action_required()]].concat();
    follows(acted, record_decline(), vec![declined]);
    follows(at_declined(), record_decline(), vec![]);
}

#[test]
fn a_decline_that_comes_late_is_stale() {
    for history in [
        at_authorized(),
        at_capturing(),
        at_captured(),
        at_voiding(),
        at_voided(),
        at_failed(),
    ] {
        follows(history, record_decline(), vec![]);
    }
}

#[test]
fn a_failure_ends_the_call_in_flight() {
    for history in [at_requested(), at_capturing()] {
        follows(history, record_failure(), vec![failed()]);
    }
    for stale in [
        at_authorized(),
        at_captured(),
        at_voiding(),
        at_voided(),
        at_declined(),
        at_failed(),
    ] {
        follows(stale, record_failure(), vec![]);
    }
}

#[test]
fn held_money_is_asked_for_once() {
    follows(at_authorized(), capture(), vec![capture_requested()]);
    for history in [at_capturing(), at_captured()] {
        follows(history, capture(), vec![]);
    }
}

#[test]
fn only_held_money_is_asked_for() {
    let reason = |text: &str| text.to_owned();
    let told = [
        (at_requested(), PaymentRefusal::PaymentNotAuthorized),
        (at_voiding(), PaymentRefusal::VoidRequested),
        (at_voided(), PaymentRefusal::PaymentVoided),
        (vec![voided()], PaymentRefusal::PaymentVoided),
        (
            at_declined(),
            PaymentRefusal::PaymentDeclined {
                reason: reason("card_declined"),
            },
        ),
        (
            at_failed(),
            PaymentRefusal::PaymentFailed {
                reason: reason("charge_expired"),
            },
        ),
    ];
    for (history, refusal) in told {
        is_refused(history, capture(), refusal);
    }
}

#[test]
fn taken_money_is_recorded_once_wherever_the_payment_stood() {
    for history in [
        at_requested(),
        at_authorized(),
        at_capturing(),
        at_voiding(),
        at_voided(),
        at_declined(),
        at_failed(),
    ] {
        follows(
            history.clone(),
            record_capture(eur(2_500)),
            vec![captured()],
        );
        let payment = after(&[history, vec![captured()]].concat());
        assert_eq!(payment.status(), Some(PaymentStatus::Captured));
    }
    follows(at_captured(), record_capture(eur(2_500)), vec![]);
}

#[test]
fn neither_more_nor_less_is_taken_than_was_held() {
    let expected = eur(2_500);
    let dollars = Money::new(2_500, "USD".parse().unwrap());
    for amount in [eur(2_501), eur(2_499), eur(1), dollars] {
        for history in [at_authorized(), at_capturing(), at_voiding(), at_failed()] {
            let refusal = PaymentRefusal::AmountDiffers { expected };
            is_refused(history, record_capture(amount), refusal);
        }
    }
    is_refused(
        at_capturing(),
        record_capture(eur(0)),
        PaymentRefusal::AmountNotPositive,
    );
    is_refused(
        at_captured(),
        record_capture(eur(1)),
        PaymentRefusal::AmountDiffers { expected },
    );
}

#[test]
fn money_is_let_go_once() {
    let acted = [at_requested(), vec![action_required()]].concat();
    for history in [at_requested(), acted, at_authorized()] {
        follows(history, void(), vec![void_requested()]);
    }
    for history in [at_voiding(), at_voided(), at_declined()] {
        follows(history, void(), vec![]);
    }
    let failed_before_a_hold = [at_requested(), vec![failed()]].concat();
    follows(failed_before_a_hold, void(), vec![]);
}

#[test]
fn money_that_stayed_held_when_its_capture_failed_is_let_go() {
    follows(at_failed(), void(), vec![void_requested()]);
    follows(at_failed(), record_void(), vec![voided()]);
}

#[test]
fn money_with_an_unknown_outcome_is_not_let_go() {
    is_refused(at_capturing(), void(), PaymentRefusal::CaptureInProgress);
}

#[test]
fn money_that_was_taken_is_not_let_go() {
    is_refused(at_captured(), void(), PaymentRefusal::PaymentCaptured);
    is_refused(
        at_captured(),
        record_void(),
        PaymentRefusal::PaymentCaptured,
    );
}

#[test]
fn the_provider_let_go_once_asked_or_not() {
    for history in [
        at_requested(),
        at_authorized(),
        at_capturing(),
        at_voiding(),
    ] {
        follows(history, record_void(), vec![voided()]);
    }
    for history in [at_voided(), at_declined()] {
        follows(history, record_void(), vec![]);
    }
}

#[test]
fn an_intent_that_turns_up_after_the_void_is_let_go_too() {
    let history = [
        vec![requested(), void_requested(), voided()],
        vec![PaymentEvent::ProviderIntentCreated {
            intent_id: "pi_1".to_owned(),
        }],
    ]
    .concat();
    assert_eq!(after(&history).status(), Some(PaymentStatus::VoidRequested));
}

#[test]
fn an_order_has_one_payment_for_ever() {
    let PaymentId(id) = payment_id(ORDER);
    assert_eq!(id.to_string(), "75b4be2e-b419-5e37-8537-faa82a5462bf");
}
