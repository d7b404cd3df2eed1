//! An undo that fails is tried again after a wait, then an operator is asked.

mod kit;

use checkout::{Ask, CheckoutEvent, Status, Step, UNDO_FAILURES_MAX};
use kit::{
    Case, authorized, canceled, captured, commit, committed, confirmed, declined, refund_failed,
    refunded, refused, refused_at, reject, released, reserve, reserved, resumed, ship, shipped,
    step, stock_shipped, undo, undo_again,
};

fn refunding() -> Case {
    Case::placed().given([
        reserved("MUG"),
        authorized(),
        committed("MUG"),
        captured(),
        confirmed(),
        canceled(),
    ])
}

#[test]
fn a_failed_refund_is_tried_again_under_another_id() {
    let mut case = refunding();
    assert_eq!(case.works(), [undo(Step::CapturePayment)]);
    let failed = case.when(&refund_failed(1, 60));
    assert!(matches!(
        failed,
        Some(CheckoutEvent::UndoFailed { attempt: 1, retry_at, .. }) if retry_at == kit::at(65)
    ));
    assert_eq!(case.state.deadline(), Some(kit::at(65)));
    assert!(
        !case
            .asks_at(64)
            .iter()
            .any(|ask| matches!(ask, Ask::Undo { .. }))
    );
    assert!(
        case.asks_at(65)
            .contains(&undo_again(Step::CapturePayment, 2))
    );
    case.ignores(&refund_failed(1, 61));
    case.ignores(&refunded(1));
    case.when(&refunded(2));
    assert_eq!(case.works(), [undo(commit("MUG"))]);
}

#[test]
fn a_refund_that_comes_back_after_days_is_made_again() {
    let mut case = refunding().given([refunded(1), released("MUG")]);
    assert_eq!(case.state.status(), Status::Ended);
    case.when(&refund_failed(1, 86_400));
    assert_eq!(case.works(), [undo_again(Step::CapturePayment, 2)]);
    case.when(&refunded(2));
    assert_eq!(case.works(), [Ask::RecordRefund]);
}

#[test]
fn a_refund_that_comes_back_while_something_else_is_stuck_is_made_again() {
    let mut case = refunding().given([refunded(1)]);
    for attempt in 1..=UNDO_FAILURES_MAX + 1 {
        let stuck = undo_again(commit("MUG"), attempt);
        case.when(&refused(stuck, "reservation_shipped"));
    }
    let (stuck, _) = case.state.suspended().unwrap();
    assert_eq!(*stuck, commit("MUG"));
    case.when(&refund_failed(1, 86_400));
    assert_eq!(case.state.status(), Status::Suspended);
    case.ignores(&refund_failed(1, 86_400));
    case.when(&resumed());
    let again = undo_again(Step::CapturePayment, 2);
    assert!(case.asks_at(86_405).contains(&again));
}

#[test]
fn the_waits_double_up_to_five_minutes_and_then_an_operator_is_asked() {
    let mut case = refunding();
    let mut waits = Vec::new();
    for attempt in 1..=UNDO_FAILURES_MAX {
        let event = case.when(&refund_failed(attempt, 0));
        let Some(CheckoutEvent::UndoFailed { retry_at, .. }) = event else {
            panic!("{event:?}");
        };
        waits.push((retry_at - kit::at(0)).num_seconds());
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
    let last = case.when(&refund_failed(UNDO_FAILURES_MAX + 1, 0));
    assert!(matches!(
        last,
        Some(CheckoutEvent::CheckoutSuspended { .. })
    ));
    assert_eq!(case.state.status(), Status::Suspended);
    let why = Some((&Step::CapturePayment, "charge_disputed"));
    assert_eq!(case.state.suspended(), why);
    assert!(case.works().is_empty());
    assert_eq!(case.state.deadline(), None);
    case.when(&resumed());
    case.ignores(&resumed());
    let next = undo_again(Step::CapturePayment, UNDO_FAILURES_MAX + 2);
    assert_eq!(case.works(), [next]);
    case.when(&refunded(UNDO_FAILURES_MAX + 2));
    case.when(&released("MUG"));
    assert_eq!(case.state.status(), Status::Ended);
}

/// A release refused until the operator is asked.
fn suspended() -> Case {
    let mut case = Case::placed_two().given([reserved("MUG"), reserved("TEE"), declined()]);
    for attempt in 1..=UNDO_FAILURES_MAX + 1 {
        case.when(&refused(
            undo_again(reserve("MUG"), attempt),
            "reservation_shipped",
        ));
    }
    case
}

#[test]
fn what_happens_while_it_is_suspended_counts() {
    let mut case = suspended();
    assert_eq!(case.state.status(), Status::Suspended);
    case.when(&released("TEE"));
    assert_eq!(case.state.status(), Status::Suspended);
    case.when(&canceled());
    assert_eq!(case.state.status(), Status::Suspended);
    case.when(&released("MUG"));
    assert_eq!(case.state.status(), Status::Ended);
}

#[test]
fn a_line_that_is_stuck_does_not_hold_the_others_back() {
    let mut case = Case::placed_two().given([reserved("MUG"), reserved("TEE"), declined()]);
    let repeated = refused_at(undo(reserve("MUG")), "reservation_shipped", 10);
    case.when(&repeated);
    case.ignores(&repeated);
    assert_eq!(case.asks_at(10), [undo(reserve("TEE"))]);
    assert_eq!(
        case.asks_at(15),
        [undo_again(reserve("MUG"), 2), undo(reserve("TEE"))]
    );
}

#[test]
fn an_order_that_can_not_be_rejected_is_tried_again() {
    let mut case = Case::placed().given([refused(step(reserve("MUG")), "out_of_stock")]);
    case.when(&refused_at(reject(), "order_already_confirmed", 10));
    assert!(case.asks_at(14).is_empty());
    assert_eq!(case.asks_at(15), [Ask::RejectOrder { attempt: 2 }]);
    assert_eq!(case.state.deadline(), Some(kit::at(15)));
}

#[test]
fn stock_that_can_not_be_booked_out_waits_for_an_operator() {
    let paid = [reserved("MUG"), authorized(), committed("MUG"), captured()];
    let mut case = Case::placed().given(paid).given([confirmed(), shipped()]);
    case.when(&refused(step(ship("MUG")), "reservation_unknown"));
    assert_eq!(case.state.status(), Status::Suspended);
    case.when(&resumed());
    let again = Ask::Step {
        step: ship("MUG"),
        attempt: 2,
    };
    assert_eq!(case.works(), [again]);
    case.when(&stock_shipped("MUG"));
    assert_eq!(case.state.status(), Status::Ended);
}

#[test]
fn mails_and_notes_never_stop_a_checkout() {
    let mut case = refunding().given([refunded(1), released("MUG")]);
    for ask in case.asks() {
        case.ignores(&refused(ask, "notification_differs"));
    }
}

#[test]
fn a_refusal_of_what_is_not_asked_is_ignored() {
    let mut case = Case::placed();
    case.ignores(&refused(step(Step::CapturePayment), "payment_unknown"));
    case.ignores(&refused(undo(reserve("MUG")), "reservation_shipped"));
    case.ignores(&refused(reject(), "order_unknown"));
    case.ignores(&resumed());
}
