//! A Postgres that takes connections and then says nothing, as a proxy does in front of one that hangs.

use std::collections::BTreeMap;
use std::time::Duration;

use projections::read::{Reader, Settings, Waited};
use projections::{Access, Login, PRODUCT_CARD, Projector};
use tokio_util::sync::CancellationToken;

use super::outages::{publish, until};
use crate::app::becomes;
use crate::servers::Servers;
use crate::storm::line::{Line, Trouble};

/// Longer than who listens for positions hears nothing before another connection is made.
const HEARD_WITHIN: Duration = Duration::from_secs(30);

fn login(line: &Line, servers: &Servers, access: Access) -> Login {
    let password = access.password_variable("product");
    let password = servers.stack.secrets().get(&password).unwrap();
    Login::context(&line.address, "product", access, password).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_says_nothing_is_asked_again_over_another_connection() {
    let servers = Servers::start("silent-postgres").await;
    let streams = servers.streams().await;
    publish(&streams, "A").await;
    let line = Line::to(servers.stack.endpoints().postgres.to_string()).await;
    line.set(Some(Trouble::Silent));
    let log = servers.connect("projector").await;
    let writer = login(&line, &servers, Access::Writer);
    let settings = projections::projector::Settings::default();
    let projector = Projector::new("product", log, writer, settings).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(projector.run(stop.clone()));
    let readers = login(&line, &servers, Access::Reader);
    let readers = BTreeMap::from([("product".to_owned(), readers)]);
    let reader = Reader::open(&readers, Settings::default());
    let sql = servers.sql("millrace_product").await;
    becomes("everybody has a connection", async || {
        // The projector, those who read, who listens.
        line.taken() == 1 + projections::read::CONNECTIONS + 1
    })
    .await;

    // First it was silent from the beginning, then it falls silent.
    for (sku, position) in [("A", 2), ("B", 4)] {
        line.set(Some(Trouble::Forgotten));
        if sku != "A" {
            publish(&streams, sku).await;
        }
        until(&sql, &PRODUCT_CARD, |mark| mark.position == position).await;
        becomes("it is read", async || {
            let found = reader.get(&PRODUCT_CARD, sku).await;
            found.is_ok_and(|found| found.row.is_some())
        })
        .await;
        let sequence = u64::try_from(position).unwrap();
        let heard = reader.wait_for(&PRODUCT_CARD, sequence, HEARD_WITHIN).await;
        assert_eq!(heard.unwrap(), Waited::Reached, "{sku}");
    }
    stop.cancel();
    running.await.unwrap().unwrap();
}
