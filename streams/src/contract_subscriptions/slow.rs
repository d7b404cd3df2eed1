//! A worker whose server, or whose handler, takes its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, PIN_TIMEOUT, within};
use super::bulk::{Sorter, Worker};
use crate::connection::{ConnectOptions, Connection};
use crate::contract::lossy::{Line, Proxy};
use crate::lanes::{HandleError, Handler, run_lanes};
use crate::subscription::Delivery;

/// Each answer takes longer than anything that a worker does now and then, and the worker before was killed
/// with deliveries in its hands: they are handled all the same, however they are acknowledged.
pub async fn a_slow_server_stops_nobody(options: &ConnectOptions) {
    let fast = Connection::open(options).await.unwrap();
    let bench = Bench::new(&fast).await;
    bench.append("a", 1, 5).await;
    let proxy = Proxy::start(options).await;
    let slow = Connection::open(&proxy.options).await.unwrap();
    proxy.set(Line::SlowAnswers);
    let specs = [
        bench.make_durable("slow").await,
        bench.make_in_bulk("slow-in-bulk").await,
    ];
    for spec in specs {
        bench.pin_as_declared(&spec).await;
        let mut killed = bench.bind(&spec).await;
        within("delivered", killed.next()).await.unwrap();
        drop(killed);
        let sorter = Arc::new(Sorter::default());
        let worker = Worker::start(&slow, &spec, &sorter).await;
        sorter.has_handled(1..=5).await;
        bench.acknowledged_up_to(&spec, 5).await;
        worker.stop().await;
    }
    bench.remove().await;
}

/// A user who may not begin anew where the durable's floor is gets no answer to that, and works all the
/// same: what a dead worker left comes later then.
pub async fn a_reset_that_is_denied_stops_nobody(all: &Connection, denied: &Connection) {
    let bench = Bench::new(all).await;
    let spec = bench.make_durable("denied").await;
    bench.append("a", 1, 2).await;
    let mut killed = bench.bind(&spec).await;
    for _ in 1..=2 {
        within("delivered", killed.next()).await.unwrap();
    }
    drop(killed);
    let sorter = Arc::new(Sorter::default());
    let worker = Worker::start(denied, &spec, &sorter).await;
    bench.append("b", 1, 1).await;
    sorter.has_handled([3]).await;
    worker.stop().await;
    bench.remove().await;
}

/// Takes longer than a pin lasts without a pull.
#[derive(Default)]
struct Slowpoke {
    begun: AtomicUsize,
}

#[async_trait]
impl Handler for Slowpoke {
    async fn handle(&self, _: &Delivery) -> Result<(), HandleError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(PIN_TIMEOUT * 3).await;
        Ok(())
    }
}

/// A worker that ends lets its handler finish: nobody else begins with the same meanwhile, however long that
/// takes and however much has come since.
pub async fn who_ends_keeps_what_it_works_on(first: &Connection, second: &Connection) {
    let bench = Bench::new(first).await;
    let specs = [
        bench.make_durable("ends").await,
        bench.make_in_bulk("ends-in-bulk").await,
    ];
    bench.append("a", 1, 1).await;
    for spec in specs {
        let handler = Arc::new(Slowpoke::default());
        let begun = || handler.begun.load(Ordering::SeqCst);
        let run = |subscription, stop: &CancellationToken| {
            tokio::spawn(run_lanes(subscription, 4, handler.clone(), stop.clone()))
        };
        let (ends, stands_by) = (CancellationToken::new(), CancellationToken::new());
        let active = run(bench.bind(&spec).await, &ends);
        within("begun", async {
            while begun() == 0 {
                tokio::time::sleep(PIN_TIMEOUT / 100).await;
            }
        })
        .await;
        let standby = second.durable(&spec, crate::subscription::DurableLimits::default());
        let standby = run(standby.await.unwrap(), &stands_by);
        ends.cancel();
        within("ended", active).await.unwrap().unwrap();
        bench.acknowledged_up_to(&spec, 1).await;
        assert_eq!(begun(), 1, "{} has handled it twice", spec.name);
        stands_by.cancel();
        within("ended", standby).await.unwrap().unwrap();
    }
    bench.remove().await;
}
