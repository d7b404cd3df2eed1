//! The reference that cqrs-es users know: a plain axum app on cqrs-es and postgres-es, in a database of
//! the same Postgres.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use millrace::settings::{POSTGRES_ADMIN, POSTGRES_ADMIN_PASSWORD};
use postgres_es::{PostgresCqrs, PostgresEventRepository};
use projections::Login;
use sqlx::postgres::PgPoolOptions;
use tokio_postgres::NoTls;
use uuid::Uuid;

use crate::note::{Note, WritePage};
use crate::shop::Stack;

/// The app's database.
const DATABASE: &str = "bench_plain";

/// As postgres-es asks for it.
const TABLE: &str = include_str!("../../tests/it/postgres_es.sql");

/// Connections of its pool: on two cores more made it slower.
const CONNECTIONS: u32 = 16;

type App = Arc<PostgresCqrs<Note>>;

/// Serves it. A commit waits for the disk if `durable`, as NATS does under `sync_interval: always`.
pub(crate) async fn serve(stack: &Stack, durable: bool) -> anyhow::Result<SocketAddr> {
    let admin = stack.administrator(POSTGRES_ADMIN, POSTGRES_ADMIN_PASSWORD)?;
    run(&admin, &format!("create database {DATABASE}")).await?;
    let own = admin.to_database(DATABASE);
    run(&own, TABLE).await?;
    let commit = if durable { "on" } else { "off" };
    let options = own.options().options([("synchronous_commit", commit)]);
    // A round trip less for each use than by default.
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .test_before_acquire(false);
    let pool = pool.connect_with(options).await?;
    let repository = PostgresEventRepository::new(pool);
    let store = cqrs_es::persist::PersistedEventStore::new_event_store(repository);
    let app: App = Arc::new(cqrs_es::CqrsFramework::new(store, Vec::new(), ()));
    let router = Router::new().route("/", post(handle)).with_state(app);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// Every request makes an aggregate, whose one event is as large as an order's.
async fn handle(State(app): State<App>, body: Body) -> StatusCode {
    let read = axum::body::to_bytes(body, 1024 * 1024).await;
    let id = Uuid::new_v4().to_string();
    match (read, app.execute(&id, WritePage::usual()).await) {
        (Ok(_), Ok(())) => StatusCode::CREATED,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

async fn run(login: &Login, statement: &str) -> anyhow::Result<()> {
    let (client, connection) = login.config("bench").connect(NoTls).await?;
    let connection = tokio::spawn(connection);
    client.batch_execute(statement).await?;
    drop(client);
    Ok(connection.await??)
}
