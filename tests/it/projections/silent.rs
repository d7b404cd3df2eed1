//! A Postgres that takes connections and then says nothing, as a proxy does in front of one that hangs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use projections::read::{Reader, Settings, Waited};
use projections::{Access, Login, PRODUCT_CARD, Projector};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::outages::{publish, until};
use crate::app::becomes;
use crate::servers::Servers;

/// Longer than who listens for positions hears nothing before another connection is made.
const HEARD_WITHIN: Duration = Duration::from_secs(30);

/// Takes every connection to Postgres, and passes on what comes over those of its time.
struct Between {
    address: String,
    taken: Arc<AtomicUsize>,
    /// The time; nothing is passed on at 0, nor over a connection of another time.
    now: watch::Sender<usize>,
}

impl Between {
    async fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let between = Self {
            address: listener.local_addr().unwrap().to_string(),
            taken: Arc::default(),
            now: watch::Sender::new(0),
        };
        let (taken, now) = (Arc::clone(&between.taken), between.now.subscribe());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                taken.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(pass(client, server.clone(), now.clone()));
            }
        });
        between
    }

    fn login(&self, servers: &Servers, access: Access) -> Login {
        let password = access.password_variable("product");
        let password = servers.stack.secrets().get(&password).unwrap();
        Login::context(&self.address, "product", access, password).unwrap()
    }
}

async fn pass(mut client: TcpStream, server: String, mut now: watch::Receiver<usize>) {
    let own = *now.borrow();
    if own > 0 {
        let mut there = TcpStream::connect(server).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut there) => return,
            _ = now.wait_for(|now| *now != own) => {}
        }
    }
    // It stays open, and nobody is told anything.
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_says_nothing_is_asked_again_over_another_connection() {
    let servers = Servers::start("silent-postgres").await;
    let streams = servers.streams().await;
    publish(&streams, "A").await;
    let between = Between::before(servers.stack.endpoints().postgres.to_string()).await;
    let log = servers.connect("projector").await;
    let writer = between.login(&servers, Access::Writer);
    let settings = projections::projector::Settings::default();
    let projector = Projector::new("product", log, writer, settings).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(projector.run(stop.clone()));
    let login = between.login(&servers, Access::Reader);
    let login = BTreeMap::from([("product".to_owned(), login)]);
    let reader = Reader::open(&login, Settings::default());
    let sql = servers.sql("millrace_product").await;
    becomes("everybody has a connection", async || {
        // The projector, those who read, who listens.
        between.taken.load(Ordering::Relaxed) == 1 + projections::read::CONNECTIONS + 1
    })
    .await;

    // First it was silent from the beginning, then it falls silent.
    for (time, sku, position) in [(1, "A", 2), (2, "B", 4)] {
        between.now.send_replace(time);
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
