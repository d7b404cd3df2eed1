//! A table projection: rows that are no aggregates. An event may touch several of them, and a row may
//! follow from many aggregates.
//!
//! Its tables have the shape of an entity view's, so that they are read, listed and rebuilt alike;
//! `version` is the position of the last event in the row.

use std::collections::{BTreeSet, HashMap};

use cqrs_es::EventEnvelope;
use kernel::Decider;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use streams::RecordedEvent;

use crate::fold::{Fold, FoldError, ROW_CACHE_MAX, StoredRow, concerns};
use crate::view::Sort;

/// A table projection of the events of [`TableView::Of`].
pub trait TableView: JsonSchema + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Whose events it is made of.
    type Of: Decider;
    /// The table, and the view's name everywhere else.
    const NAME: &'static str;
    /// The generated columns that a list can be filtered by.
    const FILTERS: &'static [&'static str];
    /// The order of a list.
    const SORT: Sort;
    /// Which fold this is, as of an entity view.
    const REVISION: u32 = 1;

    /// The ids of the rows that `event` needs, as far as it and the rows at hand tell: what a row
    /// says may lead to others, and is asked again once it is there.
    fn touched(event: &EventEnvelope<Self::Of>, rows: &Rows<Self>) -> Vec<String>;

    /// Takes in `event`; all rows that it touches are there.
    fn take(event: &EventEnvelope<Self::Of>, rows: &mut Rows<Self>);
}

/// The rows at hand.
pub struct Rows<T> {
    /// None = there is no such row.
    held: HashMap<String, (u64, Option<T>)>,
    changed: BTreeSet<String>,
    /// Of the event that is being taken in.
    position: u64,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            held: HashMap::new(),
            changed: BTreeSet::new(),
            position: 0,
        }
    }
}

impl<T> Rows<T> {
    /// The row with this id, if there is one and it is at hand.
    pub fn get(&self, id: &str) -> Option<&T> {
        self.held.get(id).and_then(|(_, row)| row.as_ref())
    }

    /// The row with this id to be changed; `new` makes it if there is none.
    pub fn edit(&mut self, id: &str, new: impl FnOnce() -> T) -> &mut T {
        self.changed.insert(id.to_owned());
        let held = self.held.entry(id.to_owned()).or_insert((0, None));
        held.0 = self.position;
        held.1.get_or_insert_with(new)
    }

    fn holds(&self, id: &str) -> bool {
        self.held.contains_key(id)
    }

    fn version(&self, id: &str) -> u64 {
        self.held.get(id).map_or(0, |(version, _)| *version)
    }
}

/// The fold of a table projection.
pub(crate) struct TableFold<T>(Rows<T>);

impl<T> Default for TableFold<T> {
    fn default() -> Self {
        Self(Rows::default())
    }
}

impl<T: TableView> Fold for TableFold<T> {
    fn missing(&self, event: &RecordedEvent) -> Vec<String> {
        if !concerns::<T::Of>(event) {
            return Vec::new();
        }
        // One that can't be read touches nothing; `apply` says so.
        let Ok(envelope) = event.envelope::<T::Of>() else {
            return Vec::new();
        };
        let mut ids = T::touched(&envelope, &self.0);
        ids.retain(|id| !self.0.holds(id));
        ids
    }

    fn put(&mut self, row: &StoredRow) -> Result<(), FoldError> {
        let read = serde_json::from_str(&row.payload).map_err(|source| FoldError::Row {
            view_id: row.view_id.clone(),
            source,
        })?;
        let version = u64::try_from(row.version).unwrap_or_default();
        let held = (version, Some(read));
        self.0.held.insert(row.view_id.clone(), held);
        Ok(())
    }

    fn put_absent(&mut self, view_id: &str) {
        self.0.held.insert(view_id.to_owned(), (0, None));
    }

    fn apply(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        if !concerns::<T::Of>(event) {
            return Ok(());
        }
        let envelope = event.envelope::<T::Of>().map_err(FoldError::Undecodable)?;
        let rows = &mut self.0;
        let position = event.position.sequence;
        let touched = T::touched(&envelope, rows);
        // Rows are written all together, so one that has seen the event speaks for all.
        if touched.iter().any(|id| rows.version(id) >= position) {
            return Ok(());
        }
        rows.position = position;
        T::take(&envelope, rows);
        Ok(())
    }

    fn changed(&self) -> Result<Vec<StoredRow>, FoldError> {
        let rows = self.0.changed.iter().filter_map(|id| {
            let (version, row) = self.0.held.get(id)?;
            Some((id, *version, row.as_ref()?))
        });
        rows.map(|(id, version, row)| {
            let payload = serde_json::to_string(row).map_err(|source| FoldError::Row {
                view_id: id.clone(),
                source,
            })?;
            Ok(StoredRow {
                view_id: id.clone(),
                version: i64::try_from(version).unwrap_or(i64::MAX),
                payload,
            })
        })
        .collect()
    }

    fn settle(&mut self) {
        self.0.changed.clear();
        if self.0.held.len() > ROW_CACHE_MAX {
            self.0.held.clear();
        }
    }
}
