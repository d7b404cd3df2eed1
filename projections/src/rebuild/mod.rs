//! A view built anew beside the live one, from the whole log and under traffic; compared with it row by
//! row; and put in its place.
//!
//! ```text
//!   schema rebuild    the new table and its position: an ordinary projector fills it, and goes on
//!                     where it stood after a crash
//!   schema public     the live table; its projector notices at its fence when it was switched
//!   schema previous   the table that was live before, for going back
//! ```
//!
//! Tables are made and moved, so it works with the administrator's login, like `provision`. Nothing but
//! rows follows from events here: no mail is sent and no money moves, however often a view is built.

mod compare;
mod error;

use chrono::{DateTime, Utc};
use tokio_postgres::Client;

use crate::ViewSpec;
use crate::login::{Access, Login};
use crate::projector::{Projector, ProjectorError, Scope, Settings};
use crate::read::CHANNEL;

pub use compare::{Difference, EXAMPLES_MAX, Example};
pub use error::RebuildError;

/// Where a view grows that is not live yet.
pub(crate) const SHADOW: &str = "rebuild";

/// Most events in one transaction of a rebuild.
const BATCH_MAX: usize = 2_000;

/// Where a view is that was live before.
const PREVIOUS: &str = "previous";

/// Longest that the switch waits for readers of the table, in milliseconds. Then nothing was changed.
const SWITCH_LOCK_MS: u32 = 5_000;

/// How long Postgres leaves the live view held by a switch of which it hears nothing, in milliseconds: its
/// machine may be gone. Then nothing was changed.
const SWITCH_SILENCE_MS: u32 = 15_000;

/// What tells where a table stands.
const MARK: &str = "view, stream, position, event_id, stream_created_at, revision, written_by";

/// Brings the position table of a schema up to date that an older version has made.
const REVISIONS: &str = "add column if not exists revision integer not null default 1, \
                         add column if not exists written_by integer not null default 1";

/// The columns of a table with what they are made of, to be compared with another's.
const COLUMNS: &str = "select coalesce(string_agg(attname || ' ' || format_type(atttypid, atttypmod) \
                       || coalesce(' ' || pg_get_expr(adbin, adrelid), ''), ', ' order by attname), '') \
                       from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum \
                       where attrelid = to_regclass($1::text) and attnum > 0 and not attisdropped";

/// Which program has built a table: its comment.
const BUILT_BY: &str = "select coalesce(obj_description(to_regclass($1::text), 'pg_class'), '')";

/// What advisory locks of rebuilds have in common; the other half is the view's.
const LOCK_SPACE: i32 = 64_557_224;

/// A view that is being built anew. Only one at a time may work on a view.
pub struct Rebuild {
    view: &'static ViewSpec,
    log: streams::Connection,
    login: Login,
    client: Client,
}

/// How far the two tables have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The live one.
    pub live: u64,
    /// The new one.
    pub rebuilt: u64,
}

impl Rebuild {
    /// Takes the view's lock, and makes the new table if there is none yet. `admin` may make tables.
    ///
    /// # Errors
    /// Postgres can't be reached, somebody else rebuilds the view, or it was never provisioned.
    pub async fn begin(
        view: &'static ViewSpec,
        log: streams::Connection,
        admin: &Login,
    ) -> Result<Self, RebuildError> {
        let login = admin.to_database(&crate::login::database(view.context));
        let rebuild = Self {
            client: connect(&login).await?,
            view,
            log,
            login,
        };
        let lock = "select pg_try_advisory_lock($1, hashtext($2))";
        let locked = rebuild
            .client
            .query_one(lock, &[&LOCK_SPACE, &view.name])
            .await?;
        if !locked.try_get::<_, bool>(0)? {
            return Err(RebuildError::Busy { view: view.name });
        }
        rebuild.make().await?;
        Ok(rebuild)
    }

    /// Throws away what was built so far.
    ///
    /// # Errors
    /// Postgres refuses.
    pub async fn anew(&self) -> Result<(), RebuildError> {
        let view = self.view.name;
        let drop = format!(
            "drop table if exists {SHADOW}.{view}; \
             delete from {SHADOW}.view_position where view = '{view}'"
        );
        self.client.batch_execute(&drop).await?;
        self.make().await
    }

