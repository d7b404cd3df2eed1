//! Deliveries: one after another for each order, again until they are acknowledged.

use std::collections::VecDeque;

use checkout::{CheckoutEvent, RefundingEvent, ReturningEvent};

use crate::agenda::{MINUTE, SECOND, Time};
use crate::chance::{Site, mix, of_id};
use crate::fault::Fault;
use crate::task::{Input, Task};
use crate::told::Told;
use crate::world::{Entry, Role, World};

/// When a delivery comes again that nobody acknowledged.
const ACK_WAIT: Time = 30 * SECOND;

/// The pause before the second try in place; it doubles.
const RETRY_FIRST: Time = 100;

/// The longest pause between two tries.
const RETRY_MAX: Time = MINUTE;

/// Longest time for which a dead role is down.
const RESTART_MAX: Time = 20 * SECOND;

/// Longest delay of what comes late.
const LATE_MAX: Time = 3 * MINUTE;

/// Longest time after which an acknowledged delivery comes again.
const AGAIN_MAX: Time = 40 * MINUTE;

/// Who listens to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Durable {
    CheckoutOrder,
    CheckoutInventory,
    CheckoutPayment,
    CheckoutTimers,
    /// Sagas that a person lets go on.
    CheckoutResumed,
    PaymentReactor,
    PaymentInbox,
    Mailer,
}

impl Durable {
    pub(crate) fn role(self) -> Role {
        match self {
            Self::CheckoutOrder
            | Self::CheckoutInventory
            | Self::CheckoutPayment
            | Self::CheckoutTimers
            | Self::CheckoutResumed => Role::Saga,
            Self::PaymentReactor | Self::PaymentInbox | Self::Mailer => Role::Reactor,
        }
    }
}

/// The deliveries of one order to one listener.
pub(crate) type Lane = (Durable, usize);

/// What is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// An event, by its place in the log.
    Event(usize),
    /// The order's timer rang, that was set to this.
    Ring(Time),
    /// A letter, by its number.
    Letter(usize),
}

/// One delivery of a message.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) lane: Lane,
    pub(crate) message: Message,
    /// What stays the same of it, whatever else happens.
    pub(crate) site: Site,
    /// How often it came again after it was acknowledged.
    copies: u64,
    /// How often it was tried.
    pub(crate) tries: u64,
}

impl Delivery {
    /// It could not be done: again in place, after this pause.
    pub(crate) fn pause(&mut self) -> Time {
        let doubled = u32::try_from(self.tries.min(16)).unwrap_or(16);
        self.tries += 1;
        RETRY_MAX.min(RETRY_FIRST.saturating_mul(1 << doubled))
    }

    /// The place that this try of it is.
    pub(crate) fn place(&self) -> Site {
        mix([self.site, self.lane.0 as u64, self.copies, self.tries])
    }
}

/// What waits in a lane.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: VecDeque<(Time, Delivery)>,
    busy: bool,
}

impl World {
    /// Those who listen hear of an event.
    pub(crate) fn publish(&mut self, index: usize) {
        let Some(recorded) = self.shop.log.get(index) else {
            return;
        };
        let Some(order) = recorded.order else {
            return;
        };
        let site = of_id(recorded.id);
        let listeners: &[Durable] = match &recorded.told {
            Told::Order(_) => &[Durable::CheckoutOrder],
            Told::Inventory(..) => &[Durable::CheckoutInventory],
            Told::Payment(_) => &[Durable::CheckoutPayment, Durable::PaymentReactor],
            Told::Notification(..) => &[Durable::Mailer],
            Told::Checkout(
                CheckoutEvent::CheckoutResumed { .. }
                | CheckoutEvent::StepSkipped { .. }
                | CheckoutEvent::CheckoutResolved { .. },
            )
            | Told::Returning(
                _,
                ReturningEvent::ReturningResumed { .. }
                | ReturningEvent::ReturningStepSkipped { .. },
            )
            | Told::Refunding(
                _,
                RefundingEvent::RefundingResumed { .. } | RefundingEvent::RefundingSkipped { .. },
            ) => &[Durable::CheckoutResumed],
            Told::Checkout(_) | Told::Returning(..) | Told::Refunding(..) => &[],
        };
        for durable in listeners {
            let message = Message::Event(index);
            self.enqueue((*durable, order), message, site);
        }
    }

