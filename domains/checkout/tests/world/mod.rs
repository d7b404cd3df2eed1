//! A small world: the real aggregates, a provider, three streams and a saga runner that crashes,
//! loses answers and repeats itself, all by a seed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    reason = "a test's kit: what can't be is a finding, and ends the test"
)]

mod bus;
pub(crate) mod chance;
pub(crate) mod play;
pub(crate) mod provider;

use std::collections::{BTreeMap, BTreeSet};

use bus::Answer;
use chance::Chance;
use checkout::{CheckoutBy, CheckoutEvent, CheckoutFact, Definitions, Due, PATIENCE, Shop, fact};
use chrono::{DateTime, TimeDelta, Utc};
use inventory::{InventoryCommand, StockItem};
use kernel::{Decider, Money, OrderId, Sealed, Sku, UserId};
use notification::{Notification, Template};
use order::{Line, Order, OrderCommand};
use payment::Payment;
use provider::{Card, Provider};
use uuid::Uuid;

const SKUS: [&str; 3] = ["MUG", "TEE", "CAP"];

/// No ask is older than this when a context reads it.
const BUS_KEEPS: TimeDelta = TimeDelta::minutes(20);

/// Was the delivery acknowledged?
#[derive(PartialEq)]
enum Delivery {
    Acknowledged,
    Open,
}

/// A world that runs the shop's definitions.
pub(crate) type World = WorldBy<Shop>;

pub(crate) struct WorldBy<D> {
    pub(crate) chance: Chance,
    pub(crate) now: DateTime<Utc>,
    pub(crate) order_id: OrderId,
    pub(crate) checkout: CheckoutBy<D>,
    /// What the checkout has written.
    pub(crate) log: Vec<CheckoutEvent>,
    pub(crate) order: Order,
    pub(crate) payment: Payment,
    pub(crate) stock: BTreeMap<Sku, StockItem>,
    pub(crate) on_hand: BTreeMap<Sku, u64>,
    pub(crate) mails: BTreeMap<String, (Notification, Vec<Template>)>,
    pub(crate) provider: Provider,
    /// Facts not yet delivered: order, inventory, payment.
    streams: [Vec<CheckoutFact>; 3],
    /// Delivered, not acknowledged before a crash: they come again, out of order.
    open: Vec<CheckoutFact>,
    /// Delivered and acknowledged: a double can always come.
    past: Vec<CheckoutFact>,
    /// Asks whose answer the runner did not wait for: they arrive later.
    late: Vec<(DateTime<Utc>, Due)>,
    /// Commands that have appended something: a repeat is found in the log.
    appended: BTreeSet<Uuid>,
    /// The deadline for which the timer was armed and rang while everything settled.
    rung: Option<DateTime<Utc>>,
    /// Percent of deliveries and asks that go wrong.
    trouble: usize,
    /// Events of the whole flow, over all streams.
    pub(crate) written: usize,
    pub(crate) story: Vec<String>,
}

