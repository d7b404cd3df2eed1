//! An operator settles a suspended checkout: a step is skipped, or all of it is resolved.

mod kit;

use checkout::{Ask, CheckoutEvent, Outcome, Stage, Status, Step, UNDO_FAILURES_MAX};
use kit::{
    Case, authorized, canceled, captured, commit, committed, confirmed, declined, refund_failed,
    refunded, refused, rejected, released, reserve, reserved, resolved, resumed, ship, shipped,
    skipped, step, stock_shipped, undo, undo_again, voided,
};
use notification::Template;

/// Canceled, and the provider won't give the money back.
fn refund_stuck() -> Case {
    let mut case = Case::placed().given([
        reserved("MUG"),
        authorized(),
        committed("MUG"),
        captured(),
        confirmed(),
        canceled(),
    ]);
    for attempt in 1..=UNDO_FAILURES_MAX + 1 {
        case.when(&refund_failed(attempt, 0));
    }
    assert_eq!(case.state.status(), Status::Suspended);
    case
}

/// Declined, and a hold can't be given back.
fn release_stuck(mut case: Case) -> Case {
    for attempt in 1..=UNDO_FAILURES_MAX + 1 {
        let ask = undo_again(reserve("MUG"), attempt);
        case.when(&refused(ask, "reservation_shipped"));
    }
    assert_eq!(case.state.status(), Status::Suspended);
    case
}

#[test]
fn a_refund_made_by_hand_is_skipped_and_the_next_undo_is_due() {
    let mut case = refund_stuck();
    let event = case.when(&skipped("capture_payment"));
    let Some(CheckoutEvent::StepSkipped {
        step,
        by,
        stage,
        outcome: None,
        ..
    }) = event
    else {
        panic!("{event:?}");
    };
    assert_eq!((step, stage), (Step::CapturePayment, Stage::Undoing));
    assert_eq!(by, "operator:ada");
    assert_eq!(case.works(), [undo(commit("MUG"))]);
    case.when(&released("MUG"));
    assert_eq!(case.state.status(), Status::Ended);
    // The money is back: the order and the customer are told.
    assert_eq!(case.works(), [Ask::RecordRefund]);
}

#[test]
fn a_skip_sent_twice_is_one_and_what_is_not_stuck_is_not_skipped() {
    let mut case = refund_stuck();
    case.ignores(&skipped("authorize_payment"));
    case.ignores(&skipped("commit_stock-MUG"));
    case.when(&skipped("capture_payment"));
    case.ignores(&skipped("capture_payment"));
    case.ignores(&resolved());
    case.ignores(&resumed());
    // The refunds that failed before are told again.
    case.ignores(&refund_failed(UNDO_FAILURES_MAX + 1, 0));
    case.ignores(&refunded(1));
}

#[test]
fn a_void_that_a_capture_holds_up_for_ever_is_resolved() {
    // Somebody takes a part of the money on the provider's page, so that no word of the capture counts.
    let taken = [reserved("MUG"), authorized(), committed("MUG")];
    let mut case = Case::placed().given(taken).given([canceled()]);
    let void = undo(Step::AuthorizePayment);
    assert_eq!(case.works(), std::slice::from_ref(&void));
    case.ignores(&refused(void, "capture_in_progress"));
    assert_eq!(case.state.status(), Status::Undoing);
    let event = case.when(&resolved());
    assert!(matches!(
        event,
        Some(CheckoutEvent::CheckoutResolved { .. })
    ));
    let release = undo(commit("MUG"));
    let void = undo(Step::AuthorizePayment);
    assert_eq!(case.works(), [release.clone(), void]);
    case.ignores(&resolved());

    // It was a capture like any other, only late: the money goes back.
    case.when(&captured());
    assert_eq!(case.works(), [release, undo(Step::CapturePayment)]);
    case.when(&released("MUG"));
    case.when(&refunded(1));
    assert_eq!(case.state.status(), Status::Resolved);
    assert_eq!(case.works(), [Ask::RecordRefund]);
}

/// To be rejected, and resolved while the provider does not answer.
fn resolved_in_an_outage() -> Case {
    let taken = [reserved("MUG"), authorized()];
    let mut case = Case::placed().given(taken);
    case.when(&refused(step(commit("MUG")), "reservation_unknown"));
    case.when(&released("MUG"));
    case.when(&resolved());
    let reject = Ask::RejectOrder { attempt: 1 };
    assert_eq!(case.works(), [undo(Step::AuthorizePayment), reject]);
    case
}

