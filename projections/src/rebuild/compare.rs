//! Two tables at the same position, row by row.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio_postgres::Client;

use super::{Rebuild, RebuildError, SHADOW, connect, position};

/// Rows that are read at once of each table.
const PAGE_ROWS: i64 = 1_000;

/// Most examples of each kind of difference.
pub const EXAMPLES_MAX: usize = 5;

/// In what the rebuilt table differs from the live one.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Difference {
    /// Which view.
    pub view: String,
    /// Where both stood in their stream.
    pub position: u64,
    /// Rows of the live table.
    pub live_rows: u64,
    /// Rows of the rebuilt one.
    pub rebuilt_rows: u64,
    /// Rows that only the rebuilt one has.
    pub added: u64,
    /// Rows that only the live one has.
    pub removed: u64,
    /// Rows that are not the same.
    pub changed: u64,
    /// In how many of them each field differs.
    pub fields: BTreeMap<String, u64>,
    /// A few of each.
    pub examples: Vec<Example>,
}

/// A row that differs. What is personal in it is sealed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    /// `added`, `removed` or `changed`.
    pub what: &'static str,
    /// The row's id.
    pub id: String,
    /// The fields that differ, as the live table has them; null = no row.
    pub live: Value,
    /// As the rebuilt one has them.
    pub rebuilt: Value,
}

impl Difference {
    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.added == 0 && self.removed == 0 && self.changed == 0
    }

    fn show(&mut self, what: &'static str, id: &str, live: Value, rebuilt: Value) {
        let shown = self.examples.iter().filter(|example| example.what == what);
        if shown.count() < EXAMPLES_MAX {
            self.examples.push(Example {
                what,
                id: id.to_owned(),
                live,
                rebuilt,
            });
        }
    }

    /// Takes in the next row of either table, or of both.
    fn take(&mut self, live: Option<&Row>, rebuilt: Option<&Row>) {
        self.live_rows += u64::from(live.is_some());
        self.rebuilt_rows += u64::from(rebuilt.is_some());
        match (live, rebuilt) {
            (Some(live), Some(rebuilt)) => self.both(live, rebuilt),
            (Some(live), None) => {
                self.removed += 1;
                self.show("removed", &live.id, live.content(), Value::Null);
            }
            (None, Some(rebuilt)) => {
                self.added += 1;
                self.show("added", &rebuilt.id, Value::Null, rebuilt.content());
            }
            (None, None) => {}
        }
    }

    fn both(&mut self, live: &Row, rebuilt: &Row) {
        if live.version == rebuilt.version && live.payload == rebuilt.payload {
            return;
        }
        let (mut one, mut other) = (live.fields(), rebuilt.fields());
        one.retain(|name, value| {
            let same = other.get(name) == Some(value);
            if same {
                other.remove(name);
            }
            !same
        });
        let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return;
        }
        self.changed += 1;
        for name in names {
            *self.fields.entry(name.clone()).or_default() += 1;
        }
        self.show("changed", &live.id, one.into(), other.into());
    }
}

/// A row of one of the tables.
struct Row {
    id: String,
    version: i64,
    payload: String,
}

impl Row {
    fn content(&self) -> Value {
        serde_json::from_str(&self.payload).unwrap_or_else(|_| Value::String(self.payload.clone()))
    }

    /// The payload's fields, and the row's own version, which must say the same.
    fn fields(&self) -> Map<String, Value> {
        let mut fields = match self.content() {
            Value::Object(fields) => fields,
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)) => Map::from_iter([("payload".to_owned(), other)]),
        };
        fields.insert("row version".to_owned(), self.version.into());
        fields
    }
}

/// A table in one snapshot, in the order of its ids, a page at a time.
struct Table<'a> {
    client: &'a Client,
    select: String,
    /// The page, the next row last.
    page: Vec<Row>,
    /// The last id that was read.
    after: String,
    over: bool,
}

impl<'a> Table<'a> {
    fn new(client: &'a Client, schema: &str, view: &str) -> Self {
        Self {
            client,
            select: format!(
                "select view_id, version, payload::text from {schema}.{view} \
                 where view_id > $1 order by view_id limit {PAGE_ROWS}"
            ),
            page: Vec::new(),
            after: String::new(),
            over: false,
        }
    }

