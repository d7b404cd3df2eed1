//! What is due: which asks follow from the state, and the commands that they become.

use ::order::OrderCommand;
use chrono::{DateTime, TimeDelta, Utc};
use inventory::InventoryCommand;
use kernel::{Reason, ReservationId};
use notification::{Details, Template};
use payment::{PaymentCommand, payment_id};

use crate::addressed::Addressed;
use crate::state::{Fate, Flow, Funds, Hold, Notice, RESERVATION_ATTEMPT};
use crate::{Ask, CheckoutBy, Definitions, Due, Each, Stage, Step, ask_id, refund_id_of};

/// How long a release bars a reserve that is still on its way, even when the hold's own time is
/// over: the late one carries the time of its asking, so the inventory can't tell that it is late.
/// Far above any time that the bus keeps an ask.
const TOMBSTONE_KEPT: TimeDelta = TimeDelta::minutes(30);

impl<D: Definitions> CheckoutBy<D> {
    /// Everything that is to be asked now. The same asks under the same ids until the facts arrive
    /// that settle them, so they are sent again after every delivery; sending one twice is harmless.
    pub fn pending(&self, now: DateTime<Utc>) -> Vec<Due> {
        let Some(flow) = self.understood() else {
            return Vec::new();
        };
        let asks = flow.asks().into_iter();
        asks.filter(|ask| flow.is_time(ask, now))
            .filter_map(|ask| flow.due(ask, now))
            .collect()
    }

    /// When the checkout wants to be woken. `None` = it waits for facts only.
    pub fn deadline(&self) -> Option<DateTime<Utc>> {
        let flow = self.understood()?;
        if flow.row().is_some_and(|row| row.timeout.is_some()) {
            return Some(flow.deadline);
        }
        let asks = flow.asks().into_iter();
        asks.filter_map(|ask| flow.retry_at(&ask)).min()
    }
}

impl Flow {
    /// What is due, waits aside.
    pub(crate) fn asks(&self) -> Vec<Ask> {
        let mut asks = Vec::new();
        if self.suspension.is_none() && self.stage == Stage::Resolved {
            asks.extend(self.releases());
            let left = self.money_left && self.is_unwinding() && !self.money_is_clean();
            asks.extend(left.then(|| self.money_undo()));
            asks.extend(self.closing());
        } else if self.suspension.is_none() {
            asks.extend(self.steps());
            asks.extend(self.undos());
            asks.extend(self.closing());
        }
        asks.extend(self.mails());
        asks
    }

    fn steps(&self) -> Vec<Ask> {
        let steps = self.open_steps().into_iter();
        let ask = |step: Step| Ask::Step {
            attempt: self.tries(&step).map_or(1, |tries| tries.attempt),
            step,
        };
        steps.map(ask).collect()
    }

    /// The steps of the table's line at which the checkout is, that are not done.
    pub(crate) fn open_steps(&self) -> Vec<Step> {
        let Some(row) = self.row() else {
            return Vec::new();
        };
        match &row.step {
            Each::Line(of) => {
                let open = self.lines.iter().filter(|line| match line.hold {
                    Hold::Reserving => self.stage == Stage::Reserving,
                    Hold::Committing => self.stage == Stage::Committing,
                    Hold::Shipping => self.stage == Stage::Shipping,
                    Hold::Reserved
                    | Hold::Committed
                    | Hold::Shipped
                    | Hold::Refused
                    | Hold::Free => false,
                });
                open.map(|line| of(line.sku.clone())).collect()
            }
            Each::Order(own) => vec![own.clone()],
        }
    }

    /// Newest first: what comes later in the table is undone before what comes earlier is.
    fn undos(&self) -> Vec<Ask> {
        if !self.is_unwinding() {
            return Vec::new();
        }
        let taken = matches!(self.funds, Funds::Capturing | Funds::Captured);
        let firm = self.lines.iter().any(|line| match line.hold {
            Hold::Committing | Hold::Committed => true,
            Hold::Reserving
            | Hold::Reserved
            | Hold::Shipping
            | Hold::Shipped
            | Hold::Refused
            | Hold::Free => false,
        });
        let money = if taken {
            Stage::Capturing
        } else {
            Stage::Authorizing
        };
        let stock = if firm {
            Stage::Committing
        } else {
            Stage::Reserving
        };
        let stock_first = self.is_after(stock, money);
        if self.money_is_clean() || (stock_first && !self.stock_is_clean()) {
            return self.releases();
        }
        vec![self.money_undo()]
    }

