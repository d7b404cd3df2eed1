//! A page of a list, as one statement: the rows and how far the view had come.

use std::fmt::Write as _;

use super::error::ReadError;
use super::row::ListedRow;
use crate::view::{Sort, ViewSpec};

/// Only rows whose column has this value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filter {
    /// One of [`ViewSpec::filters`].
    pub column: &'static str,
    /// What it must be.
    pub value: String,
}

impl Filter {
    /// `column` is `value`.
    pub fn new(column: &'static str, value: impl Into<String>) -> Self {
        Self {
            column,
            value: value.into(),
        }
    }
}

/// A place in a list: behind this row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// The row's place in the list's order, if that isn't its id.
    pub sort: Option<String>,
    /// The row's id.
    pub view_id: String,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How far the view had come, in the same snapshot.
    pub position: u64,
    /// The rows, in the view's order.
    pub rows: Vec<ListedRow>,
    /// Where the next page begins; none when this is the last.
    pub next: Option<After>,
}

impl Page {
    /// Makes a page of `limit` rows out of one row more than that, if there are so many.
    pub(super) fn of(position: u64, mut rows: Vec<ListedRow>, limit: usize) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|last| After {
            sort: last.sort.clone(),
            view_id: last.view_id.clone(),
        });
        Self {
            position,
            rows,
            next,
        }
    }
}

/// The statement of a page and its parameters, in their order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) sql: String,
    pub(super) texts: Vec<String>,
    pub(super) limit: usize,
}

impl Query {
    /// The text depends only on which filters there are and whether it is the first page, so there
    /// are few of them and each is prepared once a connection.
    pub(super) fn new(
        view: &'static ViewSpec,
        filters: &[Filter],
        after: Option<&After>,
        limit: usize,
    ) -> Result<Self, ReadError> {
        let mut texts = Vec::new();
        let mut matching = Vec::new();
        for filter in filters {
            if !view.filters.contains(&filter.column) {
                return Err(ReadError::UnknownFilter {
                    view: view.name,
                    column: filter.column,
                });
            }
            texts.push(filter.value.clone());
            matching.push(format!("{} = ${}", filter.column, texts.len()));
        }
        if let Some(after) = after {
            matching.push(behind(view.sort, after, &mut texts));
        }
        let mut matches = String::new();
        if !matching.is_empty() {
            // Writing to a String can't fail.
            let _ = write!(matches, "where {}", matching.join(" and "));
        }
        let table = view.name;
        let (sort, order, outer) = match view.sort {
            Sort::Id => ("null::text", "view_id".to_owned(), "r.view_id"),
            Sort::Latest(column) => (
                column,
                format!("{column} desc, view_id desc"),
                "r.sort desc, r.view_id desc",
            ),
        };
        let sql = format!(
            "select p.position, r.view_id, r.sort, r.version, r.payload from view_position p \
             left join lateral (select view_id, {sort} as sort, version, payload from {table} \
             {matches} order by {order} limit {}) r on true \
             where p.view = '{table}' order by {outer}",
            limit.saturating_add(1)
        );
        Ok(Self { sql, texts, limit })
    }
}

/// The condition that a row stands behind `after`.
fn behind(sort: Sort, after: &After, texts: &mut Vec<String>) -> String {
    match sort {
        Sort::Id => {
            texts.push(after.view_id.clone());
            format!("view_id > ${}", texts.len())
        }
        Sort::Latest(column) => {
            texts.push(after.sort.clone().unwrap_or_default());
            texts.push(after.view_id.clone());
            let (first, second) = (texts.len() - 1, texts.len());
            format!("({column}, view_id) < (${first}, ${second})")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parameters() {
        let evil = "x'; drop table order_summary; --";
        let filters = [
            Filter::new("user_id", evil),
            Filter::new("status", "placed"),
        ];
        let after = After {
            sort: Some("2026".into()),
            view_id: "o-1".into(),
        };
        let query = Query::new(&crate::ORDER_SUMMARY, &filters, Some(&after), 10).unwrap();
        assert!(!query.sql.contains("drop"));
        assert!(
            query
                .sql
                .contains("where user_id = $1 and status = $2 and (placed_at, view_id) < ($3, $4)")
        );
        assert_eq!(query.texts, [evil, "placed", "2026", "o-1"]);
    }

    #[test]
    fn only_the_views_own_filters_are_taken() {
        let filters = [Filter::new("payload", "x")];
        let refused = Query::new(&crate::ORDER_SUMMARY, &filters, None, 10);
        assert!(matches!(refused, Err(ReadError::UnknownFilter { .. })));
    }

    #[test]
    fn a_row_more_than_asked_for_means_that_there_is_a_next_page() {
        let row = |id: &str| ListedRow {
            view_id: id.into(),
            sort: None,
            version: 1,
            payload: String::new(),
        };
        let page = Page::of(7, vec![row("a"), row("b")], 1);
        assert_eq!(page.rows.len(), 1);
        assert_eq!(page.next.map(|next| next.view_id).as_deref(), Some("a"));
        assert_eq!(Page::of(7, vec![row("a")], 1).next, None);
    }
}
