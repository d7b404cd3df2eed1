//! `projection`: a stream into rows, beside the plainest program that does it, and beside postgres-es's
//! own way. `rebuild`: the same view built anew, as `millrace rebuild` does.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use cqrs_es::Query as _;
use cqrs_es::persist::GenericQuery;
use futures::StreamExt;
use postgres_es::PostgresViewRepository;
use projections::projector::Settings;
use projections::{Access, Projector, Rebuild, USER_ACCOUNT, UserAccount};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::postgres::PgPoolOptions;
use streams::Connection;
use tokio_postgres::{Client, Statement};
use user::User;

use crate::Args;
use crate::accounts::{Accounts, CONTEXT, EVENTS_EACH, STREAM};
use crate::load::{Run, Take, in_turn, one_go};
use crate::report::{Row, Spread, rows};
use crate::shop::progress;
use crate::usage;

/// performance.md: our projector over the reference.
const TARGET: f64 = 0.7;

/// performance.md: our projector over postgres-es's way.
const PEER_TARGET: f64 = 8.0;

/// Events of a transaction: of the live projector, and of a rebuild.
const LIVE_BATCH: usize = projections::projector::BATCH_MAX;
const REBUILD_BATCH: usize = 2_000;

/// postgres-es takes one event at a time: it is given one of so many of them.
const PEER_SHARE: u64 = 20;

/// The table of the plain reference: as the view's, with its columns and indexes.
const TABLES: &str = "\
create schema if not exists bench;
create table if not exists bench.account (like user_account including all);
create table if not exists bench.position (view text primary key, position bigint not null);
create table if not exists bench.peer (view_id text primary key, version bigint not null check (version >= 0), payload json not null);
insert into bench.position values ('account', 0) on conflict do nothing;";

/// Sets it back.
const EMPTY: &str = "\
truncate bench.account, bench.peer; update bench.position set position = 0;
set synchronous_commit = off; set search_path = bench";

/// The live projector, from the first event to the last.
pub(crate) async fn run(accounts: &Accounts, events: u64, args: &Args) -> anyhow::Result<Vec<Row>> {
    accounts.sql().await?.batch_execute(TABLES).await?;
    let connection = accounts.connect().await?;
    let peer_events = (events / PEER_SHARE).max(EVENTS_EACH);
    let bar = progress("projection", args.rounds * 3);
    let takes = [
        plain(accounts, &connection, (LIVE_BATCH, events)),
        Take::new("projector ÷ it", || ours(accounts, &connection, events)),
        Take::new("postgres-es, an event at a time", || {
            peer(accounts, &connection, peer_events)
        }),
    ];
    let runs = in_turn(&takes, args.rounds, &bar).await?;
    bar.finish_and_clear();
    let mut figures = rows("projection", LIVE_BATCH, &takes, &runs);
    if let [plain, ours, peer] = figures.as_mut_slice() {
        peer.in_flight = 1;
        let beside = ours.clone().called("projector ÷ postgres-es");
        let beside = beside.beside(peer.ours, Some(PEER_TARGET));
        *ours = ours.clone().beside(plain.ours, Some(TARGET));
        figures.push(beside);
    }
    Ok(figures)
}

/// A rebuild, from the first event to the last, and what it takes.
pub(crate) async fn rebuild(
    accounts: &Accounts,
    events: u64,
    args: &Args,
) -> anyhow::Result<Vec<Row>> {
    accounts.sql().await?.batch_execute(TABLES).await?;
    let connection = accounts.connect().await?;
    let before = usage::own_resident_mib();
    let peak = Arc::new(std::sync::Mutex::new(before));
    let bar = progress("rebuild", args.rounds * 2);
    let takes = [
        plain(accounts, &connection, (REBUILD_BATCH, events)),
        Take::new("rebuild ÷ it", || {
            rebuilt(accounts, &connection, events, peak.clone())
        }),
    ];
    let runs = in_turn(&takes, args.rounds, &bar).await?;
    bar.finish_and_clear();
    let mut figures = rows("rebuild", REBUILD_BATCH, &takes, &runs);
    if let [plain, ours] = figures.as_mut_slice() {
        *ours = ours.clone().beside(plain.ours, Some(TARGET));
    }
    #[allow(clippy::cast_precision_loss, reason = "far below 53 bits")]
    let seconds = |run: &Run| events as f64 / run.per_second;
    let took: Vec<f64> = runs.iter().skip(1).flatten().map(seconds).collect();
    let what = format!("rebuild of {events} events");
    figures.push(Row::seconds("rebuild", what, Spread::of(&took)));
    let peak = peak.lock().map_or(f64::NAN, |peak| *peak);
    for (what, mib) in [("before it", before), ("at its peak", peak)] {
        let what = format!("memory {what}");
        figures.push(Row::resident("rebuild", what, Spread::of(&[mib])));
    }
    Ok(figures)
}

