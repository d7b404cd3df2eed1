//! The vocabulary that the scenarios of this context are told in.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part of the vocabulary, and a scenario that can not go on fails"
)]

use kernel::{
    Decider, Money, PaymentId, Reason, RefundId, ReturnId, Sealed, TestFramework, Tracking, UserId,
};
use order::{Line, Order, OrderCommand, OrderEvent, OrderRefusal, ReturnLine};
use uuid::Uuid;

pub(crate) const ANN: UserId = UserId(Uuid::from_u128(0xA));
pub(crate) const PAID: PaymentId = PaymentId(Uuid::from_u128(1));
pub(crate) const BACK: RefundId = RefundId(Uuid::from_u128(2));

pub(crate) fn eur(amount: i64) -> Money {
    Money::new(amount, "EUR".parse().unwrap())
}

pub(crate) fn line(sku: &str, quantity: u32, unit_price: Money) -> Line {
    Line {
        sku: sku.parse().unwrap(),
        title: "Walnut desk".parse().unwrap(),
        quantity,
        unit_price,
    }
}

pub(crate) fn place(lines: Vec<Line>) -> OrderCommand {
    OrderCommand::PlaceOrder {
        user_id: ANN,
        lines,
        shipping_address: Sealed::new(ANN, "address"),
        payment_method: "pm_card_visa".parse().unwrap(),
    }
}

pub(crate) fn two_lines() -> Vec<Line> {
    vec![line("desk", 2, eur(1_000)), line("lamp", 1, eur(500))]
}

pub(crate) fn placed() -> OrderEvent {
    OrderEvent::OrderPlaced {
        user_id: ANN,
        lines: two_lines(),
        total: eur(2_500),
        shipping_address: Sealed::new(ANN, "address"),
        payment_method: "pm_card_visa".parse().unwrap(),
    }
}

pub(crate) fn why() -> Reason {
    "out_of_stock".parse().unwrap()
}

pub(crate) fn number(text: &str) -> Tracking {
    text.parse().unwrap()
}

pub(crate) fn confirm(payment_id: PaymentId) -> OrderCommand {
    OrderCommand::ConfirmOrder { payment_id }
}

pub(crate) fn reject() -> OrderCommand {
    OrderCommand::RejectOrder { reason: why() }
}

pub(crate) fn cancel() -> OrderCommand {
    OrderCommand::CancelOrder { reason: why() }
}

pub(crate) fn ship() -> OrderCommand {
    OrderCommand::ShipOrder {
        tracking: number("1Z"),
    }
}

pub(crate) fn deliver() -> OrderCommand {
    OrderCommand::DeliverOrder {}
}

pub(crate) fn record_refund(amount: Money) -> OrderCommand {
    OrderCommand::RecordRefund {
        refund_id: BACK,
        amount,
    }
}

pub(crate) fn back(sku: &str, quantity: u32) -> ReturnLine {
    ReturnLine {
        sku: sku.parse().unwrap(),
        quantity,
    }
}

pub(crate) fn return_id(number: u128) -> ReturnId {
    ReturnId(Uuid::from_u128(number))
}

pub(crate) fn request_return(number: u128, lines: Vec<ReturnLine>) -> OrderCommand {
    OrderCommand::RequestReturn {
        return_id: return_id(number),
        lines,
        reason: "too big".parse().unwrap(),
    }
}

pub(crate) fn approve_return(number: u128) -> OrderCommand {
    OrderCommand::ApproveReturn {
        return_id: return_id(number),
    }
}

pub(crate) fn refuse_return(number: u128) -> OrderCommand {
    OrderCommand::RefuseReturn {
        return_id: return_id(number),
        reason: "it was used".parse().unwrap(),
    }
}

pub(crate) fn receive_return(number: u128) -> OrderCommand {
    OrderCommand::ReceiveReturn {
        return_id: return_id(number),
    }
}

pub(crate) fn confirmed() -> OrderEvent {
    OrderEvent::OrderConfirmed { payment_id: PAID }
}

pub(crate) fn rejected() -> OrderEvent {
    OrderEvent::OrderRejected { reason: why() }
}

pub(crate) fn canceled() -> OrderEvent {
    OrderEvent::OrderCanceled { reason: why() }
}

pub(crate) fn shipped() -> OrderEvent {
    OrderEvent::OrderShipped {
        tracking: number("1Z"),
    }
}

pub(crate) fn delivered() -> OrderEvent {
    OrderEvent::OrderDelivered {}
}

pub(crate) fn refunded(amount: Money) -> OrderEvent {
    OrderEvent::OrderRefunded {
        refund_id: BACK,
        amount,
    }
}

pub(crate) fn return_requested(number: u128, lines: Vec<ReturnLine>, amount: Money) -> OrderEvent {
    OrderEvent::ReturnRequested {
        return_id: return_id(number),
        lines,
        reason: "too big".parse().unwrap(),
        amount,
    }
}

pub(crate) fn return_approved(number: u128) -> OrderEvent {
    OrderEvent::ReturnApproved {
        return_id: return_id(number),
    }
}

pub(crate) fn return_refused(number: u128) -> OrderEvent {
    OrderEvent::ReturnRefused {
        return_id: return_id(number),
        reason: "it was used".parse().unwrap(),
    }
}

pub(crate) fn return_received(number: u128, lines: Vec<ReturnLine>, amount: Money) -> OrderEvent {
    OrderEvent::ReturnReceived {
        return_id: return_id(number),
        lines,
        amount,
    }
}

pub(crate) fn at_confirmed() -> Vec<OrderEvent> {
    vec![placed(), confirmed()]
}

pub(crate) fn at_shipped() -> Vec<OrderEvent> {
    vec![placed(), confirmed(), shipped()]
}

pub(crate) fn at_delivered() -> Vec<OrderEvent> {
    vec![placed(), confirmed(), shipped(), delivered()]
}

pub(crate) fn at_rejected() -> Vec<OrderEvent> {
    vec![placed(), rejected()]
}

pub(crate) fn at_canceled() -> Vec<OrderEvent> {
    vec![placed(), canceled()]
}

#[track_caller]
pub(crate) fn follows(given: Vec<OrderEvent>, when: OrderCommand, then: Vec<OrderEvent>) {
    TestFramework::<Order>::with(())
        .given(given)
        .when(when)
        .then_expect_events(then);
}

#[track_caller]
pub(crate) fn is_refused(given: Vec<OrderEvent>, when: OrderCommand, then: OrderRefusal) {
    TestFramework::<Order>::with(())
        .given(given)
        .when(when)
        .then_expect_error(then);
}

pub(crate) fn after(events: &[OrderEvent]) -> Order {
    let mut order = Order::default();
    for event in events {
        order.evolve(event);
    }
    order
}