#[test]
fn an_order_that_is_resolved_before_its_money_is_let_go_is_rejected_whatever_is_heard_of_that() {
    let mut case = resolved_in_an_outage();
    case.when(&rejected("reservation_unknown"));
    assert_eq!(case.state.status(), Status::Ended);
    assert!(case.asks().contains(&kit::notify(Template::OrderRejected)));
    // Somebody may have taken it: what comes of that is seen to yet.
    assert_eq!(case.works(), [undo(Step::AuthorizePayment)]);
    case.when(&captured());
    assert_eq!(case.works(), [undo(Step::CapturePayment)]);
    case.when(&refunded(1));
    assert_eq!(case.works(), [Ask::RecordRefund]);
    assert_eq!(case.state.status(), Status::Ended);
}

#[test]
fn an_order_that_is_resolved_before_its_money_is_let_go_may_be_rejected_after_that() {
    let mut case = resolved_in_an_outage();
    case.when(&voided());
    assert_eq!(case.state.status(), Status::Resolved);
    assert_eq!(case.works(), [Ask::RejectOrder { attempt: 1 }]);
    case.when(&rejected("reservation_unknown"));
    assert_eq!(case.state.status(), Status::Ended);
    assert!(case.works().is_empty());
}

#[test]
fn an_order_that_is_resolved_before_its_money_is_let_go_may_be_canceled_yet() {
    let mut case = resolved_in_an_outage();
    case.when(&canceled());
    assert_eq!(case.works(), [undo(Step::AuthorizePayment)]);
    case.when(&captured());
    case.when(&refunded(1));
    assert_eq!(case.state.status(), Status::Ended);
    assert_eq!(case.works(), [Ask::RecordRefund]);
}

#[test]
fn money_that_a_person_has_in_hand_is_not_given_back_a_second_time() {
    let mut case = refund_stuck();
    case.when(&resolved());
    case.ignores(&captured());
    case.ignores(&refunded(UNDO_FAILURES_MAX + 2));
    assert_eq!(case.works(), [undo(commit("MUG"))]);
}

#[test]
fn nothing_is_skipped_or_resolved_that_is_not_suspended() {
    let mut case = Case::placed();
    case.ignores(&skipped("reserve_stock-MUG"));
    case.ignores(&resolved());
}

#[test]
fn the_last_undo_skipped_has_the_order_rejected_or_ends_what_was_canceled() {
    let declined = [reserved("MUG"), declined()];
    let mut case = release_stuck(Case::placed().given(declined.clone()));
    case.when(&skipped("reserve_stock-MUG"));
    assert_eq!(case.state.status(), Status::Undone);
    assert_eq!(case.works(), [Ask::RejectOrder { attempt: 1 }]);

    let mut case = release_stuck(Case::placed().given(declined).given([canceled()]));
    let event = case.when(&skipped("reserve_stock-MUG"));
    assert!(matches!(
        event,
        Some(CheckoutEvent::StepSkipped {
            stage: Stage::Ended,
            outcome: Some(Outcome::Canceled { .. }),
            ..
        })
    ));
    assert_eq!(case.state.status(), Status::Ended);
    let told = kit::notify(Template::OrderCanceled);
    assert!(case.asks().contains(&told));
}

#[test]
fn a_skipped_line_leaves_the_others_to_be_undone() {
    let two = [reserved("MUG"), reserved("TEE"), declined()];
    let mut case = release_stuck(Case::placed_two().given(two));
    case.when(&skipped("reserve_stock-MUG"));
    assert_eq!(case.state.status(), Status::Undoing);
    assert_eq!(case.works(), [undo(reserve("TEE"))]);
}

#[test]
fn an_order_that_can_not_be_rejected_is_deemed_so() {
    let mut case = Case::placed().given([refused(step(reserve("MUG")), "out_of_stock")]);
    for attempt in 1..=UNDO_FAILURES_MAX + 1 {
        let ask = Ask::RejectOrder { attempt };
        case.when(&refused(ask, "order_already_confirmed"));
    }
    case.when(&skipped("confirm_order"));
    assert_eq!(case.state.status(), Status::Ended);
    assert!(case.works().is_empty());
}

