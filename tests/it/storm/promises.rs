//! Once everything is at rest: was every promise kept?

use std::collections::BTreeMap;

use anyhow::{bail, ensure};
use async_nats::jetstream::consumer::{Consumer, pull};
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt, stream};
use millrace::client::Shop;
use serde_json::{Value, json};
use streams::{Connection, RecordedEvent};
use tokio::time::{Instant, sleep};

use super::customers::{Desk, Ordered, PATIENCE, Promise};
use super::stage::Stage;
use crate::app::Front;

/// Between two looks.
const LOOK: std::time::Duration = std::time::Duration::from_millis(250);

/// Reads at once.
const READS: usize = 8;

/// What must be empty when nothing is under way.
const UNDER_WAY: [&str; 9] = [
    "/v1/orders?status=placed",
    "/v1/checkouts?status=running",
    "/v1/checkouts?status=undoing",
    "/v1/checkouts?status=shipping",
    "/v1/checkouts?status=undone",
    "/v1/checkouts/returns?status=running",
    "/v1/checkouts/refunds?status=running",
    "/v1/payments?status=requested",
    "/v1/notifications?status=requested",
];

/// Waits until nothing is under way: no order, no saga, no mail, no event that somebody has still to hear.
pub(crate) async fn at_rest(front: &Front) -> anyhow::Result<()> {
    let admin = millrace::up::admin_connection(&front.data, &front.endpoints).await?;
    let started = Instant::now();
    loop {
        let mut open = under_way(front).await;
        if open.is_empty() {
            open = unheard(&admin).await;
        }
        if open.is_empty() {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            let open = open.join("\n");
            bail!("{PATIENCE:?} after the last fault there is still something under way:\n{open}");
        }
        sleep(LOOK).await;
    }
}

async fn under_way(front: &Front) -> Vec<String> {
    let operator = front.operator();
    // At once: a read may take long to find out that it gets no answer.
    let looks = UNDER_WAY.map(
        async |path| match operator.get(&format!("{path}&limit=3")).await {
            Ok(list) if list.body["items"] == json!([]) => None,
            Ok(list) => Some(format!("{path}: {}", list.body)),
            Err(error) => Some(format!("{path}: {error}")),
        },
    );
    join_all(looks).await.into_iter().flatten().collect()
}

/// Which durables have not been told everything, or have not acknowledged it.
async fn unheard(admin: &Connection) -> Vec<String> {
    let mut open = Vec::new();
    for durable in sagas::DURABLES.into_iter().chain(reactors::DURABLES) {
        let js = admin.jetstream();
        let found = js.get_consumer_from_stream(durable.name, durable.stream);
        let found: Result<Consumer<pull::Config>, _> = found.await;
        let Ok(found) = found else {
            open.push(format!("{}: can't be asked", durable.name));
            continue;
        };
        let info = found.cached_info();
        let waiting = (info.num_pending, info.num_ack_pending);
        if waiting != (0, 0) {
            open.push(format!("{}: {waiting:?} to tell, to hear of", durable.name));
        }
    }
    open
}

/// Everything that was acknowledged is in the log, once, and can be read; every order has come to the
/// end that it had to; the log is what it should be; nobody broke; nothing waits for a human.
pub(super) async fn are_kept(desk: Desk<'_>) -> anyhow::Result<()> {
    let (stage, notes) = (desk.stage, desk.notes);
    let promises = notes.promises.lock().unwrap().clone();
    let orders = notes.orders.lock().unwrap().clone();
    stage.is_sound().await?;
    in_the_log_once(stage, &promises).await?;
    readable(desk, &promises).await?;
    ended(stage, &orders).await?;
    adds_up(stage)
}

/// The log is what it should be, nothing waits for a human, and the business equations hold: money, stock,
/// rows, the provider's ledger and the mails.
pub(crate) fn adds_up(front: &Front) -> anyhow::Result<()> {
    let (report, well) = front.tool(&["verify"])?;
    ensure!(well, "millrace verify: {:#}", report["findings"]);
    let (radar, nothing) = front.tool(&["stuck"])?;
    ensure!(nothing, "millrace stuck: {radar:#}");
    let (report, adds_up) = front.tool(&["audit", "--at-rest"])?;
    ensure!(adds_up, "millrace audit: {report:#}");
    Ok(())
}

async fn in_the_log_once(stage: &Stage, promises: &[Promise]) -> anyhow::Result<()> {
    let connection = stage.servers.connect("operator").await;
    for stream in ["USER", "INVENTORY", "ORDER"] {
        let log = log(&connection, stream).await?;
        for promise in promises.iter().filter(|promise| promise.stream == stream) {
            let of_subject = log.get(&promise.subject).map_or(&[][..], Vec::as_slice);
            let found = of_subject.iter().filter(|event| {
                let data = String::from_utf8_lossy(&event.data);
                event.event_type == promise.event && data.contains(&promise.mark)
            });
            let count = found.count();
            ensure!(count == 1, "{promise:?} is in the log {count} times");
        }
    }
    Ok(())
}

/// The events of a stream, by subject.
async fn log(
    connection: &Connection,
    stream: &str,
) -> anyhow::Result<BTreeMap<String, Vec<RecordedEvent>>> {
    let last = streams::verify::ends(connection, stream).await?.last;
    let mut log: BTreeMap<_, Vec<RecordedEvent>> = BTreeMap::new();
    let (mut reading, mut read) = (connection.ordered(stream, 0), 0);
    while read < last {
        let event = reading.next().await?;
        read = event.position.sequence;
        log.entry(event.subject.clone()).or_default().push(event);
    }
    Ok(log)
}

async fn readable(desk: Desk<'_>, promises: &[Promise]) -> anyhow::Result<()> {
    let reads = promises.iter();
    let reads = reads.map(|promise| desk.reads(&promise.path, &promise.token));
    stream::iter(reads)
        .buffer_unordered(READS)
        .try_collect()
        .await
}

async fn ended(stage: &Stage, orders: &[Ordered]) -> anyhow::Result<()> {
    let operator = stage.operator();
    let looks = orders.iter().map(|order| has_ended(&operator, order));
    stream::iter(looks)
        .buffer_unordered(READS)
        .try_collect()
        .await
}

async fn has_ended(operator: &Shop, order: &Ordered) -> anyhow::Result<()> {
    let path = format!("/v1/orders/{}", order.id);
    let found = operator.get(&path).await?.success()?.body;
    if found["status"] == order.ends {
        return Ok(());
    }
    let path = format!("/v1/checkouts/{}", order.id);
    let checkout = operator.get(&path).await.map_or(Value::Null, |it| it.body);
    bail!("an order is not {}: {found:#}\n{checkout:#}", order.ends);
}
