//! A small world after an order has arrived: the real aggregates, a provider, three streams and a
//! saga runner that crashes, loses answers and repeats itself, all by a seed.

mod bus;
#[path = "../world/chance.rs"]
mod chance;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bus::{Answer, Asked};
use chance::Chance;
use checkout::{
    Checkout, CheckoutFact, Due, PATIENCE, Refunding, Returning, Saga, fact, refunding, returning,
};
use chrono::{DateTime, TimeDelta, Utc};
use inventory::{InventoryCommand, InventoryEvent, StockItem};
use kernel::{Decider, Money, OrderId, RefundId, ReturnId, Sealed, Sku, UserId};
use notification::Notification;
use order::{Line, Order, OrderCommand, OrderEvent, Return, ReturnLine, ReturnStage};
use payment::{Payment, PaymentCommand, PaymentEvent, ProviderAction};
use uuid::Uuid;

const SKUS: [&str; 2] = ["MUG", "TEE"];

/// Units of each SKU in the house, once the order has left.
pub(crate) const ON_HAND: u64 = 7;

/// What one unit cost; three of each were bought.
const PRICE: i64 = 1_299;

/// An event on its way to the sagas.
#[derive(Debug, Clone)]
enum Told {
    Order(OrderEvent),
    Inventory(Sku, InventoryEvent),
    Payment(PaymentEvent),
}

/// The runner died, or an answer did not come: the delivery comes again.
struct Crashed;

