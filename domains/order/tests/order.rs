//! An order: what may be asked of it, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

mod words;

use kernel::{Decider, Money, PaymentId, RefundId};
use order::{Order, OrderCommand, OrderEvent, OrderRefusal, OrderStatus, PaymentStatus};
use uuid::Uuid;
use words::{
    PAID, after, approve_return, at_canceled, at_confirmed, at_delivered, at_rejected, at_shipped,
    back, cancel, canceled, confirm, confirmed, deliver, delivered, eur, follows, is_refused,
    number, placed, receive_return, record_refund, refunded, refuse_return, reject, rejected,
    request_return, ship, shipped, why,
};

#[test]
fn nothing_else_can_be_asked_of_an_unknown_order() {
    for command in [
        confirm(PAID),
        reject(),
        cancel(),
        ship(),
        deliver(),
        record_refund(eur(1)),
        request_return(1, vec![back("desk", 1)]),
        approve_return(1),
        refuse_return(1),
        receive_return(1),
    ] {
        is_refused(vec![], command, OrderRefusal::OrderUnknown);
    }
}

#[test]
fn a_paid_order_is_confirmed_once() {
    follows(vec![placed()], confirm(PAID), vec![confirmed()]);
    for history in [at_confirmed(), at_shipped(), at_delivered()] {
        follows(history, confirm(PAID), vec![]);
    }
}

#[test]
fn an_order_is_paid_by_one_payment() {
    let other = PaymentId(Uuid::from_u128(9));
    for history in [at_confirmed(), at_shipped(), at_delivered()] {
        is_refused(
            history,
            confirm(other),
            OrderRefusal::OrderAlreadyPaid { payment_id: PAID },
        );
    }
}

#[test]
fn what_was_called_off_or_rejected_is_not_confirmed() {
    is_refused(at_canceled(), confirm(PAID), OrderRefusal::OrderCanceled);
    is_refused(at_rejected(), confirm(PAID), OrderRefusal::OrderRejected);
}

#[test]
fn an_order_that_can_not_be_fulfilled_is_rejected_once() {
    follows(vec![placed()], reject(), vec![rejected()]);
    follows(at_rejected(), reject(), vec![]);
    assert_eq!(after(&at_rejected()).reason(), Some(&why()));
}

#[test]
fn a_canceled_order_needs_no_rejection() {
    follows(at_canceled(), reject(), vec![]);
}

#[test]
fn a_confirmed_order_is_not_rejected() {
    for history in [at_confirmed(), at_shipped(), at_delivered()] {
        is_refused(history, reject(), OrderRefusal::OrderAlreadyConfirmed);
    }
}

#[test]
fn an_order_is_called_off_once_until_it_is_shipped() {
    follows(vec![placed()], cancel(), vec![canceled()]);
    follows(at_confirmed(), cancel(), vec![canceled()]);
    follows(at_canceled(), cancel(), vec![]);
    for history in [at_shipped(), at_delivered()] {
        is_refused(history, cancel(), OrderRefusal::OrderAlreadyShipped);
    }
    is_refused(at_rejected(), cancel(), OrderRefusal::OrderRejected);
}

#[test]
fn a_confirmed_order_leaves_the_house_once() {
    follows(at_confirmed(), ship(), vec![shipped()]);
    for history in [at_shipped(), at_delivered()] {
        follows(history, ship(), vec![]);
    }
}

#[test]
fn an_order_has_one_tracking_number() {
    let again = OrderCommand::ShipOrder {
        tracking: number("2Z"),
    };
    for history in [at_shipped(), at_delivered()] {
        is_refused(history, again.clone(), OrderRefusal::OrderAlreadyShipped);
    }
}

#[test]
fn only_a_confirmed_order_leaves_the_house() {
    is_refused(vec![placed()], ship(), OrderRefusal::OrderNotConfirmed);
    is_refused(at_canceled(), ship(), OrderRefusal::OrderCanceled);
    is_refused(at_rejected(), ship(), OrderRefusal::OrderRejected);
}

#[test]
fn a_shipped_order_arrives_once() {
    follows(at_shipped(), deliver(), vec![delivered()]);
    follows(at_delivered(), deliver(), vec![]);
}

#[test]
fn only_a_shipped_order_arrives() {
    for history in [vec![placed()], at_confirmed()] {
        is_refused(history, deliver(), OrderRefusal::OrderNotShipped);
    }
    is_refused(at_canceled(), deliver(), OrderRefusal::OrderCanceled);
    is_refused(at_rejected(), deliver(), OrderRefusal::OrderRejected);
}

