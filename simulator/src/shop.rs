//! The shop: the real aggregates of every context, and the log of what happened in them.
//!
//! A command is loaded for, decided and appended in one step of the agenda. That is what the store's
//! expectation at the append makes true of the real thing, and what `streams` tests against real
//! servers; here it is taken for granted, so that a step costs microseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use checkout::{Checkout, Refunding, Returning};
use inventory::StockItem;
use kernel::{Decider, Fact, NotificationId, OrderId, RefundId, Refusal, ReturnId, Sku};
use notification::Notification;
use order::Order;
use payment::Payment;
use uuid::Uuid;

use crate::agenda::Time;
use crate::told::Told;

/// An aggregate as its stream has it.
#[derive(Debug)]
pub(crate) struct Kept<A> {
    pub(crate) state: A,
    pub(crate) version: u64,
    /// Commands that appended something: a repeat is found in the log.
    commands: BTreeSet<Uuid>,
}

impl<A: Default> Default for Kept<A> {
    fn default() -> Self {
        Self {
            state: A::default(),
            version: 0,
            commands: BTreeSet::new(),
        }
    }
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `already`: nothing was appended now.
    Done {
        already: bool,
    },
    Refused {
        code: String,
        message: String,
    },
}

/// One event in the log.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) id: Uuid,
    /// What it is correlated by; none = of no order.
    pub(crate) order: Option<usize>,
    pub(crate) at: Time,
    pub(crate) told: Told,
}

/// A command's id, whose flow it belongs to, and when it is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meta {
    pub(crate) command_id: Uuid,
    pub(crate) order: Option<usize>,
    pub(crate) at: Time,
}

/// One order, and what belongs to it alone.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) id: OrderId,
    pub(crate) order: Kept<Order>,
    pub(crate) payment: Kept<Payment>,
    pub(crate) checkout: Kept<Checkout>,
}

/// Everything that the shop has on record.
#[derive(Debug, Default)]
pub(crate) struct Shop {
    pub(crate) files: Vec<File>,
    pub(crate) stock: BTreeMap<Sku, Kept<StockItem>>,
    pub(crate) mails: BTreeMap<NotificationId, Kept<Notification>>,
    pub(crate) returning: BTreeMap<ReturnId, Kept<Returning>>,
    pub(crate) refunding: BTreeMap<RefundId, Kept<Refunding>>,
    pub(crate) log: Vec<Recorded>,
}

/// What was answered, and which events of the log are new.
pub(crate) type Executed = (Answer, Range<usize>);

impl<A: Decider> Kept<A> {
    /// Decides, and appends what follows to `log`. A known command is answered from the log; of
    /// what `leave_out` says nothing is appended, as if it were true already.
    pub(crate) fn execute(
        &mut self,
        command: &A::Command,
        (meta, log): (Meta, &mut Vec<Recorded>),
        told: impl Fn(A::Event) -> Told,
        leave_out: impl Fn(&A::Event) -> bool,
    ) -> Executed {
        let before = log.len();
        let nothing = before..before;
        if self.commands.contains(&meta.command_id) {
            return (Answer::Done { already: true }, nothing);
        }
        let mut events = match self.state.decide(command) {
            Ok(events) => events,
            Err(refusal) => {
                let (code, message) = (refusal.code(), refusal.to_string());
                return (Answer::Refused { code, message }, nothing);
            }
        };
        events.retain(|event| !leave_out(event));
        if events.is_empty() {
            return (Answer::Done { already: true }, nothing);
        }
        self.commands.insert(meta.command_id);
        for (index, event) in (0_u32..).zip(events) {
            self.state.evolve(&event);
            self.version += 1;
            log.push(Recorded {
                id: Uuid::new_v5(&meta.command_id, &index.to_be_bytes()),
                order: meta.order,
                at: meta.at,
                told: told(event),
            });
        }
        (Answer::Done { already: false }, before..log.len())
    }
}

/// Of nothing.
pub(crate) fn none<E: Fact>(_: &E) -> bool {
    false
}

impl Shop {
    pub(crate) fn file(&self, order: usize) -> Option<&File> {
        self.files.get(order)
    }

    pub(crate) fn file_of(&self, id: OrderId) -> Option<usize> {
        self.files.iter().position(|file| file.id == id)
    }

    pub(crate) fn checkout(&self, id: OrderId) -> Option<&Checkout> {
        let file = self.files.iter().find(|file| file.id == id)?;
        Some(&file.checkout.state)
    }
}
