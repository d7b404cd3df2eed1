//! What is read.

use std::error::Error;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_postgres::types::{FromSql, Type};

/// A row of an entity view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The aggregate's version.
    pub version: u64,
    /// The JSON as it was written.
    pub payload: String,
}

/// The answer to a look at one id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How far the view had come, in the same snapshot.
    pub position: u64,
    /// The row, if there is one.
    pub row: Option<Row>,
}

/// A row of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRow {
    /// Its id.
    pub view_id: String,
    /// Its place in the list's order, if that isn't the id.
    pub sort: Option<String>,
    /// The aggregate's version.
    pub version: u64,
    /// The JSON as it was written.
    pub payload: String,
}

/// Where a view stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewStatus {
    /// Which view.
    pub view: String,
    /// Its stream.
    pub stream: String,
    /// How far it has come.
    pub position: u64,
    /// When it came there, by Postgres's clock.
    pub updated_at: DateTime<Utc>,
    /// How long it has been there, which is the same by every clock.
    pub still: Duration,
    /// The event at which it has stopped.
    pub failed_position: Option<u64>,
    /// Why it has stopped.
    pub last_error: Option<String>,
    /// The oldest fold that its rows may be from.
    pub revision: u32,
}

impl ViewStatus {
    /// Are rows left that an older fold has made than this program's?
    pub fn is_outdated(&self) -> bool {
        crate::view(&self.view).is_some_and(|view| view.outdates(self.position, self.revision))
    }
}

/// A `json` column as text. Postgres sends it as it was stored, so nothing is parsed.
pub(super) struct JsonText(pub(super) String);

impl<'a> FromSql<'a> for JsonText {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(std::str::from_utf8(raw)?.to_owned()))
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::JSON
    }
}

/// A `bigint` that is never negative.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
