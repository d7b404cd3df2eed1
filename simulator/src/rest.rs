//! The equations that hold at rest: nothing is due, nothing is on its way.

use std::collections::BTreeSet;

use checkout::RETURN_ATTEMPTS_MAX;
use checkout::{CheckoutEvent, Saga, Status, Step, refund_id_of_return};
use kernel::{OrderId, RefundId, Sku, UserId};
use notification::{Channel, Template, message_id, notification_id};
use order::OrderStatus;
use uuid::Uuid;

use crate::acts::customer;
use crate::audit::{Audit, Finding, Slip, Till, holds, worth};
use crate::provider::{self, Intent};
use crate::told::Told;
use crate::world::World;

impl World {
    /// Is everything as it should be, now that nothing more will happen?
    pub(crate) fn at_rest(&self) -> Result<(), Finding> {
        self.no_deadline_is_left()?;
        for (order, slip) in &self.audit.slips {
            // What was done by hand, only that person knows.
            if self.waits_for_a_person(slip.id) || self.done_by_hand(*order) {
                self.what_is_not_theirs_rests(*order, slip)?;
            } else {
                self.order_rests(*order, slip)?;
            }
        }
        Ok(())
    }

    /// Every deadline has come by now, and something has followed from it.
    fn no_deadline_is_left(&self) -> Result<(), Finding> {
        for (name, file) in (1..).zip(&self.shop.files) {
            let checkout = &file.checkout.state;
            let waits = checkout.suspended().is_none() && checkout.deadline().is_some();
            holds("no checkout is past its deadline", !waits, || {
                format!("order {name}: it is {:?}", checkout.stage())
            })?;
        }
        Ok(())
    }

    /// A person has to do with it, or will: but not with the provider's books, nor with stock that they
    /// did not take upon themselves.
    fn what_is_not_theirs_rests(&self, order: usize, slip: &Slip) -> Result<(), Finding> {
        let name = order + 1;
        let intents: Vec<_> = self.provider.of(order).collect();
        let till = Till::default();
        ledger(
            name,
            self.audit.tills.get(&order).unwrap_or(&till),
            &intents,
        )?;
        let checkout = self.shop.checkout(slip.id);
        if checkout.is_some_and(|saga| saga.suspended().is_some()) {
            // What is undone after what it is suspended for has not been asked yet.
            return Ok(());
        }
        match self.stock_by_hand(order) {
            Some(theirs) => self.audit.stock_rests(name, slip, &theirs),
            None => Ok(()),
        }
    }

    /// The stock of an order that a person has seen to; `None` = all of it.
    fn stock_by_hand(&self, order: usize) -> Option<BTreeSet<Sku>> {
        let (mut theirs, mut suspended_for) = (BTreeSet::new(), None);
        for recorded in &self.shop.log {
            let Told::Checkout(event) = &recorded.told else {
                continue;
            };
            if recorded.order != Some(order) {
                continue;
            }
            match event {
                CheckoutEvent::CheckoutSuspended { step, .. } => suspended_for = Some(step.clone()),
                CheckoutEvent::StepSkipped { step, .. } => theirs.extend(step.sku().cloned()),
                CheckoutEvent::CheckoutResolved { .. } => match &suspended_for {
                    Some(Step::ShipStock { .. }) => return None,
                    Some(step) => theirs.extend(step.sku().cloned()),
                    None => {}
                },
                CheckoutEvent::CheckoutStarted { .. }
                | CheckoutEvent::StepSucceeded { .. }
                | CheckoutEvent::StepRefused { .. }
                | CheckoutEvent::StepTimedOut { .. }
                | CheckoutEvent::UndoStarted { .. }
                | CheckoutEvent::UndoSucceeded { .. }
                | CheckoutEvent::UndoFailed { .. }
                | CheckoutEvent::CheckoutCompleted {}
                | CheckoutEvent::ShippingStarted { .. }
                | CheckoutEvent::CheckoutUndone { .. }
                | CheckoutEvent::CheckoutResumed { .. }
                | CheckoutEvent::CheckoutEnded { .. } => {}
            }
        }
        Some(theirs)
    }

