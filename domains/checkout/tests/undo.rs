//! Refused, timed out, canceled: what was done is undone, newest first, and the order closed.

#![allow(
    clippy::similar_names,
    reason = "case and cause are what the scenarios are about"
)]

mod kit;

use checkout::{Ask, Cause, CheckoutEvent, Outcome, Status, Step};
use kit::{
    Case, authorized, canceled, captured, commit, committed, confirmed, declined, expired, failed,
    notify, refunded, refused, reject, rejected, released, reserve, reserved, rings, step, undo,
    voided,
};
use notification::Template;

fn ends_rejected(case: &mut Case, reason: &str) {
    assert_eq!(case.state.status(), Status::Undone);
    assert_eq!(case.asks(), [reject()]);
    let ended = case.when(&rejected(reason));
    assert!(matches!(
        ended,
        Some(CheckoutEvent::CheckoutEnded {
            outcome: Outcome::Rejected { .. },
            step: None,
            ..
        })
    ));
    assert!(case.asks().contains(&notify(Template::OrderRejected)));
}

#[test]
fn out_of_stock_leaves_nothing_to_undo() {
    let mut case = Case::placed();
    case.when(&refused(step(reserve("MUG")), "out_of_stock"));
    ends_rejected(&mut case, "out_of_stock");
    assert_eq!(
        case.story,
        ["checkout_started", "step_refused", "checkout_ended"]
    );
}

#[test]
fn one_line_out_of_stock_releases_the_other_asked_or_held() {
    for held in [true, false] {
        let mut case = Case::placed_two();
        if held {
            case.when(&reserved("MUG"));
        }
        case.when(&refused(step(reserve("TEE")), "out_of_stock"));
        assert_eq!(case.asks(), [undo(reserve("MUG"))]);
        let last = case.when(&released("MUG"));
        let step = reserve("MUG");
        assert_eq!(
            last,
            Some(CheckoutEvent::CheckoutUndone { step, moot: false })
        );
        ends_rejected(&mut case, "out_of_stock");
    }
}

#[test]
fn both_lines_out_of_stock() {
    let mut case = Case::placed_two();
    case.when(&refused(step(reserve("MUG")), "out_of_stock"));
    case.ignores(&refused(step(reserve("TEE")), "out_of_stock"));
    case.when(&released("TEE"));
    ends_rejected(&mut case, "out_of_stock");
}

#[test]
fn a_release_with_nothing_to_write_down_counts() {
    let mut case = Case::placed_two();
    case.when(&refused(step(reserve("MUG")), "stock_item_unknown"));
    let due = case.state.pending(kit::at(1)).remove(0);
    assert_eq!(due.label, undo(reserve("TEE")));
    let fact = due.already().unwrap();
    let last = case.when(&fact);
    let step = reserve("TEE");
    assert_eq!(
        last,
        Some(CheckoutEvent::CheckoutUndone { step, moot: true })
    );
    case.ignores(&fact);
    ends_rejected(&mut case, "stock_item_unknown");
    // Nothing barred it, so it may come late.
    case.when(&reserved("TEE"));
    assert_eq!(case.works(), [kit::undo_again(reserve("TEE"), 2)]);
    case.when(&case.state.pending(kit::at(1))[0].already().unwrap());
    case.ignores(&reserved("TEE"));
    assert!(case.works().is_empty());
}

#[test]
fn already_true_says_nothing_of_money_or_steps() {
    let mut case = Case::placed();
    assert_eq!(case.state.pending(kit::at(1)).remove(0).already(), None);
    case = case.given([reserved("MUG"), canceled()]);
    let void = case.state.pending(kit::at(1)).remove(0);
    assert_eq!(void.label, undo(Step::AuthorizePayment));
    assert_eq!(void.already(), None);
}

#[test]
fn a_declined_card_releases_the_stock() {
    let mut case = Case::placed().given([reserved("MUG")]);
    case.when(&declined());
    assert_eq!(case.asks(), [undo(reserve("MUG"))]);
    case.when(&released("MUG"));
    ends_rejected(&mut case, "card_declined");
    assert_eq!(case.asks(), [notify(Template::OrderRejected)]);
}

#[test]
fn a_payment_that_fails_or_is_refused_at_once_releases_the_stock() {
    for no in [
        failed(),
        refused(step(Step::AuthorizePayment), "amount_not_positive"),
    ] {
        let mut case = Case::placed().given([reserved("MUG")]);
        case.when(&no);
        assert_eq!(case.asks(), [undo(reserve("MUG"))]);
    }
}

#[test]
fn the_authorization_takes_too_long() {
    let mut case = Case::placed().given([reserved("MUG")]);
    assert_eq!(case.state.deadline(), Some(kit::at(15 * 60)));
    case.ignores(&rings(15 * 60 - 1));
    let late = case.when(&rings(15 * 60));
    let step = Step::AuthorizePayment;
    assert_eq!(late, Some(CheckoutEvent::StepTimedOut { step }));
    assert_eq!(case.asks(), [undo(Step::AuthorizePayment)]);
    assert_eq!(case.state.deadline(), None);
    case.ignores(&authorized());
    case.when(&voided());
    assert_eq!(case.asks(), [undo(reserve("MUG"))]);
    case.when(&released("MUG"));
    ends_rejected(&mut case, checkout::PAYMENT_TIMED_OUT);
}

