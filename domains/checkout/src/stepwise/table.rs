//! What an author of a saga writes.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use kernel::Reason;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Heard;
use crate::{Addressed, Refused};

/// A saga, one for each order: the fields are what it remembers of its beginning.
pub trait Table:
    Serialize + DeserializeOwned + fmt::Debug + Clone + PartialEq + Send + Sync + 'static
{
    /// `checkout.` and its name, which is a token of a subject: `a-z`. The shop's own sagas have taken
    /// `checkout`, `return`, `returning`, `refund` and `refunding`.
    const TYPE: &'static str;

    /// What it is about, in a line.
    const ABOUT: &'static str;

    /// The revision that what begins now follows.
    const CURRENT: u32 = 1;

    /// Its tables, oldest first. One that was deployed is never edited while sagas follow it.
    fn plans() -> &'static [Plan<Self>];

    /// What it is to remember, if this fact begins one.
    fn begins(heard: &Heard<'_>) -> Option<Self>;

    /// What a fact is called in the table; `None` = it is none of its own. Unless said otherwise its name
    /// on the wire.
    fn fact(heard: &Heard<'_>) -> Option<String> {
        Some(heard.name().to_owned())
    }

    /// One of it, for its picture and its tests.
    fn example() -> Self;
}

/// A table of steps under a number.
#[derive(Debug)]
pub struct Plan<T: 'static> {
    /// Its number. Never given twice: it stands in the log.
    pub revision: u32,
    /// How long all may take, as long as it can be undone.
    pub within: TimeDelta,
    /// The facts at which everything is undone, as long as it can be.
    pub undone_by: &'static [&'static str],
    /// In the order in which they are taken.
    pub steps: &'static [Step<T>],
}

/// What a step asks, and of whom.
pub type Asks<T> = fn(&T, Try) -> Addressed;

/// One asking.
#[derive(Debug, Clone)]
pub struct Try {
    /// Which one, from 1; above 1 after an undo that failed, or an operator's "again".
    pub attempt: u32,
    /// The time of asking.
    pub at: DateTime<Utc>,
    /// Why everything is undone: a refusal's code, `timed_out`, the fact that calls it off. Of a step
    /// that is taken its name.
    pub why: Reason,
}

/// What says that something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// A fact, as [`Table::fact`] calls it.
    Fact(&'static str),
    /// The answer of whom it was asked: no stream that sagas hear tells of it.
    Answer,
}

/// One line of a table.
#[derive(Debug)]
pub struct Step<T: 'static> {
    /// Its name, in the log and to an operator.
    pub name: &'static str,
    /// `None` = it only waits.
    pub asks: Option<Asks<T>>,
    /// What says that it is done.
    pub done: Done,
    /// What a "no", or being too late, leads to.
    pub refused: Refused,
    /// How long it may take from the step before; `None` = as long as the whole.
    pub within: Option<TimeDelta>,
    /// What asks to undo it, and what says that this is done.
    pub undo: Option<(Asks<T>, Done)>,
}

impl<T> Step<T> {
    /// Waits for a fact.
    pub const fn wait(name: &'static str, done: &'static str) -> Self {
        Self {
            name,
            asks: None,
            done: Done::Fact(done),
            refused: Refused::Undo,
            within: None,
            undo: None,
        }
    }

    /// Asks until a fact says that it is done.
    pub const fn ask(name: &'static str, asks: Asks<T>, done: &'static str) -> Self {
        Self {
            asks: Some(asks),
            ..Self::wait(name, done)
        }
    }

    /// Asks until it is answered.
    pub const fn tell(name: &'static str, asks: Asks<T>) -> Self {
        Self {
            asks: Some(asks),
            done: Done::Answer,
            ..Self::wait(name, "")
        }
    }

    /// It may take so long.
    #[must_use]
    pub const fn within(self, within: TimeDelta) -> Self {
        Self {
            within: Some(within),
            ..self
        }
    }

    /// It is undone by this.
    #[must_use]
    pub const fn undo(self, asks: Asks<T>, done: &'static str) -> Self {
        Self {
            undo: Some((asks, Done::Fact(done))),
            ..self
        }
    }

    /// It is undone by this, which is done when it is answered.
    #[must_use]
    pub const fn undo_told(self, asks: Asks<T>) -> Self {
        Self {
            undo: Some((asks, Done::Answer)),
            ..self
        }
    }

    /// There is no way back from here: a "no" is for a person.
    #[must_use]
    pub const fn or_suspend(self) -> Self {
        Self {
            refused: Refused::Suspend,
            ..self
        }
    }
}

impl<T> Plan<T> {
    /// Does it name the fact?
    pub(super) fn hears(&self, fact: &str) -> bool {
        let is = |done: Done| done.is(fact);
        let mut steps = self.steps.iter();
        self.undone_by.contains(&fact)
            || steps.any(|step| is(step.done) || step.undo.is_some_and(|(_, done)| is(done)))
    }

    /// How many steps there are before there is no way back.
    pub(super) fn no_return(&self) -> usize {
        let mut steps = self.steps.iter();
        let first = steps.position(|step| step.refused == Refused::Suspend);
        first.unwrap_or(self.steps.len())
    }
}
