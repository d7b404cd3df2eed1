//! The definitions of the sagas: a table of steps under a number. A saga follows to its end the one
//! that it started under, whatever is deployed meanwhile.
//!
//! ```text
//!   CheckoutStarted { revision: 1 } ──► state ──► Definitions::numbered(1) ──► its table of steps
//! ```

use std::fmt;

use serde::{Deserialize, Deserializer, de};

use crate::{REFUND_STEPS, RETURN_STEPS, RefundRow, ReturnRow, Row, STEPS, SagaRefusal, Stage};

/// What a saga follows: a checkout unless said otherwise.
pub struct Definition<R: 'static = Row> {
    /// Its number. Never given twice for one saga: it stands in the log.
    pub revision: u32,
    /// Its steps, in the order in which they are taken. Those of a return or a refund don't wait for
    /// each other.
    pub steps: &'static [R],
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

impl<R> PartialEq for Definition<R> {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision
    }
}

impl<R> Eq for Definition<R> {}

impl<R> fmt::Debug for Definition<R> {
    /// Its number alone: the table is in the code.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision {}", self.revision)
    }
}

/// The definitions of a saga that a build knows. The shop's are [`Shop`]; a test may have others.
pub trait Definitions<R: 'static = Row>:
    fmt::Debug + Clone + PartialEq + Eq + Send + Sync + 'static
{
    /// Which one what starts now follows.
    const CURRENT: u32;

    /// All of them, oldest first.
    fn known() -> &'static [Definition<R>];

    /// The one under this number, if it is known.
    fn numbered(revision: u32) -> Option<&'static Definition<R>> {
        let mut known = Self::known().iter();
        known.find(|known| known.revision == revision)
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

impl Followed {
    /// What a checkout that started under `revision` follows.
    pub fn by<D: Definitions>(revision: u32) -> Self {
        if let Some(definition) = D::numbered(revision) {
            return Self::Known(definition);
        }
        match D::known().first() {
            Some(oldest) if revision < oldest.revision => Self::Retired,
            Some(_) | None => Self::Newer,
        }
    }
}

/// The shop's definitions. How to change one: `docs/sagas.md`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shop;

/// Oldest first. One stays for as long as `millrace schema census` counts open checkouts of it.
static CHECKOUTS: [Definition; 1] = [Definition {
    revision: 1,
    steps: &STEPS,
}];

/// Oldest first. All of them stay: money may come back from the bank long after the end.
static RETURNS: [Definition<ReturnRow>; 1] = [Definition {
    revision: 1,
    steps: &RETURN_STEPS,
}];

/// Oldest first. All of them stay, as the returns' do.
static REFUNDS: [Definition<RefundRow>; 1] = [Definition {
    revision: 1,
    steps: &REFUND_STEPS,
}];

impl Definitions for Shop {
    const CURRENT: u32 = 1;

    fn known() -> &'static [Definition] {
        &CHECKOUTS
    }
}

impl Definitions<ReturnRow> for Shop {
    const CURRENT: u32 = 1;

    fn known() -> &'static [Definition<ReturnRow>] {
        &RETURNS
    }
}

impl Definitions<RefundRow> for Shop {
    const CURRENT: u32 = 1;

    fn known() -> &'static [Definition<RefundRow>] {
        &REFUNDS
    }
}

/// A revision in a snapshot of a return or a refund.
///
/// # Errors
/// This build does not know it: the state is none that it may go on from.
pub(crate) fn known<'de, D, R: 'static, E>(deserializer: E) -> Result<u32, E::Error>
where
    D: Definitions<R>,
    E: Deserializer<'de>,
{
    let revision = u32::deserialize(deserializer)?;
    match D::numbered(revision) {
        Some(_) => Ok(revision),
        None => Err(de::Error::custom(SagaRefusal::RevisionUnknown { revision })),
    }
}

/// What an event without a revision means: returns and refunds began without one.
pub(crate) fn first() -> u32 {
    1
}

/// It is not written, so that what was on the wire stays as it was.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
pub(crate) fn is_first(revision: &u32) -> bool {
    *revision == first()
}
