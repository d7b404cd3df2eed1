//! What a run is made of before anything happens: who buys what, how their cards behave, who does
//! what when, and which parts are down for how long.

use std::collections::BTreeSet;

use crate::agenda::Time;
use crate::fault::{Faults, Struck};

/// What the shop sells, and for how many cents.
pub(crate) const GOODS: [(&str, i64); 3] = [("MUG", 1_299), ("TEE", 1_850), ("CAP", 700)];

/// Everything that is settled before a run begins.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Units of each of [`GOODS`]; none = no stock of it is kept.
    pub(crate) stock: Vec<Option<u32>>,
    pub(crate) orders: Vec<PlannedOrder>,
    pub(crate) actions: Vec<Action>,
    pub(crate) outages: Vec<Outage>,
    /// The longest that a message is under way when nothing is wrong.
    pub(crate) pace: Time,
    pub(crate) faults: Faults,
    /// What was left out to find what matters.
    pub(crate) gone: BTreeSet<Part>,
}

/// One purchase.
#[derive(Debug, Clone)]
pub(crate) struct PlannedOrder {
    pub(crate) placed_at: Time,
    /// Clicks on "buy": the same request, so many times.
    pub(crate) clicks: u32,
    /// Which of [`GOODS`], and how many.
    pub(crate) lines: Vec<(usize, u32)>,
    pub(crate) card: Card,
    /// The mail server will never take mail to this customer.
    pub(crate) no_mailbox: bool,
}

/// How a card, and the provider behind it, behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Card {
    Good,
    Declined,
    /// Declined; so much later the money is held all the same.
    HeldAfterDecline(Time),
    /// The customer must act, and does so much later (well or not), or never.
    NeedsAction(Option<(Time, bool)>),
    /// The provider takes so long to hold the money.
    Slow(Time),
    /// Held, and then it can't be taken.
    CaptureFails,
    /// So many refunds fail before one succeeds.
    RefundsFail(u32),
    /// The bank sends refunds back, each so much later, and so many.
    RefundsComeBack(Time, u32),
    /// The provider lets go of the money by itself so much later.
    HoldLapses(Time),
}

/// Somebody does something.
#[derive(Debug, Clone)]
pub(crate) struct Action {
    pub(crate) when: When,
    pub(crate) order: usize,
    pub(crate) what: What,
    /// The same request, so many times.
    pub(crate) clicks: u32,
}

/// When it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    At(Time),
    /// So long after something has become true of the order.
    After(Moment, Time),
}

/// Something that becomes true of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Confirmed,
    Shipped,
    Delivered,
    /// A saga of it waits for a person.
    Suspended,
}

/// How an operator settles what waits for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settling {
    /// It is tried again.
    Resume,
    /// The step that failed was dealt with by hand.
    Skip,
    /// All of it was dealt with by hand.
    Resolve,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Cancel,
    Ship,
    Deliver,
    /// The customer wants to send so many units of one of [`GOODS`] back. A return of an order is
    /// called by its number.
    RequestReturn {
        number: u8,
        goods: usize,
        quantity: u32,
    },
    ApproveReturn(u8),
    RefuseReturn(u8),
    ReceiveReturn(u8),
    /// An operator gives so many cents back.
    Refund {
        number: u8,
        cents: i64,
    },
    /// An operator settles everything that waits for one.
    Settle(Settling),
    /// So many units of one of [`GOODS`] come in.
    ReceiveStock {
        goods: usize,
        quantity: u32,
    },
    /// So many units of one of [`GOODS`] more are on the shelf than was thought, or less.
    AdjustStock {
        goods: usize,
        delta: i64,
    },
    /// The customer's key is destroyed: nobody can read any more where their mails go.
    Erase,
    /// Lapsed holds of the order are swept.
    ExpireHolds,
    /// Somebody takes the money on the provider's own page.
    CaptureByHand,
}

/// Something is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) of: Target,
    pub(crate) from: Time,
    pub(crate) to: Time,
}

/// What can be down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Target {
    Order,
    Inventory,
    Payment,
    Notification,
    Provider,
    MailServer,
}

/// A part that a run can do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Order(usize),
    Line(usize, usize),
    Card(usize),
    Action(usize),
    Clicks(usize),
    Outage(usize),
    Pace,
    Fault(Struck),
}

impl Plan {
    /// The same run without these parts, and with no other faults than these.
    pub(crate) fn without(&self, gone: &BTreeSet<Part>, faults: &BTreeSet<Struck>) -> Self {
        let mut plan = self.clone();
        plan.gone.clone_from(gone);
        plan.faults = plan.faults.only(faults.clone());
        plan
    }

    /// All that a run may do without, the biggest first, besides its faults.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<_> = (0..self.orders.len()).map(Part::Order).collect();
        parts.extend((0..self.outages.len()).map(Part::Outage));
        parts.extend((0..self.actions.len()).map(Part::Action));
        for (order, planned) in self.orders.iter().enumerate() {
            parts.extend((1..planned.lines.len()).map(|line| Part::Line(order, line)));
            parts.push(Part::Card(order));
        }
        parts.extend((0..self.actions.len()).map(Part::Clicks));
        parts.push(Part::Pace);
        parts
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        !self.gone.contains(&part)
    }

    /// The order as it is played; `None` = it is left out.
    pub(crate) fn order(&self, index: usize) -> Option<PlannedOrder> {
        let planned = self
            .orders
            .get(index)
            .filter(|_| self.has(Part::Order(index)))?;
        let lines = planned.lines.iter().copied().enumerate();
        let kept = lines.filter(|(line, _)| self.has(Part::Line(index, *line)));
        let good = !self.has(Part::Card(index));
        Some(PlannedOrder {
            lines: kept.map(|(_, line)| line).collect(),
            card: if good { Card::Good } else { planned.card },
            ..planned.clone()
        })
    }

    /// The action as it is played; `None` = it is left out.
    pub(crate) fn action(&self, index: usize) -> Option<Action> {
        let action = self.actions.get(index)?;
        if !self.has(Part::Action(index)) || !self.has(Part::Order(action.order)) {
            return None;
        }
        let once = !self.has(Part::Clicks(index));
        Some(Action {
            clicks: if once { 1 } else { action.clicks },
            ..action.clone()
        })
    }

    pub(crate) fn is_down(&self, what: Target, now: Time) -> bool {
        let mut outages = self.outages.iter().enumerate();
        outages.any(|(index, outage)| {
            outage.of == what
                && (outage.from..outage.to).contains(&now)
                && self.has(Part::Outage(index))
        })
    }

    /// The longest that a message is under way when nothing is wrong.
    pub(crate) fn pace(&self) -> Time {
        if self.has(Part::Pace) { self.pace } else { 1 }
    }
}
