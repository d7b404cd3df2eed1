//! What a read model is: a table, the events that it is folded from, and how it is listed.

use std::fmt;

use cqrs_es::View;
use kernel::Decider;
use postgres_es::PostgresViewRepository;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use streams::{Kind, RecordedEvent};

use crate::fold::{EachFold, Entity, Fold, FoldError};
use crate::replay::Replay;
use crate::stepwise::{OfTables, SagaProgress};
use crate::table::{TableFold, TableView};

/// The order of a list. Every order ends with the row's id, so that it is total and a cursor can
/// name a place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// By the row's id, ascending.
    Id,
    /// By a generated column that never changes once it is set, latest first.
    Latest(&'static str),
}

/// An entity view: one row for each aggregate `A`, folded by [`cqrs_es::View::update`].
///
/// The payload is the body that a reader is given, as it is: its field `id` is the aggregate's id
/// and its field `version` the aggregate's version.
pub trait EntityView<A: Decider>:
    View<A> + JsonSchema + DeserializeOwned + Clone + 'static
{
    /// The table, and the view's name everywhere else.
    const NAME: &'static str;
    /// The generated columns that a list can be filtered by.
    const FILTERS: &'static [&'static str];
    /// Those of them that never change once they are set. A list of the past finds its rows by them.
    const FIXED: &'static [&'static str] = &[];
    /// The column of words that a list can be searched by, a `tsvector`.
    const WORDS: Option<&'static str> = None;
    /// The order of a list.
    const SORT: Sort;
    /// Which fold this is: raised whenever the same events make other rows than before. Rows of an older
    /// one are told as outdated until the view is rebuilt, and its projector makes none any more.
    const REVISION: u32 = 1;
}

/// In the place of a kind: all sagas that are tables of steps, whatever they are called.
pub const ANY_TABLE: &str = "*";

/// A read model, described: everything that the projector and the readers need to know of it.
pub struct ViewSpec {
    /// The table.
    pub name: &'static str,
    /// Whose events it is made of; also whose database it lives in.
    pub context: &'static str,
    /// The generated columns that a list can be filtered by.
    pub filters: &'static [&'static str],
    /// Those of them that never change once they are set.
    pub fixed: &'static [&'static str],
    /// The column of words that a list can be searched by.
    pub words: Option<&'static str>,
    /// The order of a list.
    pub sort: Sort,
    /// Whose rows they are, of which kind of aggregate; of a table projection, whose events.
    pub kind: Kind,
    /// Which fold it is, from 1.
    pub revision: u32,
    /// What a row looks like to readers, with what is sealed in it opened.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    fold: fn() -> Box<dyn Fold>,
}

impl ViewSpec {
    /// The description of an entity view.
    pub const fn entity<A: Decider, V: EntityView<A>>() -> Self {
        Self {
            name: V::NAME,
            context: A::CONTEXT,
            filters: V::FILTERS,
            fixed: V::FIXED,
            words: V::WORDS,
            sort: V::SORT,
            kind: Kind::of::<A>(),
            revision: V::REVISION,
            schema: SchemaGenerator::subschema_for::<V>,
            fold: || Box::new(EachFold::<Entity<A, V>>::default()),
        }
    }

    /// The description of a table projection.
    pub const fn table<T: TableView>() -> Self {
        Self {
            name: T::NAME,
            context: T::Of::CONTEXT,
            filters: T::FILTERS,
            fixed: &[],
            words: None,
            sort: T::SORT,
            kind: Kind::of::<T::Of>(),
            revision: T::REVISION,
            schema: SchemaGenerator::subschema_for::<T>,
            fold: || Box::new(TableFold::<T>::default()),
        }
    }

    /// The description of the rows of all sagas that are tables of steps.
    pub const fn of_tables() -> Self {
        Self {
            name: SagaProgress::NAME,
            context: "checkout",
            filters: &["status"],
            fixed: &[],
            words: None,
            // It changes as a saga goes on. Only the radar lists it, a first page at a time.
            sort: Sort::Latest("due"),
            kind: Kind {
                context: "checkout",
                kind: Some(ANY_TABLE),
            },
            revision: SagaProgress::REVISION,
            schema: SchemaGenerator::subschema_for::<SagaProgress>,
            fold: || Box::new(EachFold::<OfTables>::default()),
        }
    }

    /// The stream that it is made of.
    pub fn stream(&self) -> String {
        self.context.to_ascii_uppercase()
    }

    /// A row that begins anew, from the first event of its aggregate on.
    pub fn replay(&self) -> Replay {
        Replay::new(self.fold())
    }

    /// Are rows left of an older fold, where the table stands at `position` and its oldest rows may be of
    /// `revision`?
    pub(crate) fn outdates(&self, position: u64, revision: u32) -> bool {
        position > 0 && revision < self.revision
    }

    /// The rows that these events make of an empty table, by id, as JSON.
    ///
    /// # Errors
    /// One of the events can't be taken in.
    pub fn rows_of(&self, events: &[RecordedEvent]) -> Result<Vec<(String, String)>, FoldError> {
        let mut fold = self.fold();
        for event in events {
            loop {
                let missing = fold.missing(event);
                if missing.is_empty() {
                    break;
                }
                for id in missing {
                    fold.put_absent(&id);
                }
            }
            fold.apply(event)?;
        }
        let rows = fold.changed()?.into_iter();
        Ok(rows.map(|row| (row.view_id, row.payload)).collect())
    }

    /// An empty fold.
    pub(crate) fn fold(&self) -> Box<dyn Fold> {
        (self.fold)()
    }
}

impl fmt::Debug for ViewSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ViewSpec({}.{})", self.context, self.name)
    }
}

/// The table of an entity view as postgres-es reads it, over a pool of that context's database.
pub fn repository<A: Decider, V: EntityView<A>>(
    pool: sqlx::PgPool,
) -> PostgresViewRepository<V, A> {
    PostgresViewRepository::new(V::NAME, pool)
}
