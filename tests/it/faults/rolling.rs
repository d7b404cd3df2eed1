//! Two of every worker, and the first one killed while orders flow.

use async_nats::jetstream::consumer::{Consumer, pull};
use devstack::launch::{Child, Signal};
use futures::future::join_all;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{CONFIRMED, LOOK, PRICE};
use crate::app::{App, PATIENCE, folder};

/// The roles that can be doubled.
const WORKERS: [&str; 3] = ["projector", "saga", "reactor"];

/// More than is bought.
const STOCK: u32 = 1_000;

/// A customer buys one at a time.
const CUSTOMERS: usize = 4;

/// Each of them so often at most.
const ORDERS_MAX: usize = 25;

async fn workers(app: &App, generation: &str) -> Vec<Child> {
    let start = async |role| {
        let log = format!("{role}-{generation}.log");
        app.role(&[role], &log).await
    };
    join_all(WORKERS.map(start)).await
}

/// Waits until so many processes ask for work from each durable.
async fn until_at_work(app: &App, processes: usize) {
    let admin = millrace::up::admin_connection(&app.data, &app.endpoints).await;
    let admin = admin.unwrap();
    let started = Instant::now();
    for durable in sagas::DURABLES.into_iter().chain(reactors::DURABLES) {
        loop {
            let js = admin.jetstream();
            let found = js.get_consumer_from_stream(durable.name, durable.stream);
            let mut found: Consumer<pull::Config> = found.await.unwrap();
            if found.info().await.unwrap().num_waiting >= processes {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{durable:?}");
            sleep(LOOK).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_killed_beside_its_successor_loses_no_order() {
    let without = WORKERS.join(",");
    let app = App::start_with(&folder("rolling"), &["--without", &without]).await;
    let first = workers(&app, "first").await;
    until_at_work(&app, 1).await;
    let customers = join_all((0..CUSTOMERS).map(|_| app.customer())).await;
    let sku = app.product(STOCK).await;
    let enough = CancellationToken::new();
    let buying = join_all(customers.iter().map(|customer| async {
        let mut orders = Vec::new();
        while orders.len() < ORDERS_MAX && !enough.is_cancelled() {
            orders.push(customer.orders(&sku, 1, "pm_card_visa").await);
        }
        orders
    }));
    let rolling = async {
        let second = workers(&app, "second").await;
        until_at_work(&app, 2).await;
        // Whatever is placed by then, this one is in the middle of its way.
        let last = customers[0].orders(&sku, 1, "pm_card_visa").await;
        for worker in &first {
            worker.signaller().send(Signal::KILL).unwrap();
            worker.wait().await;
        }
        enough.cancel();
        (second, last)
    };
    let (orders, (second, last)) = tokio::join!(buying, rolling);
    let mut orders: Vec<String> = orders.into_iter().flatten().collect();
    orders.push(last);
    for order in &orders {
        app.order_is(order, "confirmed").await;
        app.told(order, 1).await;
        let ledger = app.ledger(order).await;
        assert_eq!(ledger.len(), 1, "{ledger:?}");
        assert_eq!(ledger[0]["captured"], PRICE, "{ledger:?}");
    }
    let sold = orders.len() as u64;
    app.stock_is(&sku, [STOCK.into(), 0, sold]).await;
    let mut told = 0;
    for customer in &customers {
        let mails = app.mails(&customer.email).await;
        told += mails.iter().filter(|(_, of)| of == CONFIRMED).count();
    }
    assert_eq!(told, orders.len(), "a mail is one Message-ID");
    let up_to_date = |ready: &Value| {
        let mut views = ready["views"].as_array().unwrap().iter();
        views.all(|view| view["behind"] == 0 && view.get("stopped_at").is_none())
    };
    let views = app.queries();
    let views = views.wait_for("the views", "/readyz", PATIENCE, up_to_date);
    views.await.unwrap();
    for worker in second {
        assert!(worker.exited().is_none(), "a second worker has ended");
    }
    app.stop().await;
}