#[test]
fn stock_booked_out_by_hand_ends_the_checkout() {
    let paid = [reserved("MUG"), authorized(), committed("MUG"), captured()];
    let mut case = Case::placed().given(paid).given([confirmed(), shipped()]);
    case.when(&refused(step(ship("MUG")), "reservation_unknown"));
    case.when(&skipped("ship_stock-MUG"));
    assert_eq!(case.state.status(), Status::Ended);
    case.ignores(&stock_shipped("MUG"));
    assert!(case.works().is_empty());
}

#[test]
fn a_skip_that_the_facts_have_overtaken_only_ends_the_wait() {
    let mut case = Case::placed().given([reserved("MUG"), canceled()]);
    for attempt in 1..=UNDO_FAILURES_MAX + 1 {
        let ask = undo_again(Step::AuthorizePayment, attempt);
        case.when(&refused(ask, "provider_says_no"));
    }
    assert_eq!(case.state.status(), Status::Suspended);
    // Somebody took the money meanwhile: that the hold is gone would be no truth.
    case.when(&captured());
    case.when(&skipped("authorize_payment"));
    assert_eq!(
        case.works(),
        [undo_again(Step::CapturePayment, UNDO_FAILURES_MAX + 2)]
    );
}

#[test]
fn what_is_resolved_asks_for_nothing_more_and_nothing_changes_it() {
    let mut case = refund_stuck();
    let mails = case.asks();
    case.when(&resolved());
    assert_eq!(case.state.status(), Status::Resolved);
    assert_eq!(
        case.works(),
        [undo(commit("MUG"))],
        "stock is in nobody's hands"
    );
    case.when(&released("MUG"));
    assert_eq!(case.state.status(), Status::Resolved);
    assert_eq!(case.asks(), mails, "mails that were due stay due");
    assert!(case.works().is_empty());
    assert_eq!(case.state.deadline(), None);
    for late in [
        resolved(),
        resumed(),
        skipped("capture_payment"),
        released("MUG"),
        refunded(UNDO_FAILURES_MAX + 2),
        refund_failed(UNDO_FAILURES_MAX + 2, 9),
        voided(),
        canceled(),
        shipped(),
    ] {
        case.ignores(&late);
    }
}

#[test]
fn stock_that_a_resolved_checkout_can_not_give_back_waits_for_a_person_again() {
    let mut case = refund_stuck();
    case.when(&resolved());
    for attempt in 1..=UNDO_FAILURES_MAX + 1 {
        let ask = undo_again(commit("MUG"), attempt);
        case.when(&refused(ask, "no_such_thing"));
    }
    assert_eq!(case.state.status(), Status::Suspended);
    let again = case.clone().given([resumed()]);
    assert_eq!(
        again.works(),
        [undo_again(commit("MUG"), UNDO_FAILURES_MAX + 2)]
    );
    for settled in [skipped("commit_stock-MUG"), resolved()] {
        let over = case.clone().given([settled]);
        assert_eq!(over.state.status(), Status::Resolved);
        assert!(over.works().is_empty(), "a person has given it back");
    }
}

#[test]
fn a_late_hold_of_a_resolved_checkout_is_given_back() {
    let mut case = Case::placed().given([refused(step(reserve("MUG")), "out_of_stock")]);
    for attempt in 1..=UNDO_FAILURES_MAX + 1 {
        let ask = Ask::RejectOrder { attempt };
        case.when(&refused(ask, "order_already_confirmed"));
    }
    case.when(&resolved());
    assert!(case.works().is_empty());
    case.when(&reserved("MUG"));
    assert_eq!(case.works(), [undo_again(reserve("MUG"), 2)]);
    case.when(&released("MUG"));
    assert_eq!(case.state.status(), Status::Resolved);
    assert!(case.works().is_empty());
}

#[test]
fn stock_that_is_booked_out_after_all_is_waited_for_no_longer() {
    let two = [reserved("MUG"), reserved("TEE"), authorized()];
    let paid = [committed("MUG"), committed("TEE"), captured(), confirmed()];
    let mut case = Case::placed_two().given(two).given(paid).given([shipped()]);
    case.when(&refused(step(ship("MUG")), "reservation_unknown"));
    assert_eq!(case.state.status(), Status::Suspended);
    case.when(&stock_shipped("MUG"));
    assert_eq!(case.state.status(), Status::Shipping);
    assert_eq!(case.works(), [step(ship("TEE"))]);
}