    /// How an order ended, in a word.
    pub(crate) fn outcome(&self, slip: &Slip) -> String {
        if self.waits_for_a_person(slip.id) {
            return format!("{}, waits for a person", slip.status);
        }
        let file = self.shop.file_of(slip.id);
        if file.is_some_and(|order| self.done_by_hand(order)) {
            return format!("{}, done by hand", slip.status);
        }
        slip.status.to_string()
    }

    fn done_by_hand(&self, order: usize) -> bool {
        let mut log = self.shop.log.iter();
        log.any(|recorded| recorded.order == Some(order) && recorded.told.is_by_hand())
    }

    fn waits_for_a_person(&self, id: OrderId) -> bool {
        let of_order = |order_id: Option<OrderId>| order_id == Some(id);
        let checkout = self
            .shop
            .checkout(id)
            .is_some_and(|saga| saga.suspended().is_some());
        let mut returning = self.shop.returning.values().map(|kept| &kept.state);
        let mut refunding = self.shop.refunding.values().map(|kept| &kept.state);
        checkout
            || returning.any(|saga| of_order(saga.order_id()) && saga.suspended().is_some())
            || refunding.any(|saga| of_order(saga.order_id()) && saga.suspended().is_some())
    }

    fn order_rests(&self, order: usize, slip: &Slip) -> Result<(), Finding> {
        let name = order + 1;
        let status = slip.status;
        let open = status == OrderStatus::Placed;
        holds("no order stays open", !open, || {
            format!("order {name} is still placed")
        })?;
        let till = Till::default();
        let till = self.audit.tills.get(&order).unwrap_or(&till);
        let intents: Vec<_> = self.provider.of(order).collect();
        let kept: i64 = intents.iter().map(|intent| intent.kept()).sum();
        let gone = matches!(status, OrderStatus::Rejected | OrderStatus::Canceled);
        let due = if gone {
            0
        } else {
            slip.total - till.done.values().sum::<i64>()
        };
        holds(
            "money kept = captured − refunded, or nothing",
            kept == due,
            || format!("order {name} is {status}, {kept} is kept and {due} should be"),
        )?;
        let held = intents
            .iter()
            .any(|intent| intent.status == provider::Status::Held);
        holds("no money stays held", !held, || {
            format!("order {name} is {status}")
        })?;
        let (wanted, done) = (till.refunds.len(), till.done.len());
        holds("no refund stays open", wanted == done, || {
            format!("order {name}: {done} of {wanted} are done")
        })?;
        ledger(name, till, &intents)?;
        self.audit.stock_rests(name, slip, &BTreeSet::new())?;
        self.saga_rests(name, slip)?;
        returns(name, slip, till, &self.audit)?;
        let (known, back) = (slip.refunded, till.done.values().sum::<i64>());
        holds("the order knows what went back", known == back, || {
            format!("order {name} knows of {known}, and {back} went back")
        })?;
        self.mails_rest(order, slip, till)
    }

    fn saga_rests(&self, name: usize, slip: &Slip) -> Result<(), Finding> {
        let saga = self.shop.checkout(slip.id).map(checkout::Checkout::status);
        let expected = match slip.status {
            OrderStatus::Placed | OrderStatus::Confirmed => Status::Completed,
            OrderStatus::Rejected
            | OrderStatus::Canceled
            | OrderStatus::Shipped
            | OrderStatus::Delivered => Status::Ended,
        };
        holds(
            "the saga is where its order is",
            saga == Some(expected),
            || format!("order {name} is {}, its saga {saga:?}", slip.status),
        )
    }

    /// Exactly one distinct Message-ID for each mail that is due.
    fn mails_rest(&self, order: usize, slip: &Slip, till: &Till) -> Result<(), Finding> {
        let mut mails = Mails::of(customer(order), slip, till);
        let planned = self.plan.order(order);
        if planned.is_some_and(|planned| planned.no_mailbox) {
            mails.due.clear();
        }
        let mine = self.mailbox.keys().filter(|(whose, _)| *whose == order);
        let sent: BTreeSet<_> = mine.map(|(_, id)| id.clone()).collect();
        let counted = sent.difference(&mails.allowed).collect::<BTreeSet<_>>();
        let due = mails.due.iter().collect();
        // Who is erased can't be reached from then on.
        let right = if self.erased.contains(&order) {
            counted.is_subset(&due)
        } else {
            counted == due
        };
        holds("one mail each, and no other", right, || {
            let (is, due) = (counted.len(), mails.due.len());
            let (name, status) = (order + 1, slip.status);
            format!("order {name} is {status}: {is} distinct mails, {due} due")
        })
    }
}

