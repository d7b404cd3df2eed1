//! Goods that come back: which of an order's units, and how far each return has come.

use std::collections::BTreeMap;

use kernel::{Money, Reason, ReturnId, Sku};
use serde::{Deserialize, Serialize};

use crate::aggregate::Decision;
use crate::{
    Line, Order, OrderEvent, OrderRefusal, Purchase, ReturnLine, ReturnStage, ReturnStatus, placing,
};

/// Most returns of one order, refused ones too: the state stays small.
pub const RETURNS_MAX: u32 = 100;

/// Goods of one order that are to come back together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Return {
    /// What.
    pub lines: Vec<ReturnLine>,
    /// Why.
    pub reason: Reason,
    /// What these lines cost.
    pub amount: Money,
    /// How far it has come.
    pub stage: ReturnStage,
}

impl Return {
    /// All its units.
    pub fn units(&self) -> u64 {
        units(self.lines.iter().map(|line| line.quantity))
    }

    fn units_of(&self, sku: &Sku) -> u64 {
        let of_sku = self.lines.iter().filter(|line| line.sku == *sku);
        units(of_sku.map(|line| line.quantity))
    }
}

fn units(quantities: impl Iterator<Item = u32>) -> u64 {
    quantities.map(u64::from).sum()
}

/// The returns of one order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Returns(BTreeMap<ReturnId, Return>);

impl Returns {
    /// The return, if it was requested.
    pub fn get(&self, id: &ReturnId) -> Option<&Return> {
        self.0.get(id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&ReturnId, &Return)> {
        self.0.iter()
    }

    /// What all of them come to, of an order of these lines.
    pub fn status(&self, ordered: &[Line]) -> ReturnStatus {
        let returns = self.0.values().map(|of| (of.stage, of.units()));
        ReturnStatus::of(returns, units(ordered.iter().map(|line| line.quantity)))
    }

    /// Units of a line that come back or may come back. What was refused may be asked for again.
    fn taken(&self, sku: &Sku) -> u64 {
        let open = self.0.values().filter(|of| match of.stage {
            ReturnStage::Requested | ReturnStage::Approved | ReturnStage::Received => true,
            ReturnStage::Refused => false,
        });
        open.map(|of| of.units_of(sku)).sum()
    }

    pub(crate) fn open(&mut self, id: ReturnId, new: Return) {
        self.0.insert(id, new);
    }

    pub(crate) fn move_to(&mut self, id: &ReturnId, stage: ReturnStage) {
        if let Some(known) = self.0.get_mut(id) {
            known.stage = stage;
        }
    }
}

impl Order {
    /// Goods come back only after they have arrived.
    pub(crate) fn must_be_delivered(&self) -> Result<&Purchase, OrderRefusal> {
        match self {
            Self::Unplaced => Err(OrderRefusal::OrderUnknown),
            Self::Canceled { .. } => Err(OrderRefusal::OrderCanceled),
            Self::Rejected { .. } => Err(OrderRefusal::OrderRejected),
            Self::Placed(_) | Self::Confirmed(_) | Self::Shipped { .. } => {
                Err(OrderRefusal::OrderNotDelivered)
            }
            Self::Delivered { purchase, .. } => Ok(purchase),
        }
    }
}

impl Purchase {
    /// Every return of the order is decided on this one state: however many ask at once, no unit
    /// comes back twice.
    pub(crate) fn request_return(
        &self,
        return_id: ReturnId,
        lines: &[ReturnLine],
        reason: &Reason,
    ) -> Decision {
        if let Some(known) = self.returns.get(&return_id) {
            if known.lines == lines && known.reason == *reason {
                return Ok(vec![]);
            }
            return Err(OrderRefusal::ReturnDiffers);
        }
        let counted: Vec<_> = lines
            .iter()
            .map(|line| (&line.sku, line.quantity))
            .collect();
        placing::counted_lines(&counted)?;
        let amount = self.price_of(lines)?;
        if self.returns.0.len() >= RETURNS_MAX as usize {
            return Err(OrderRefusal::TooManyReturns { max: RETURNS_MAX });
        }
        Ok(vec![OrderEvent::ReturnRequested {
            return_id,
            lines: lines.to_vec(),
            reason: reason.clone(),
            amount,
        }])
    }

    pub(crate) fn approve_return(&self, return_id: ReturnId) -> Decision {
        match self.must_know(return_id)?.stage {
            ReturnStage::Refused => Err(OrderRefusal::ReturnRefused),
            ReturnStage::Approved | ReturnStage::Received => Ok(vec![]),
            ReturnStage::Requested => Ok(vec![OrderEvent::ReturnApproved { return_id }]),
        }
    }

    /// Also after it was approved: goods that never come must not block their units for ever.
    pub(crate) fn refuse_return(&self, return_id: ReturnId, reason: &Reason) -> Decision {
        match self.must_know(return_id)?.stage {
            ReturnStage::Received => Err(OrderRefusal::ReturnAlreadyReceived),
            ReturnStage::Refused => Ok(vec![]),
            ReturnStage::Requested | ReturnStage::Approved => Ok(vec![OrderEvent::ReturnRefused {
                return_id,
                reason: reason.clone(),
            }]),
        }
    }

    pub(crate) fn receive_return(&self, return_id: ReturnId) -> Decision {
        let known = self.must_know(return_id)?;
        match known.stage {
            ReturnStage::Requested => Err(OrderRefusal::ReturnNotApproved),
            ReturnStage::Refused => Err(OrderRefusal::ReturnRefused),
            ReturnStage::Received => Ok(vec![]),
            ReturnStage::Approved => Ok(vec![OrderEvent::ReturnReceived {
                return_id,
                lines: known.lines.clone(),
                amount: known.amount,
            }]),
        }
    }

    /// What the lines cost, if that many units of them may still come back.
    fn price_of(&self, lines: &[ReturnLine]) -> Result<Money, OrderRefusal> {
        let mut amount = Money::zero(self.total.currency);
        for (index, ReturnLine { sku, quantity }) in (0..).zip(lines) {
            let ordered = self.lines.iter().find(|line| line.sku == *sku);
            let ordered = ordered.ok_or_else(|| OrderRefusal::SkuNotOrdered {
                line: index,
                sku: sku.clone(),
            })?;
            let taken = u32::try_from(self.returns.taken(sku)).unwrap_or(u32::MAX);
            let returnable = ordered.quantity.saturating_sub(taken);
            if *quantity > returnable {
                return Err(OrderRefusal::ReturnExceedsOrdered {
                    line: index,
                    sku: sku.clone(),
                    returnable,
                });
            }
            let price = ordered.unit_price.times(*quantity);
            amount = price
                .and_then(|price| amount.plus(price))
                .map_err(|_| OrderRefusal::TotalOverflow)?;
        }
        Ok(amount)
    }

    fn must_know(&self, return_id: ReturnId) -> Result<&Return, OrderRefusal> {
        self.returns
            .get(&return_id)
            .ok_or(OrderRefusal::ReturnUnknown)
    }
}