    /// How far both have come.
    ///
    /// # Errors
    /// Postgres refuses.
    pub async fn standing(&self) -> Result<Standing, RebuildError> {
        Ok(Standing {
            live: position(&self.client, "public", self.view).await?,
            rebuilt: position(&self.client, SHADOW, self.view).await?,
        })
    }

    /// Builds on up to event `until` of the stream, or to its end if that comes first, and says after each
    /// batch how far it is. Answers where it then stands.
    ///
    /// # Errors
    /// The log or Postgres is away, an event can't be taken in, or what was built is of another log. What
    /// was built stays.
    pub async fn build(&self, until: u64, progress: impl FnMut(u64)) -> Result<u64, RebuildError> {
        self.fill(SHADOW, until, progress).await
    }

    /// Puts the new table in the place of the live one: in one transaction, with the live projector
    /// waiting while the last events are taken in. Answers where the view then stands.
    ///
    /// # Errors
    /// As [`Self::build`]; nothing was switched then.
    pub async fn switch(&mut self) -> Result<u64, RebuildError> {
        let live = self.standing().await?.live;
        self.build(live, |_| {}).await?;
        self.client.batch_execute("begin").await?;
        let switched = self.switch_now().await;
        self.end(switched).await
    }

    /// Puts the table back that was live before the last switch; once more goes forward again.
    ///
    /// # Errors
    /// There is none, or Postgres refuses; nothing was changed then.
    pub async fn roll_back(&mut self) -> Result<u64, RebuildError> {
        let view = self.view.name;
        let look = format!("select to_regclass('{PREVIOUS}.{view}') is not null");
        let there = self.client.query_one(&look, &[]).await?;
        if !there.try_get::<_, bool>(0)? {
            return Err(RebuildError::NoPrevious { view });
        }
        let columns = |schema: &str| self.told(COLUMNS, format!("{schema}.{view}"));
        if columns(PREVIOUS).await? != columns("public").await? {
            return Err(RebuildError::OtherColumns { view });
        }
        // What came since the switch may take long: the live view goes on meanwhile.
        let live = self.standing().await?.live;
        self.fill(PREVIOUS, live, |_| {}).await?;
        self.client.batch_execute("begin").await?;
        let swapped = self.swap_back().await;
        self.end(swapped).await
    }

    /// Commits, or undoes what could not be finished.
    async fn end(&self, done: Result<u64, RebuildError>) -> Result<u64, RebuildError> {
        match done {
            Ok(position) => {
                self.client.batch_execute("commit").await?;
                Ok(position)
            }
            Err(error) => {
                // A connection that is lost has undone it already.
                let _ = self.client.batch_execute("rollback").await;
                Err(error)
            }
        }
    }

    /// Takes in what a schema's table lacks, up to event `until`. What it has already is held against the
    /// log first.
    async fn fill(
        &self,
        schema: &'static str,
        until: u64,
        mut progress: impl FnMut(u64),
    ) -> Result<u64, RebuildError> {
        // A log that was restored may end before it, and nothing would ever come.
        let until = until.min(self.end_of_log().await?);
        let settings = Settings {
            batch_max: BATCH_MAX,
            ..Settings::default()
        };
        let scope = Scope { schema, until };
        let how = (settings, scope);
        let mut projector = Projector::of_view(self.view, self.log.clone(), &self.login, how);
        let looking = connect(&self.login).await?;
        let mut proven = false;
        loop {
            let position = position(&looking, schema, self.view).await?;
            progress(position);
            if position >= until && (proven || position == 0) {
                return Ok(position);
            }
            proven = true;
            if projector.step().await?.standing_by {
                return Err(RebuildError::Busy {
                    view: self.view.name,
                });
            }
        }
    }

    async fn end_of_log(&self) -> Result<u64, ProjectorError> {
        let stream = self.view.stream();
        let streams = self.log.streams(streams::Settings::reading());
        match streams.stream_state(&stream).await {
            Ok(state) => Ok(state.last),
            Err(error) => Err(ProjectorError::Log {
                stream,
                source: error.into(),
            }),
        }
    }

