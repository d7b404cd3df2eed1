//! Rows out: by id, as lists, and not before they have come far enough.
//!
//! ```text
//!   get            those that come at the same time together     together     one statement
//!   list,
//!   belonging      position and rows from one SQL snapshot       connection   a few, pipelined
//!   wait_for       LISTEN, then read the position, then wait     listen       one for positions
//! ```
//!
//! Each database has a few connections that many requests share: tokio-postgres pipelines them, so
//! none waits for the way there and back of another. Postgres works off what comes over one of them in
//! order: a statement that takes long holds up those behind it. So each finds its rows by an index.
//! They come back by themselves after Postgres was away.

mod config;
mod connection;
mod error;
mod list;
mod listen;
mod many;
mod row;
mod together;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use config::{CONNECTIONS, Settings};
pub(crate) use connection::STATEMENT_TIMEOUT_MS;
pub use error::ReadError;
pub use list::{After, Filter, How, Page, Part};
pub use many::Belonging;
pub use row::{Found, ListedRow, Row, ViewStatus};

use crate::login::Login;
use crate::view::ViewSpec;
use connection::Connections;
use listen::Positions;
use together::Gets;

/// The channel on which projectors say `<view>:<position>`.
pub(crate) const CHANNEL: &str = "millrace_view";

/// Pause before a position is read again that was announced, but isn't there: the view was set
/// back, for a rebuild.
const SET_BACK_PAUSE: Duration = Duration::from_millis(50);

/// The read models of some contexts. Cheap to clone; its connections end with the last clone.
#[derive(Clone)]
pub struct Reader {
    databases: Arc<BTreeMap<&'static str, Database>>,
}

struct Database {
    connections: Arc<Connections>,
    gets: Gets,
    positions: Positions,
    /// One for each read that may wait. Of this database alone: where one view stands still, the others'
    /// readers wait all the same.
    waiting: Semaphore,
}

/// What waiting came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The view has come that far.
    Reached,
    /// It had not when the time was up.
    Behind,
}

impl Reader {
    /// Begins to connect, to the database of each context that has a login. Unknown contexts are
    /// left out.
    pub fn open(logins: &BTreeMap<String, Login>, settings: Settings) -> Self {
        let contexts = crate::contexts().into_iter();
        let databases = contexts.filter_map(|context| {
            let login = logins.get(context)?;
            let connections = Arc::new(Connections::open(context, login, settings));
            let database = Database {
                gets: Gets::new(context, &connections, settings),
                connections,
                positions: Positions::listen(context, login),
                waiting: Semaphore::new(settings.reads_waiting_max),
            };
            Some((context, database))
        });
        Self {
            databases: Arc::new(databases.collect()),
        }
    }

    /// The row of `view` with this id, if it is there, and how far the view has come.
    ///
    /// # Errors
    /// The database is away.
    pub async fn get(&self, view: &'static ViewSpec, id: &str) -> Result<Found, ReadError> {
        self.database(view)?.gets.get(view, id).await
    }

    /// A part of the rows of `view` that match every filter.
    ///
    /// # Errors
    /// The database is away; or a filter is none of the view's.
    pub async fn list(
        &self,
        view: &'static ViewSpec,
        filters: &[Filter],
        part: Part<'_>,
    ) -> Result<Page, ReadError> {
        let query = list::Query::new(view, filters, part)?;
        self.database(view)?.connections.list(view, &query).await
    }

    /// The rows of `view` whose `column` is one of `keys`, at most `each` for one of them: one statement
    /// for all.
    ///
    /// # Errors
    /// The database is away; or the column is none of the view's.
    pub async fn belonging(
        &self,
        view: &'static ViewSpec,
        (column, keys): (&'static str, &[String]),
        each: usize,
    ) -> Result<Belonging, ReadError> {
        let sql = many::sql(view, column, each)?;
        let connections = &self.database(view)?.connections;
        connections.belonging(view, &sql, keys).await
    }

    /// How far `view` has come.
    ///
    /// # Errors
    /// The database is away.
    pub async fn position(&self, view: &'static ViewSpec) -> Result<u64, ReadError> {
        let statuses = self.database(view)?.connections.statuses().await?;
        let of_view = statuses.iter().find(|status| status.view == view.name);
        of_view
            .map(|status| status.position)
            .ok_or(ReadError::NotProvisioned { view: view.name })
    }

    /// Where every view of `context` stands.
    ///
    /// # Errors
    /// The database is away.
    pub async fn statuses(&self, context: &str) -> Result<Vec<ViewStatus>, ReadError> {
        let database = self.databases.get(context);
        let database = database.ok_or_else(|| ReadError::NoDatabase {
            context: context.to_owned(),
        })?;
        database.connections.statuses().await
    }

    /// The contexts that can be read.
    pub fn contexts(&self) -> impl Iterator<Item = &'static str> {
        self.databases.keys().copied()
    }

