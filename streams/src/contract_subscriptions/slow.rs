//! A worker whose server takes its time.

use std::sync::Arc;

use super::bench::{Bench, within};
use super::bulk::{Sorter, Worker};
use crate::connection::{ConnectOptions, Connection};
use crate::contract::lossy::{Line, Proxy};

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