/// The projector as the role runs it.
async fn ours(accounts: &Accounts, connection: &Connection, events: u64) -> anyhow::Result<Run> {
    accounts.set_back().await?;
    let login = accounts.login(Access::Writer)?;
    let run = one_go(events, async {
        let log = connection.clone();
        let mut projector = Projector::new(CONTEXT, log, login, Settings::default())?;
        let mut taken = 0;
        while taken < events {
            let stepped = projector.step().await?;
            ensure!(!stepped.standing_by, "somebody else moves the view");
            taken += u64::try_from(stepped.events)?;
        }
        Ok(())
    });
    let run = Box::pin(run).await?;
    must_be_whole(accounts, USER_ACCOUNT.name, events).await?;
    Ok(run)
}

async fn rebuilt(
    accounts: &Accounts,
    connection: &Connection,
    events: u64,
    peak: Arc<std::sync::Mutex<f64>>,
) -> anyhow::Result<Run> {
    let admin = accounts.administrator()?;
    let rebuild = Rebuild::begin(&USER_ACCOUNT, connection.clone(), &admin).await?;
    rebuild.anew().await?;
    let look = |_| {
        if let Ok(mut peak) = peak.lock() {
            *peak = peak.max(usage::own_resident_mib());
        }
    };
    let run = one_go(events, async {
        rebuild.build(events, look).await?;
        Ok(())
    });
    let run = Box::pin(run).await?;
    must_be_whole(accounts, "rebuild.user_account", events).await?;
    Ok(run)
}

/// postgres-es's own query: of each event it reads the row, folds, and writes it.
async fn peer(accounts: &Accounts, connection: &Connection, events: u64) -> anyhow::Result<Run> {
    accounts.sql().await?.batch_execute(EMPTY).await?;
    let options = accounts
        .administrator()?
        .to_database("millrace_user")
        .options();
    let options = options.options([("synchronous_commit", "off"), ("search_path", "bench")]);
    // A round trip less for each use than by default.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false);
    let pool = pool.connect_with(options).await?;
    let views: PostgresViewRepository<UserAccount, User> =
        PostgresViewRepository::new("peer", pool);
    let mut query = GenericQuery::new(Arc::new(views));
    query.use_error_handler(Box::new(|error| eprintln!("bench: postgres-es: {error}")));
    let run = one_go(events, async {
        let mut subscription = connection.ordered(STREAM, 0);
        let mut taken = 0;
        while taken < events {
            let batch = subscription.next_batch(LIVE_BATCH, LINGER).await?;
            for event in batch.iter().take(usize::try_from(events - taken)?) {
                let envelope = event.envelope::<User>()?;
                query
                    .dispatch(event.aggregate_id.as_str(), &[envelope])
                    .await;
                taken += 1;
            }
        }
        Ok(())
    });
    let run = run.await?;
    let rows = accounts.sql().await?;
    let rows = rows
        .query_one("select count(*) from bench.peer", &[])
        .await?;
    ensure!(
        rows.try_get::<_, i64>(0)? > 0,
        "postgres-es has written nothing"
    );
    Ok(run)
}

/// How long a batch waits for events that are on their way.
const LINGER: Duration = Duration::from_millis(20);

/// Every account is there, with all of its events.
async fn must_be_whole(accounts: &Accounts, table: &str, events: u64) -> anyhow::Result<()> {
    let statement = format!("select coalesce(sum(version), 0)::bigint from {table}");
    let row = accounts.sql().await?.query_one(&statement, &[]).await?;
    let taken: i64 = row.try_get(0)?;
    ensure!(
        u64::try_from(taken)? == events,
        "{table} has {taken} events of {events}"
    );
    Ok(())
}

