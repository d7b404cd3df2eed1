//! Which facts the sagas take in, from where, and when their timers ring.

use checkout::{
    CheckoutEvent, CheckoutFact, PATIENCE, RefundingEvent, ReturningEvent, ReturningFact, fact,
    refunding, returning, returns_of,
};
use payment::PaymentEvent;
use uuid::Uuid;

use crate::agenda::{Time, moment, time_of};
use crate::bug::Bug;
use crate::chance::mix;
use crate::fault::Fault;
use crate::lanes::{Durable, Message};
use crate::saga::{Fact, Job, SagaId, SagaWork};
use crate::told::Told;
use crate::world::{Entry, Role, SWEEP_EVERY, World};

impl World {
    /// What an event asks of the sagas; `None` = nothing.
    pub(crate) fn saga_work(&self, index: usize) -> Option<SagaWork> {
        let recorded = self.shop.log.get(index)?;
        let order = recorded.order?;
        let at = moment(recorded.at);
        let id = self.shop.file(order)?.id;
        let checkout = |fact| Job::TakeIn(Fact::Checkout(order, fact));
        let mut jobs = Vec::new();
        match &recorded.told {
            Told::Order(event) => {
                jobs.extend(
                    fact::from_order(id, event, self.now_by(Role::Saga), PATIENCE).map(checkout),
                );
                let returned = returning::fact::from_order(id, event, at);
                let buyer = self.shop.file(order)?.checkout.state.user_id();
                let bought = |fact: ReturningFact| fact.bought_by(buyer);
                jobs.extend(
                    returned.map(|(id, fact)| Job::TakeIn(Fact::Returning(id, bought(fact)))),
                );
                let refunded = refunding::fact::from_order(event);
                jobs.extend(refunded.map(|(id, fact)| Job::TakeIn(Fact::Refunding(id, fact))));
            }
            Told::Inventory(sku, event) => {
                // A lapsed hold may be another order's than the one whose ask made it lapse.
                let moved = fact::from_inventory(sku, event).and_then(|(id, fact)| {
                    Some(Job::TakeIn(Fact::Checkout(self.order_index(id)?, fact)))
                });
                jobs.extend(moved);
                let restocked = returning::fact::from_inventory(sku, event);
                jobs.extend(restocked.map(|(id, fact)| Job::TakeIn(Fact::Returning(id, fact))));
            }
            Told::Payment(event) => {
                if let Some(fact) = fact::from_payment(event, at) {
                    jobs.push(checkout(fact));
                    jobs.push(Job::Paid(event.clone(), recorded.at));
                }
            }
            Told::Checkout(
                CheckoutEvent::CheckoutResumed { .. }
                | CheckoutEvent::StepSkipped { .. }
                | CheckoutEvent::CheckoutResolved { .. },
            ) => {
                jobs.push(Job::Wake(SagaId::Checkout(order)));
            }
            Told::Returning(
                id,
                ReturningEvent::ReturningResumed { .. }
                | ReturningEvent::ReturningStepSkipped { .. },
            ) => {
                jobs.push(Job::Wake(SagaId::Returning(*id)));
            }
            Told::Refunding(
                id,
                RefundingEvent::RefundingResumed { .. } | RefundingEvent::RefundingSkipped { .. },
            ) => {
                jobs.push(Job::Wake(SagaId::Refunding(*id)));
            }
            Told::Checkout(_)
            | Told::Returning(..)
            | Told::Refunding(..)
            | Told::Notification(..) => {}
        }
        SagaWork::new((recorded.id, self.time_by(Role::Saga)), jobs)
    }

    /// What a payment's event is to the returns and refunds of its order, now that its checkout
    /// has taken it in.
    pub(crate) fn paid(&self, order: usize, event: &PaymentEvent, at: Time) -> Vec<Job> {
        let came_back = matches!(event, PaymentEvent::RefundFailed { .. });
        let dropped = came_back && self.has_bug(Bug::DropComeBack);
        let Some(file) = self.shop.file(order).filter(|_| !dropped) else {
            return Vec::new();
        };
        let checkout = &file.checkout.state;
        let Some((id, told)) = refunding::fact::from_payment(checkout, event, moment(at)) else {
            return Vec::new();
        };
        let asked_for = |return_id: &kernel::ReturnId| {
            let saga = self.shop.returning.get(return_id);
            saga.is_some_and(|saga| saga.state.asked_for(id))
        };
        let mut jobs = Vec::new();
        if let Some((_, fact)) = returning::fact::from_payment(event)
            && let Some(return_id) = returns_of(id).find(asked_for)
        {
            jobs.push(Job::TakeIn(Fact::Returning(return_id, fact)));
        }
        jobs.push(Job::TakeIn(Fact::Refunding(id, told)));
        jobs
    }

