//! One order: what follows from a command, and what a fact changes.

use std::collections::BTreeSet;

use kernel::{
    Decider, Money, PaymentId, PaymentMethod, Reason, RefundId, Sealed, Tracking, UserId,
};
use serde::{Deserialize, Serialize};

use crate::{
    Line, OrderCommand, OrderEvent, OrderRefusal, Purchase, Return, ReturnStage, Returns, placing,
    purchase::Refunds,
};

/// An order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Nothing was bought under this id.
    #[default]
    Unplaced,
    /// Bought; payment and stock are being seen to.
    Placed(Purchase),
    /// Paid, and the stock is committed.
    Confirmed(Purchase),
    /// It can't be fulfilled.
    Rejected {
        /// What was bought.
        purchase: Purchase,
        /// The refusal's code.
        reason: Reason,
    },
    /// It was called off.
    Canceled {
        /// What was bought.
        purchase: Purchase,
        /// In the canceler's words.
        reason: Reason,
    },
    /// It left the house.
    Shipped {
        /// What was bought.
        purchase: Purchase,
        /// The carrier's number.
        tracking: Tracking,
    },
    /// It arrived.
    Delivered {
        /// What was bought.
        purchase: Purchase,
        /// The carrier's number.
        tracking: Tracking,
    },
}

pub(crate) type Decision = Result<Vec<OrderEvent>, OrderRefusal>;

impl Order {
    /// What was bought, once placed.
    pub fn purchase(&self) -> Option<&Purchase> {
        match self {
            Self::Unplaced => None,
            Self::Placed(purchase)
            | Self::Confirmed(purchase)
            | Self::Rejected { purchase, .. }
            | Self::Canceled { purchase, .. }
            | Self::Shipped { purchase, .. }
            | Self::Delivered { purchase, .. } => Some(purchase),
        }
    }

    /// Whose it is, once placed.
    pub fn owner(&self) -> Option<UserId> {
        self.purchase().map(|purchase| purchase.user_id)
    }

    /// The sum over all lines, once placed.
    pub fn total(&self) -> Option<Money> {
        self.purchase().map(|purchase| purchase.total)
    }

