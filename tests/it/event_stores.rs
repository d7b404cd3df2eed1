//! The event stores that cqrs-es users know, held to the part of our contract that they promise.

use cqrs_es::mem_store::MemStore;
use cqrs_es::persist::PersistedEventStore;
use millrace::settings::{POSTGRES_ADMIN, POSTGRES_ADMIN_PASSWORD};
use postgres_es::PostgresEventRepository;
use projections::Login;
use sqlx::postgres::PgPoolOptions;
use streams::contract::account::Account;
use streams::contract::event_store;
use tokio_postgres::NoTls;

use crate::app::shared;

/// A database of this test's own.
const DATABASE: &str = "contract";

/// As postgres-es asks for it.
const TABLE: &str = include_str!("postgres_es.sql");

#[tokio::test]
async fn the_store_of_postgres_es_keeps_what_cqrs_es_asks_for() {
    let app = shared().await;
    let secrets = devstack::Secrets::load_or_create(&app.data).unwrap();
    let password = secrets.get(POSTGRES_ADMIN_PASSWORD).unwrap();
    let admin = Login::admin(&app.endpoints.postgres, POSTGRES_ADMIN, password).unwrap();
    let create = format!("create database {DATABASE}");
    run(&admin, &create).await;
    let own = admin.to_database(DATABASE);
    run(&own, TABLE).await;
    let pool = PgPoolOptions::new().max_connections(4);
    let pool = pool.connect_with(own.options()).await.unwrap();
    let store = || {
        let repository = PostgresEventRepository::new(pool.clone());
        PersistedEventStore::<_, Account>::new_event_store(repository)
    };
    event_store::any(&store(), store()).await;
}

#[tokio::test]
async fn the_store_of_cqrs_es_in_memory_keeps_what_needs_no_conflict() {
    let store = MemStore::<Account>::default();
    event_store::without_conflicts(&store).await;
    event_store::the_framework_runs_on_it(store).await;
}

/// Runs a statement over a connection of its own.
async fn run(login: &Login, statement: &str) {
    let (client, connection) = login.config("test").connect(NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute(statement).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
}