    /// What the ringing of an order's timer asks of its saga.
    pub(crate) fn alarm(&self, order: usize, due: Time) -> Option<SagaWork> {
        let id = self.shop.file(order)?.id;
        let rung = format!("checkout/{id}/{}", moment(due));
        let source = Uuid::new_v5(&Uuid::NAMESPACE_OID, rung.as_bytes());
        // That it rings is proof that its time has come, whatever the role's clock says.
        let own = self.time_by(Role::Saga);
        let origin = own.max(due);
        let trusted = self.has_bug(Bug::TrustOwnClock);
        let at = moment(if trusted { own } else { origin });
        let fact = Fact::Checkout(order, CheckoutFact::DeadlineReached { at });
        let mut work = SagaWork::new((source, origin), [Job::TakeIn(fact)])?;
        work.rang = true;
        Some(work)
    }

    /// Sets a checkout's one timer to its next deadline.
    pub(crate) fn arm(&mut self, saga: SagaId) {
        let SagaId::Checkout(order) = saga else {
            return;
        };
        let Some(due) = self.deadline(order) else {
            return;
        };
        if self.saga.armed.get(&order) == Some(&due) {
            return;
        }
        self.saga.armed.insert(order, due);
        self.saga.timers_set += 1;
        let order_number = u64::try_from(order).unwrap_or_default();
        let site = mix([order_number, due.unsigned_abs(), self.saga.timers_set]);
        if self.strikes(Fault::TimerLost, site) {
            self.tell("nats", || {
                format!("✗ loses the timer of order {}", order + 1)
            });
            self.saga.timers.remove(&order);
            return self.sweep_later();
        }
        self.saga.timers.insert(order, due);
        self.agenda.after(self.until(due), Entry::Ring(order, due));
    }

    /// How long until this, as the server counts.
    fn until(&self, due: Time) -> Time {
        (due - self.server_time()).max(0)
    }

    pub(crate) fn ring(&mut self, order: usize, due: Time) {
        if self.saga.timers.get(&order) != Some(&due) {
            // It was set to another time since.
            return;
        }
        if self.until(due) > 0 {
            // The server's clock was set meanwhile.
            return self.agenda.after(self.until(due), Entry::Ring(order, due));
        }
        self.saga.timers.remove(&order);
        self.tell("nats", || format!("order {}: its timer rings", order + 1));
        let order_number = u64::try_from(order).unwrap_or_default();
        let site = mix([order_number, due.unsigned_abs()]);
        self.enqueue((Durable::CheckoutTimers, order), Message::Ring(due), site);
    }

    /// One that rang before its deadline is to be set again.
    pub(crate) fn rang(&mut self, order: usize, at: Time) {
        let armed = self.saga.armed.get(&order);
        let in_time = armed.is_some_and(|deadline| *deadline <= at);
        if !in_time || self.has_bug(Bug::RingWithoutEnd) {
            self.saga.armed.remove(&order);
        }
    }

    fn sweep_later(&mut self) {
        if !self.saga.sweeping && !self.has_bug(Bug::NoSweep) {
            self.saga.sweeping = true;
            let next = (self.agenda.now() / SWEEP_EVERY + 1) * SWEEP_EVERY;
            self.agenda.at(next, Entry::Sweep);
        }
    }

    /// Arms the timers again of all checkouts that have a deadline and no timer.
    pub(crate) fn sweep(&mut self) {
        self.saga.sweeping = false;
        for order in 0..self.shop.files.len() {
            if self.deadline(order).is_some() && !self.saga.timers.contains_key(&order) {
                self.saga.armed.remove(&order);
                self.arm(SagaId::Checkout(order));
            }
        }
    }

    fn deadline(&self, order: usize) -> Option<Time> {
        let file = self.shop.file(order)?;
        file.checkout.state.deadline().map(time_of)
    }
}
