//! Ids that follow from what they name, so that a repeat has the same one.

use std::fmt::Display;

use kernel::{OrderId, RefundId, ReturnId};
use uuid::Uuid;

use crate::Ask;

/// The names below live in this namespace; changing it would ask everything in flight again.
const NAMESPACE: Uuid = Uuid::from_u128(0x5b1f_64a7_31d2_4c0e_9a66_08e3_72cf_d415);

/// The command id of an ask: the same each time that it is sent, another for each attempt.
pub fn ask_id(order_id: OrderId, ask: &Ask) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{order_id}/{ask}").as_bytes())
}

/// The command id of an ask of a saga that is about a part of an order: `kind` keeps the sagas
/// apart.
pub fn ask_id_of(kind: &str, id: impl Display, ask: impl Display) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{kind}/{id}/{ask}").as_bytes())
}

/// Most attempts at one return's refund; a person decides on each but the first.
pub const RETURN_ATTEMPTS_MAX: u32 = 8;

/// The refund that pays a return back at this attempt: the return's own UUID, and for a later
/// attempt the number of those before in its last three bits, so that a refund tells whose it is.
pub fn refund_id_of_return(return_id: ReturnId, attempt: u32) -> RefundId {
    let before = attempt.saturating_sub(1).min(RETURN_ATTEMPTS_MAX - 1);
    RefundId(mark(return_id.0, before))
}

/// What a person has paid back for a return by hand, as the order and the customer are told of it: not the
/// provider's refund, which may have come back before.
pub fn refund_id_by_hand(return_id: ReturnId) -> RefundId {
    RefundId(Uuid::new_v5(&return_id.0, b"by_hand"))
}

/// The returns that a refund may pay back, the likeliest first. Which of them it is, if any, the
/// return's saga knows.
pub fn returns_of(refund_id: RefundId) -> impl Iterator<Item = ReturnId> {
    (0..RETURN_ATTEMPTS_MAX).map(move |before| ReturnId(mark(refund_id.0, before)))
}

/// Its own inverse.
fn mark(id: Uuid, before: u32) -> Uuid {
    Uuid::from_u128(id.as_u128() ^ u128::from(before))
}

/// The refund that undoes the capture, at the first attempt. Almost always the only one.
pub fn refund_id(order_id: OrderId) -> RefundId {
    refund_id_of(order_id, 1)
}

/// The refund of a later attempt, after the provider has said a final no to the one before: under
/// the same id the provider would only repeat its answer.
pub fn refund_id_of(order_id: OrderId, attempt: u32) -> RefundId {
    let name = format!("{order_id}/refund/{attempt}");
    RefundId(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
}
