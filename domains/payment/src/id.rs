//! Ids and provider keys that follow from the order: the same however often they are asked for.

use kernel::{OrderId, PaymentId, RefundId};
use uuid::Uuid;

/// The namespace of payment ids (UUIDv5); never changes, or an order could be charged twice.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d69_6c6c_7261_6365_8070_6179_6d65_6e74);

/// The payment of this order: always the same.
pub fn payment_id(order_id: OrderId) -> PaymentId {
    PaymentId(Uuid::new_v5(&NAMESPACE, order_id.0.as_bytes()))
}

/// The idempotency key of the provider's create call.
pub(crate) fn create_key(order_id: OrderId) -> String {
    format!("create-{order_id}")
}

/// The idempotency key of the provider's capture call.
pub(crate) fn capture_key(order_id: OrderId) -> String {
    format!("capture-{order_id}")
}

/// The idempotency key of the provider's cancel call.
pub(crate) fn cancel_key(order_id: OrderId) -> String {
    format!("cancel-{order_id}")
}

/// The idempotency key of the provider's refund call.
pub(crate) fn refund_key(refund_id: RefundId) -> String {
    format!("refund-{refund_id}")
}