    /// Waits until `view` has taken in event `sequence` of its stream, at most for `timeout`.
    ///
    /// Nothing is polled: the projector's commit wakes it.
    ///
    /// # Errors
    /// The view's database is not among ours. A database that is away is waited for.
    pub async fn wait_for(
        &self,
        view: &'static ViewSpec,
        sequence: u64,
        timeout: Duration,
    ) -> Result<Waited, ReadError> {
        let positions = &self.database(view)?.positions;
        let reached = tokio::time::timeout(timeout, positions.reach(view.name, sequence));
        Ok(reached.await.unwrap_or(Waited::Behind))
    }

    /// As [`Reader::get`], from a snapshot that holds event `sequence`; what is there, if the view
    /// hasn't come that far in time. [`Found::position`] tells.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub async fn get_at(
        &self,
        view: &'static ViewSpec,
        id: &str,
        (sequence, timeout): (u64, Duration),
    ) -> Result<Found, ReadError> {
        let read = || self.get(view, id);
        self.at(view, (sequence, timeout), read, |found| found.position)
            .await
    }

    /// As [`Reader::list`], from a snapshot that holds event `sequence`; what is there, if the view
    /// hasn't come that far in time. [`Page::position`] tells.
    ///
    /// # Errors
    /// As [`Reader::list`].
    pub async fn list_at(
        &self,
        view: &'static ViewSpec,
        filters: &[Filter],
        part: Part<'_>,
        (sequence, timeout): (u64, Duration),
    ) -> Result<Page, ReadError> {
        let read = || self.list(view, filters, part);
        self.at(view, (sequence, timeout), read, |page| page.position)
            .await
    }

    /// As [`Reader::belonging`], from a snapshot that holds event `sequence`; what is there, if the view
    /// hasn't come that far in time. [`Belonging::position`] tells.
    ///
    /// # Errors
    /// As [`Reader::belonging`].
    pub async fn belonging_at(
        &self,
        view: &'static ViewSpec,
        of: (&'static str, &[String]),
        each: usize,
        (sequence, timeout): (u64, Duration),
    ) -> Result<Belonging, ReadError> {
        let read = || self.belonging(view, of, each);
        self.at(view, (sequence, timeout), read, |found| found.position)
            .await
    }

    /// Reads until the snapshot is new enough, or the time is up. When too many wait already, the time
    /// is up at once.
    async fn at<T, F>(
        &self,
        view: &'static ViewSpec,
        (sequence, timeout): (u64, Duration),
        read: impl Fn() -> F,
        position: impl Fn(&T) -> u64,
    ) -> Result<T, ReadError>
    where
        F: Future<Output = Result<T, ReadError>>,
    {
        let deadline = Instant::now() + timeout;
        let database = self.database(view)?;
        let mut place = None;
        loop {
            let announced = sequence > 0 && database.positions.announced(view.name) >= sequence;
            let found = read().await?;
            if position(&found) >= sequence || Instant::now() >= deadline {
                return Ok(found);
            }
            if place.is_none() {
                place = database.waiting.try_acquire().ok();
                if place.is_none() {
                    metrics::counter!("reads_not_waited_for_total").increment(1);
                    return Ok(found);
                }
            }
            if announced {
                // What was announced is committed: the view was set back since.
                tokio::time::sleep_until(deadline.min(Instant::now() + SET_BACK_PAUSE)).await;
            } else {
                let left = deadline.saturating_duration_since(Instant::now());
                self.wait_for(view, sequence, left).await?;
            }
        }
    }

    fn database(&self, view: &ViewSpec) -> Result<&Database, ReadError> {
        let database = self.databases.get(view.context);
        database.ok_or_else(|| ReadError::NoDatabase {
            context: view.context.to_owned(),
        })
    }
}
