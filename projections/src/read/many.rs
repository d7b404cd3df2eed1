//! The rows of many others at once: one statement, however many are asked for.

use super::error::ReadError;
use super::row::Row;
use crate::view::{Sort, ViewSpec};

/// Rows that belong to some keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Belonging {
    /// How far the view had come, in the same snapshot.
    pub position: u64,
    /// Each with its key, in the view's order.
    pub rows: Vec<(String, Row)>,
}

/// The statement for the rows whose `column` is one of `$1`, at most `each` for one of them, the first
/// in the view's order. `column` is
/// `view_id` or one of the view's filters.
pub(super) fn sql(
    view: &'static ViewSpec,
    column: &'static str,
    each: usize,
) -> Result<String, ReadError> {
    let table = view.name;
    if column != "view_id" && !view.filters.contains(&column) {
        return Err(ReadError::UnknownFilter {
            view: table,
            column,
        });
    }
    let (order, outer) = match view.sort {
        Sort::Id => ("view_id".to_owned(), "r.view_id"),
        Sort::Latest(sort) => (
            format!("{sort} desc, view_id desc"),
            "r.sort desc, r.view_id desc",
        ),
    };
    let sort = match view.sort {
        Sort::Id => "null::text",
        Sort::Latest(sort) => sort,
    };
    Ok(format!(
        "select p.position, k.key, r.version, r.payload from view_position p \
         left join (unnest($1::text[]) as k (key) cross join lateral \
         (select view_id, {sort} as sort, version, payload from {table} where {column} = k.key \
         order by {order} limit {each}) r) on true where p.view = '{table}' order by {outer}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_views_own_columns_are_taken() {
        assert!(sql(&crate::PAYMENT_SUMMARY, "order_id", 5).is_ok());
        assert!(sql(&crate::PAYMENT_SUMMARY, "view_id", 5).is_ok());
        let refused = sql(&crate::PAYMENT_SUMMARY, "payload", 5);
        assert!(matches!(refused, Err(ReadError::UnknownFilter { .. })));
    }
}
