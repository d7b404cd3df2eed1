//! What can be asked of the order context.

use kernel::{PaymentId, PaymentMethod, Reason, RefundId, ReturnId, Sealed, Tracking, UserId};

use crate::{Line, ReturnLine};
use serde::{Deserialize, Serialize};

/// Asked of one order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum OrderCommand {
    /// A customer buys. Titles and prices were asked of the product context at the edge.
    PlaceOrder {
        /// Who buys.
        user_id: UserId,
        /// What, 1 to 100 lines of distinct SKUs.
        lines: Vec<Line>,
        /// Where to, sealed with the customer's key.
        shipping_address: Sealed,
        /// How it is paid.
        payment_method: PaymentMethod,
    },
    /// The saga: paid, and the stock is committed.
    ConfirmOrder {
        /// The payment that was captured.
        payment_id: PaymentId,
    },
    /// The saga: it can't be fulfilled, everything was undone.
    RejectOrder {
        /// The refusal's code (`out_of_stock`, `card_declined`, …).
        reason: Reason,
    },
    /// The owner or an operator calls it off, until it is shipped.
    CancelOrder {
        /// Why.
        reason: Reason,
    },
    /// An operator: it left the house.
    ShipOrder {
        /// The carrier's number.
        tracking: Tracking,
    },
    /// An operator: it arrived.
    DeliverOrder {},
    /// The owner or an operator wants to send goods back, once they have arrived.
    RequestReturn {
        /// Derived from the request's key.
        return_id: ReturnId,
        /// Which, 1 to 100 lines of distinct SKUs.
        lines: Vec<ReturnLine>,
        /// Why.
        reason: Reason,
    },
    /// An operator: send it.
    ApproveReturn {
        /// Which.
        return_id: ReturnId,
    },
    /// An operator: it can't be taken back, or it never came.
    RefuseReturn {
        /// Which.
        return_id: ReturnId,
        /// Why.
        reason: Reason,
    },
    /// An operator: the goods are here.
    ReceiveReturn {
        /// Which.
        return_id: ReturnId,
    },
    /// The saga: money went back.
    RecordRefund {
        /// The refund of the payment.
        refund_id: RefundId,
        /// How much.
        amount: kernel::Money,
    },
    /// The saga: the bank sent the money of a refund back. Of one that the order was never told of
    /// it leaves a tombstone.
    ReverseRefund {
        /// The refund of the payment.
        refund_id: RefundId,
    },
}