    /// A message sets out for a lane.
    pub(crate) fn enqueue(&mut self, lane: Lane, message: Message, site: Site) {
        let delivery = Delivery {
            lane,
            message,
            site,
            copies: 0,
            tries: 0,
        };
        if self.task_of(&delivery).is_none() {
            // Of no concern: it would be acknowledged at once.
            return;
        }
        let place = delivery.place();
        let mut wait = self.under_way(place);
        if self.strikes(Fault::DeliveredLate, place) {
            wait += self.chance_of(place, 8, LATE_MAX);
        }
        let arrival = self.agenda.now() + wait;
        let queue = self.lanes.entry(lane).or_default();
        queue.waiting.push_back((arrival, delivery));
        self.agenda.at(arrival, Entry::Wake(lane));
    }

    pub(crate) fn deliver_again(&mut self, delivery: Delivery) {
        let (now, lane) = (self.agenda.now(), delivery.lane);
        let queue = self.lanes.entry(lane).or_default();
        queue.waiting.push_front((now, delivery));
        self.wake(lane);
    }

    /// Begins with what has come, if the lane is free and its role is up.
    pub(crate) fn wake(&mut self, lane: Lane) {
        let now = self.agenda.now();
        let up_at = self.up_at.get(&lane.0.role()).copied().unwrap_or_default();
        let Some(queue) = self.lanes.get_mut(&lane).filter(|queue| !queue.busy) else {
            return;
        };
        if up_at > now {
            return self.agenda.at(up_at, Entry::Wake(lane));
        }
        let Some((_, delivery)) = queue.waiting.pop_front_if(|(arrival, _)| *arrival <= now) else {
            return;
        };
        queue.busy = true;
        self.tasks_begun += 1;
        let id = self.tasks_begun;
        if let Some(work) = self.task_of(&delivery) {
            self.tasks.insert(id, Task::new(delivery, work));
            self.agenda.after(0, Entry::Work(id, Input::Go));
        }
    }

    /// It is done, for good or until it comes again.
    pub(crate) fn acknowledge(&mut self, delivery: &Delivery) {
        self.free(delivery.lane);
        let place = delivery.place();
        if self.strikes(Fault::DeliveredAgain, place) {
            let wait = 1 + self.chance_of(place, 9, AGAIN_MAX);
            let durable: &'static str = delivery.lane.0.into();
            self.tell("nats", || {
                format!("✗ {durable}: this comes again, {} s later", wait / SECOND)
            });
            let again = Delivery {
                copies: delivery.copies + 1,
                ..delivery.clone()
            };
            self.agenda.after(wait, Entry::Again(again));
        }
    }

    fn free(&mut self, lane: Lane) {
        if let Some(queue) = self.lanes.get_mut(&lane) {
            queue.busy = false;
        }
        self.agenda.after(0, Entry::Wake(lane));
    }

    /// A role dies with all that it had in hand, and comes back.
    pub(crate) fn crash(&mut self, role: Role, site: Site) {
        let now = self.agenda.now();
        let up_at = now + 1 + self.chance_of(site, 10, RESTART_MAX);
        self.up_at.insert(role, up_at);
        self.tell("kill -9", || {
            format!("✗ {role:?} role dies, and is back after {} ms", up_at - now)
        });
        let dead: Vec<_> = self
            .tasks
            .extract_if(.., |_, task| task.role() == role)
            .collect();
        for (_, task) in dead {
            let lane = task.delivery.lane;
            self.free(lane);
            if task.acknowledged {
                continue;
            }
            let again = Delivery {
                tries: task.delivery.tries + 1,
                ..task.delivery
            };
            self.agenda.after(ACK_WAIT, Entry::Again(again));
        }
        if role == Role::Saga {
            self.saga.forget();
        }
    }
}
