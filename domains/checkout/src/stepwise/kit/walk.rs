//! One saga that is played through, and what there is of it in the world.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use kernel::{Decider, OrderId, Reason, TextError};
use serde_json::{Value, to_value};
use uuid::Uuid;

use super::ensure;
use crate::settling::Wish;
use crate::stepwise::{Done, Plan, Step, StepAsk, Stepwise, StepwiseEvent, StepwiseFact, Table};
use crate::{Due, Saga};

/// One saga under way, and what there is of it in the world.
#[derive(Clone)]
pub(super) struct Walk<T: 'static> {
    plan: &'static Plan<T>,
    pub(super) saga: Stepwise<T>,
    pub(super) now: DateTime<Utc>,
    /// The steps that are done and not undone, whatever the saga knows of it.
    pub(super) done: BTreeSet<&'static str>,
    /// The steps that were undone, in this order.
    pub(super) undone: Vec<&'static str>,
}

impl<T: Table> Walk<T> {
    pub(super) fn new(plan: &'static Plan<T>) -> Self {
        Self {
            plan,
            saga: Stepwise::default(),
            now: DateTime::UNIX_EPOCH,
            done: BTreeSet::new(),
            undone: Vec::new(),
        }
    }

    /// Begun, and these steps done.
    pub(super) fn after(plan: &'static Plan<T>, steps: usize) -> Result<Self, String> {
        let mut walk = Self::new(plan);
        walk.begin("")?;
        for _ in 0..steps {
            walk.now += TimeDelta::seconds(1);
            walk.succeed()?;
        }
        Ok(walk)
    }

    pub(super) fn begin(&mut self, fact: &str) -> Result<(), String> {
        let data = to_value(T::example()).map_err(|error| error.to_string())?;
        if self.may_begin_now() {
            return self.hear(fact, Some(data));
        }
        self.saga.evolve(&StepwiseEvent::SagaBegun {
            order_id: OrderId(Uuid::nil()),
            data,
            revision: self.plan.revision,
            at: self.now,
            until: self.now + self.plan.within,
            ends: false,
        });
        self.hear(fact, None)
    }

    /// What follows an older plan, or a coming one, has begun elsewhere.
    pub(super) fn may_begin_now(&self) -> bool {
        self.plan.revision == T::CURRENT
    }

    /// It is told something, and told so again.
    pub(super) fn tell(&mut self, fact: &StepwiseFact) -> Result<Option<StepwiseEvent>, String> {
        let events = self.decided(fact)?;
        for event in &events {
            self.saga.evolve(event);
        }
        let ends = events.last().is_some_and(StepwiseEvent::ends);
        ensure(events.is_empty() || ends == self.saga.is_over(), || {
            format!("{events:?} does not say whether it is over")
        })?;
        let again = self.decided(fact)?;
        let begun = matches!(events.first(), Some(StepwiseEvent::SagaBegun { .. }));
        ensure(
            events.len() <= 1 + usize::from(begun) && again.is_empty(),
            || format!("{fact:?} leads to {events:?}, and then to {again:?}"),
        )?;
        Ok(events.into_iter().next())
    }

    fn decided(&self, fact: &StepwiseFact) -> Result<Vec<StepwiseEvent>, String> {
        self.saga.decide(fact).map_err(|error| error.to_string())
    }

    pub(super) fn hear(&mut self, fact: &str, begins: Option<Value>) -> Result<(), String> {
        let heard = StepwiseFact::Heard {
            order_id: OrderId(Uuid::nil()),
            fact: fact.to_owned(),
            begins,
            at: self.now,
        };
        self.tell(&heard).map(|_| ())
    }

    /// It is woken.
    pub(super) fn wake(&mut self, at: DateTime<Utc>) -> Result<(), String> {
        self.now = at;
        self.tell(&StepwiseFact::TimeCame { at }).map(|_| ())
    }

