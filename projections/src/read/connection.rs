//! A few connections to one database that all requests share.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use streams::chain;
use tokio::sync::{RwLock, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::config::Settings;
use super::error::ReadError;
use super::list::{Page, Query};
use super::many::Belonging;
use super::row::{Found, JsonText, ListedRow, Row, ViewStatus, unsigned};
use crate::login::{BY_INDEX, Driver, Login, OpenError, driven, in_time};
use crate::view::ViewSpec;

/// Longest that one look at the database may take.
pub(super) const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest that the server may work on one statement, in milliseconds.
pub(crate) const STATEMENT_TIMEOUT_MS: u32 = 4_000;

/// How long a request waits for a connection while there is none.
const CONNECTION_WAIT: Duration = Duration::from_secs(1);

/// Pause after the first failure to connect, doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(50);

/// Longest pause between tries to connect. There is no last try.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Where the views of a database stand.
const STATUSES: &str = "select view, stream, position, updated_at, failed_position, last_error, revision, \
                        extract(epoch from now() - updated_at)::float8 from view_position order by view";

/// Is the connection gone, or about to go: the server was told to end it (SQLSTATE 57P01 and its
/// like)?
fn is_lost(error: &tokio_postgres::Error) -> bool {
    let ended = [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
    ];
    error.is_closed() || error.code().is_some_and(|code| ended.contains(code))
}

/// The connections to the database of one context.
pub(super) struct Connections {
    context: &'static str,
    slots: Vec<Slot>,
    next: AtomicUsize,
}

/// One connection, made anew whenever it is lost.
struct Slot {
    current: watch::Receiver<Option<Arc<Prepared>>>,
    keeper: JoinHandle<()>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// A connection and the statements that it has prepared.
struct Prepared {
    client: Client,
    /// Ends the connection.
    driver: AbortHandle,
    /// How many answers have come over it.
    answers: AtomicUsize,
    gets: HashMap<&'static str, Statement>,
    statuses: Statement,
    lists: RwLock<HashMap<String, Statement>>,
}

impl Connections {
    /// Begins to connect.
    pub(super) fn open(context: &'static str, login: &Login, settings: Settings) -> Self {
        let slots = (0..settings.read_connections.max(1)).map(|_| {
            let (sender, current) = watch::channel(None);
            let keeper = tokio::spawn(keep(context, login.clone(), sender));
            Slot { current, keeper }
        });
        Self {
            context,
            slots: slots.collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// The rows of `view` with these ids, one answer for each in their order.
    pub(super) async fn get(
        &self,
        view: &'static ViewSpec,
        ids: &[&str],
    ) -> Result<Vec<Found>, ReadError> {
        let rows = self
            .ask(|prepared| async move {
                let Some(statement) = prepared.gets.get(view.name) else {
                    return Ok(Vec::new());
                };
                prepared.client.query(statement, &[&ids]).await
            })
            .await?;
        if rows.len() != ids.len() {
            return Err(ReadError::NotProvisioned { view: view.name });
        }
        let found = |row: &tokio_postgres::Row| {
            let version: Option<i64> = row.try_get(1)?;
            let payload: Option<JsonText> = row.try_get(2)?;
            Ok(Found {
                position: unsigned(row.try_get(0)?),
                row: version.zip(payload).map(|(version, payload)| Row {
                    version: unsigned(version),
                    payload: payload.0,
                }),
            })
        };
        let found: Result<_, tokio_postgres::Error> = rows.iter().map(found).collect();
        found.map_err(|source| self.refused(source))
    }

    pub(super) async fn list(
        &self,
        view: &'static ViewSpec,
        query: &Query,
    ) -> Result<Page, ReadError> {
        let rows = self
            .ask(|prepared| async move {
                let statement = prepared.list(&query.sql).await?;
                let texts = query.texts.iter().map(|text| text as &(dyn ToSql + Sync));
                let rows: &(dyn ToSql + Sync) = &query.rows;
                let values: Vec<_> = texts.chain([rows]).collect();
                prepared.client.query(&statement, &values).await
            })
            .await?;
        let refused = |source| self.refused(source);
        let position = self.position(view, &rows)?;
        let mut listed = Vec::with_capacity(rows.len());
        for row in &rows {
            // No row at all comes as one row of nulls beside the position.
            let Some(view_id) = row.try_get(1).map_err(refused)? else {
                continue;
            };
            let payload: JsonText = row.try_get(4).map_err(refused)?;
            listed.push(ListedRow {
                view_id,
                sort: row.try_get(2).map_err(refused)?,
                version: unsigned(row.try_get(3).map_err(refused)?),
                payload: payload.0,
            });
        }
        Ok(Page::of(position, listed, query.limit))
    }

    pub(super) async fn belonging(
        &self,
        view: &'static ViewSpec,
        sql: &str,
        keys: &[String],
    ) -> Result<Belonging, ReadError> {
        let rows = self
            .ask(|prepared| async move {
                let statement = prepared.list(sql).await?;
                prepared.client.query(&statement, &[&keys]).await
            })
            .await?;
        let refused = |source| self.refused(source);
        let position = self.position(view, &rows)?;
        let mut belonging = Vec::with_capacity(rows.len());
        for row in &rows {
            // As in a list.
            let Some(key) = row.try_get(1).map_err(refused)? else {
                continue;
            };
            let payload: JsonText = row.try_get(3).map_err(refused)?;
            let version = unsigned(row.try_get(2).map_err(refused)?);
            let payload = payload.0;
            belonging.push((key, Row { version, payload }));
        }
        Ok(Belonging {
            position,
            rows: belonging,
        })
    }

    /// How far the view has come: it stands beside every row, and beside nulls where there is none.
    fn position(
        &self,
        view: &'static ViewSpec,
        rows: &[tokio_postgres::Row],
    ) -> Result<u64, ReadError> {
        let first = rows.first();
        let first = first.ok_or(ReadError::NotProvisioned { view: view.name })?;
        let position: i64 = first.try_get(0).map_err(|source| self.refused(source))?;
        Ok(unsigned(position))
    }

    /// Of those that this program has. A newer one may have left others behind, or bring them just now.
    pub(super) async fn statuses(&self) -> Result<Vec<ViewStatus>, ReadError> {
        let rows = self
            .ask(|prepared| async move { prepared.client.query(&prepared.statuses, &[]).await })
            .await?;
        let status = |row: &tokio_postgres::Row| {
            Ok(ViewStatus {
                view: row.try_get(0)?,
                stream: row.try_get(1)?,
                position: unsigned(row.try_get(2)?),
                updated_at: row.try_get(3)?,
                failed_position: row.try_get::<_, Option<i64>>(4)?.map(unsigned),
                last_error: row.try_get(5)?,
                revision: u32::try_from(row.try_get::<_, i32>(6)?).unwrap_or_default(),
                still: Duration::try_from_secs_f64(row.try_get(7)?).unwrap_or_default(),
            })
        };
        let statuses: Result<Vec<_>, tokio_postgres::Error> = rows.iter().map(status).collect();
        let mut statuses = statuses.map_err(|source| self.refused(source))?;
        statuses.retain(|status| crate::view(&status.view).is_some());
        Ok(statuses)
    }

    /// Asks over one of the connections; over another one when that is lost meanwhile. Reading
    /// twice is harmless.
    async fn ask<T, F>(&self, question: impl Fn(Arc<Prepared>) -> F) -> Result<T, ReadError>
    where
        F: Future<Output = Result<T, tokio_postgres::Error>>,
    {
        for _ in 0..=self.slots.len() {
            let prepared = self.connection().await?;
            let before = prepared.answers.load(Ordering::Relaxed);
            let answer = timeout(QUERY_TIMEOUT, question(Arc::clone(&prepared))).await;
            if answer.is_ok() {
                prepared.answers.fetch_add(1, Ordering::Relaxed);
            }
            match answer {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if prepared.client.is_closed() || is_lost(&error) => {}
                Ok(Err(error)) => return Err(self.refused(error)),
                Err(_late) => {
                    // Where nobody was answered nobody may ever be: the next who ask get another one.
                    if prepared.answers.load(Ordering::Relaxed) == before {
                        prepared.driver.abort();
                    }
                    break;
                }
            }
        }
        Err(self.away())
    }

    /// One of the open connections, in turn; waits a moment while there is none.
    async fn connection(&self) -> Result<Arc<Prepared>, ReadError> {
        if let Some(open) = self.open_one() {
            return Ok(open);
        }
        let waits = self.slots.iter().map(|slot| {
            let mut current = slot.current.clone();
            Box::pin(async move {
                // The sender lives as long as the slot.
                let _ = current
                    .wait_for(|open| open.as_ref().is_some_and(usable))
                    .await;
            })
        });
        let any = futures::future::select_all(waits);
        // Whether it was in time shows in what is open now.
        let _ = timeout(CONNECTION_WAIT, any).await;
        self.open_one().ok_or_else(|| self.away())
    }

    fn open_one(&self) -> Option<Arc<Prepared>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.slots.len();
        (0..count)
            .filter_map(|step| self.slots.get((turn.wrapping_add(step)) % count))
            .find_map(|slot| {
                slot.current
                    .borrow()
                    .as_ref()
                    .filter(|p| usable(p))
                    .cloned()
            })
    }

    pub(super) fn away(&self) -> ReadError {
        ReadError::Away {
            context: self.context,
        }
    }

    fn refused(&self, source: tokio_postgres::Error) -> ReadError {
        ReadError::Refused {
            context: self.context,
            source: Arc::new(source),
        }
    }
}

fn usable(prepared: &Arc<Prepared>) -> bool {
    !prepared.client.is_closed()
}

impl Prepared {
    async fn list(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(known) = self.lists.read().await.get(sql) {
            return Ok(known.clone());
        }
        let statement = self.client.prepare(sql).await?;
        let mut lists = self.lists.write().await;
        lists.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// Connects, publishes the connection, waits until it is lost, connects again.
async fn keep(context: &'static str, login: Login, current: watch::Sender<Option<Arc<Prepared>>>) {
    let mut pause = RETRY_FIRST;
    loop {
        match in_time(Box::pin(connect(context, &login))).await {
            Ok((prepared, driver)) => {
                pause = RETRY_FIRST;
                current.send_replace(Some(Arc::new(prepared)));
                let ended = driver.await;
                current.send_replace(None);
                tracing::warn!(%login, lost = ended.is_ok(), "connection to Postgres lost");
            }
            Err(error) => {
                let cause = chain(&error);
                tracing::warn!(%login, cause, ?pause, "no connection to Postgres");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(RETRY_MAX);
            }
        }
    }
}

async fn connect(context: &str, login: &Login) -> Result<(Prepared, Driver), OpenError> {
    let mut config = login.config("millrace query-api");
    config.options(format!(
        "-c statement_timeout={STATEMENT_TIMEOUT_MS} -c default_transaction_read_only=on \
         {BY_INDEX}"
    ));
    let (client, connection) = login.open(&config).await?;
    let driver = driven(connection);
    let mut gets = HashMap::new();
    for view in crate::views_of(context) {
        let table = view.name;
        // The inner select keeps Postgres from planning anew for every number of ids.
        let sql = format!(
            "select p.position, r.version, r.payload from view_position p \
             cross join unnest((select $1::text[])) with ordinality as k (id, n) \
             left join {table} r on r.view_id = k.id where p.view = '{table}' order by k.n"
        );
        gets.insert(view.name, client.prepare(&sql).await?);
    }
    let prepared = Prepared {
        statuses: client.prepare(STATUSES).await?,
        client,
        driver: driver.abort_handle(),
        answers: AtomicUsize::new(0),
        gets,
        lists: RwLock::default(),
    };
    Ok((prepared, driver))
}