/// Mails about an order, by Message-ID.
struct Mails {
    due: BTreeSet<String>,
    /// Sent or not, for neither is wrong.
    allowed: BTreeSet<String>,
}

impl Mails {
    fn of(to: UserId, slip: &Slip, till: &Till) -> Self {
        let of = |source: Uuid, template| {
            message_id(notification_id(source, template, Channel::Email, to))
        };
        let about = |template| of(slip.id.0, template);
        let (mut due, mut allowed) = (BTreeSet::new(), BTreeSet::new());
        let mut gone = None;
        match slip.status {
            OrderStatus::Placed => {}
            OrderStatus::Confirmed | OrderStatus::Shipped | OrderStatus::Delivered => {
                due.insert(about(Template::OrderConfirmed));
                let refunded = |id: &RefundId| of(id.0, Template::OrderRefunded);
                due.extend(till.done.keys().map(refunded));
                // Nobody is told of money that had come back by then.
                allowed.extend(till.came_back.iter().map(refunded));
            }
            OrderStatus::Rejected => gone = Some(Template::OrderRejected),
            OrderStatus::Canceled => {
                gone = Some(Template::OrderCanceled);
                // Confirmed and at once canceled: the saga may hear of both in either order.
                allowed.extend(slip.confirmed.then(|| about(Template::OrderConfirmed)));
            }
        }
        if matches!(slip.status, OrderStatus::Shipped | OrderStatus::Delivered) {
            due.insert(about(Template::OrderShipped));
        }
        if let Some(template) = gone {
            due.insert(about(template));
            due.extend((!till.done.is_empty()).then(|| about(Template::OrderRefunded)));
        }
        Self { due, allowed }
    }
}

/// The provider's books and our payment say the same.
fn ledger(name: usize, till: &Till, intents: &[&Intent]) -> Result<(), Finding> {
    let taken: i64 = intents.iter().map(|intent| intent.received).sum();
    holds("the ledgers agree", taken == till.captured, || {
        format!(
            "order {name}: the provider took {taken}, we know of {}",
            till.captured
        )
    })?;
    let back: i64 = intents.iter().map(|intent| intent.given_back()).sum();
    let ours: i64 = till.done.values().sum();
    holds("the ledgers agree", back == ours, || {
        format!("order {name}: the provider gave back {back}, we know of {ours}")
    })
}

/// Goods that are back are on the bin, and their money is back.
fn returns(name: usize, slip: &Slip, till: &Till, audit: &Audit) -> Result<(), Finding> {
    for back in &slip.back {
        let shelved = back.lines.iter().all(|(sku, quantity)| {
            let bin = audit.shelves.get(sku);
            bin.is_some_and(|bin| bin.restocked.get(&back.id) == Some(quantity))
        });
        holds("what came back is on the bin", shelved, || {
            format!("order {name}")
        })?;
        let attempts = 1..=RETURN_ATTEMPTS_MAX;
        let paid = attempts.filter_map(|n| till.done.get(&refund_id_of_return(back.id, n)));
        let paid: i64 = paid.sum();
        let due = worth(&back.lines);
        holds("what came back is paid back", paid == due, || {
            format!("order {name}: {paid} of {due} went back for it")
        })?;
    }
    Ok(())
}

impl Audit {
    /// But for what a person has seen to.
    fn stock_rests(&self, name: usize, slip: &Slip, theirs: &BTreeSet<Sku>) -> Result<(), Finding> {
        let confirmed = slip.status == OrderStatus::Confirmed;
        for (sku, bin) in &self.shelves {
            if !confirmed && !theirs.contains(sku) {
                holds("no stock stays held", !bin.holds(slip.id), || {
                    format!("order {name} is {}, and {sku} is held for it", slip.status)
                })?;
            }
        }
        for (sku, quantity) in slip.lines.iter().filter(|_| confirmed) {
            let bin = self.shelves.get(sku);
            let held = bin.is_some_and(|bin| bin.holds_firmly(slip.id, *quantity));
            holds("confirmed means held", held, || {
                format!("order {name}: {sku}")
            })?;
        }
        Ok(())
    }
}
