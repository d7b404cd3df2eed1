//! Events in, rows out: the part of a projector that needs no server.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::marker::PhantomData;

use kernel::Decider;
use serde::Serialize;
use serde::de::DeserializeOwned;
use streams::{DecodeError, RecordedEvent};
use thiserror::Error;

use crate::view::EntityView;

/// Most rows kept in memory between two batches. Above it all are dropped and loaded again.
pub(crate) const ROW_CACHE_MAX: usize = 20_000;

/// A row as the table holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredRow {
    /// The aggregate's id; of a table projection the row's own.
    pub(crate) view_id: String,
    /// The aggregate's version that the payload is the fold up to; of a table projection the position.
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
///          ▲              what they lead to │                              anything else: dropped whole
///          └────────────────────────────────┘
/// ```
pub(crate) trait Fold: Send + Sync {
    /// The ids of the rows that `event` needs and that aren't in memory, as far as it can be told.
    fn missing(&self, event: &RecordedEvent) -> Vec<String>;
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

/// One row an aggregate, whichever the aggregates are.
pub(crate) trait RowEach: 'static {
    /// The row.
    type Row: Default + Serialize + DeserializeOwned + Send + Sync;

    /// The id of the event's row; `None` = it doesn't concern the view.
    fn id(event: &RecordedEvent) -> Option<Cow<'_, str>>;

    /// Takes in the row's next event. On an error nothing has changed.
    fn take(row: &mut Self::Row, event: &RecordedEvent) -> Result<(), DecodeError>;
}

/// The rows of an entity view.
pub(crate) struct Entity<A, V>(PhantomData<fn() -> (A, V)>);

impl<A: Decider, V: EntityView<A>> RowEach for Entity<A, V> {
    type Row = V;

    fn id(event: &RecordedEvent) -> Option<Cow<'_, str>> {
        concerns::<A>(event).then(|| event.aggregate_id.as_str().into())
    }

    fn take(row: &mut V, event: &RecordedEvent) -> Result<(), DecodeError> {
        row.update(&event.envelope::<A>()?);
        Ok(())
    }
}

/// The fold of a view with one row an aggregate.
pub(crate) struct EachFold<R: RowEach> {
    rows: HashMap<String, Row<R::Row>>,
    changed: BTreeSet<String>,
}

impl<R: RowEach> Default for EachFold<R> {
    fn default() -> Self {
        Self {
            rows: HashMap::new(),
            changed: BTreeSet::new(),
        }
    }
}

/// Is the event one of aggregate `A`? Events of the context's other kinds don't concern the view.
pub(crate) fn concerns<A: Decider>(event: &RecordedEvent) -> bool {
    event.context == A::CONTEXT && event.kind.as_deref() == A::KIND
}

impl<R: RowEach> Fold for EachFold<R> {
    fn missing(&self, event: &RecordedEvent) -> Vec<String> {
        let id = R::id(event).filter(|id| !self.rows.contains_key(id.as_ref()));
        id.map(Cow::into_owned).into_iter().collect()
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
            view: R::Row::default(),
        };
        self.rows.insert(view_id.to_owned(), row);
    }

    fn apply(&mut self, event: &RecordedEvent) -> Result<(), FoldError> {
        let Some(id) = R::id(event) else {
            return Ok(());
        };
        let known = self.rows.get(id.as_ref()).map_or(0, |row| row.version);
        if event.version <= known {
            return Ok(());
        }
        if event.version != known.saturating_add(1) {
            return Err(FoldError::Gap {
                view_id: id.into_owned(),
                row: known,
                event: event.version,
            });
        }
        let id = id.into_owned();
        let row = self.rows.entry(id.clone()).or_insert_with(|| Row {
            version: 0,
            view: R::Row::default(),
        });
        R::take(&mut row.view, event).map_err(FoldError::Undecodable)?;
        row.version = event.version;
        self.changed.insert(id);
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

#[cfg(test)]
mod tests {
    use product::{Product, ProductEvent};

    use super::*;
    use crate::ProductCard;
    use crate::testkit::{eur, recorded};

    type Cards = EachFold<Entity<Product, ProductCard>>;

    fn story() -> Vec<RecordedEvent> {
        let created = ProductEvent::ProductCreated {
            title: "Tea".parse().unwrap(),
            description: "Green".parse().unwrap(),
            category: "drinks".parse().unwrap(),
            price: eur(500),
        };
        let price = eur(650);
        vec![
            recorded::<Product>("TEA-1", (1, 1), &created),
            recorded::<Product>("TEA-1", (2, 2), &ProductEvent::ProductPublished {}),
            recorded::<Product>("TEA-1", (3, 3), &ProductEvent::PriceSet { price }),
        ]
    }

    fn rows(events: &[&RecordedEvent]) -> Vec<StoredRow> {
        let mut cards = Cards::default();
        for event in events {
            cards.apply(event).unwrap();
        }
        cards.changed().unwrap()
    }

    #[test]
    fn the_same_events_twice_make_the_same_row() {
        let events = story();
        let once: Vec<_> = events.iter().collect();
        let twice: Vec<_> = events.iter().chain(&events).collect();
        let each_twice: Vec<_> = events.iter().flat_map(|event| [event, event]).collect();
        assert_eq!(rows(&once), rows(&twice));
        assert_eq!(rows(&once), rows(&each_twice));
    }

    #[test]
    fn a_row_that_was_stored_in_between_is_the_same_row() {
        let events = story();
        let whole = rows(&events.iter().collect::<Vec<_>>());
        for cut in 1..events.len() {
            let (before, after) = events.split_at(cut);
            let stored = rows(&before.iter().collect::<Vec<_>>());
            let mut cards = Cards::default();
            let missing = cards.missing(&after[0]);
            assert_eq!(missing, ["TEA-1"]);
            cards.put(&stored[0]).unwrap();
            assert!(cards.missing(&after[0]).is_empty());
            for event in after {
                cards.apply(event).unwrap();
            }
            assert_eq!(cards.changed().unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn an_event_that_cannot_be_read_changes_nothing() {
        let events = story();
        let mut cards = Cards::default();
        cards.apply(&events[0]).unwrap();
        let before = cards.changed().unwrap();
        let mut newer = events[1].clone();
        newer.event_type = "product_teleported".into();
        assert!(matches!(
            cards.apply(&newer),
            Err(FoldError::Undecodable(_))
        ));
        assert_eq!(cards.changed().unwrap(), before);
    }

    #[test]
    fn a_missing_event_is_noticed() {
        let events = story();
        let mut cards = Cards::default();
        cards.apply(&events[0]).unwrap();
        let gap = cards.apply(&events[2]).unwrap_err();
        assert!(
            matches!(
                gap,
                FoldError::Gap {
                    row: 1,
                    event: 3,
                    ..
                }
            ),
            "{gap}"
        );
    }

    #[test]
    fn other_kinds_and_contexts_do_not_concern_a_view() {
        let mut foreign = story().remove(0);
        foreign.kind = Some("label".into());
        let mut cards = Cards::default();
        assert!(cards.missing(&foreign).is_empty());
        cards.apply(&foreign).unwrap();
        assert_eq!(cards.changed().unwrap(), []);
    }

    #[test]
    fn settled_rows_are_not_written_again() {
        let events = story();
        let mut cards = Cards::default();
        cards.apply(&events[0]).unwrap();
        cards.settle();
        assert_eq!(cards.changed().unwrap(), []);
        cards.apply(&events[1]).unwrap();
        assert_eq!(cards.changed().unwrap()[0].version, 2);
    }
}
