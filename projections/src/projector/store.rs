//! The statements of a projector.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::config::{Scope, Settings};
use crate::fold::StoredRow;
use crate::login::{BY_INDEX, Driver, Login, OpenError, driven, in_time};
use crate::read::CHANNEL;
use crate::view::ViewSpec;

/// Longest that the server may work on one statement, in milliseconds.
pub(crate) const STATEMENT_TIMEOUT_MS: u32 = 30_000;

/// Longest that its answer is waited for: as long as it may work on it, and the way.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(STATEMENT_TIMEOUT_MS as u64 + 5_000);

/// Longest that a statement waits for what somebody else holds in the live tables, in milliseconds; those of the
/// other views wait behind it. Longer than a migration waits for a table, which lets nobody past it meanwhile.
const LOCK_TIMEOUT_MS: u32 = 3_000;

/// In the place of a notice.
const SAYS_NOTHING: &str = "null";

/// Longest cause that a position row keeps, in characters.
const CAUSE_LENGTH_MAX: usize = 2_000;

/// Where a view stands, and what proves that the log is still the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// The stream sequence; 0 = before the first event.
    pub(super) position: u64,
    /// The event there.
    pub(super) event_id: Option<Uuid>,
    /// When the stream was made.
    pub(super) stream_created_at: Option<DateTime<Utc>>,
    /// Which table, by Postgres's own number: another one under the same name was put in its place.
    pub(super) table: u32,
    /// It is written down that the view has stopped.
    pub(super) stopped: bool,
}

/// Which folds have made a view's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Revisions {
    /// The one that all of them are made by at least.
    pub(super) rows: u32,
    /// The newest that has written one.
    pub(super) writer: u32,
}

/// A connection with its statements prepared, one set a view.
pub(super) struct Store {
    client: Client,
    driver: Driver,
    /// How many have come.
    answers: AtomicUsize,
    mark: Statement,
    failed: Statement,
    found_again: Statement,
    /// Does anybody wait for these tables?
    live: bool,
}

/// The statements of one view's table.
#[derive(Clone)]
pub(super) struct TableStatements {
    load: Statement,
    commit: Statement,
    /// The same, and nobody is told of it.
    commit_untold: Statement,
}

/// What the fence said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    /// Rows and position are in.
    Done,
    /// Somebody else has moved the view: nothing of ours is in.
    FenceLost,
}

impl Store {
    /// Connects and prepares.
    pub(super) async fn open(login: &Login, how: (Settings, Scope)) -> Result<Self, OpenError> {
        in_time(Box::pin(Self::begin(login, how))).await
    }

    async fn begin(login: &Login, (settings, scope): (Settings, Scope)) -> Result<Self, OpenError> {
        let mut config = login.config("millrace projector");
        let sync = if settings.sync_commit { "on" } else { "off" };
        let live = scope.schema == Scope::LIVE.schema;
        // A table that is not live has nobody beside it who would wait.
        let held = if live { LOCK_TIMEOUT_MS } else { 0 };
        config.options(format!(
            "-c synchronous_commit={sync} -c statement_timeout={STATEMENT_TIMEOUT_MS} \
             -c lock_timeout={held} {BY_INDEX} -c plan_cache_mode=force_generic_plan -c search_path={}",
            scope.schema
        ));
        let (client, connection) = login.open(&config).await?;
        let driver = driven(connection);
        let (mark, failed, found_again) = tokio::try_join!(
            client.prepare(
                "select position, event_id, stream_created_at, to_regclass($1)::oid, revision, written_by, \
                 last_error is not null from view_position where view = $1 and to_regclass($1) is not null"
            ),
            client.prepare(
                "update view_position set failed_at = now(), failed_position = $3, \
                 last_error = $4 where view = $1 and position = $2"
            ),
            client.prepare(
                "update view_position set failed_at = null, failed_position = null, last_error = null \
                 where view = $1 and position = $2 and failed_position <= position"
            ),
        )?;
        Ok(Self {
            client,
            driver,
            answers: AtomicUsize::new(0),
            mark,
            failed,
            found_again,
            live,
        })
    }

