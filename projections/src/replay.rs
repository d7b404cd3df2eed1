//! One row folded again, without the table: what it was at some moment.

use streams::RecordedEvent;

use crate::fold::{Fold, FoldError};
use crate::read::Row;

/// A row in the making, by the same fold as the one in the table.
pub struct Replay {
    fold: Box<dyn Fold>,
}

impl Replay {
    pub(crate) fn new(fold: Box<dyn Fold>) -> Self {
        Self { fold }
    }

    /// Takes in the next event of the row's aggregate.
    ///
    /// # Errors
    /// The event can't be read, or isn't the next.
    pub fn take(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        self.fold.apply(event)
    }

    /// The row as the table would hold it now; none before the first event.
    ///
    /// # Errors
    /// The row can't be written as JSON.
    pub fn row(&self) -> Result<Option<Row>, FoldError> {
        let row = self.fold.changed()?.pop();
        Ok(row.map(|row| Row {
            version: u64::try_from(row.version).unwrap_or_default(),
            payload: row.payload,
        }))
    }
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Replay")
    }
}
