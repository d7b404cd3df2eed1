//! What was bought, and where its money is.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{Money, PaymentId, PaymentMethod, RefundId, Sealed, UserId};
use serde::{Deserialize, Serialize};

use crate::{Line, OrderRefusal, PaymentStatus, Returns};

/// What went back, by refund.
pub(crate) type Refunds = BTreeMap<RefundId, Money>;

/// What was bought, by whom, at which price, and where its money is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purchase {
    /// Who bought.
    pub user_id: UserId,
    /// What.
    pub lines: Vec<Line>,
    /// The sum over all lines.
    pub total: Money,
    /// Where to, sealed with the customer's key.
    pub shipping_address: Sealed,
    /// How it is paid.
    pub payment_method: PaymentMethod,
    /// The payment that was captured, once confirmed.
    pub payment_id: Option<PaymentId>,
    /// What went back.
    pub refunds: BTreeMap<RefundId, Money>,
    /// What the bank sent back.
    pub reversed: BTreeSet<RefundId>,
    /// What comes back.
    pub returns: Returns,
}

impl Purchase {
    /// What went back so far.
    pub fn refunded(&self) -> Money {
        let amounts = self.refunds.values().map(|refund| refund.amount);
        let amount = amounts.fold(0, i64::saturating_add);
        Money::new(amount, self.total.currency)
    }

    /// Where the money of an order is that was paid.
    pub(crate) fn paid(&self) -> PaymentStatus {
        match self.refunded().amount {
            0 => PaymentStatus::Captured,
            back if back < self.total.amount => PaymentStatus::PartiallyRefunded,
            _ => PaymentStatus::Refunded,
        }
    }

    pub(crate) fn must_allow(&self, refund: Money) -> Result<(), OrderRefusal> {
        let sum = self.refunded().plus(refund);
        match sum {
            Ok(sum) if refund.is_positive() && sum.amount <= self.total.amount => Ok(()),
            Ok(_) | Err(_) => Err(OrderRefusal::RefundExceedsTotal),
        }
    }
}
