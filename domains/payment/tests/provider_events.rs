//! What the provider tells by itself, and our record held against its list.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

mod words;

use kernel::Money;
use payment::{
    Claim, Difference, IgnoredBecause, PaymentCommand, PaymentEvent, PaymentRefusal, ProviderRecord,
};
use words::{
    after, at_authorized, at_captured, at_capturing, at_declined, at_failed, at_requested,
    at_voided, at_voiding, captured, eur, follows, is_refused, refund_id, requested, voided, why,
};

fn told(event_id: &str) -> PaymentCommand {
    PaymentCommand::RecordProviderEvent {
        event_id: event_id.to_owned(),
        event_type: "payment_intent.canceled".to_owned(),
        because: IgnoredBecause::Stale,
    }
}

fn ignored(event_id: &str) -> PaymentEvent {
    PaymentEvent::ProviderEventIgnored {
        event_id: event_id.to_owned(),
        event_type: "payment_intent.canceled".to_owned(),
        because: IgnoredBecause::Stale,
    }
}

/// The provider's record of the scenarios' payment.
fn seen(held: i64, captured: i64, refunded: i64) -> ProviderRecord {
    ProviderRecord {
        intent_id: "pi_1".to_owned(),
        amount: eur(2_500),
        held: eur(held),
        captured: eur(captured),
        refunded: eur(refunded),
    }
}

fn reconcile(seen: Option<ProviderRecord>) -> PaymentCommand {
    PaymentCommand::ReconcilePayment { seen }
}

fn mismatched(what: Difference, seen: Option<ProviderRecord>) -> PaymentEvent {
    PaymentEvent::ReconciliationMismatched {
        differences: vec![what],
        seen,
    }
}

fn at_refunded(amount: i64) -> Vec<PaymentEvent> {
    let (refund_id, amount) = (refund_id(1), eur(amount));
    let refunds = [
        PaymentEvent::RefundRequested {
            refund_id,
            amount,
            reason: why(),
            provider_key: format!("refund-{refund_id}"),
        },
        PaymentEvent::PaymentRefunded { refund_id, amount },
    ];
    [at_captured(), refunds.to_vec()].concat()
}

#[test]
fn an_event_that_changes_nothing_is_recorded_once_at_every_stage() {
    for history in [
        at_requested(),
        at_authorized(),
        at_capturing(),
        at_captured(),
        at_voiding(),
        at_voided(),
        at_declined(),
        at_failed(),
    ] {
        follows(history.clone(), told("evt_1"), vec![ignored("evt_1")]);
        let heard = [history, vec![ignored("evt_1")]].concat();
        follows(heard.clone(), told("evt_1"), vec![]);
        follows(heard, told("evt_2"), vec![ignored("evt_2")]);
    }
}

#[test]
fn an_event_that_was_ignored_moves_nothing() {
    let ignored_in_between = [at_authorized(), vec![ignored("evt_1")]].concat();
    let payment = after(&ignored_in_between);
    assert_eq!(payment.status(), after(&at_authorized()).status());
    assert_eq!(payment.due(), None);
}

#[test]
fn what_was_ignored_long_ago_is_forgotten() {
    let many = (0..100).map(|number| ignored(&format!("evt_{number}")));
    let history: Vec<_> = at_captured().into_iter().chain(many).collect();
    let ignored = &after(&history).charge().unwrap().ignored.clone();
    assert_eq!(ignored.len(), 16);
    assert_eq!(ignored.back().map(String::as_str), Some("evt_99"));
}

#[test]
fn nothing_is_recorded_of_a_payment_that_nobody_asked_for() {
    for command in [told("evt_1"), reconcile(None)] {
        is_refused(vec![], command.clone(), PaymentRefusal::PaymentUnknown);
        is_refused(vec![voided()], command, PaymentRefusal::PaymentVoided);
    }
}

#[test]
fn the_echo_of_what_is_on_record_is_known_and_news_are_not() {
    let knows = |history: &[PaymentEvent], claim| after(history).knows(claim);
    assert!(!knows(&at_requested(), Claim::Authorized));
    assert!(!knows(&at_requested(), Claim::ActionRequired));
    assert!(knows(&at_captured(), Claim::Authorized));
    assert!(knows(&at_captured(), Claim::Captured));
    assert!(!knows(&at_capturing(), Claim::Captured));
    assert!(!knows(&at_voiding(), Claim::Voided));
    assert!(knows(&at_voided(), Claim::Voided));
    assert!(knows(&at_declined(), Claim::Declined));
    assert!(!knows(&at_voided(), Claim::Authorized), "it came too late");
    let back = |amount| Claim::Refunded(Some(eur(amount)));
    assert!(knows(&at_refunded(500), back(500)));
    assert!(!knows(&at_refunded(500), back(600)));
    assert!(!knows(&at_refunded(500), Claim::Refunded(None)));
    assert!(!knows(&[], Claim::Captured));
}