    async fn switch_now(&self) -> Result<u64, RebuildError> {
        let view = self.view.name;
        let live = self.hold().await?;
        self.build(live, |_| {}).await?;
        let swap = format!(
            "drop table if exists {PREVIOUS}.{view}; \
             delete from {PREVIOUS}.view_position where view = '{view}'; \
             insert into {PREVIOUS}.view_position ({MARK}) select {MARK} from public.view_position \
             where view = '{view}'; \
             alter table public.{view} set schema {PREVIOUS}; \
             alter table {SHADOW}.{view} set schema public; {}; \
             delete from {SHADOW}.view_position where view = '{view}'",
            take_mark(SHADOW, view)
        );
        self.client.batch_execute(&swap).await?;
        self.announce().await
    }

    async fn swap_back(&self) -> Result<u64, RebuildError> {
        let view = self.view.name;
        // Nobody who has read the live table is to see it go back in time.
        let live = self.hold().await?;
        self.fill(PREVIOUS, live, |_| {}).await?;
        let swap = format!(
            "drop table if exists {SHADOW}.{view}; \
             delete from {SHADOW}.view_position where view = '{view}'; \
             insert into {SHADOW}.view_position ({MARK}) select {MARK} from public.view_position \
             where view = '{view}'; \
             alter table public.{view} set schema {SHADOW}; \
             alter table {PREVIOUS}.{view} set schema public; {}; \
             delete from {PREVIOUS}.view_position where view = '{view}'; \
             insert into {PREVIOUS}.view_position ({MARK}) select {MARK} from {SHADOW}.view_position \
             where view = '{view}'; \
             alter table {SHADOW}.{view} set schema {PREVIOUS}; \
             delete from {SHADOW}.view_position where view = '{view}'",
            take_mark(PREVIOUS, view)
        );
        self.client.batch_execute(&swap).await?;
        self.announce().await
    }

    /// Keeps the live view where it is until the transaction ends. The table first, as whoever writes to
    /// it does: the other way round the two would wait for each other.
    async fn hold(&self) -> Result<u64, RebuildError> {
        let wait = format!(
            "set local lock_timeout = {SWITCH_LOCK_MS}; \
             set local idle_in_transaction_session_timeout = {SWITCH_SILENCE_MS}; \
             lock table public.{} in exclusive mode",
            self.view.name
        );
        self.client.batch_execute(&wait).await?;
        let lock = "select position from public.view_position where view = $1 for update";
        let row = self.client.query_one(lock, &[&self.view.name]).await?;
        Ok(unsigned(row.try_get(0)?))
    }

    async fn announce(&self) -> Result<u64, RebuildError> {
        let view = self.view;
        let position = position(&self.client, "public", view).await?;
        let notice = format!("{}:{position}", view.name);
        let notify = "select pg_notify($1, $2)";
        self.client.execute(notify, &[&CHANNEL, &notice]).await?;
        Ok(position)
    }

