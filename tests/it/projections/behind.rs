//! A view that has far to go, or can't write, beside those that have not and can.

use std::time::Duration;

use devstack::launch::{Child, Signal};
use projections::{PRICE_HISTORY, PRODUCT_CARD};
use tokio_postgres::Client;

use super::Rows;
use super::outages::{Mark, publish, until};
use crate::app::PATIENCE;
use crate::servers::Servers;

/// Far more events than some batches of a projector that takes [`BATCH_MAX`].
const PRODUCTS: i64 = 60;

/// Most events in one transaction.
const BATCH_MAX: &str = "5";

async fn projector(servers: &Servers) -> Child {
    let few = [("MILLRACE_PROJECTOR_BATCH_MAX", BATCH_MAX)];
    servers.role_that_is_told(&["projector"], &few).await
}

/// As a version leaves it that has just brought it.
async fn begins_anew(sql: &Client) {
    let back = "update view_position set position = 0, event_id = null, stream_created_at = null \
                where view = 'price_history'; delete from price_history";
    sql.batch_execute(back).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_is_far_behind_holds_up_no_other() {
    let servers = Servers::start("far-behind").await;
    let streams = servers.streams().await;
    let (sql, locks) = tokio::join!(
        servers.sql("millrace_product"),
        servers.sql("millrace_product")
    );
    let first = projector(&servers).await;
    for number in 0..PRODUCTS {
        publish(&streams, &format!("A-{number}")).await;
    }
    let all = 2 * PRODUCTS;
    until(&sql, &PRICE_HISTORY, |mark| mark.position == all).await;
    let before = Rows::read(&sql, &PRICE_HISTORY).await;
    first.stop(Signal::TERM, PATIENCE).await.unwrap();

    begins_anew(&sql).await;
    let lock = "begin; lock table price_history in access exclusive mode";
    locks.batch_execute(lock).await.unwrap();
    let second = projector(&servers).await;
    publish(&streams, "B").await;
    until(&sql, &PRODUCT_CARD, |mark| mark.position == all + 2).await;
    until(&sql, &PRICE_HISTORY, |mark| mark.position == 0).await;
    locks.batch_execute("rollback").await.unwrap();
    until(&sql, &PRICE_HISTORY, |mark| mark.position == all + 2).await;
    let after = Rows::read(&sql, &PRICE_HISTORY).await;
    assert!(before.rows.iter().all(|row| after.rows.contains(row)));
    // They go on together.
    publish(&streams, "C").await;
    for view in [&PRODUCT_CARD, &PRICE_HISTORY] {
        until(&sql, view, |mark| mark.position == all + 4).await;
    }
    second.stop(Signal::TERM, PATIENCE).await.unwrap();

    // One that stops on its way stops alone.
    begins_anew(&sql).await;
    let refuse = "alter table price_history add constraint refused check (view_id <> 'A-1')";
    sql.batch_execute(refuse).await.unwrap();
    let third = projector(&servers).await;
    let stopped = until(&sql, &PRICE_HISTORY, Mark::has_stopped).await;
    assert_eq!(stopped.position, 2);
    publish(&streams, "D").await;
    until(&sql, &PRODUCT_CARD, |mark| mark.position == all + 6).await;
    assert!(
        third
            .stop(Signal::TERM, Duration::from_secs(10))
            .await
            .is_ok()
    );
}

/// As who makes an index does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_whose_table_is_held_holds_up_no_other() {
    let servers = Servers::start("held-table").await;
    let streams = servers.streams().await;
    let (sql, locks) = tokio::join!(
        servers.sql("millrace_product"),
        servers.sql("millrace_product")
    );
    let projector = servers.role(&["projector"]).await;
    publish(&streams, "A").await;
    for view in [&PRODUCT_CARD, &PRICE_HISTORY] {
        until(&sql, view, |mark| mark.position == 2).await;
    }
    let lock = "begin; lock table price_history in share mode";
    locks.batch_execute(lock).await.unwrap();
    for (sku, position) in [("B", 4), ("C", 6)] {
        publish(&streams, sku).await;
        until(&sql, &PRODUCT_CARD, |mark| mark.position == position).await;
    }
    // One that begins meanwhile.
    projector.stop(Signal::TERM, PATIENCE).await.unwrap();
    let projector = servers.role(&["projector"]).await;
    publish(&streams, "D").await;
    until(&sql, &PRODUCT_CARD, |mark| mark.position == 8).await;
    until(&sql, &PRICE_HISTORY, |mark| mark.position == 2).await;
    locks.batch_execute("rollback").await.unwrap();
    until(&sql, &PRICE_HISTORY, |mark| mark.position == 8).await;
    // They go on together.
    publish(&streams, "E").await;
    for view in [&PRODUCT_CARD, &PRICE_HISTORY] {
        let mark = until(&sql, view, |mark| mark.position == 10).await;
        assert!(!mark.has_stopped(), "{mark:?}");
    }
    projector.stop(Signal::TERM, PATIENCE).await.unwrap();
}
