//! Databases that a newer version has seen, or is about to change.

use std::collections::BTreeMap;

use projections::Access;
use projections::read::{Reader, Settings};

use crate::app::becomes;
use crate::servers::Servers;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_back_provisions_all_the_same_and_hears_nothing_of_views_that_only_the_newer_knows()
 {
    let servers = Servers::start("went-back").await;
    let sql = servers.sql("millrace_product").await;
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
                 values (999, 'of a newer version', true, '\\x00', 0); \
                 insert into view_position (view, stream) values ('future_view', 'PRODUCT')";
    sql.batch_execute(newer).await.unwrap();
    servers.provision().await;

    let login = servers.login("product", Access::Reader);
    let login = BTreeMap::from([("product".to_owned(), login)]);
    let reader = Reader::open(&login, Settings::default());
    becomes("it is connected", async || {
        reader.statuses("product").await.is_ok()
    })
    .await;
    let mut told = reader.statuses("product").await.unwrap();
    told.sort_by(|one, other| one.view.cmp(&other.view));
    let names: Vec<_> = told.iter().map(|status| status.view.as_str()).collect();
    assert_eq!(names, ["import_report", "price_history", "product_card"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_waits_for_a_table_lets_those_read_who_come_after_it() {
    let servers = Servers::start("migration-waits").await;
    let database = "millrace_order";
    let (reads_long, reads, looks) = tokio::join!(
        servers.sql(database),
        servers.sql(database),
        servers.sql(database)
    );
    // As the version before left it.
    let older = "alter table view_position drop column revision, drop column written_by; \
                 delete from _sqlx_migrations where version = 3";
    looks.batch_execute(older).await.unwrap();
    let begin = "begin; select position from view_position";
    reads_long.batch_execute(begin).await.unwrap();
    let meanwhile = async {
        let waits = "select count(*) from pg_stat_activity \
                     where wait_event_type = 'Lock' and datname = current_database()";
        becomes("the migration waits", async || {
            let found = looks.query_one(waits, &[]).await.unwrap();
            found.get::<_, i64>(0) > 0
        })
        .await;
        // As long as a reader's statement may take.
        let read = "set statement_timeout = 4000; select position from view_position";
        let read = reads.batch_execute(read).await;
        reads_long.batch_execute("rollback").await.unwrap();
        read
    };
    let ((), read) = tokio::join!(servers.provision(), meanwhile);
    read.unwrap();
    let migrated = "select revision from view_position";
    looks.query(migrated, &[]).await.unwrap();
}