    fn money_undo(&self) -> Ask {
        let step = match self.funds {
            Funds::Captured => Step::CapturePayment,
            Funds::Untouched
            | Funds::Requested
            | Funds::Authorized
            | Funds::Capturing
            | Funds::Declined
            | Funds::Voided
            | Funds::Refunded => Step::AuthorizePayment,
        };
        self.undo_ask(step)
    }

    /// Also when a person has resolved it: the money is in their hands, stock is in nobody's.
    fn releases(&self) -> Vec<Ask> {
        let open = self.lines.iter().filter(|line| !line.is_clean());
        let open = open.filter(|_| self.is_unwinding());
        open.map(|line| self.undo_ask(line.newest_step())).collect()
    }

    fn undo_ask(&self, step: Step) -> Ask {
        Ask::Undo {
            attempt: self.tries(&step).map_or(1, |tries| tries.attempt),
            step,
        }
    }

    fn closing(&self) -> Vec<Ask> {
        let mut asks = Vec::new();
        // A person may have let the money go where no fact tells of it.
        let clean =
            self.stock_is_clean() && (self.money_is_clean() || self.stage == Stage::Resolved);
        if self.awaits_rejection() && clean {
            asks.push(Ask::RejectOrder {
                attempt: self.reject_tries.attempt,
            });
        }
        if self.money_went_back() {
            asks.push(Ask::RecordRefund);
        }
        asks
    }

    /// Also of what a person resolved while money was to be let go: nobody else tells the order. What is heard of
    /// the money after that is seen to as after any end.
    pub(crate) fn awaits_rejection(&self) -> bool {
        let rejecting = matches!(self.fate, Fate::Rejecting { .. });
        self.stage == Stage::Undone || (self.is_resolved_but_for_money() && rejecting)
    }

    /// A person has resolved it, but for money that is let go yet.
    fn is_resolved_but_for_money(&self) -> bool {
        self.stage == Stage::Resolved && self.money_left
    }

    /// The order takes a refund once it is closed.
    fn money_went_back(&self) -> bool {
        let resolved = self.is_resolved_but_for_money();
        let canceled = matches!(self.fate, Fate::Canceled { .. });
        let closed = self.stage == Stage::Ended || (resolved && canceled);
        closed && self.funds == Funds::Refunded
    }

    fn mails(&self) -> Vec<Ask> {
        let notify = |template| Ask::Notify { template };
        let told = self.notices.iter().map(|notice| match notice {
            Notice::Confirmed => Template::OrderConfirmed,
            Notice::Shipped { .. } => Template::OrderShipped,
            Notice::Rejected { .. } => Template::OrderRejected,
            Notice::Canceled { .. } => Template::OrderCanceled,
        });
        let refunded = self.money_went_back().then_some(Template::OrderRefunded);
        told.chain(refunded).map(notify).collect()
    }

    fn retry_at(&self, ask: &Ask) -> Option<DateTime<Utc>> {
        let tries = match ask {
            Ask::Step { step, .. } | Ask::Undo { step, .. } => self.tries(step)?,
            Ask::RejectOrder { .. } => &self.reject_tries,
            Ask::RecordRefund | Ask::Notify { .. } => return None,
        };
        tries.retry_at
    }

    fn is_time(&self, ask: &Ask, now: DateTime<Utc>) -> bool {
        self.retry_at(ask).is_none_or(|at| at <= now)
    }

    fn due(&self, ask: Ask, now: DateTime<Utc>) -> Option<Due> {
        match &ask {
            Ask::Step { step, .. } => self.step_due(step, now),
            Ask::Undo { step, attempt } => self.undo_due(step, *attempt, now),
            Ask::RejectOrder { .. } => Some(self.of_order(&OrderCommand::RejectOrder {
                reason: self.reason()?,
            })),
            Ask::RecordRefund => Some(self.of_order(&OrderCommand::RecordRefund {
                refund_id: self.refund_id(),
                amount: self.total,
            })),
            Ask::Notify { template } => Some(self.of_notification(*template)),
        }
        .map(|addressed| addressed.due(ask_id(self.order_id, &ask), ask))
    }