    /// What a statement comes to. Where no answer comes, to those before it neither, the connection is given
    /// up, and the statement hears of that.
    async fn answer<T>(
        &self,
        statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, tokio_postgres::Error> {
        let mut statement = pin!(statement);
        loop {
            let before = self.answers.load(Ordering::Relaxed);
            if let Ok(answer) = timeout(ANSWER_TIMEOUT, &mut statement).await {
                self.answers.fetch_add(1, Ordering::Relaxed);
                return answer;
            }
            if self.answers.load(Ordering::Relaxed) == before {
                self.driver.abort();
                return statement.await;
            }
        }
    }

    /// Prepares the statements of one table.
    pub(super) async fn table(
        &self,
        view: &ViewSpec,
    ) -> Result<TableStatements, tokio_postgres::Error> {
        let table = view.name;
        let load = format!(
            "select view_id, version, payload::text from {table} where view_id = any($1::text[])"
        );
        let said = if self.live {
            format!("pg_notify('{CHANNEL}', '{table}:' || $2::bigint)")
        } else {
            SAYS_NOTHING.to_owned()
        };
        let revision = view.revision;
        let commit = |said: &str| {
            format!(
                "with moved as (update view_position set position = $2, event_id = $3, \
             stream_created_at = $4, updated_at = now(), failed_at = null, failed_position = null, \
             last_error = null, written_by = {revision}, \
             revision = case position when 0 then {revision} else revision end \
             where view = '{table}' and position = $1 and written_by <= {revision} \
             and to_regclass('{table}')::oid = $5 returning view), \
             written as (insert into {table} as row (view_id, version, payload) \
             select new.view_id, new.version, new.payload::json from moved, \
             unnest($6::text[], $7::bigint[], $8::text[]) as new (view_id, version, payload) \
             on conflict (view_id) do update \
             set version = excluded.version, payload = excluded.payload \
             where excluded.version > row.version) \
             select {said} from moved"
            )
        };
        let (told, untold) = (commit(&said), commit(SAYS_NOTHING));
        let prepared =
            async { tokio::try_join!(self.client.prepare(&load), self.client.prepare(&told)) };
        let (load, commit) = self.answer(prepared).await?;
        // Only then: if somebody holds the table, that is waited for once.
        let commit_untold = self.answer(self.client.prepare(&untold)).await?;
        Ok(TableStatements {
            load,
            commit,
            commit_untold,
        })
    }

    /// Where `view` stands, and whose its rows are; none when it was never provisioned.
    pub(super) async fn mark(
        &self,
        view: &str,
    ) -> Result<Option<(Mark, Revisions)>, tokio_postgres::Error> {
        let values: [&(dyn ToSql + Sync); 1] = [&view];
        let row = self
            .answer(self.client.query_opt(&self.mark, &values))
            .await?;
        let Some(row) = row else { return Ok(None) };
        let position: i64 = row.try_get(0)?;
        let revision = |column| {
            let number: i32 = row.try_get(column)?;
            Ok(u32::try_from(number).unwrap_or_default())
        };
        let mark = Mark {
            position: u64::try_from(position).unwrap_or_default(),
            event_id: row.try_get(1)?,
            stream_created_at: row.try_get(2)?,
            table: row.try_get(3)?,
            stopped: row.try_get(6)?,
        };
        let revisions = Revisions {
            rows: revision(4)?,
            writer: revision(5)?,
        };
        Ok(Some((mark, revisions)))
    }

    /// The rows with these ids, as far as they are there.
    pub(super) async fn load(
        &self,
        table: &TableStatements,
        ids: &[String],
    ) -> Result<Vec<StoredRow>, tokio_postgres::Error> {
        let values: [&(dyn ToSql + Sync); 1] = [&ids];
        let rows = self.answer(self.client.query(&table.load, &values)).await?;
        rows.iter()
            .map(|row| {
                Ok(StoredRow {
                    view_id: row.try_get(0)?,
                    version: row.try_get(1)?,
                    payload: row.try_get(2)?,
                })
            })
            .collect()
    }

    /// Moves a view from `old` to `new` and writes its rows: one transaction, the fence first. It is one
    /// statement, so that it costs one way to the server and back, and those of several views can be
    /// under way at the same time.
    pub(super) async fn commit(
        &self,
        table: &TableStatements,
        (old, new): (&Mark, &Mark),
        rows: &[StoredRow],
    ) -> Result<Commit, tokio_postgres::Error> {
        let ids: Vec<&str> = rows.iter().map(|row| row.view_id.as_str()).collect();
        let versions: Vec<i64> = rows.iter().map(|row| row.version).collect();
        let payloads: Vec<&str> = rows.iter().map(|row| row.payload.as_str()).collect();
        let (from, to) = (sql_position(old.position), sql_position(new.position));
        let values: [&(dyn ToSql + Sync); 8] = [
            &from,
            &to,
            &new.event_id,
            &new.stream_created_at,
            &old.table,
            &ids,
            &versions,
            &payloads,
        ];
        let moved = self.answer(self.client.execute(&table.commit, &values));
        let moved = match moved.await {
            // A row that is too large, or no room for another notice: the server has one queue for all of its
            // databases. Readers look by themselves as well.
            Err(error) if self.live && error.code() == Some(&SqlState::PROGRAM_LIMIT_EXCEEDED) => {
                let untold = self.client.execute(&table.commit_untold, &values);
                let moved = self.answer(untold).await?;
                tracing::warn!(%error, "nobody could be told of a commit");
                moved
            }
            moved => moved?,
        };
        Ok(match moved {
            0 => Commit::FenceLost,
            _ => Commit::Done,
        })
    }

    /// Writes down that `view` has stopped; not if somebody else has moved it meanwhile.
    pub(super) async fn record_failure(
        &self,
        view: &str,
        at: u64,
        (failed_position, cause): (u64, &str),
    ) -> Result<(), tokio_postgres::Error> {
        // Text in Postgres holds no NUL.
        let cause: String = cause
            .chars()
            .filter(|c| *c != '\0')
            .take(CAUSE_LENGTH_MAX)
            .collect();
        let position = sql_position(at);
        let failed = sql_position(failed_position);
        let values: [&(dyn ToSql + Sync); 4] = [&view, &position, &failed, &cause];
        self.answer(self.client.execute(&self.failed, &values))
            .await?;
        Ok(())
    }

    /// Takes back that `view` has stopped, which has found its own event in the log again; not if it can't take
    /// in the one behind it.
    pub(super) async fn take_back_failure(
        &self,
        view: &str,
        at: u64,
    ) -> Result<(), tokio_postgres::Error> {
        let position = sql_position(at);
        let values: [&(dyn ToSql + Sync); 2] = [&view, &position];
        self.answer(self.client.execute(&self.found_again, &values))
            .await?;
        Ok(())
    }
}

/// Was it waited for in vain that somebody else lets go of a table, or of a row?
pub(super) fn is_held(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// A stream sequence as `bigint`. A stream with more events than that can't exist.
fn sql_position(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}