    /// Why it was rejected or canceled.
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Rejected { reason, .. } | Self::Canceled { reason, .. } => Some(reason),
            Self::Unplaced
            | Self::Placed(_)
            | Self::Confirmed(_)
            | Self::Shipped { .. }
            | Self::Delivered { .. } => None,
        }
    }

    fn place(
        &self,
        user_id: UserId,
        lines: &[Line],
        shipping_address: &Sealed,
        payment_method: &PaymentMethod,
    ) -> Decision {
        if self.purchase().is_some() {
            return Err(OrderRefusal::OrderAlreadyExists);
        }
        let total = placing::total(lines)?;
        Ok(vec![OrderEvent::OrderPlaced {
            user_id,
            lines: lines.to_vec(),
            total,
            shipping_address: shipping_address.clone(),
            payment_method: payment_method.clone(),
        }])
    }

    fn confirm(&self, payment_id: PaymentId) -> Decision {
        match self {
            Self::Unplaced => Err(OrderRefusal::OrderUnknown),
            Self::Canceled { .. } => Err(OrderRefusal::OrderCanceled),
            Self::Rejected { .. } => Err(OrderRefusal::OrderRejected),
            Self::Placed(_) => Ok(vec![OrderEvent::OrderConfirmed { payment_id }]),
            Self::Confirmed(purchase)
            | Self::Shipped { purchase, .. }
            | Self::Delivered { purchase, .. } => match purchase.payment_id {
                Some(paid_by) if paid_by != payment_id => Err(OrderRefusal::OrderAlreadyPaid {
                    payment_id: paid_by,
                }),
                Some(_) | None => Ok(vec![]),
            },
        }
    }

    /// A canceled order needs no rejection: what the saga wants, that it is not fulfilled, is
    /// already true, and the customer's reason stands.
    fn reject(&self, reason: &Reason) -> Decision {
        match self {
            Self::Unplaced => Err(OrderRefusal::OrderUnknown),
            Self::Rejected { .. } | Self::Canceled { .. } => Ok(vec![]),
            Self::Confirmed(_) | Self::Shipped { .. } | Self::Delivered { .. } => {
                Err(OrderRefusal::OrderAlreadyConfirmed)
            }
            Self::Placed(_) => Ok(vec![OrderEvent::OrderRejected {
                reason: reason.clone(),
            }]),
        }
    }

    fn cancel(&self, reason: &Reason) -> Decision {
        match self {
            Self::Unplaced => Err(OrderRefusal::OrderUnknown),
            Self::Canceled { .. } => Ok(vec![]),
            Self::Rejected { .. } => Err(OrderRefusal::OrderRejected),
            Self::Shipped { .. } | Self::Delivered { .. } => Err(OrderRefusal::OrderAlreadyShipped),
            Self::Placed(_) | Self::Confirmed(_) => Ok(vec![OrderEvent::OrderCanceled {
                reason: reason.clone(),
            }]),
        }
    }

    fn ship(&self, tracking: &Tracking) -> Decision {
        match self {
            Self::Unplaced => Err(OrderRefusal::OrderUnknown),
            Self::Canceled { .. } => Err(OrderRefusal::OrderCanceled),
            Self::Rejected { .. } => Err(OrderRefusal::OrderRejected),
            Self::Shipped {
                tracking: known, ..
            }
            | Self::Delivered {
                tracking: known, ..
            } if known != tracking => Err(OrderRefusal::OrderAlreadyShipped),
            Self::Shipped { .. } | Self::Delivered { .. } => Ok(vec![]),
            Self::Placed(_) => Err(OrderRefusal::OrderNotConfirmed),
            Self::Confirmed(_) => Ok(vec![OrderEvent::OrderShipped {
                tracking: tracking.clone(),
            }]),
        }
    }

    fn deliver(&self) -> Decision {
        match self {
            Self::Unplaced => Err(OrderRefusal::OrderUnknown),
            Self::Canceled { .. } => Err(OrderRefusal::OrderCanceled),
            Self::Rejected { .. } => Err(OrderRefusal::OrderRejected),
            Self::Placed(_) | Self::Confirmed(_) => Err(OrderRefusal::OrderNotShipped),
            Self::Delivered { .. } => Ok(vec![]),
            Self::Shipped { .. } => Ok(vec![OrderEvent::OrderDelivered {}]),
        }
    }

    fn record_refund(&self, refund_id: RefundId, amount: Money) -> Decision {
        let purchase = match self {
            Self::Unplaced => return Err(OrderRefusal::OrderUnknown),
            Self::Placed(_) | Self::Confirmed(_) => return Err(OrderRefusal::OrderNotRefundable),
            Self::Rejected { purchase, .. }
            | Self::Canceled { purchase, .. }
            | Self::Shipped { purchase, .. }
            | Self::Delivered { purchase, .. } => purchase,
        };
        if purchase.reversed.contains(&refund_id) {
            return Err(OrderRefusal::RefundReversed);
        }
        match purchase.refunds.get(&refund_id) {
            Some(known) if *known == amount => Ok(vec![]),
            Some(_) => Err(OrderRefusal::RefundDiffers),
            None => {
                purchase.must_allow(amount)?;
                Ok(vec![OrderEvent::OrderRefunded { refund_id, amount }])
            }
        }
    }

    fn reverse_refund(&self, refund_id: RefundId) -> Decision {
        let purchase = self.purchase().ok_or(OrderRefusal::OrderUnknown)?;
        if purchase.reversed.contains(&refund_id) {
            return Ok(vec![]);
        }
        let known = purchase.refunds.get(&refund_id).copied();
        let amount = known.unwrap_or(Money::zero(purchase.total.currency));
        Ok(vec![OrderEvent::OrderRefundReversed { refund_id, amount }])
    }

    fn move_to(&mut self, stage: impl FnOnce(Purchase) -> Self) {
        match std::mem::take(self) {
            Self::Unplaced => {}
            Self::Placed(purchase)
            | Self::Confirmed(purchase)
            | Self::Rejected { purchase, .. }
            | Self::Canceled { purchase, .. }
            | Self::Shipped { purchase, .. }
            | Self::Delivered { purchase, .. } => *self = stage(purchase),
        }
    }

    fn purchase_mut(&mut self) -> Option<&mut Purchase> {
        match self {
            Self::Unplaced => None,
            Self::Placed(purchase)
            | Self::Confirmed(purchase)
            | Self::Rejected { purchase, .. }
            | Self::Canceled { purchase, .. }
            | Self::Shipped { purchase, .. }
            | Self::Delivered { purchase, .. } => Some(purchase),
        }
    }
}

impl Decider for Order {
    const CONTEXT: &'static str = "order";
    const STATE_REVISION: u32 = 2;