#[test]
fn the_stock_takes_too_long() {
    let mut case = Case::placed_two().given([reserved("MUG")]);
    let late = case.when(&rings(15 * 60));
    let step = reserve("TEE");
    assert_eq!(late, Some(CheckoutEvent::StepTimedOut { step }));
    assert_eq!(case.asks(), [undo(reserve("MUG")), undo(reserve("TEE"))]);
    case.when(&released("TEE"));
    case.when(&released("MUG"));
    ends_rejected(&mut case, checkout::RESERVATION_TIMED_OUT);
}

#[test]
fn a_timer_after_the_step_that_it_guards_is_ignored() {
    let flow = [authorized(), committed("MUG"), captured(), confirmed()];
    let mut case = Case::placed().given([reserved("MUG")]);
    for fact in flow {
        case.when(&fact);
        case.ignores(&rings(90_000));
    }
}

#[test]
fn a_hold_lapses_while_the_payment_is_open() {
    let mut case = Case::placed_two().given([reserved("MUG"), reserved("TEE")]);
    let lost = case.when(&expired("TEE"));
    let cause = Cause::HoldLapsed {
        sku: kit::sku("TEE"),
    };
    assert_eq!(lost, Some(CheckoutEvent::UndoStarted { cause }));
    assert_eq!(case.asks(), [undo(Step::AuthorizePayment)]);
    case.when(&voided());
    assert_eq!(case.asks(), [undo(reserve("MUG"))]);
    case.ignores(&reserved("TEE"));
    case.when(&released("MUG"));
    ends_rejected(&mut case, checkout::RESERVATION_EXPIRED);
}

#[test]
fn a_lapsed_hold_can_not_be_committed_and_is_released() {
    let mut case = Case::placed().given([reserved("MUG"), authorized()]);
    case.when(&refused(step(commit("MUG")), "reservation_expired"));
    assert_eq!(case.asks(), [undo(commit("MUG"))], "newest first");
    case.when(&expired("MUG"));
    assert_eq!(case.asks(), [undo(Step::AuthorizePayment)]);
    case.when(&voided());
    ends_rejected(&mut case, "reservation_expired");
}

#[test]
fn canceled_while_reserving() {
    let mut case = Case::placed();
    case.when(&canceled());
    assert_eq!(case.asks(), [undo(reserve("MUG"))]);
    case.ignores(&reserved("MUG"));
    let last = case.when(&released("MUG"));
    assert!(matches!(
        last,
        Some(CheckoutEvent::CheckoutEnded {
            outcome: Outcome::Canceled { .. },
            step: Some(Step::ReserveStock { .. }),
            moot: false
        })
    ));
    assert_eq!(case.asks(), [notify(Template::OrderCanceled)]);
}

#[test]
fn canceled_while_authorizing_voids_then_releases() {
    for outcome in [voided(), declined(), failed()] {
        let mut case = Case::placed().given([reserved("MUG"), canceled()]);
        assert_eq!(case.asks(), [undo(Step::AuthorizePayment)]);
        case.when(&outcome);
        assert_eq!(case.asks(), [undo(reserve("MUG"))]);
        case.when(&released("MUG"));
        assert_eq!(case.asks(), [notify(Template::OrderCanceled)]);
    }
}

#[test]
fn canceled_while_committing_releases_then_voids() {
    let mut case =
        Case::placed_two().given([reserved("MUG"), reserved("TEE"), authorized(), canceled()]);
    assert_eq!(case.asks(), [undo(commit("MUG")), undo(commit("TEE"))]);
    case.ignores(&committed("MUG"));
    case.when(&released("MUG"));
    assert_eq!(case.asks(), [undo(commit("TEE"))]);
    case.when(&released("TEE"));
    assert_eq!(case.asks(), [undo(Step::AuthorizePayment)]);
    case.when(&voided());
    assert_eq!(case.state.status(), Status::Ended);
}

#[test]
fn canceled_after_the_confirmation_refunds_then_releases() {
    let mut case = Case::placed().given([
        reserved("MUG"),
        authorized(),
        committed("MUG"),
        captured(),
        confirmed(),
    ]);
    case.when(&canceled());
    assert_eq!(case.works(), [undo(Step::CapturePayment)]);
    case.when(&refunded(1));
    assert_eq!(case.works(), [undo(commit("MUG"))]);
    case.when(&released("MUG"));
    assert_eq!(
        case.asks(),
        [
            Ask::RecordRefund,
            notify(Template::OrderConfirmed),
            notify(Template::OrderCanceled),
            notify(Template::OrderRefunded)
        ]
    );
}

#[test]
fn the_confirmation_loses_against_a_cancellation() {
    let paid = [reserved("MUG"), authorized(), committed("MUG"), captured()];
    let mut case = Case::placed().given(paid);
    case.when(&refused(step(Step::ConfirmOrder), "order_canceled"));
    assert_eq!(case.works(), [undo(Step::CapturePayment)]);
    let mut before = case.clone().given([refunded(1), released("MUG")]);
    assert_eq!(before.asks(), [reject()], "the order says: already true");
    before.when(&canceled());
    let mut after = case.given([canceled(), refunded(1), released("MUG")]);
    for ended in [&mut before, &mut after] {
        assert_eq!(ended.state.status(), Status::Ended);
        assert_eq!(
            ended.asks(),
            [
                Ask::RecordRefund,
                notify(Template::OrderCanceled),
                notify(Template::OrderRefunded)
            ]
        );
        ended.ignores(&canceled());
    }
}

#[test]
fn a_cancellation_during_the_undo_is_the_order_s_last_word() {
    let mut case = Case::placed().given([reserved("MUG"), declined()]);
    case.when(&canceled());
    case.ignores(&canceled());
    case.when(&released("MUG"));
    assert_eq!(case.asks(), [notify(Template::OrderCanceled)]);
}
