//! Whatever is asked about returns and refunds, in whatever order: no unit comes back twice, and no
//! more money goes back than was paid.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

mod words;

use kernel::{Decider, RefundId, Sku};
use order::{Order, OrderCommand, OrderEvent, ReturnLine};
use proptest::prelude::*;
use uuid::Uuid;
use words::{
    after, approve_return, at_delivered, back, eur, receive_return, refuse_return, request_return,
    two_lines,
};

fn lines() -> impl Strategy<Value = Vec<ReturnLine>> {
    let line = (prop_oneof!["desk", "lamp", "chair"], 0_u32..4);
    proptest::collection::vec(line.prop_map(|(sku, quantity)| back(&sku, quantity)), 0..3)
}

fn commands() -> impl Strategy<Value = OrderCommand> {
    let number = || 0_u128..6;
    prop_oneof![
        4 => (number(), lines()).prop_map(|(number, lines)| request_return(number, lines)),
        3 => number().prop_map(approve_return),
        1 => number().prop_map(refuse_return),
        3 => number().prop_map(receive_return),
        2 => (number(), -1_i64..1_500).prop_map(|(number, amount)| OrderCommand::RecordRefund {
            refund_id: RefundId(Uuid::from_u128(number)),
            amount: eur(amount),
        }),
        1 => number().prop_map(|number| OrderCommand::ReverseRefund {
            refund_id: RefundId(Uuid::from_u128(number)),
        }),
    ]
}

/// What came back of a product, from the events alone.
fn received(events: &[OrderEvent], wanted: &Sku) -> u32 {
    let lines = events.iter().filter_map(|event| match event {
        OrderEvent::ReturnReceived { lines, .. } => Some(lines),
        OrderEvent::OrderPlaced { .. }
        | OrderEvent::OrderConfirmed { .. }
        | OrderEvent::OrderRejected { .. }
        | OrderEvent::OrderCanceled { .. }
        | OrderEvent::OrderShipped { .. }
        | OrderEvent::OrderDelivered {}
        | OrderEvent::ReturnRequested { .. }
        | OrderEvent::ReturnApproved { .. }
        | OrderEvent::ReturnRefused { .. }
        | OrderEvent::OrderRefunded { .. }
        | OrderEvent::OrderRefundReversed { .. } => None,
    });
    let of_sku = lines.flatten().filter(|line| line.sku == *wanted);
    of_sku.map(|line| line.quantity).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_unit_comes_back_twice_and_no_more_money_than_was_paid(
        commands in proptest::collection::vec(commands(), 1..60),
    ) {
        let mut order: Order = after(&at_delivered());
        let mut events = Vec::new();
        for command in commands {
            // A refusal is an answer as good as any here; that there is one is what is shown.
            let Ok(new) = order.decide(&command) else { continue };
            for event in &new {
                order.evolve(event);
            }
            events.extend(new);
            prop_assert_eq!(order.decide(&command), Ok(vec![]), "done twice: {:?}", command);
            for line in two_lines() {
                prop_assert!(received(&events, &line.sku) <= line.quantity, "{}", line.sku);
            }
            let paid = order.total().unwrap();
            prop_assert!(order.purchase().unwrap().refunded().amount <= paid.amount);
        }
    }
}