impl<D: Definitions> WorldBy<D> {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let trouble = [0, 10, 30][chance.below(3)];
        let card = Card::any(&mut chance);
        let mut world = Self {
            now: DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
            order_id: OrderId(Uuid::from_u128(u128::from(seed) + 1)),
            checkout: CheckoutBy::NotStarted,
            log: Vec::new(),
            order: Order::default(),
            payment: Payment::default(),
            stock: BTreeMap::new(),
            on_hand: BTreeMap::new(),
            mails: BTreeMap::new(),
            provider: Provider::new(card),
            streams: Default::default(),
            open: Vec::new(),
            past: Vec::new(),
            late: Vec::new(),
            appended: BTreeSet::new(),
            rung: None,
            trouble,
            written: 0,
            story: vec![format!("seed {seed}: {card:?}, trouble {trouble} %")],
            chance,
        };
        world.keep_stock();
        world.place();
        world
    }

    /// Nothing goes wrong but what the card and the stock bring about.
    pub(crate) fn calm(seed: u64) -> Self {
        let mut world = Self::new(seed);
        world.trouble = 0;
        world
    }

    fn keep_stock(&mut self) {
        for name in SKUS {
            let sku: Sku = name.parse().unwrap();
            // Now and then a SKU of which no stock was ever kept.
            if self.chance.percent(5) {
                continue;
            }
            let quantity = u32::try_from(self.chance.below(8)).unwrap() + 1;
            self.stock(&sku, &InventoryCommand::CreateStockItem {});
            self.stock(&sku, &InventoryCommand::ReceiveStock { quantity });
            self.on_hand.insert(sku, u64::from(quantity));
        }
    }

    fn place(&mut self) {
        let count = 1 + self.chance.below(SKUS.len());
        let line = |name: &&str| Line {
            sku: name.parse().unwrap(),
            title: "A thing".parse().unwrap(),
            quantity: 2,
            unit_price: Money::new(1299, "EUR".parse().unwrap()),
        };
        let user_id = UserId(Uuid::from_u128(9));
        self.shop(&OrderCommand::PlaceOrder {
            user_id,
            lines: SKUS[..count].iter().map(line).collect(),
            shipping_address: Sealed::new(user_id, "AAAA"),
            payment_method: "pm_card_visa".parse().unwrap(),
        });
    }

    /// The process ends, and another build takes over: it knows what the log says.
    pub(crate) fn deployed<E: Definitions>(mut self) -> WorldBy<E> {
        self.story.push("another build".to_owned());
        let mut checkout = CheckoutBy::NotStarted;
        for event in &self.log {
            checkout.evolve(event);
        }
        WorldBy {
            checkout,
            chance: self.chance,
            now: self.now,
            order_id: self.order_id,
            log: self.log,
            order: self.order,
            payment: self.payment,
            stock: self.stock,
            on_hand: self.on_hand,
            mails: self.mails,
            provider: self.provider,
            streams: self.streams,
            open: self.open,
            past: self.past,
            late: self.late,
            appended: self.appended,
            rung: None,
            trouble: self.trouble,
            written: self.written,
            story: self.story,
        }
    }

    /// A command to the order; refusals are a customer's bad luck.
    pub(crate) fn shop(&mut self, command: &OrderCommand) {
        for event in self.order.decide(command).unwrap_or_default() {
            self.written += 1;
            self.order.evolve(&event);
            let told = fact::from_order(self.order_id, &event, self.now, PATIENCE);
            self.streams[0].extend(told);
        }
    }

    fn stock(&mut self, sku: &Sku, command: &InventoryCommand) {
        let item = self.stock.entry(sku.clone()).or_default();
        for event in item.decide(command).unwrap_or_default() {
            item.evolve(&event);
            self.streams[1].extend(fact::from_inventory(sku, &event).map(|(_, fact)| fact));
        }
    }

    fn pay(&mut self, events: Vec<payment::PaymentEvent>) {
        for event in events {
            self.written += 1;
            self.payment.evolve(&event);
            self.streams[2].extend(fact::from_payment(&event, self.now));
        }
    }

    /// One step of the payment reactor; the answer of the provider may be lost.
    pub(crate) fn react_to_payment(&mut self) -> bool {
        let Some(command) = self.provider.act(&self.payment) else {
            return false;
        };
        if self.chance.percent(self.trouble) {
            self.story.push(format!("lost: {command:?}"));
            return true;
        }
        self.story.push(format!("{command:?}"));
        self.pay(provider::record(&self.payment, &command));
        true
    }

    pub(crate) fn hold_late(&mut self) {
        if let Some(command) = self.provider.late_hold(&self.payment) {
            self.story.push(format!("late {command:?}"));
            self.pay(provider::record(&self.payment, &command));
        }
    }

    /// Holds that have lapsed are swept.
    pub(crate) fn sweep(&mut self) {
        let at = self.now;
        let reservation = kernel::ReservationId {
            order_id: self.order_id,
            attempt: 1,
        };
        for name in SKUS {
            let sku = name.parse().unwrap();
            if self.stock.contains_key(&sku) {
                self.stock(
                    &sku,
                    &InventoryCommand::ExpireReservation { reservation, at },
                );
            }
        }
    }

    /// Delivers one fact that waits: the next of a stream, one left open, or one again.
    pub(crate) fn deliver_something(&mut self) {
        let stream = self.chance.below(3);
        let again = self.chance.percent(self.trouble);
        let fact = if again && !self.past.is_empty() {
            let index = self.chance.below(self.past.len());
            self.past[index].clone()
        } else if !self.open.is_empty() && self.chance.percent(50) {
            let index = self.chance.below(self.open.len());
            self.open.remove(index)
        } else if self.streams[stream].is_empty() {
            return;
        } else {
            self.streams[stream].remove(0)
        };
        self.tell(&fact);
        if self.deliver(&fact) == Delivery::Acknowledged {
            self.past.push(fact);
        } else {
            self.open.push(fact);
        }
    }

    fn tell(&mut self, fact: &CheckoutFact) {
        let placed = matches!(fact, CheckoutFact::OrderPlaced { .. });
        let fact = if placed {
            "OrderPlaced …".to_owned()
        } else {
            format!("{fact:?}")
        };
        self.story.push(format!("{} {fact}", self.now.time()));
    }

    pub(crate) fn ring(&mut self) {
        let at = self.now;
        let fact = CheckoutFact::DeadlineReached { at };
        if self.deliver(&fact) == Delivery::Open {
            self.open.push(fact);
        }
    }

    /// The runner: take the fact in, ask all that is due, acknowledge.
    fn deliver(&mut self, fact: &CheckoutFact) -> Delivery {
        if self.take_in(fact).is_err() || self.chance.percent(self.trouble) {
            return Delivery::Open;
        }
        let mut answered = BTreeSet::new();
        loop {
            let due = self.checkout.pending(self.now).into_iter();
            let due: Vec<_> = due.filter(|d| !answered.contains(&d.ask_id)).collect();
            if due.is_empty() {
                return Delivery::Acknowledged;
            }
            let next = due[self.chance.below(due.len())].clone();
            answered.insert(next.ask_id);
            if self.chance.percent(self.trouble) {
                if self.chance.percent(50) {
                    self.late.push((self.now, next));
                }
                return Delivery::Open;
            }
            let answer = self.ask(&next);
            if self.chance.percent(self.trouble / 2) {
                return Delivery::Open;
            }
            let told = match answer {
                Answer::Done => None,
                Answer::Already => next.already(),
                Answer::Refused { code, message } => Some(next.refused(code, message, self.now)),
            };
            if let Some(told) = told {
                self.take_in(&told).unwrap();
            }
        }
    }

    fn take_in(&mut self, fact: &CheckoutFact) -> Result<(), checkout::CheckoutRefusal> {
        let events = self.checkout.decide(fact)?;
        assert!(events.len() <= 1, "{events:?}");
        for event in events {
            self.story.push(format!("    {event:?}"));
            self.written += 1;
            self.checkout.evolve(&event);
            self.log.push(event);
        }
        Ok(())
    }

    /// An ask that the runner gave up waiting for arrives after all.
    pub(crate) fn late_ask(&mut self) {
        if !self.late.is_empty() {
            let index = self.chance.below(self.late.len());
            let (sent, due) = self.late.remove(index);
            if self.now - sent <= BUS_KEEPS {
                self.ask(&due);
            }
        }
    }

    /// Without any more trouble, everything comes to rest.
    pub(crate) fn settle(&mut self) {
        self.trouble = 0;
        for _ in 0..1_000 {
            let waiting = self.streams.iter().any(|s| !s.is_empty());
            if waiting || !self.open.is_empty() {
                self.deliver_something();
            } else if !self.late.is_empty() {
                self.late_ask();
            } else if self.react_to_payment() {
            } else if self.checkout.deadline() == self.rung {
                return;
            } else if let Some(deadline) = self.checkout.deadline() {
                self.rung = Some(deadline);
                self.now = self.now.max(deadline);
                self.ring();
            } else {
                return;
            }
        }
        panic!("never at rest:\n{}", self.story.join("\n"));
    }

    /// All that were sent arrive.
    pub(crate) fn late_asks(&mut self) {
        while !self.late.is_empty() {
            self.late_ask();
        }
    }

    /// Asks that have changed something.
    pub(crate) fn answered(&self) -> usize {
        self.appended.len()
    }

    pub(crate) fn wait(&mut self) {
        let seconds = [1, 30, 600, 3_600][self.chance.below(4)];
        self.now += TimeDelta::seconds(seconds);
    }
}
