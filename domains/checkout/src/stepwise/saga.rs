//! A table as a saga: what is asked, when it is to be woken, and what it hears.

use ::order::OrderEvent;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use inventory::InventoryEvent;
use kernel::{Decider, OrderId, Sku};
use payment::PaymentEvent;

use super::{
    Cause, Done, Heard, StepAsk, Stepwise, StepwiseEvent, StepwiseFact, Table, Try, pictures,
};
use crate::evolve::reason;
use crate::picture::Picture;
use crate::settling::Wish;
use crate::{Due, Listens, Saga, SagaRefusal, ask_id_of};

/// The context of every saga, and what stands before the name in [`Table::TYPE`].
const CONTEXT: &str = "checkout";

const fn name_of(of: &'static str) -> &'static str {
    of.split_at(CONTEXT.len() + 1).1
}

impl<T: Table> Saga for Stepwise<T> {
    const NAME: &'static str = name_of(T::TYPE);
    type Id = OrderId;
    type Ask = StepAsk;

    fn order_id(&self) -> Option<OrderId> {
        self.begun.as_ref().map(|begun| begun.order_id)
    }

    /// What it remembers may be unreadable as well as its plan unknown: either is another build's.
    fn unknown_revision(&self) -> Option<u32> {
        let known = self.plan().is_some() && self.data().is_some();
        self.revision().filter(|_| !known)
    }

    fn pending(&self, now: DateTime<Utc>) -> Vec<Due<StepAsk>> {
        self.due(now).into_iter().collect()
    }

    /// Nobody waits for what is done when it is answered.
    fn may_be_late(ask: &StepAsk) -> bool {
        let mut steps = T::plans().iter().flat_map(|plan| plan.steps);
        !ask.undo && steps.any(|step| step.name == ask.step && step.done == Done::Answer)
    }

    fn deadline(&self) -> Option<DateTime<Utc>> {
        let again = self.asked().and_then(|(step, _)| self.retry_at(step.name));
        let all = [self.step_ends_at(), self.ends_at(), again];
        all.into_iter().flatten().min()
    }

    fn suspended(&self) -> Option<String> {
        let waits = self.suspension.as_ref()?;
        Some(format!("{}: {}", waits.step, waits.why))
    }

    fn refused(
        due: &Due<StepAsk>,
        code: String,
        message: String,
        at: DateTime<Utc>,
    ) -> StepwiseFact {
        StepwiseFact::Refused {
            ask: due.label.clone(),
            code,
            message,
            at,
        }
    }

    /// Where there is nothing to undo, no stream tells that it is undone. Which plan the saga keeps is not known
    /// here: it takes in what its own plan is told by.
    fn answered(due: &Due<StepAsk>, already: bool, at: DateTime<Utc>) -> Option<StepwiseFact> {
        let ask = due.label.clone();
        let plans = T::plans().iter();
        let mut steps = plans.flat_map(|plan| plan.steps);
        let answers = |done| done == Done::Answer;
        let tells = steps.any(|step| {
            let undo = step.undo.is_some_and(|(_, done)| answers(done));
            step.name == ask.step && if ask.undo { undo } else { answers(step.done) }
        });
        (tells || (ask.undo && already)).then_some(StepwiseFact::Answered { ask, already, at })
    }

    fn timed_out(at: DateTime<Utc>) -> Option<StepwiseFact> {
        Some(StepwiseFact::TimeCame { at })
    }

    fn settled(wish: Wish, by: String, at: DateTime<Utc>) -> Option<StepwiseFact> {
        Some(StepwiseFact::Settled { wish, by, at })
    }
}

impl<T: Table> Stepwise<T> {
    fn due(&self, at: DateTime<Utc>) -> Option<Due<StepAsk>> {
        let (step, ask) = self.asked()?;
        if self.retry_at(step.name).is_some_and(|again| again > at) {
            return None;
        }
        let undo = step.undo.map(|(asks, _)| asks);
        let asks = if ask.undo { undo } else { step.asks }?;
        let attempt = ask.attempt;
        let why = self.cause.as_ref().map_or(step.name, Cause::code);
        let why = reason(why);
        let id = ask_id_of(Self::NAME, self.order_id()?, &ask);
        Some(asks(&self.data()?, Try { attempt, at, why }).due(id, ask))
    }

    fn retry_at(&self, step: &str) -> Option<DateTime<Utc>> {
        self.tries(step).retry_at
    }

    fn of(heard: &Heard<'_>, at: DateTime<Utc>) -> Option<(OrderId, StepwiseFact)> {
        let order_id = heard.order_id()?;
        // What it can't write it could not read again: then it does not begin.
        let begins = T::begins(heard).and_then(|data| serde_json::to_value(data).ok());
        let fact = T::fact(heard)?;
        let in_table = T::plans().iter().any(|plan| plan.hears(&fact));
        (begins.is_some() || in_table).then_some((
            order_id,
            StepwiseFact::Heard {
                order_id,
                fact,
                begins,
                at,
            },
        ))
    }
}

impl<T: Table> Listens for Stepwise<T> {
    fn pictures() -> Vec<Picture> {
        pictures::<T>()
    }

    fn from_order(
        order_id: OrderId,
        event: &OrderEvent,
        at: DateTime<Utc>,
    ) -> Option<(OrderId, StepwiseFact)> {
        Self::of(&Heard::Order(order_id, event), at)
    }

    fn from_inventory(
        sku: &Sku,
        event: &InventoryEvent,
        at: DateTime<Utc>,
    ) -> Option<(OrderId, StepwiseFact)> {
        Self::of(&Heard::Inventory(sku, event), at)
    }

    fn from_payment(
        order_id: OrderId,
        event: &PaymentEvent,
        at: DateTime<Utc>,
    ) -> Option<(OrderId, StepwiseFact)> {
        Self::of(&Heard::Payment(order_id, event), at)
    }

    fn goes_on(event: &StepwiseEvent) -> bool {
        matches!(event, StepwiseEvent::SagaSettled { .. })
    }

    fn ends(event: &StepwiseEvent) -> bool {
        event.ends()
    }
}

impl<T: Table> Decider for Stepwise<T> {
    const CONTEXT: &'static str = CONTEXT;
    const KIND: Option<&'static str> = Some(Self::NAME);
    const STATE_REVISION: u32 = 2;

    fn decide(&self, fact: &StepwiseFact) -> Result<Vec<StepwiseEvent>, SagaRefusal> {
        if let Some(revision) = self.unknown_revision() {
            return Err(SagaRefusal::RevisionUnknown { revision });
        }
        Ok(self.react(fact))
    }

    fn evolve(&mut self, event: &StepwiseEvent) {
        self.follow(event);
    }
}

impl<T: Table> Aggregate for Stepwise<T> {
    const TYPE: &'static str = T::TYPE;
    type Command = StepwiseFact;
    type Event = StepwiseEvent;
    type Error = SagaRefusal;
    type Services = ();

    async fn handle(
        &mut self,
        fact: StepwiseFact,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), SagaRefusal> {
        kernel::bridge(self, fact, sink).await
    }

    fn apply(&mut self, event: StepwiseEvent) {
        self.evolve(&event);
    }
}
