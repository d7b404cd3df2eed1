//! What the order context has ever written stays readable.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

use std::path::Path;

use kernel::{Money, OrderId, ReturnId, Sealed, UserId, golden};
use order::{Line, Order, OrderEvent, ReturnLine};
use strum::VariantNames;
use uuid::uuid;

fn eur(amount: i64) -> Money {
    Money::new(amount, "EUR".parse().unwrap())
}

fn line(sku: &str, title: &str, quantity: u32, unit_price: Money) -> Line {
    Line {
        sku: sku.parse().unwrap(),
        title: title.parse().unwrap(),
        quantity,
        unit_price,
    }
}

fn examples() -> Vec<OrderEvent> {
    let user_id = UserId(uuid!("0198c1d2-7a4b-7c31-9f5e-2b6c8d9e0f1a"));
    let order_id = OrderId(uuid!("0198c1d2-8b5c-7d42-8a6f-3c7d9eaf102b"));
    let return_id = ReturnId(uuid!("0198c1d2-9c6d-8e53-9b7f-4d8eafb0213c"));
    let lamp = vec![ReturnLine {
        sku: "lamp".parse().unwrap(),
        quantity: 1,
    }];
    vec![
        OrderEvent::OrderPlaced {
            user_id,
            lines: vec![
                line("desk-walnut", "Walnut desk", 1, eur(49_900)),
                line("lamp", "Lamp", 2, eur(2_500)),
            ],
            total: eur(54_900),
            shipping_address: Sealed::new(user_id, "bm9uY2UtYWRkcmVzcw"),
            payment_method: "pm_card_visa".parse().unwrap(),
        },
        OrderEvent::OrderConfirmed {
            payment_id: kernel::PaymentId(order_id.0),
        },
        OrderEvent::OrderRejected {
            reason: "out_of_stock".parse().unwrap(),
        },
        OrderEvent::OrderCanceled {
            reason: "ordered by mistake".parse().unwrap(),
        },
        OrderEvent::OrderShipped {
            tracking: "1Z999".parse().unwrap(),
        },
        OrderEvent::OrderDelivered {},
        OrderEvent::ReturnRequested {
            return_id,
            lines: lamp.clone(),
            reason: "too bright".parse().unwrap(),
            amount: eur(2_500),
        },
        OrderEvent::ReturnApproved { return_id },
        OrderEvent::ReturnRefused {
            return_id,
            reason: "it was used".parse().unwrap(),
        },
        OrderEvent::ReturnReceived {
            return_id,
            lines: lamp,
            amount: eur(2_500),
        },
        OrderEvent::OrderRefunded {
            refund_id: kernel::RefundId(order_id.0),
            amount: eur(54_900),
        },
        OrderEvent::OrderRefundReversed {
            refund_id: kernel::RefundId(order_id.0),
            amount: eur(54_900),
        },
    ]
}

#[test]
fn every_event_version_has_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire");
    let files = golden::check::<Order>(&folder, OrderEvent::VARIANTS, &examples()).unwrap();
    golden::no_other_files(&folder, &files).unwrap();
}
