//! Money whose outcome is unknown is never undone: first it is known, then voided or refunded.

#![allow(
    clippy::similar_names,
    reason = "case and cause are what the scenarios are about"
)]

mod kit;

use checkout::{Cause, CheckoutEvent, Status, Step};
use kit::{
    Case, authorized, canceled, captured, commit, committed, declined, failed, refunded, refused,
    released, reserve, reserved, step, undo, voided,
};

/// The capture was asked for, and nobody knows what came of it.
fn capturing() -> Case {
    Case::placed().given([reserved("MUG"), authorized(), committed("MUG")])
}

#[test]
fn a_cancellation_at_the_capture_waits_and_refunds() {
    let mut case = capturing().given([canceled()]);
    assert_eq!(case.works(), [undo(Step::AuthorizePayment)]);
    case.ignores(&refused(
        undo(Step::AuthorizePayment),
        "capture_in_progress",
    ));
    case.ignores(&refused(undo(Step::AuthorizePayment), "payment_captured"));
    let known = case.when(&captured());
    let step = Step::CapturePayment;
    assert_eq!(known, Some(CheckoutEvent::StepSucceeded { step }));
    assert_eq!(case.works(), [undo(Step::CapturePayment)]);
    case.when(&refunded(1));
    assert_eq!(case.works(), [undo(commit("MUG"))]);
    case.when(&released("MUG"));
    assert_eq!(case.state.status(), Status::Ended);
}

#[test]
fn a_cancellation_before_the_capture_took_hold_voids() {
    let mut case = capturing().given([canceled(), voided()]);
    assert_eq!(case.works(), [undo(commit("MUG"))]);
    case.when(&released("MUG"));
    assert_eq!(case.state.status(), Status::Ended);
}

#[test]
fn a_failed_capture_leaves_money_held_that_is_voided() {
    let mut case = capturing();
    case.when(&failed());
    assert_eq!(case.works(), [undo(commit("MUG"))]);
    case.when(&released("MUG"));
    assert_eq!(case.works(), [undo(Step::AuthorizePayment)]);
    case.when(&voided());
    assert_eq!(case.works(), [kit::reject()]);
    let mut during_the_undo = capturing().given([canceled()]);
    during_the_undo.ignores(&failed());
    assert_eq!(during_the_undo.works(), [undo(Step::AuthorizePayment)]);
}

#[test]
fn a_refused_capture_is_undone() {
    let mut case = capturing();
    case.when(&refused(step(Step::CapturePayment), "void_requested"));
    assert_eq!(case.works(), [undo(commit("MUG"))]);
    case.when(&released("MUG"));
    case.when(&voided());
    assert_eq!(case.works(), [kit::reject()]);
}

#[test]
fn a_hold_that_lapses_at_the_provider_costs_the_order() {
    for before in [
        Case::placed().given([reserved("MUG")]),
        Case::placed().given([reserved("MUG"), authorized()]),
        capturing(),
    ] {
        let mut case = before;
        let lost = case.when(&voided());
        let cause = Cause::AuthorizationLost {};
        assert_eq!(lost, Some(CheckoutEvent::UndoStarted { cause }));
        case.when(&released("MUG"));
        assert_eq!(case.works(), [kit::reject()]);
    }
}

#[test]
fn a_late_authorization_after_a_decline_is_voided_also_after_the_end() {
    let ended = Case::placed().given([
        reserved("MUG"),
        declined(),
        released("MUG"),
        kit::rejected("card_declined"),
    ]);
    let undone = Case::placed().given([reserved("MUG"), declined(), released("MUG")]);
    for (mut case, after) in [(ended, Status::Ended), (undone, Status::Undone)] {
        let late = case.when(&authorized());
        let step = Step::AuthorizePayment;
        let cause = Cause::LateSuccess { step };
        assert_eq!(late, Some(CheckoutEvent::UndoStarted { cause }));
        assert_eq!(case.works(), [kit::undo_again(Step::AuthorizePayment, 2)]);
        case.ignores(&authorized());
        let done = case.when(&voided());
        assert!(matches!(done, Some(CheckoutEvent::UndoSucceeded { .. })));
        assert_eq!(case.state.status(), after);
    }
}

#[test]
fn a_decline_during_the_undo_does_not_bar_a_late_authorization() {
    let mut case = Case::placed().given([reserved("MUG"), canceled(), declined(), released("MUG")]);
    assert_eq!(case.state.status(), Status::Ended);
    case.when(&authorized());
    assert_eq!(case.works(), [kit::undo_again(Step::AuthorizePayment, 2)]);
    case.when(&voided());
    case.ignores(&authorized());
}

#[test]
fn a_late_rejection_is_heard_while_a_late_success_is_undone() {
    let mut case = Case::placed().given([reserved("MUG"), declined(), released("MUG")]);
    case.when(&authorized());
    case.when(&kit::rejected("card_declined"));
    assert_eq!(case.state.status(), Status::Ended);
    assert_eq!(case.works(), [kit::undo_again(Step::AuthorizePayment, 2)]);
    case.when(&voided());
    assert!(case.works().is_empty());
}

#[test]
fn a_late_capture_after_the_void_is_refunded() {
    let mut case = Case::placed().given([reserved("MUG"), canceled(), voided(), released("MUG")]);
    assert_eq!(case.state.status(), Status::Ended);
    case.when(&captured());
    assert_eq!(case.works(), [kit::undo_again(Step::CapturePayment, 2)]);
    case.when(&refunded(2));
    assert_eq!(case.works(), [checkout::Ask::RecordRefund]);
}

#[test]
fn a_late_reserve_after_its_refusal_is_released() {
    let mut case = Case::placed().given([refused(step(reserve("MUG")), "out_of_stock")]);
    case.when(&reserved("MUG"));
    assert_eq!(case.works(), [kit::undo_again(reserve("MUG"), 2)]);
    case.ignores(&reserved("MUG"));
    case.when(&released("MUG"));
    assert_eq!(case.works(), [kit::reject()]);
}

#[test]
fn stock_of_another_attempt_is_no_concern() {
    let mut case = Case::placed();
    case.ignores(&checkout::CheckoutFact::StockReserved {
        sku: kit::sku("MUG"),
        attempt: 2,
    });
}