#[test]
fn money_that_went_back_is_recorded_once() {
    for history in [at_canceled(), at_rejected(), at_shipped(), at_delivered()] {
        follows(
            history.clone(),
            record_refund(eur(2_500)),
            vec![refunded(eur(2_500))],
        );
        let known = [history, vec![refunded(eur(2_500))]].concat();
        follows(known.clone(), record_refund(eur(2_500)), vec![]);
        is_refused(known, record_refund(eur(1)), OrderRefusal::RefundDiffers);
    }
}

#[test]
fn no_more_goes_back_than_was_paid() {
    let another = OrderCommand::RecordRefund {
        refund_id: RefundId(Uuid::from_u128(3)),
        amount: eur(1_501),
    };
    let partly = [at_canceled(), vec![refunded(eur(1_000))]].concat();
    is_refused(partly, another, OrderRefusal::RefundExceedsTotal);
    let dollars = Money::new(1, "USD".parse().unwrap());
    for amount in [eur(2_501), eur(0), eur(-1), eur(i64::MAX), dollars] {
        is_refused(
            at_canceled(),
            record_refund(amount),
            OrderRefusal::RefundExceedsTotal,
        );
    }
}

#[test]
fn what_the_bank_sends_back_counts_as_gone_no_longer() {
    let back = refunded(eur(2_500));
    let OrderEvent::OrderRefunded { refund_id, .. } = back else {
        unreachable!("{back:?}");
    };
    let reverse = OrderCommand::ReverseRefund { refund_id };
    let reversed = |amount| OrderEvent::OrderRefundReversed { refund_id, amount };
    let told = [at_canceled(), vec![back]].concat();
    assert_eq!(
        after(&told).decide(&reverse),
        Ok(vec![reversed(eur(2_500))])
    );
    // Its note of the refund may come later, and is then none.
    assert_eq!(
        after(&at_canceled()).decide(&reverse),
        Ok(vec![reversed(eur(0))])
    );
    for history in [
        [told, vec![reversed(eur(2_500))]].concat(),
        [at_canceled(), vec![reversed(eur(0))]].concat(),
    ] {
        let order = after(&history);
        assert_eq!(order.payment_status(), Some(PaymentStatus::Captured));
        assert_eq!(order.decide(&reverse), Ok(vec![]));
        is_refused(
            history,
            record_refund(eur(2_500)),
            OrderRefusal::RefundReversed,
        );
    }
    is_refused(vec![], reverse, OrderRefusal::OrderUnknown);
}

#[test]
fn nothing_goes_back_for_an_order_that_goes_on() {
    for history in [vec![placed()], at_confirmed()] {
        is_refused(
            history,
            record_refund(eur(1)),
            OrderRefusal::OrderNotRefundable,
        );
    }
}

#[test]
fn the_status_follows_the_facts() {
    let told = [
        (vec![placed()], OrderStatus::Placed),
        (at_confirmed(), OrderStatus::Confirmed),
        (at_rejected(), OrderStatus::Rejected),
        (at_canceled(), OrderStatus::Canceled),
        (at_shipped(), OrderStatus::Shipped),
        (at_delivered(), OrderStatus::Delivered),
    ];
    for (history, status) in told {
        assert_eq!(after(&history).status(), Some(status));
    }
    assert_eq!(after(&[]).status(), None);
    assert_eq!(OrderStatus::Canceled.to_string(), "canceled");
}

#[test]
fn where_the_money_is_follows_the_facts_too() {
    let some_back = [at_delivered(), vec![refunded(eur(500))]].concat();
    let all_back = [at_delivered(), vec![refunded(eur(2_500))]].concat();
    let told = [
        (vec![placed()], PaymentStatus::Pending),
        (at_confirmed(), PaymentStatus::Captured),
        (at_rejected(), PaymentStatus::Released),
        (at_canceled(), PaymentStatus::Released),
        (
            [at_confirmed(), vec![canceled()]].concat(),
            PaymentStatus::Captured,
        ),
        (some_back, PaymentStatus::PartiallyRefunded),
        (all_back, PaymentStatus::Refunded),
    ];
    for (history, status) in told {
        assert_eq!(after(&history).payment_status(), Some(status));
    }
    assert_eq!(after(&[]).payment_status(), None);
}

#[test]
fn a_fact_about_an_order_that_never_was_changes_nothing() {
    assert_eq!(
        after(&[confirmed(), shipped(), delivered()]),
        Order::default()
    );
}

#[test]
fn a_refusal_says_its_own_code() {
    let refusal = OrderRefusal::QuantityOutOfRange { line: 2, max: 10 };
    assert_eq!(kernel::Refusal::code(&refusal), "quantity_out_of_range");
}
