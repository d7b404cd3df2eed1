//! The money of one payment: what was asked, what is held, what was taken and given back.

use std::collections::{BTreeMap, VecDeque};

use kernel::{Money, OrderId, PaymentMethod, RefundId, UserId};
use serde::{Deserialize, Serialize};

use crate::Mismatch;

/// What was asked of the provider, and what it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// For which order.
    pub order_id: OrderId,
    /// Who pays.
    pub user_id: UserId,
    /// The whole of it.
    pub amount: Money,
    /// How.
    pub method: PaymentMethod,
    /// The idempotency key of the provider's create call.
    pub create_key: String,
    /// The provider's id (`pi_…`), once it made one.
    pub intent_id: Option<String>,
    /// What the provider held for us. Stays when it is captured or let go: an intent is authorized
    /// once, so hearing of it again is stale.
    pub authorized: Option<Money>,
    /// What is ours.
    pub captured: Option<Money>,
    /// What goes back, by refund.
    pub refunds: BTreeMap<RefundId, Refund>,
    /// The last events of the provider that changed nothing.
    pub ignored: VecDeque<String>,
    /// In what the provider's record differs, since the last reconciliation that found so.
    pub mismatch: Option<Mismatch>,
    /// The last mismatch that a person has explained.
    pub accepted: Option<Mismatch>,
}

/// Money that goes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// How much.
    pub amount: Money,
    /// The idempotency key of the provider's refund call.
    pub key: String,
    /// Where it stands.
    pub stage: RefundStage,
}

/// Where a refund stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStage {
    /// To be given back: its amount is taken out of what can be refunded.
    Pending,
    /// Given back.
    Done,
    /// Not given back: its amount can be refunded again.
    Failed {
        /// What the provider said.
        code: String,
    },
}

impl Charge {
    /// As requested: the provider knows nothing of it yet.
    pub(crate) fn new(
        order_id: OrderId,
        user_id: UserId,
        amount: Money,
        method: &PaymentMethod,
        create_key: &str,
    ) -> Self {
        Self {
            order_id,
            user_id,
            amount,
            method: method.clone(),
            create_key: create_key.to_owned(),
            intent_id: None,
            authorized: None,
            captured: None,
            refunds: BTreeMap::new(),
            ignored: VecDeque::new(),
            mismatch: None,
            accepted: None,
        }
    }

    /// What is ours, before refunds; zero until captured.
    pub fn captured(&self) -> Money {
        self.captured.unwrap_or(Money::zero(self.amount.currency))
    }

    /// What has gone back.
    pub fn refunded(&self) -> Money {
        self.sum(|stage| *stage == RefundStage::Done)
    }

    /// What is on its way back.
    pub fn refunding(&self) -> Money {
        self.sum(|stage| *stage == RefundStage::Pending)
    }

    /// What can still be refunded: captured less pending and done refunds.
    pub fn refundable(&self) -> Money {
        let gone = self.sum(|stage| !matches!(stage, RefundStage::Failed { .. }));
        let left = self.captured().amount.saturating_sub(gone.amount);
        Money::new(left, self.amount.currency)
    }

    /// Was it authorized and not taken? Unless it was voided since, the provider still holds it.
    pub(crate) fn is_held(&self) -> bool {
        self.authorized.is_some() && self.captured.is_none()
    }

    fn sum(&self, wanted: impl Fn(&RefundStage) -> bool) -> Money {
        let amounts = self.refunds.values().filter(|r| wanted(&r.stage));
        let sum = amounts.fold(0_i64, |sum, r| sum.saturating_add(r.amount.amount));
        Money::new(sum, self.amount.currency)
    }
}
