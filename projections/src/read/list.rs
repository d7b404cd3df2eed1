//! A page of a list, as one statement: the rows and how far the view had come.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::error::ReadError;
use super::row::ListedRow;
use crate::view::{Sort, ViewSpec};

/// Only rows whose column is so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filter {
    /// One of [`ViewSpec::filters`]; for a range the column of [`ViewSpec::sort`], for words
    /// [`ViewSpec::words`].
    pub column: &'static str,
    /// How the column must compare.
    pub how: How,
    /// With what.
    pub value: String,
}

/// How a column must compare with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It is the value.
    Is,
    /// It is the value or comes later.
    From,
    /// It comes earlier than the value.
    Before,
    /// It holds the words, as a web search would have them: `green tea -bag "first flush"`.
    Holds,
}

/// Which part of a list, in which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// Behind this row; none = from the beginning.
    pub after: Option<&'a After>,
    /// At most so many rows.
    pub limit: usize,
    /// The view's order turned round.
    pub reversed: bool,
}

impl Filter {
    /// `column` is `value`.
    pub fn new(column: &'static str, value: impl Into<String>) -> Self {
        Self::new_how(column, How::Is, value)
    }

    /// `column` compares so with `value`.
    pub fn new_how(column: &'static str, how: How, value: impl Into<String>) -> Self {
        Self {
            column,
            how,
            value: value.into(),
        }
    }

    /// Has the view such a column for this?
    fn is_of(&self, view: &ViewSpec) -> bool {
        match self.how {
            How::Is => view.filters.contains(&self.column),
            How::From | How::Before => view.sort == Sort::Latest(self.column),
            How::Holds => view.words == Some(self.column),
        }
    }

    /// The condition, with the value as parameter `number`.
    fn sql(&self, number: usize) -> String {
        let column = self.column;
        match self.how {
            How::Is => format!("{column} = ${number}"),
            How::From => format!("{column} >= ${number}"),
            How::Before => format!("{column} < ${number}"),
            How::Holds => format!("{column} @@ websearch_to_tsquery('simple', ${number})"),
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
    /// The last parameter: a row more than the page has.
    pub(super) rows: i64,
    pub(super) limit: usize,
}

impl Query {
    /// The text depends only on which filters there are, in which direction, and whether it is the
    /// first page, so there are few of them and each is prepared once a connection.
    pub(super) fn new(
        view: &'static ViewSpec,
        filters: &[Filter],
        part: Part<'_>,
    ) -> Result<Self, ReadError> {
        let mut texts = Vec::new();
        let mut matching = Vec::new();
        for filter in filters {
            if !filter.is_of(view) {
                return Err(ReadError::UnknownFilter {
                    view: view.name,
                    column: filter.column,
                });
            }
            texts.push(filter.value.clone());
            matching.push(filter.sql(texts.len()));
        }
        if let Some(after) = part.after {
            matching.push(behind((view.sort, part.reversed), after, &mut texts));
        }
        let mut matches = String::new();
        if !matching.is_empty() {
            // Writing to a String can't fail.
            let _ = write!(matches, "where {}", matching.join(" and "));
        }
        let table = view.name;
        let way = match (view.sort, part.reversed) {
            (Sort::Id, false) | (Sort::Latest(_), true) => "asc",
            (Sort::Id, true) | (Sort::Latest(_), false) => "desc",
        };
        let (sort, order, outer) = match view.sort {
            Sort::Id => (
                "null::text",
                format!("view_id {way}"),
                format!("r.view_id {way}"),
            ),
            Sort::Latest(column) => (
                column,
                format!("{column} {way}, view_id {way}"),
                format!("r.sort {way}, r.view_id {way}"),
            ),
        };
        let sql = format!(
            "select p.position, r.view_id, r.sort, r.version, r.payload from view_position p \
             left join lateral (select view_id, {sort} as sort, version, payload from {table} \
             {matches} order by {order} limit ${}) r on true \
             where p.view = '{table}' order by {outer}",
            texts.len() + 1
        );
        Ok(Self {
            sql,
            texts,
            rows: i64::try_from(part.limit.saturating_add(1)).unwrap_or(i64::MAX),
            limit: part.limit,
        })
    }
}

/// The condition that a row stands behind `after`.
fn behind((sort, reversed): (Sort, bool), after: &After, texts: &mut Vec<String>) -> String {
    match sort {
        Sort::Id => {
            let than = if reversed { "<" } else { ">" };
            texts.push(after.view_id.clone());
            format!("view_id {than} ${}", texts.len())
        }
        Sort::Latest(column) => {
            texts.push(after.sort.clone().unwrap_or_default());
            texts.push(after.view_id.clone());
            let (first, second) = (texts.len() - 1, texts.len());
            let than = if reversed { ">" } else { "<" };
            format!("({column}, view_id) {than} (${first}, ${second})")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(after: Option<&After>) -> Part<'_> {
        Part {
            after,
            limit: 10,
            reversed: false,
        }
    }

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
        let query = Query::new(&crate::ORDER_SUMMARY, &filters, part(Some(&after))).unwrap();
        assert!(!query.sql.contains("drop"));
        assert!(
            query
                .sql
                .contains("where user_id = $1 and status = $2 and (placed_at, view_id) < ($3, $4)")
        );
        assert_eq!(query.texts, [evil, "placed", "2026", "o-1"]);
    }

    /// Every text is prepared, and kept, on every connection: clients choose none of it.
    #[test]
    fn a_page_of_any_size_is_the_same_statement() {
        let text = |limit| {
            let part = Part {
                limit,
                ..part(None)
            };
            let query = Query::new(&crate::ORDER_SUMMARY, &[], part).unwrap();
            assert_eq!(query.rows, i64::try_from(limit).unwrap() + 1);
            query.sql
        };
        assert_eq!(text(1), text(200));
        assert!(text(1).contains("limit $1)"));
    }

    #[test]
    fn only_the_views_own_filters_are_taken() {
        for filter in [
            Filter::new("payload", "x"),
            Filter::new_how("status", How::From, "x"),
            Filter::new_how("status", How::Holds, "x"),
        ] {
            let refused = Query::new(&crate::ORDER_SUMMARY, &[filter], part(None));
            assert!(matches!(refused, Err(ReadError::UnknownFilter { .. })));
        }
    }

    #[test]
    fn a_list_can_be_turned_round_and_cut_at_both_ends() {
        let filters = [
            Filter::new_how("placed_at", How::From, "2025"),
            Filter::new_how("placed_at", How::Before, "2026"),
        ];
        let after = After {
            sort: Some("2025-05".into()),
            view_id: "o-1".into(),
        };
        let turned = Part {
            reversed: true,
            ..part(Some(&after))
        };
        let query = Query::new(&crate::ORDER_SUMMARY, &filters, turned).unwrap();
        let condition = "where placed_at >= $1 and placed_at < $2 \
                         and (placed_at, view_id) > ($3, $4) order by placed_at asc, view_id asc";
        assert!(query.sql.contains(condition), "{}", query.sql);
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
