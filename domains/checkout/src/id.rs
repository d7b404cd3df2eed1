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
pub(crate) fn ask_id_of(kind: &str, id: impl Display, ask: impl Display) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{kind}/{id}/{ask}").as_bytes())
}

/// The refund that pays a return back: the same UUID, so that a refund tells whose it is.
pub fn refund_id_of_return(return_id: ReturnId) -> RefundId {
    RefundId(return_id.0)
}

/// The return that a refund pays back, if it is one of a return.
pub(crate) fn return_id_of(refund_id: RefundId) -> ReturnId {
    ReturnId(refund_id.0)
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