    /// Makes the new table like the live one, with the rights of its roles.
    async fn make(&self) -> Result<(), RebuildError> {
        let (view, context) = (self.view.name, self.view.context);
        let schemas = format!(
            "create schema if not exists {SHADOW}; create schema if not exists {PREVIOUS}; \
             create table if not exists {SHADOW}.view_position \
             (like public.view_position including all); \
             create table if not exists {PREVIOUS}.view_position \
             (like public.view_position including all); \
             alter table {SHADOW}.view_position {REVISIONS}; \
             alter table {PREVIOUS}.view_position {REVISIONS}"
        );
        self.client.batch_execute(&schemas).await?;
        let live = format!("public.{view}");
        let shadow = format!("{SHADOW}.{view}");
        let program = program();
        let same = self.told(COLUMNS, &shadow).await? == self.told(COLUMNS, &live).await?
            && self.told(BUILT_BY, &shadow).await? == program;
        if same {
            return Ok(());
        }
        // Indexes keep their names, so that a later migration finds them.
        let indexes = "select pg_get_indexdef(indexrelid) from pg_index \
                       where indrelid = $1::text::regclass and not indisprimary";
        // One that a migration has left behind begins anew, and so does what another program has built: it
        // may have made other rows of the same events.
        let mut make = format!(
            "begin; drop table if exists {shadow}; create table {shadow} (like {live} including all excluding indexes); \
             alter table {SHADOW}.{view} add primary key (view_id); \
             comment on table {shadow} is '{program}'; \
             grant select, insert, update on {SHADOW}.{view} to {}; \
             grant select on {SHADOW}.{view} to {}; \
             delete from {SHADOW}.view_position where view = '{view}'; \
             insert into {SHADOW}.view_position (view, stream) values ('{view}', '{}');",
            Access::Writer.role(context),
            Access::Reader.role(context),
            self.view.stream()
        );
        for index in self.client.query(indexes, &[&live]).await? {
            let definition: String = index.try_get(0)?;
            let on = (format!(" ON {live} "), format!(" ON {SHADOW}.{view} "));
            make.push_str(&definition.replacen(&on.0, &on.1, 1));
            make.push(';');
        }
        make.push_str("commit");
        Ok(self.client.batch_execute(&make).await?)
    }

    /// What Postgres says of a table.
    async fn told(&self, what: &str, table: impl AsRef<str>) -> Result<String, RebuildError> {
        let row = self.client.query_one(what, &[&table.as_ref()]).await?;
        Ok(row.try_get(0)?)
    }
}

/// The views of which rows are left that an older fold has made ([`ViewSpec::revision`]), in the order of
/// [`crate::VIEWS`].
///
/// # Errors
/// Postgres can't be reached, or was never provisioned.
pub async fn outdated(admin: &Login) -> Result<Vec<&'static ViewSpec>, RebuildError> {
    let mut found = Vec::new();
    for context in crate::contexts() {
        let client = connect(&admin.to_database(&crate::login::database(context))).await?;
        for view in crate::views_of(context) {
            let look = "select position, revision from view_position where view = $1";
            let row = client.query_opt(look, &[&view.name]).await?;
            let row = row.ok_or(RebuildError::NotProvisioned { view: view.name })?;
            let revision = u32::try_from(row.try_get::<_, i32>(1)?).unwrap_or_default();
            if view.outdates(unsigned(row.try_get(0)?), revision) {
                found.push(view);
            }
        }
    }
    Ok(found)
}

/// Which program this is: the size of its file, and when that was made.
fn program() -> String {
    let file = std::env::current_exe().and_then(std::fs::metadata);
    let told = file.and_then(|file| Ok((file.len(), file.modified()?)));
    told.map_or_else(
        |_| "unknown".to_owned(),
        |(bytes, made)| {
            format!(
                "{bytes} bytes of {}",
                DateTime::<Utc>::from(made).to_rfc3339()
            )
        },
    )
}

/// The live position becomes that of another schema's table.
fn take_mark(schema: &str, view: &str) -> String {
    format!(
        "update public.view_position live set position = other.position, \
         event_id = other.event_id, stream_created_at = other.stream_created_at, \
         revision = other.revision, written_by = other.written_by, \
         updated_at = now(), failed_at = null, failed_position = null, last_error = null \
         from {schema}.view_position other where live.view = '{view}' and other.view = '{view}'"
    )
}

async fn position(client: &Client, schema: &str, view: &ViewSpec) -> Result<u64, RebuildError> {
    let look = format!("select position from {schema}.view_position where view = $1");
    let row = client.query_opt(&look, &[&view.name]).await?;
    let row = row.ok_or(RebuildError::NotProvisioned { view: view.name })?;
    Ok(unsigned(row.try_get(0)?))
}

/// A connection that ends with its client.
async fn connect(login: &Login) -> Result<Client, RebuildError> {
    let mut config = login.config("millrace rebuild");
    // The view's lock ends with the connection: Postgres is to notice when its other end is gone.
    config.options(
        "-c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
    );
    let (client, connection) = login.open(&config).await?;
    tokio::spawn(async move {
        // Whoever uses the client next is told the same error.
        let _ = connection.await;
    });
    Ok(client)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
