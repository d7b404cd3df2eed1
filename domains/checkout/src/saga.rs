//! What a runner must know of a saga, whichever it is.

use std::fmt;
use std::hash::Hash;
use std::str::FromStr;

use ::order::OrderEvent;
use chrono::{DateTime, Utc};
use inventory::InventoryEvent;
use kernel::{AggregateId, Decider, OrderId, Sku};
use payment::PaymentEvent;

use crate::picture::Picture;
use crate::settling::Wish;
use crate::{CheckoutBy, CheckoutFact, Definitions, Due};

/// A process over several contexts: its command is a fact, its events are what it remembers.
///
/// ```text
///   fact ──► decide: one event, or none     pending(state) ──► asks, until facts settle them
/// ```
pub trait Saga: Decider {
    /// What it is called in timers and as who asks: a subject token.
    const NAME: &'static str;

    /// What it is about, one of it each.
    type Id: Copy + Eq + Hash + fmt::Display + Into<AggregateId> + Send + Sync + 'static;

    /// One thing that it asks.
    type Ask: fmt::Display + Send + Sync + 'static;

    /// The order that it is about in the end; `None` = not begun.
    fn order_id(&self) -> Option<OrderId>;

    /// The definition that it follows, if this build does not know it: then nothing follows from any
    /// fact, nothing is asked, and the fact has to come again to a build that does. `None` = all is
    /// well.
    fn unknown_revision(&self) -> Option<u32> {
        None
    }

    /// Everything that is to be asked now, under the same ids until it is settled.
    fn pending(&self, now: DateTime<Utc>) -> Vec<Due<Self::Ask>>;

    /// Is it enough that it is done some time? Then nobody waits for the answer: a mail holds no order up.
    fn may_be_late(ask: &Self::Ask) -> bool {
        let _ = ask;
        false
    }

    /// When it wants to be woken. `None` = it waits for facts only.
    fn deadline(&self) -> Option<DateTime<Utc>>;

    /// What a person is waited for, if it goes no further by itself.
    fn suspended(&self) -> Option<String>;

    /// The fact that the answer was a business "no".
    fn refused(
        due: &Due<Self::Ask>,
        code: String,
        message: String,
        at: DateTime<Utc>,
    ) -> Self::Command;

    /// The fact that the answer was "done", where no stream that sagas hear tells of it; `already` = it
    /// was true already, and nothing was written.
    fn answered(due: &Due<Self::Ask>, already: bool, at: DateTime<Utc>) -> Option<Self::Command> {
        let _ = (due, already, at);
        None
    }

    /// The fact that its timer has rung. `None` = what is due by now is asked, and no more.
    fn timed_out(at: DateTime<Utc>) -> Option<Self::Command> {
        let _ = at;
        None
    }

    /// What an operator's wish is to it. `None` = it knows none.
    fn settled(wish: Wish, by: String, at: DateTime<Utc>) -> Option<Self::Command> {
        let _ = (wish, by, at);
        None
    }
}

/// A saga that says itself which facts it takes in: it needs nothing else to be run.
pub trait Listens: Saga<Id: FromStr<Err: std::error::Error + Send + Sync + 'static>> {
    /// It is drawn, under each of its definitions.
    fn pictures() -> Vec<Picture> {
        Vec::new()
    }

    /// What an order's event is to one of them; `at` is when it is taken in.
    fn from_order(
        order_id: OrderId,
        event: &OrderEvent,
        at: DateTime<Utc>,
    ) -> Option<(Self::Id, Self::Command)> {
        let _ = (order_id, event, at);
        None
    }

    /// What a stock item's event is to one of them.
    fn from_inventory(
        sku: &Sku,
        event: &InventoryEvent,
        at: DateTime<Utc>,
    ) -> Option<(Self::Id, Self::Command)> {
        let _ = (sku, event, at);
        None
    }

    /// What the event of an order's payment is to one of them.
    fn from_payment(
        order_id: OrderId,
        event: &PaymentEvent,
        at: DateTime<Utc>,
    ) -> Option<(Self::Id, Self::Command)> {
        let _ = (order_id, event, at);
        None
    }

    /// Does the event say that a person lets it go on?
    fn goes_on(event: &Self::Event) -> bool {
        let _ = event;
        false
    }

    /// Does the event say that nothing is left to do?
    fn ends(event: &Self::Event) -> bool {
        let _ = event;
        false
    }
}

impl<D: Definitions> Saga for CheckoutBy<D> {
    const NAME: &'static str = "checkout";
    type Id = OrderId;
    type Ask = crate::Ask;

    fn order_id(&self) -> Option<OrderId> {
        self.order_id()
    }

    fn unknown_revision(&self) -> Option<u32> {
        self.unknown_revision()
    }

    fn pending(&self, now: DateTime<Utc>) -> Vec<Due> {
        self.pending(now)
    }

    fn may_be_late(ask: &crate::Ask) -> bool {
        matches!(ask, crate::Ask::Notify { .. })
    }

    fn deadline(&self) -> Option<DateTime<Utc>> {
        self.deadline()
    }

    fn suspended(&self) -> Option<String> {
        self.suspended().map(|(step, why)| format!("{step}: {why}"))
    }

    fn refused(due: &Due, code: String, message: String, at: DateTime<Utc>) -> CheckoutFact {
        due.refused(code, message, at)
    }

    fn answered(due: &Due, already: bool, _at: DateTime<Utc>) -> Option<CheckoutFact> {
        if already { due.already() } else { None }
    }

    fn timed_out(at: DateTime<Utc>) -> Option<CheckoutFact> {
        Some(CheckoutFact::DeadlineReached { at })
    }

    fn settled(wish: Wish, by: String, _at: DateTime<Utc>) -> Option<CheckoutFact> {
        Some(match wish {
            Wish::Resume => CheckoutFact::Resumed { by },
            Wish::Skip { step, reason } => CheckoutFact::Skipped { step, by, reason },
            Wish::Resolve { reason } => CheckoutFact::Resolved { by, reason },
        })
    }
}