    /// Makes sure that the next row is at hand, if there is one.
    async fn look(&mut self) -> Result<(), RebuildError> {
        if !self.page.is_empty() || self.over {
            return Ok(());
        }
        for row in self.client.query(&self.select, &[&self.after]).await? {
            self.page.push(Row {
                id: row.try_get(0)?,
                version: row.try_get(1)?,
                payload: row.try_get(2)?,
            });
        }
        match self.page.last() {
            Some(last) => self.after.clone_from(&last.id),
            None => self.over = true,
        }
        self.page.reverse();
        Ok(())
    }

    fn next_id(&self) -> Option<&str> {
        self.page.last().map(|row| row.id.as_str())
    }
}

impl Rebuild {
    /// Brings the new table to where the live one is, and compares them, each in one snapshot at the
    /// same position. Nobody waits for it.
    ///
    /// # Errors
    /// As [`Rebuild::build`].
    pub async fn compare(&self) -> Result<Difference, RebuildError> {
        const SNAPSHOT: &str = "begin isolation level repeatable read read only";
        let view = self.view;
        let live = connect(&self.login).await?;
        let rebuilt = connect(&self.login).await?;
        live.batch_execute(SNAPSHOT).await?;
        let at = position(&live, "public", view).await?;
        let built = position(&rebuilt, SHADOW, view).await?;
        if built > at {
            return Err(RebuildError::Ahead {
                view: view.name,
                live: at,
                rebuilt: built,
            });
        }
        self.build(at, |_| {}).await?;
        rebuilt.batch_execute(SNAPSHOT).await?;
        let mut tables = (
            Table::new(&live, "public", view.name),
            Table::new(&rebuilt, SHADOW, view.name),
        );
        let mut difference = Difference {
            view: view.name.to_owned(),
            position: at,
            ..Difference::default()
        };
        loop {
            let (live, rebuilt) = (&mut tables.0, &mut tables.1);
            live.look().await?;
            rebuilt.look().await?;
            let (takes_live, takes_rebuilt) = match (live.next_id(), rebuilt.next_id()) {
                (None, None) => break,
                (Some(one), Some(other)) => (one <= other, other <= one),
                (one, other) => (one.is_some(), other.is_some()),
            };
            let one = takes_live.then(|| live.page.pop()).flatten();
            let other = takes_rebuilt.then(|| rebuilt.page.pop()).flatten();
            difference.take(one.as_ref(), other.as_ref());
        }
        // Whoever switches next must not wait for these.
        tables.0.client.batch_execute("rollback").await?;
        tables.1.client.batch_execute("rollback").await?;
        Ok(difference)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(id: &str, version: i64, payload: &Value) -> Row {
        Row {
            id: id.into(),
            version,
            payload: payload.to_string(),
        }
    }

    #[test]
    fn a_difference_names_rows_and_fields() {
        let mut difference = Difference::default();
        let old = row("a", 2, &json!({"status": "placed", "total": 1, "gone": 1}));
        let new = row("a", 3, &json!({"status": "placed", "total": 2, "more": 1}));
        difference.take(Some(&old), Some(&new));
        difference.take(Some(&new), Some(&new));
        difference.take(Some(&old), None);
        for _ in 0..9 {
            difference.take(None, Some(&new));
        }
        assert!(!difference.is_empty());
        assert_eq!(
            (difference.changed, difference.removed, difference.added),
            (1, 1, 9)
        );
        assert_eq!((difference.live_rows, difference.rebuilt_rows), (3, 11));
        let fields: Vec<_> = difference.fields.keys().map(String::as_str).collect();
        assert_eq!(fields, ["gone", "more", "row version", "total"]);
        assert_eq!(difference.examples.len(), 2 + EXAMPLES_MAX);
        assert_eq!(
            difference.examples[0].live,
            json!({"gone": 1, "row version": 2, "total": 1})
        );
    }

    #[test]
    fn the_same_fields_in_another_order_are_the_same() {
        let mut difference = Difference::default();
        let mut other = row("a", 1, &json!({}));
        other.payload = r#"{"b":1,"a":2}"#.into();
        difference.take(Some(&row("a", 1, &json!({"a": 2, "b": 1}))), Some(&other));
        assert!(difference.is_empty());
    }
}
