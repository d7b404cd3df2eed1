//! What the reactor must do at the provider, and that doing it comes to rest.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

mod words;

use kernel::{Decider, Money};
use payment::{Payment, PaymentCommand, PaymentEvent, ProviderAction};
use proptest::prelude::*;
use words::{
    ORDER, after, at_authorized, at_captured, at_capturing, at_declined, at_failed, at_requested,
    at_voided, at_voiding, authorized, eur, refund_id, requested, void_requested, voided, why,
};

/// Most calls that one payment can need: create, confirm, capture, cancel, and its refunds.
const CALLS_MAX: usize = 20;

#[test]
fn an_intent_is_made_before_anything_is_asked_of_it() {
    let method = "pm_card_visa".parse().unwrap();
    assert_eq!(
        after(&[requested()]).due(),
        Some(ProviderAction::CreateIntent {
            key: format!("create-{ORDER}"),
            amount: eur(2_500),
            method,
            order_id: ORDER,
        })
    );
}

#[test]
fn a_known_intent_is_confirmed() {
    let method = "pm_card_visa".parse().unwrap();
    let intent_id = "pi_1".to_owned();
    assert_eq!(
        after(&at_requested()).due(),
        Some(ProviderAction::Confirm {
            order_id: ORDER,
            intent_id,
            method,
        })
    );
}

#[test]
fn a_capture_that_was_asked_for_is_made() {
    assert_eq!(
        after(&at_capturing()).due(),
        Some(ProviderAction::Capture {
            intent_id: "pi_1".to_owned(),
            amount: eur(2_500),
            key: format!("capture-{ORDER}"),
        })
    );
}

#[test]
fn a_void_wins_over_asking_for_the_money() {
    let cancel = |intent_id: Option<&str>| {
        Some(ProviderAction::Cancel {
            intent_id: intent_id.map(str::to_owned),
            key: format!("cancel-{ORDER}"),
        })
    };
    assert_eq!(after(&at_voiding()).due(), cancel(Some("pi_1")));
    let held_meanwhile = [at_voiding(), vec![authorized()]].concat();
    assert_eq!(after(&held_meanwhile).due(), cancel(Some("pi_1")));
    assert_eq!(after(&[requested(), void_requested()]).due(), cancel(None));
}

#[test]
fn a_refund_that_was_asked_for_is_made() {
    let asked = PaymentEvent::RefundRequested {
        refund_id: refund_id(1),
        amount: eur(100),
        reason: why(),
        provider_key: "refund-1".to_owned(),
    };
    assert_eq!(
        after(&[at_captured(), vec![asked]].concat()).due(),
        Some(ProviderAction::Refund {
            refund_id: refund_id(1),
            intent_id: "pi_1".to_owned(),
            amount: eur(100),
            key: "refund-1".to_owned(),
        })
    );
}

#[test]
fn nothing_is_due_when_the_next_word_is_somebody_elses() {
    let acts = PaymentEvent::PaymentActionRequired { action_url: None };
    for history in [
        vec![],
        vec![voided()],
        [at_requested(), vec![acts]].concat(),
        at_authorized(),
        at_captured(),
        at_voided(),
        at_declined(),
        at_failed(),
    ] {
        assert_eq!(after(&history).due(), None, "{history:?}");
    }
}

fn amounts() -> impl Strategy<Value = Money> {
    prop_oneof![
        3 => Just(eur(2_500)),
        2 => (-10_i64..3_000).prop_map(eur),
        1 => Just(Money::new(100, "USD".parse().unwrap())),
    ]
}

fn commands() -> impl Strategy<Value = PaymentCommand> {
    let code = || "code".to_owned();
    prop_oneof![
        amounts().prop_map(words::request),
        Just(PaymentCommand::RecordIntent {
            intent_id: "pi_1".to_owned()
        }),
        Just(PaymentCommand::RecordActionRequired { action_url: None }),
        amounts().prop_map(words::record_authorization),
        Just(words::record_decline()),
        Just(words::record_failure()),
        Just(words::capture()),
        amounts().prop_map(words::record_capture),
        Just(words::void()),
        Just(words::record_void()),
        (0_u128..6, amounts()).prop_map(|(n, amount)| PaymentCommand::RefundPayment {
            refund_id: refund_id(n),
            amount,
            reason: why(),
        }),
        (0_u128..6).prop_map(|n| PaymentCommand::RecordRefund {
            refund_id: refund_id(n)
        }),
        (0_u128..6).prop_map(move |n| PaymentCommand::RecordRefundFailure {
            refund_id: refund_id(n),
            code: code(),
        }),
    ]
}

/// What a provider that does as it is told makes of a call.
fn outcome(action: &ProviderAction) -> PaymentCommand {
    match action {
        ProviderAction::CreateIntent { .. } => PaymentCommand::RecordIntent {
            intent_id: "pi_1".to_owned(),
        },
        ProviderAction::Confirm { .. } => words::record_authorization(eur(2_500)),
        ProviderAction::Capture { amount, .. } => words::record_capture(*amount),
        ProviderAction::Cancel { .. } => words::record_void(),
        ProviderAction::Refund { refund_id, .. } => PaymentCommand::RecordRefund {
            refund_id: *refund_id,
        },
    }
}

fn decided(payment: &mut Payment, command: &PaymentCommand) -> usize {
    let events = payment.decide(command).unwrap_or_default();
    for event in &events {
        payment.evolve(event);
    }
    events.len()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn refunds_never_exceed_what_was_captured_nor_that_what_was_authorized(
        commands in proptest::collection::vec(commands(), 1..80),
    ) {
        let mut payment = after(&at_requested());
        for command in commands {
            prop_assert!(decided(&mut payment, &command) <= 1, "one event for one command");
            prop_assert_eq!(decided(&mut payment, &command), 0, "asked again, it is already true");
            let charge = payment.charge().unwrap();
            let back = charge.refunded().amount + charge.refunding().amount;
            prop_assert!(back <= charge.captured().amount);
            let held = charge.authorized.map_or(0, |held| held.amount);
            prop_assert!(charge.captured().amount <= held);
            prop_assert!(held <= charge.amount.amount);
        }
    }

    #[test]
    fn a_reactor_that_does_what_is_due_comes_to_rest(
        commands in proptest::collection::vec(commands(), 1..40),
    ) {
        let mut payment = after(&[requested()]);
        for command in commands {
            decided(&mut payment, &command);
        }
        for _ in 0..CALLS_MAX {
            let Some(action) = payment.due() else { break };
            let said = decided(&mut payment, &outcome(&action));
            prop_assert_eq!(said, 1, "{:?} changed nothing in {:?}", action, payment);
        }
        prop_assert_eq!(payment.due(), None);
    }

    #[test]
    fn a_snapshot_is_the_state(commands in proptest::collection::vec(commands(), 1..40)) {
        let mut payment = after(&[requested()]);
        for command in commands {
            decided(&mut payment, &command);
        }
        let json = serde_json::to_string(&payment).unwrap();
        prop_assert_eq!(serde_json::from_str::<Payment>(&json).unwrap(), payment);
    }
}