#[test]
fn equal_records_are_silent() {
    for (history, seen) in [
        (at_requested(), seen(0, 0, 0)),
        (at_authorized(), seen(2_500, 0, 0)),
        (at_captured(), seen(0, 2_500, 0)),
        (at_refunded(500), seen(0, 2_500, 500)),
        (at_voided(), seen(0, 0, 0)),
        (at_declined(), seen(0, 0, 0)),
    ] {
        follows(history, reconcile(Some(seen)), vec![]);
    }
    // The provider has nothing, and we never heard of an intent.
    follows(vec![requested()], reconcile(None), vec![]);
}

#[test]
fn every_difference_is_named() {
    let other_intent = ProviderRecord {
        intent_id: "pi_2".to_owned(),
        ..seen(0, 2_500, 0)
    };
    let other_amount = ProviderRecord {
        amount: eur(9),
        ..seen(0, 2_500, 0)
    };
    for (history, theirs, what) in [
        (at_captured(), None, Difference::MissingAtProvider),
        (at_captured(), Some(other_intent), Difference::UnknownIntent),
        (at_captured(), Some(other_amount), Difference::Amount),
        (at_voided(), Some(seen(2_500, 0, 0)), Difference::Held),
        (at_captured(), Some(seen(0, 2_400, 0)), Difference::Captured),
        (
            at_captured(),
            Some(seen(0, 2_500, 100)),
            Difference::Refunded,
        ),
    ] {
        let mismatch = mismatched(what, theirs.clone());
        follows(history, reconcile(theirs), vec![mismatch]);
    }
}

#[test]
fn an_unconfirmed_intent_that_is_not_ours_costs_nobody_anything() {
    let unconfirmed = ProviderRecord {
        intent_id: "pi_2".to_owned(),
        ..seen(0, 0, 0)
    };
    follows(at_captured(), reconcile(Some(unconfirmed)), vec![]);
}

#[test]
fn an_intent_that_is_not_ours_is_nobodys_loss_once_its_money_went_back() {
    for (refunded, is_told) in [(0, true), (2_400, true), (2_500, false)] {
        let theirs = ProviderRecord {
            intent_id: "pi_2".to_owned(),
            ..seen(0, 2_500, refunded)
        };
        let told = mismatched(Difference::UnknownIntent, Some(theirs.clone()));
        let told = is_told.then_some(told).into_iter().collect();
        follows(at_captured(), reconcile(Some(theirs)), told);
    }
}

#[test]
fn a_mismatch_is_recorded_once_and_so_is_its_end() {
    let theirs = || Some(seen(0, 2_500, 100));
    let found = mismatched(Difference::Refunded, theirs());
    let open = [at_captured(), vec![found.clone()]].concat();
    follows(open.clone(), reconcile(theirs()), vec![]);
    let worse = Some(seen(0, 2_500, 200));
    let found_worse = mismatched(Difference::Refunded, worse.clone());
    follows(open.clone(), reconcile(worse), vec![found_worse]);
    let settled = vec![PaymentEvent::ReconciliationMatched {}];
    let equal = || Some(seen(0, 2_500, 0));
    follows(open.clone(), reconcile(equal()), settled.clone());
    let closed = [open, settled].concat();
    follows(closed.clone(), reconcile(equal()), vec![]);
    follows(closed, reconcile(theirs()), vec![found]);
}

#[test]
fn a_mismatch_that_a_person_explains_is_none_until_it_changes() {
    let theirs = || Some(seen(0, 2_500, 100));
    let accept = || PaymentCommand::RecordReconciliation { reason: why() };
    let accepted = PaymentEvent::ReconciliationAccepted {
        differences: vec![Difference::Refunded],
        seen: theirs(),
        reason: why(),
    };
    let open = [
        at_captured(),
        vec![mismatched(Difference::Refunded, theirs())],
    ]
    .concat();
    follows(open.clone(), accept(), vec![accepted.clone()]);
    let closed = [open, vec![accepted]].concat();
    is_refused(closed.clone(), accept(), PaymentRefusal::NoMismatch);
    is_refused(at_captured(), accept(), PaymentRefusal::NoMismatch);
    is_refused(vec![], accept(), PaymentRefusal::PaymentUnknown);
    follows(closed.clone(), reconcile(theirs()), vec![]);
    assert!(after(&closed).accepts(theirs().as_ref()));
    let worse = Some(seen(0, 2_500, 200));
    let found_worse = mismatched(Difference::Refunded, worse.clone());
    follows(closed.clone(), reconcile(worse), vec![found_worse.clone()]);
    // Back to what was explained: what stood meanwhile is settled.
    let worse = [closed, vec![found_worse]].concat();
    let settled = vec![PaymentEvent::ReconciliationMatched {}];
    follows(worse, reconcile(theirs()), settled);
}

#[test]
fn other_currencies_are_other_amounts() {
    let usd = |amount| Money::new(amount, "USD".parse().unwrap());
    let theirs = ProviderRecord {
        intent_id: "pi_1".to_owned(),
        amount: usd(2_500),
        held: usd(0),
        captured: usd(2_500),
        refunded: usd(0),
    };
    let differences =
        after(&[at_capturing(), vec![captured()]].concat()).differences(Some(&theirs));
    assert!(differences.contains(&Difference::Amount), "{differences:?}");
}
