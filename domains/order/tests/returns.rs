//! Goods that come back, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

mod words;

use order::{
    LINES_MAX, OrderCommand, OrderEvent, OrderRefusal, QUANTITY_MAX, RETURNS_MAX, ReturnStatus,
};
use words::{
    after, approve_return, at_canceled, at_confirmed, at_delivered, at_rejected, at_shipped, back,
    eur, follows, is_refused, placed, receive_return, refuse_return, request_return,
    return_approved, return_id, return_received, return_refused, return_requested,
};

/// Both desks are to come back.
fn requested() -> Vec<OrderEvent> {
    let desks = return_requested(1, vec![back("desk", 2)], eur(2_000));
    [at_delivered(), vec![desks]].concat()
}

fn approved() -> Vec<OrderEvent> {
    [requested(), vec![return_approved(1)]].concat()
}

fn refused() -> Vec<OrderEvent> {
    [requested(), vec![return_refused(1)]].concat()
}

fn received() -> Vec<OrderEvent> {
    let desks = return_received(1, vec![back("desk", 2)], eur(2_000));
    [approved(), vec![desks]].concat()
}

#[test]
fn goods_that_arrived_may_be_asked_back_once() {
    let lines = vec![back("lamp", 1), back("desk", 1)];
    follows(
        at_delivered(),
        request_return(1, lines.clone()),
        vec![return_requested(1, lines, eur(1_500))],
    );
    for history in [requested(), approved(), refused(), received()] {
        follows(history, request_return(1, vec![back("desk", 2)]), vec![]);
    }
}

#[test]
fn a_return_is_not_asked_for_again_with_other_content() {
    let other_reason = OrderCommand::RequestReturn {
        return_id: return_id(1),
        lines: vec![back("desk", 2)],
        reason: "too small".parse().unwrap(),
    };
    for command in [request_return(1, vec![back("desk", 1)]), other_reason] {
        is_refused(requested(), command, OrderRefusal::ReturnDiffers);
    }
}

#[test]
fn nothing_comes_back_of_an_order_that_has_not_arrived() {
    let lamp = || request_return(1, vec![back("lamp", 1)]);
    for history in [vec![placed()], at_confirmed(), at_shipped()] {
        is_refused(history, lamp(), OrderRefusal::OrderNotDelivered);
    }
    is_refused(at_canceled(), lamp(), OrderRefusal::OrderCanceled);
    is_refused(at_rejected(), lamp(), OrderRefusal::OrderRejected);
}

#[test]
fn the_lines_of_a_return_are_counted_as_those_of_an_order() {
    let many = (0..=LINES_MAX).map(|n| back(&format!("sku-{n}"), 1));
    let refusals = [
        (vec![], OrderRefusal::NoLines),
        (
            many.collect(),
            OrderRefusal::TooManyLines { max: LINES_MAX },
        ),
        (
            vec![back("desk", 1), back("lamp", 0)],
            OrderRefusal::QuantityOutOfRange {
                line: 1,
                max: QUANTITY_MAX,
            },
        ),
        (
            vec![back("desk", 1), back("desk", 1)],
            OrderRefusal::DuplicateSku {
                line: 1,
                sku: "desk".parse().unwrap(),
            },
        ),
    ];
    for (lines, refusal) in refusals {
        is_refused(at_delivered(), request_return(1, lines), refusal);
    }
}

#[test]
fn only_what_was_ordered_comes_back() {
    let lines = vec![back("lamp", 1), back("chair", 1)];
    let refusal = OrderRefusal::SkuNotOrdered {
        line: 1,
        sku: "chair".parse().unwrap(),
    };
    is_refused(at_delivered(), request_return(1, lines), refusal);
}

#[test]
fn no_more_comes_back_than_was_ordered_over_all_returns() {
    let too_many = |returnable| OrderRefusal::ReturnExceedsOrdered {
        line: 0,
        sku: "desk".parse().unwrap(),
        returnable,
    };
    let desks = |count| request_return(2, vec![back("desk", count)]);
    is_refused(at_delivered(), desks(3), too_many(2));
    let one = return_requested(1, vec![back("desk", 1)], eur(1_000));
    let one_asked = [at_delivered(), vec![one]].concat();
    is_refused(one_asked.clone(), desks(2), too_many(1));
    follows(
        one_asked,
        desks(1),
        vec![return_requested(2, vec![back("desk", 1)], eur(1_000))],
    );
    for history in [requested(), approved(), received()] {
        is_refused(history, desks(1), too_many(0));
    }
}

#[test]
fn what_was_refused_may_be_asked_for_again() {
    follows(
        refused(),
        request_return(2, vec![back("desk", 2)]),
        vec![return_requested(2, vec![back("desk", 2)], eur(2_000))],
    );
}

#[test]
fn an_order_has_a_bounded_number_of_returns() {
    let mut history = at_delivered();
    for number in 0..u128::from(RETURNS_MAX) {
        let lamp = return_requested(number, vec![back("lamp", 1)], eur(500));
        history.extend([lamp, return_refused(number)]);
    }
    is_refused(
        history,
        request_return(1_000, vec![back("lamp", 1)]),
        OrderRefusal::TooManyReturns { max: RETURNS_MAX },
    );
}

#[test]
fn an_operator_says_once_that_goods_may_be_sent() {
    follows(requested(), approve_return(1), vec![return_approved(1)]);
    follows(approved(), approve_return(1), vec![]);
    follows(received(), approve_return(1), vec![]);
    is_refused(refused(), approve_return(1), OrderRefusal::ReturnRefused);
}

#[test]
fn an_operator_refuses_once_until_the_goods_are_here() {
    for history in [requested(), approved()] {
        follows(history, refuse_return(1), vec![return_refused(1)]);
    }
    follows(refused(), refuse_return(1), vec![]);
    let refusal = OrderRefusal::ReturnAlreadyReceived;
    is_refused(received(), refuse_return(1), refusal);
}

#[test]
fn approved_goods_are_received_once_with_their_price() {
    let desks = return_received(1, vec![back("desk", 2)], eur(2_000));
    follows(approved(), receive_return(1), vec![desks]);
    follows(received(), receive_return(1), vec![]);
    is_refused(
        requested(),
        receive_return(1),
        OrderRefusal::ReturnNotApproved,
    );
    is_refused(refused(), receive_return(1), OrderRefusal::ReturnRefused);
}

#[test]
fn nothing_can_be_said_of_an_unknown_return() {
    for command in [approve_return(2), refuse_return(2), receive_return(2)] {
        is_refused(requested(), command, OrderRefusal::ReturnUnknown);
    }
}

#[test]
fn which_goods_come_back_is_a_status_of_its_own() {
    let all = [
        received(),
        vec![
            return_requested(2, vec![back("lamp", 1)], eur(500)),
            return_approved(2),
            return_received(2, vec![back("lamp", 1)], eur(500)),
        ],
    ]
    .concat();
    let lamp = return_requested(2, vec![back("lamp", 1)], eur(500));
    let told = [
        (at_delivered(), ReturnStatus::None),
        (requested(), ReturnStatus::Requested),
        (approved(), ReturnStatus::Approved),
        (refused(), ReturnStatus::Refused),
        (received(), ReturnStatus::PartiallyReturned),
        ([received(), vec![lamp]].concat(), ReturnStatus::Requested),
        (all, ReturnStatus::Returned),
    ];
    for (history, status) in told {
        assert_eq!(after(&history).return_status(), Some(status));
    }
    assert_eq!(after(&[]).return_status(), None);
}