    /// What it asks: the same, however often it is asked.
    pub(super) fn due(&self) -> Result<Option<Due<StepAsk>>, String> {
        let due = self.saga.pending(self.now);
        ensure(due.len() <= 1 && due == self.saga.pending(self.now), || {
            format!("{due:?}")
        })?;
        Ok(due.into_iter().next())
    }

    pub(super) fn ask_id(&self) -> Result<Option<Uuid>, String> {
        Ok(self.due()?.map(|due| due.ask_id))
    }

    /// The step at which it is, or its undo, is done and told.
    pub(super) fn succeed(&mut self) -> Result<(), String> {
        let Some(due) = self.due()? else {
            let mut waits = self.plan.steps.iter();
            let step = waits.find(|step| step.name == self.saga.stage());
            let step = step.ok_or_else(|| format!("nothing is due when {}", self.saga.stage()))?;
            return self.done(step);
        };
        let ask = due.label;
        let step = self.plan.steps.iter().find(|step| step.name == ask.step);
        let step = step.ok_or_else(|| format!("{ask} is in no table"))?;
        if !ask.undo {
            return self.done(step);
        }
        self.done.remove(step.name);
        self.undone.push(step.name);
        let done = step.undo.map_or(Done::Answer, |(_, done)| done);
        self.told(done, &ask)
    }

    pub(super) fn done(&mut self, step: &'static Step<T>) -> Result<(), String> {
        self.done.insert(step.name);
        let ask = StepAsk {
            step: step.name.to_owned(),
            undo: false,
            attempt: self.saga.last_asked().map_or(1, |(_, ask)| ask.attempt),
        };
        self.told(step.done, &ask)
    }

    fn told(&mut self, done: Done, ask: &StepAsk) -> Result<(), String> {
        match done {
            Done::Fact(fact) => self.hear(fact, None),
            Done::Answer => {
                let (ask, already, at) = (ask.clone(), false, self.now);
                let answered = StepwiseFact::Answered { ask, already, at };
                self.tell(&answered).map(|_| ())
            }
        }
    }

    /// What it asks is refused.
    pub(super) fn refuse(&mut self) -> Result<(), String> {
        let due = self.due()?.ok_or("nothing is due")?;
        let (code, message) = ("no".to_owned(), "no".to_owned());
        let refused = Stepwise::<T>::refused(&due, code, message, self.now);
        self.tell(&refused).map(|_| ())
    }

    /// An operator settles it.
    pub(super) fn settle(&mut self, wish: Wish) -> Result<(), String> {
        let (by, at) = ("operator:ada".to_owned(), self.now);
        let settled = self.tell(&StepwiseFact::Settled { wish, by, at })?;
        settled.map(|_| ()).ok_or("it is not suspended".to_owned())
    }

    pub(super) fn skip(&mut self, step: &str) -> Result<(), String> {
        let step = step.to_owned();
        let reason = by_hand()?;
        self.settle(Wish::Skip { step, reason })
    }

    /// It goes on as it should, and comes to `end`; what was done and can be undone is undone,
    /// newest first, unless all is done.
    pub(super) fn ends(mut self, end: &str) -> Result<Self, String> {
        // Every step is asked, undone, and undone again at most.
        for _ in 0..=self.plan.steps.len() * 3 {
            if self.saga.is_over() {
                break;
            }
            self.succeed()?;
        }
        let stage = self.saga.stage();
        ensure(stage == end, || format!("it ends {stage}, not {end}"))?;
        let mut undoable = self.plan.steps.iter().filter(|step| step.undo.is_some());
        let left = undoable.find(|step| self.done.contains(step.name));
        ensure(end == "done" || left.is_none(), || {
            format!("{:?} is left", left.map(|step| step.name))
        })?;
        Ok(self)
    }
}

impl Done {
    pub(super) fn fact(self) -> Option<&'static str> {
        match self {
            Self::Fact(fact) => Some(fact),
            Self::Answer => None,
        }
    }
}

pub(super) fn by_hand() -> Result<Reason, String> {
    "by hand"
        .parse()
        .map_err(|error: TextError| error.to_string())
}