/// The plainest program that does it: a consumer that nobody acknowledges, rows in memory, one
/// statement for all rows of a batch and one for the position, in one transaction.
fn plain<'a>(
    accounts: &'a Accounts,
    connection: &'a Connection,
    (batch, events): (usize, u64),
) -> Take<'a> {
    Take::new("fold + UNNEST upsert", move || async move {
        let client = accounts.sql().await?;
        client.batch_execute(EMPTY).await?;
        let run = one_go(events, plainly(client, connection, (batch, events))).await?;
        must_be_whole(accounts, "bench.account", events).await?;
        Ok(run)
    })
}

async fn plainly(
    mut client: Client,
    connection: &Connection,
    (batch, events): (usize, u64),
) -> anyhow::Result<()> {
    let upsert = client
        .prepare(
            "insert into account (view_id, version, payload) \
             select id, version, payload::json \
             from unnest($1::text[], $2::bigint[], $3::text[]) as new (id, version, payload) \
             on conflict (view_id) do update \
             set version = excluded.version, payload = excluded.payload",
        )
        .await?;
    let position = client
        .prepare("update position set position = $1 where view = 'account'")
        .await?;
    let stream = connection.jetstream().get_stream(STREAM).await?;
    let config = pull::Config {
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::None,
        memory_storage: true,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let messages = consumer.stream().max_messages_per_batch(batch);
    let mut messages = messages.messages().await?;
    let mut accounts: HashMap<String, Account> = HashMap::new();
    let mut left = events;
    while left > 0 {
        let mut changed = HashSet::new();
        for _ in 0..left.min(u64::try_from(batch)?) {
            let message = messages.next().await.context("the stream broke off")??;
            let id = fold(&mut accounts, &message)?;
            changed.insert(id);
            left -= 1;
        }
        let rows = changed.into_iter();
        let rows = rows.filter_map(|id| Some((accounts.get(&id)?, id)));
        let at = i64::try_from(events - left)?;
        commit(&mut client, (&upsert, &position), rows, at).await?;
    }
    Ok(())
}

async fn commit(
    client: &mut Client,
    (upsert, position): (&Statement, &Statement),
    rows: impl Iterator<Item = (&Account, String)>,
    at: i64,
) -> anyhow::Result<()> {
    let (mut ids, mut versions, mut payloads) = (Vec::new(), Vec::new(), Vec::new());
    for (account, id) in rows {
        versions.push(account.version);
        payloads.push(serde_json::to_string(account)?);
        ids.push(id);
    }
    let transaction = client.transaction().await?;
    transaction
        .execute(upsert, &[&ids, &versions, &payloads])
        .await?;
    transaction.execute(position, &[&at]).await?;
    Ok(transaction.commit().await?)
}

/// A row as the view has it.
#[derive(Default, Serialize)]
struct Account {
    id: String,
    name: Option<Box<RawValue>>,
    email: Option<Box<RawValue>>,
    email_verified: bool,
    phone: Option<Box<RawValue>>,
    addresses: [(); 0],
    notification_preferences: [(); 0],
    status: &'static str,
    roles: [&'static str; 1],
    version: i64,
    registered_at: Option<String>,
    updated_at: Option<String>,
}

/// What of the two events a row needs.
#[derive(Deserialize)]
struct Said {
    name: Box<RawValue>,
    email: Option<Box<RawValue>>,
    phone: Option<Box<RawValue>>,
}

/// Takes an event in; answers whose it is.
fn fold(accounts: &mut HashMap<String, Account>, message: &Message) -> anyhow::Result<String> {
    let headers = message.headers.as_ref().context("no headers")?;
    let id = message.subject.rsplit('.').next().context("no id")?;
    let said: Said = serde_json::from_slice(&message.payload)?;
    let time = header(headers, "ce-time")?;
    let account = accounts.entry(id.to_owned()).or_default();
    account.version += 1;
    account.updated_at = Some(time.to_owned());
    account.name = Some(said.name);
    match header(headers, "ce-type")? {
        "millrace.user_registered.v1" => {
            id.clone_into(&mut account.id);
            (account.status, account.roles) = ("active", ["customer"]);
            account.email = said.email;
            account.registered_at = Some(time.to_owned());
        }
        "millrace.profile_updated.v1" => account.phone = said.phone,
        other => anyhow::bail!("{other} is none of the two"),
    }
    Ok(id.to_owned())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> anyhow::Result<&'a str> {
    let value = headers.get(name).with_context(|| format!("no {name}"));
    Ok(value?.as_str())
}