    fn decide(&self, command: &OrderCommand) -> Decision {
        match command {
            OrderCommand::PlaceOrder {
                user_id,
                lines,
                shipping_address,
                payment_method,
            } => self.place(*user_id, lines, shipping_address, payment_method),
            OrderCommand::ConfirmOrder { payment_id } => self.confirm(*payment_id),
            OrderCommand::RejectOrder { reason } => self.reject(reason),
            OrderCommand::CancelOrder { reason } => self.cancel(reason),
            OrderCommand::ShipOrder { tracking } => self.ship(tracking),
            OrderCommand::DeliverOrder {} => self.deliver(),
            OrderCommand::RequestReturn {
                return_id,
                lines,
                reason,
            } => self
                .must_be_delivered()?
                .request_return(*return_id, lines, reason),
            OrderCommand::ApproveReturn { return_id } => {
                self.must_be_delivered()?.approve_return(*return_id)
            }
            OrderCommand::RefuseReturn { return_id, reason } => {
                self.must_be_delivered()?.refuse_return(*return_id, reason)
            }
            OrderCommand::ReceiveReturn { return_id } => {
                self.must_be_delivered()?.receive_return(*return_id)
            }
            OrderCommand::RecordRefund { refund_id, amount } => {
                self.record_refund(*refund_id, *amount)
            }
            OrderCommand::ReverseRefund { refund_id } => self.reverse_refund(*refund_id),
        }
    }

    fn evolve(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::OrderPlaced {
                user_id,
                lines,
                total,
                shipping_address,
                payment_method,
            } => {
                *self = Self::Placed(Purchase {
                    user_id: *user_id,
                    lines: lines.clone(),
                    total: *total,
                    shipping_address: shipping_address.clone(),
                    payment_method: payment_method.clone(),
                    payment_id: None,
                    refunds: Refunds::new(),
                    reversed: BTreeSet::new(),
                    returns: Returns::default(),
                });
            }
            OrderEvent::OrderConfirmed { payment_id } => self.move_to(|purchase| {
                Self::Confirmed(Purchase {
                    payment_id: Some(*payment_id),
                    ..purchase
                })
            }),
            OrderEvent::OrderRejected { reason } => {
                let reason = reason.clone();
                self.move_to(|purchase| Self::Rejected { purchase, reason });
            }
            OrderEvent::OrderCanceled { reason } => {
                let reason = reason.clone();
                self.move_to(|purchase| Self::Canceled { purchase, reason });
            }
            OrderEvent::OrderShipped { tracking } => {
                let tracking = tracking.clone();
                self.move_to(|purchase| Self::Shipped { purchase, tracking });
            }
            OrderEvent::OrderDelivered {} => self.arrive(),
            OrderEvent::ReturnRequested {
                return_id,
                lines,
                reason,
                amount,
            } => {
                let new = Return {
                    lines: lines.clone(),
                    reason: reason.clone(),
                    amount: *amount,
                    stage: ReturnStage::Requested,
                };
                self.change_returns(|returns| returns.open(*return_id, new));
            }
            OrderEvent::ReturnApproved { return_id } => {
                self.change_returns(|returns| returns.move_to(return_id, ReturnStage::Approved));
            }
            OrderEvent::ReturnRefused { return_id, .. } => {
                self.change_returns(|returns| returns.move_to(return_id, ReturnStage::Refused));
            }
            OrderEvent::ReturnReceived { return_id, .. } => {
                self.change_returns(|returns| returns.move_to(return_id, ReturnStage::Received));
            }
            OrderEvent::OrderRefunded { refund_id, amount } => {
                if let Some(purchase) = self.purchase_mut() {
                    purchase.refunds.insert(*refund_id, *amount);
                }
            }
            OrderEvent::OrderRefundReversed { refund_id, .. } => self.take_back(*refund_id),
        }
    }
}

impl Order {
    fn change_returns(&mut self, change: impl FnOnce(&mut Returns)) {
        if let Some(purchase) = self.purchase_mut() {
            change(&mut purchase.returns);
        }
    }

    fn take_back(&mut self, refund_id: RefundId) {
        if let Some(purchase) = self.purchase_mut() {
            purchase.refunds.remove(&refund_id);
            purchase.reversed.insert(refund_id);
        }
    }

    fn arrive(&mut self) {
        match std::mem::take(self) {
            Self::Shipped { purchase, tracking } => *self = Self::Delivered { purchase, tracking },
            other @ (Self::Unplaced
            | Self::Placed(_)
            | Self::Confirmed(_)
            | Self::Rejected { .. }
            | Self::Canceled { .. }
            | Self::Delivered { .. }) => *self = other,
        }
    }
}

kernel::aggregate!(Order, "order", OrderCommand, OrderEvent, OrderRefusal);
