//! Events in, rows out: the part of a projector that needs no server.

use std::collections::{BTreeSet, HashMap};
use std::marker::PhantomData;

use kernel::Decider;
use streams::{DecodeError, RecordedEvent};
use thiserror::Error;

use crate::view::EntityView;

/// Most rows kept in memory between two batches. Above it all are dropped and loaded again.
const ROW_CACHE_MAX: usize = 20_000;

/// A row as the table holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredRow {
    /// The aggregate's id.
    pub(crate) view_id: String,
    /// The aggregate's version that the payload is the fold up to.
    pub(crate) version: i64,
    /// JSON.
    pub(crate) payload: String,
}

/// Why an event could not be folded. The view stops at it: a skipped event is a wrong row for ever.
#[derive(Debug, Error)]
pub enum FoldError {
    /// The event can't be read.
    #[error("the event can't be decoded")]
    Undecodable(#[source] DecodeError),
    /// The row that it changes can't be read.
    #[error("row {view_id} can't be decoded")]
    Row {
        /// Which row.
        view_id: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The row misses events, so this one can't be its next.
    #[error(
        "row {view_id} is at version {row}, the event is version {event}: events are missing between them"
    )]
    Gap {
        /// Which row.
        view_id: String,
        /// Of the row; 0 = there is none.
        row: u64,
        /// Of the event.
        event: u64,
    },
}

/// The rows of one view, between two commits.
///
/// ```text
///   missing(batch) ─► load those rows ─► put ─► apply each event ─► changed ─► commit ─► settle
///                                                                        anything else: dropped whole
/// ```
pub(crate) trait Fold: Send + Sync {
    /// The ids of the rows that `event` needs and that aren't in memory.
    fn missing(&self, event: &RecordedEvent) -> Option<String>;
    /// Takes a row in that was loaded.
    fn put(&mut self, row: &StoredRow) -> Result<(), FoldError>;
    /// Remembers that there is no such row.
    fn put_absent(&mut self, view_id: &str);
    /// Folds one event. On an error nothing has changed.
    fn apply(&mut self, event: &RecordedEvent) -> Result<(), FoldError>;
    /// The rows that have changed since the last [`Fold::settle`].
    fn changed(&self) -> Result<Vec<StoredRow>, FoldError>;
    /// The changes are in the database.
    fn settle(&mut self);
}

struct Row<V> {
    version: u64,
    view: V,
}

/// The fold of an entity view.
pub(crate) struct EntityFold<A, V> {
    rows: HashMap<String, Row<V>>,
    changed: BTreeSet<String>,
    aggregate: PhantomData<fn() -> A>,
}

impl<A, V> Default for EntityFold<A, V> {
    fn default() -> Self {
        Self {
            rows: HashMap::new(),
            changed: BTreeSet::new(),
            aggregate: PhantomData,
        }
    }
}

/// Is the event one of aggregate `A`? Events of the context's other kinds don't concern the view.
fn concerns<A: Decider>(event: &RecordedEvent) -> bool {
    event.context == A::CONTEXT && event.kind.as_deref() == A::KIND
}

impl<A: Decider, V: EntityView<A>> Fold for EntityFold<A, V> {
    fn missing(&self, event: &RecordedEvent) -> Option<String> {
        let id = event.aggregate_id.as_str();
        (concerns::<A>(event) && !self.rows.contains_key(id)).then(|| id.to_owned())
    }

    fn put(&mut self, row: &StoredRow) -> Result<(), FoldError> {
        let view = serde_json::from_str(&row.payload).map_err(|source| FoldError::Row {
            view_id: row.view_id.clone(),
            source,
        })?;
        let version = u64::try_from(row.version).unwrap_or_default();
        self.rows.insert(row.view_id.clone(), Row { version, view });
        Ok(())
    }

    fn put_absent(&mut self, view_id: &str) {
        let row = Row {
            version: 0,
            view: V::default(),
        };
        self.rows.insert(view_id.to_owned(), row);
    }

    fn apply(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        if !concerns::<A>(event) {
            return Ok(());
        }
        let id = event.aggregate_id.as_str();
        let known = self.rows.get(id).map_or(0, |row| row.version);
        if event.version <= known {
            return Ok(());
        }
        if event.version != known.saturating_add(1) {
            return Err(FoldError::Gap {
                view_id: id.to_owned(),
                row: known,
                event: event.version,
            });
        }
        let envelope = event.envelope::<A>().map_err(FoldError::Undecodable)?;
        let row = self.rows.entry(id.to_owned()).or_insert_with(|| Row {
            version: 0,
            view: V::default(),
        });
        row.view.update(&envelope);
        row.version = event.version;
        self.changed.insert(id.to_owned());
        Ok(())
    }

    fn changed(&self) -> Result<Vec<StoredRow>, FoldError> {
        self.changed
            .iter()
            .filter_map(|id| self.rows.get_key_value(id))
            .map(|(id, row)| {
                let payload =
                    serde_json::to_string(&row.view).map_err(|source| FoldError::Row {
                        view_id: id.clone(),
                        source,
                    })?;
                Ok(StoredRow {
                    view_id: id.clone(),
                    version: i64::try_from(row.version).unwrap_or(i64::MAX),
                    payload,
                })
            })
            .collect()
    }

    fn settle(&mut self) {
        self.changed.clear();
        if self.rows.len() > ROW_CACHE_MAX {
            self.rows.clear();
        }
    }
}
