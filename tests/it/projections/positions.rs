//! Where a view stands is written with its rows; of a view that nothing changes, now and then.

use std::time::{Duration, Instant};

use projections::{IMPORT_REPORT, PRODUCT_CARD};

use super::outages::{mark, publish, until};
use crate::servers::Servers;

/// Two events each: the card changes with each of them, the report of imports with none.
const PRODUCTS: i64 = 40;

/// Between two looks, while one event after another comes.
const LOOK: Duration = Duration::from_millis(5);

/// How long a position may wait to be written.
const WAIT: Duration = Duration::from_millis(250);

/// Notes who is written to, whoever writes.
const NOTED: &str = "create table noted (view text); \
    create function note() returns trigger language plpgsql security definer as \
    $$ begin insert into public.noted values (new.view); return new; end $$; \
    create trigger noted after update on view_position for each row execute function note()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_position_of_a_view_that_nothing_changes_is_written_now_and_then() {
    let servers = Servers::start("positions").await;
    let streams = servers.streams().await;
    let sql = servers.sql("millrace_product").await;
    sql.batch_execute(NOTED).await.unwrap();
    let _projector = servers.role(&["projector"]).await;
    let began = Instant::now();
    for number in 0..PRODUCTS {
        publish(&streams, &format!("A-{number}")).await;
        while mark(&sql, &PRODUCT_CARD).await.position < 2 * (number + 1) {
            tokio::time::sleep(LOOK).await;
        }
    }
    until(&sql, &IMPORT_REPORT, |mark| mark.position == 2 * PRODUCTS).await;
    let most = began.elapsed().as_millis() / WAIT.as_millis() + 1;
    let count = async |view: &str| {
        let count = "select count(*) from noted where view = $1";
        let row = sql.query_one(count, &[&view]).await.unwrap();
        row.get::<_, i64>(0)
    };
    assert!(count(PRODUCT_CARD.name).await >= PRODUCTS);
    let written = count(IMPORT_REPORT.name).await;
    assert!(
        (1..=i64::try_from(most).unwrap()).contains(&written),
        "{written} in {most} times {WAIT:?}"
    );
}