    fn step_due(&self, step: &Step, at: DateTime<Utc>) -> Option<Addressed> {
        let reservation = self.reservation();
        Some(match step {
            Step::ReserveStock { sku } => Addressed::inventory(
                sku,
                &InventoryCommand::ReserveStock {
                    reservation,
                    quantity: self.line(sku)?.quantity,
                    expires_at: self.reserved_until,
                    at,
                },
            ),
            Step::CommitStock { sku } => Addressed::inventory(
                sku,
                &InventoryCommand::CommitReservation { reservation, at },
            ),
            Step::ShipStock { sku } => {
                Addressed::inventory(sku, &InventoryCommand::ShipReservation { reservation, at })
            }
            Step::AuthorizePayment => self.of_payment(&PaymentCommand::RequestPayment {
                order_id: self.order_id,
                user_id: self.user_id,
                amount: self.total,
                method: self.payment_method.clone(),
            }),
            Step::CapturePayment => self.of_payment(&PaymentCommand::CapturePayment {}),
            Step::ConfirmOrder => self.of_order(&OrderCommand::ConfirmOrder {
                payment_id: payment_id(self.order_id),
            }),
        })
    }

    fn undo_due(&self, step: &Step, attempt: u32, at: DateTime<Utc>) -> Option<Addressed> {
        let reason = self.reason()?;
        match step {
            Step::ReserveStock { sku } | Step::CommitStock { sku } => Some(Addressed::inventory(
                sku,
                &InventoryCommand::ReleaseReservation {
                    reservation: self.reservation(),
                    reason,
                    expires_at: self.reserved_until.max(at + TOMBSTONE_KEPT),
                    at,
                },
            )),
            Step::AuthorizePayment => {
                Some(self.of_payment(&PaymentCommand::VoidPayment { reason }))
            }
            Step::CapturePayment => Some(self.of_payment(&PaymentCommand::RefundPayment {
                refund_id: refund_id_of(self.order_id, attempt),
                amount: self.total,
                reason,
            })),
            Step::ConfirmOrder | Step::ShipStock { .. } => None,
        }
    }

    /// Why everything is undone.
    fn reason(&self) -> Option<Reason> {
        match &self.fate {
            Fate::Rejecting { reason } | Fate::Rejected { reason } | Fate::Canceled { reason } => {
                Some(reason.clone())
            }
            Fate::Open | Fate::Shipped => None,
        }
    }

    fn reservation(&self) -> ReservationId {
        ReservationId {
            order_id: self.order_id,
            attempt: RESERVATION_ATTEMPT,
        }
    }

    fn of_order(&self, command: &OrderCommand) -> Addressed {
        Addressed::order(self.order_id, command)
    }

    fn of_payment(&self, command: &PaymentCommand) -> Addressed {
        Addressed::payment(self.order_id, command)
    }

    /// The order itself stands for the source event: one mail of a kind for each order, whatever
    /// is repeated.
    fn of_notification(&self, template: Template) -> Addressed {
        let details = self.details(template);
        Addressed::mail(self.order_id.0, self.user_id, template, details)
    }

    fn details(&self, template: Template) -> Details {
        let mut details = Details {
            order_id: Some(self.order_id),
            ..Details::default()
        };
        if matches!(template, Template::OrderConfirmed | Template::OrderRefunded) {
            details.amount = Some(self.total);
        }
        for notice in &self.notices {
            match (notice, template) {
                (Notice::Shipped { tracking }, Template::OrderShipped) => {
                    details.tracking = Some(tracking.clone());
                }
                (Notice::Rejected { reason }, Template::OrderRejected)
                | (Notice::Canceled { reason }, Template::OrderCanceled) => {
                    details.reason = Some(reason.clone());
                }
                // Another mail's.
                _ => {}
            }
        }
        details
    }
}
