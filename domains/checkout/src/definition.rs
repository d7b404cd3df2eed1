//! The definitions of the checkout: a table of steps under a number. A checkout follows to its end
//! the one that it started under, whatever is deployed meanwhile.
//!
//! ```text
//!   CheckoutStarted { revision: 1 } ──► state ──► Definitions::followed(1) ──► its table of steps
//! ```

use std::fmt;

use crate::{Row, STEPS, Stage};

/// What a checkout follows.
pub struct Definition {
    /// Its number. Never given twice: it stands in the log.
    pub revision: u32,
    /// Its steps, in the order in which they are taken.
    pub steps: &'static [Row],
}

impl Definition {
    /// The table's line of a stage; `None` where no step is due.
    pub fn row(&self, stage: Stage) -> Option<&'static Row> {
        self.steps.iter().find(|row| row.stage == stage)
    }

    /// How far down the table a stage is.
    pub(crate) fn rank(&self, stage: Stage) -> Option<usize> {
        self.steps.iter().position(|row| row.stage == stage)
    }
}

impl PartialEq for Definition {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision
    }
}

impl Eq for Definition {}

impl fmt::Debug for Definition {
    /// Its number alone: the table is in the code.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision {}", self.revision)
    }
}

/// The definitions that a build knows. The shop's are [`Shop`]; a test may have others.
pub trait Definitions: fmt::Debug + Clone + PartialEq + Eq + Send + Sync + 'static {
    /// Which checkouts that start now follow.
    const CURRENT: u32;

    /// All of them, oldest first.
    fn known() -> &'static [Definition];

    /// What a checkout that started under `revision` follows.
    fn followed(revision: u32) -> Followed {
        let known = Self::known();
        if let Some(definition) = known.iter().find(|known| known.revision == revision) {
            return Followed::Known(definition);
        }
        match known.first() {
            Some(oldest) if revision < oldest.revision => Followed::Retired,
            Some(_) | None => Followed::Newer,
        }
    }
}

/// What is known of the definition that a checkout follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Followed {
    /// It is one of this build's.
    Known(&'static Definition),
    /// It was taken out of the code. What its closed checkouts still do (to undo a late success)
    /// needs no table.
    Retired,
    /// It is of a later build, and nothing may be guessed.
    #[default]
    Newer,
}

/// The shop's definitions. How to change one: `docs/sagas.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shop;

/// Oldest first. One stays for as long as `millrace schema census` counts open checkouts of it.
static SHOPS: [Definition; 1] = [Definition {
    revision: 1,
    steps: &STEPS,
}];

impl Definitions for Shop {
    const CURRENT: u32 = 1;

    fn known() -> &'static [Definition] {
        &SHOPS
    }
}