pub(crate) struct World {
    chance: Chance,
    now: DateTime<Utc>,
    order_id: OrderId,
    checkout: Checkout,
    pub(crate) order: Order,
    pub(crate) payment: Payment,
    pub(crate) stock: BTreeMap<Sku, StockItem>,
    pub(crate) mails: BTreeMap<String, Notification>,
    /// What the provider gave back, by its idempotency key.
    pub(crate) paid_back: BTreeMap<String, Money>,
    returning: BTreeMap<ReturnId, Returning>,
    refunding: BTreeMap<RefundId, Refunding>,
    /// Not yet delivered: order, inventory, payment.
    streams: [Vec<Told>; 3],
    /// Delivered, not acknowledged before a crash: they come again, out of order.
    open: Vec<Told>,
    /// Delivered and acknowledged: a double can always come.
    past: Vec<Told>,
    /// Asks whose answer the runner did not wait for: they arrive later.
    late: Vec<Asked>,
    /// Commands that have appended something: a repeat is found in the log.
    appended: BTreeSet<Uuid>,
    /// Percent of deliveries and asks that go wrong.
    trouble: usize,
    ids: u128,
    story: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let trouble = [0, 10, 30][chance.below(3)];
        let mut world = Self {
            now: DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
            order_id: OrderId(Uuid::from_u128(u128::from(seed) + 1)),
            checkout: Checkout::default(),
            order: Order::default(),
            payment: Payment::default(),
            stock: BTreeMap::new(),
            mails: BTreeMap::new(),
            paid_back: BTreeMap::new(),
            returning: BTreeMap::new(),
            refunding: BTreeMap::new(),
            streams: Default::default(),
            open: Vec::new(),
            past: Vec::new(),
            late: Vec::new(),
            appended: BTreeSet::new(),
            trouble,
            ids: 0,
            story: vec![format!("seed {seed}, trouble {trouble} %")],
            chance,
        };
        world.arrive();
        world
    }

    /// An order of three of each that has arrived.
    fn arrive(&mut self) {
        let user_id = UserId(Uuid::from_u128(9));
        let total = Money::new(6 * PRICE, "EUR".parse().unwrap());
        let line = |name: &&str| Line {
            sku: name.parse().unwrap(),
            title: "A thing".parse().unwrap(),
            quantity: 3,
            unit_price: Money::new(PRICE, total.currency),
        };
        let payment_id = payment::payment_id(self.order_id);
        let placed = OrderCommand::PlaceOrder {
            user_id,
            lines: SKUS.iter().map(line).collect(),
            shipping_address: Sealed::new(user_id, "AAAA"),
            payment_method: "pm_card_visa".parse().unwrap(),
        };
        let tracking = "1Z".parse().unwrap();
        for command in [
            placed,
            OrderCommand::ConfirmOrder { payment_id },
            OrderCommand::ShipOrder { tracking },
            OrderCommand::DeliverOrder {},
        ] {
            for event in done(&mut self.order, &command) {
                let placed = fact::from_order(self.order_id, &event, self.now, PATIENCE);
                if let Some(fact @ CheckoutFact::OrderPlaced { .. }) = placed {
                    done(&mut self.checkout, &fact);
                }
            }
        }
        let requested = PaymentCommand::RequestPayment {
            order_id: self.order_id,
            user_id,
            amount: total,
            method: "pm_card_visa".parse().unwrap(),
        };
        let intent_id = "pi_1".to_owned();
        for command in [
            requested,
            PaymentCommand::RecordIntent { intent_id },
            PaymentCommand::RecordCapture { amount: total },
        ] {
            done(&mut self.payment, &command);
        }
        for name in SKUS {
            let item = self.stock.entry(name.parse().unwrap()).or_default();
            let quantity = u32::try_from(ON_HAND).unwrap();
            done(item, &InventoryCommand::CreateStockItem {});
            done(item, &InventoryCommand::ReceiveStock { quantity });
        }
    }

    /// Something happens.
    pub(crate) fn play(&mut self) {
        match self.chance.below(10) {
            0 => self.ask_back(),
            1..4 => self.operate(),
            4 => self.refund_by_hand(),
            5 => {
                self.react_to_payment();
            }
            6 => self.late_ask(),
            7 => self.now += TimeDelta::seconds(30),
            _ => self.deliver_something(),
        }
    }

    fn new_id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    /// The customer wants to send something back.
    fn ask_back(&mut self) {
        let return_id = ReturnId(self.new_id());
        let (sku, quantity) = (SKUS[self.chance.below(2)], 1 + self.chance.below(3));
        let line = ReturnLine {
            sku: sku.parse().unwrap(),
            quantity: u32::try_from(quantity).unwrap(),
        };
        self.shop(&OrderCommand::RequestReturn {
            return_id,
            lines: vec![line],
            reason: "too heavy".parse().unwrap(),
        });
    }

    /// An operator says something about a return.
    fn operate(&mut self) {
        let number = 1 + self.chance.below(usize::try_from(self.ids).unwrap());
        let return_id = ReturnId(Uuid::from_u128(u128::try_from(number).unwrap()));
        let command = match self.chance.below(7) {
            0 => OrderCommand::RefuseReturn {
                return_id,
                reason: "it was used".parse().unwrap(),
            },
            1..4 => OrderCommand::ApproveReturn { return_id },
            _ => OrderCommand::ReceiveReturn { return_id },
        };
        self.shop(&command);
    }

    fn refund_by_hand(&mut self) {
        if self.chance.percent(70) {
            return;
        }
        let refund_id = RefundId(self.new_id());
        let amount = i64::try_from(1 + self.chance.below(3_000)).unwrap();
        let command = PaymentCommand::RefundPayment {
            refund_id,
            amount: Money::new(amount, "EUR".parse().unwrap()),
            reason: "a scratch".parse().unwrap(),
        };
        self.pay(&command);
    }

    /// A command to the order; a refusal is somebody's bad luck.
    fn shop(&mut self, command: &OrderCommand) {
        let events = done(&mut self.order, command);
        self.streams[0].extend(events.into_iter().map(Told::Order));
    }

    fn pay(&mut self, command: &PaymentCommand) {
        let events = done(&mut self.payment, command);
        self.streams[2].extend(events.into_iter().map(Told::Payment));
    }

    /// One step of the payment reactor; the answer of the provider may be lost.
    fn react_to_payment(&mut self) -> bool {
        let Some(action) = self.payment.due() else {
            return false;
        };
        let ProviderAction::Refund {
            refund_id,
            amount,
            key,
            ..
        } = action
        else {
            panic!("{action:?}");
        };
        self.paid_back.insert(key, amount);
        if !self.chance.percent(self.trouble) {
            self.pay(&PaymentCommand::RecordRefund { refund_id });
        }
        true
    }

    /// Delivers one event that waits: the next of a stream, one left open, or one again.
    fn deliver_something(&mut self) {
        let stream = self.chance.below(3);
        let again = self.chance.percent(self.trouble);
        let told = if again && !self.past.is_empty() {
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
        self.story.push(format!("{told:?}"));
        match self.deliver(&told) {
            Ok(()) => self.past.push(told),
            Err(Crashed) => self.open.push(told),
        }
    }

    /// As the intake does it: every saga that the event concerns, one after another.
    fn deliver(&mut self, told: &Told) -> Result<(), Crashed> {
        let (order_id, now) = (self.order_id, self.now);
        match told {
            Told::Order(event) => {
                if let Some((id, fact)) = returning::fact::from_order(order_id, event, now) {
                    self.return_advances(id, &fact)?;
                }
                match refunding::fact::from_order(event) {
                    Some((id, fact)) => self.refund_advances(id, &fact),
                    None => Ok(()),
                }
            }
            Told::Inventory(sku, event) => match returning::fact::from_inventory(sku, event) {
                Some((id, fact)) => self.return_advances(id, &fact),
                None => Ok(()),
            },
            Told::Payment(event) => {
                let returned = returning::fact::from_payment(event);
                let refunded = refunding::fact::from_payment(&self.checkout, event, now);
                let (Some(returned), Some(refunded)) = (returned, refunded) else {
                    return Ok(());
                };
                if let Some(return_id) = self.return_of(returned.0) {
                    self.return_advances(return_id, &returned.1)?;
                }
                self.refund_advances(refunded.0, &refunded.1)
            }
        }
    }

    fn return_of(&self, refund_id: RefundId) -> Option<ReturnId> {
        checkout::returns_of(refund_id).find(|id| {
            let saga = self.returning.get(id);
            saga.is_some_and(|saga| saga.asked_for(refund_id))
        })
    }

    fn return_advances(
        &mut self,
        id: ReturnId,
        fact: &checkout::ReturningFact,
    ) -> Result<(), Crashed> {
        let mut saga = self.returning.remove(&id).unwrap_or_default();
        let advanced = self.advance(&mut saga, fact);
        self.returning.insert(id, saga);
        advanced
    }

    fn refund_advances(
        &mut self,
        id: RefundId,
        fact: &checkout::RefundingFact,
    ) -> Result<(), Crashed> {
        let mut saga = self.refunding.remove(&id).unwrap_or_default();
        let advanced = self.advance(&mut saga, fact);
        self.refunding.insert(id, saga);
        advanced
    }

    /// The runner: take the fact in, ask all that is due, acknowledge.
    fn advance<S: Saga>(&mut self, saga: &mut S, fact: &S::Command) -> Result<(), Crashed> {
        assert!(done(saga, fact).len() <= 1);
        let mut answered = BTreeSet::new();
        while let Some(due) = self.one_of(saga, &answered) {
            self.may_crash()?;
            answered.insert(due.ask_id);
            match self.send(&due) {
                Answer::Lost => return Err(Crashed),
                Answer::Done => {}
                Answer::Refused { code, message } => {
                    done(saga, &S::refused(&due, code, message, self.now));
                }
            }
        }
        self.may_crash()
    }

    fn one_of<S: Saga>(&mut self, saga: &S, answered: &BTreeSet<Uuid>) -> Option<Due<S::Ask>> {
        let due = saga.pending(self.now).into_iter();
        let mut due: Vec<_> = due.filter(|d| !answered.contains(&d.ask_id)).collect();
        let index = self.chance.below(due.len());
        (!due.is_empty()).then(|| due.swap_remove(index))
    }

    fn may_crash(&mut self) -> Result<(), Crashed> {
        if self.chance.percent(self.trouble / 2) {
            return Err(Crashed);
        }
        Ok(())
    }

    /// Without any more trouble, everything comes to rest.
    pub(crate) fn settle(&mut self) {
        self.trouble = 0;
        for _ in 0..2_000 {
            let waiting = self.streams.iter().any(|stream| !stream.is_empty());
            if waiting || !self.open.is_empty() {
                self.deliver_something();
            } else if !self.late.is_empty() {
                self.late_ask();
            } else if !self.react_to_payment() {
                return;
            }
        }
        panic!("never at rest:\n{self}");
    }

    /// The returns at this stage, as the order tells them.
    pub(crate) fn returns_in(
        &self,
        stage: ReturnStage,
    ) -> impl Iterator<Item = (&ReturnId, &Return)> {
        let returns = self.order.purchase().unwrap().returns.iter();
        returns.filter(move |(_, back)| back.stage == stage)
    }

    /// What the return's saga waits for a person for.
    pub(crate) fn suspended(&self, id: ReturnId) -> Option<String> {
        self.returning[&id].suspended()
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.story.join("\n"))
    }
}

/// Does a command, and answers its events; none if it was refused.
fn done<A: Decider>(aggregate: &mut A, command: &A::Command) -> Vec<A::Event> {
    let events = aggregate.decide(command).unwrap_or_default();
    for event in &events {
        aggregate.evolve(event);
    }
    events
}
