//! A stream whose configuration is changed under a running role.

use std::time::Duration;

use chrono::Utc;
use devstack::Service;
use inventory::{InventoryCommand, StockItem};
use kernel::{Decider, Money, Sealed, Sku, UserId};
use millrace::settings::Source;
use order::{Line, Order, OrderCommand};
use streams::topology;
use streams::{CommandMeta, ExecuteError, Executed, Settings, Streams, chain};
use uuid::Uuid;

use crate::app::becomes;
use crate::servers::Servers;

async fn does<A: Decider>(
    streams: &Streams,
    id: &str,
    command: A::Command,
) -> Result<Executed<A>, ExecuteError<A::Error>> {
    let meta = CommandMeta::new(Uuid::new_v4(), Utc::now(), "operator:test");
    streams
        .execute::<A>(&id.parse().unwrap(), command, &meta)
        .await
}

fn place() -> OrderCommand {
    let user_id = UserId(Uuid::new_v4());
    OrderCommand::PlaceOrder {
        user_id,
        lines: vec![Line {
            sku: "MUG".parse().unwrap(),
            title: "Millstone mug".parse().unwrap(),
            quantity: 1,
            unit_price: Money::new(1_299, "EUR".parse().unwrap()),
        }],
        shipping_address: Sealed::new(user_id, "AAAA"),
        payment_method: "pm_card_visa".parse().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_appended_to_a_stream_that_was_changed_until_it_is_set_right() {
    let servers = Servers::bare("withheld", [Service::Nats]).await;
    let admin = servers.connect("provision").await;
    let declared = millrace::provision::topology();
    topology::provision(&admin, &declared, 1).await.unwrap();
    let source = Source::Stack(servers.stack.secrets());
    let nats = &servers.stack.endpoints().nats;
    let role = source.connect_to_work(nats, "command-api").await.unwrap();
    let streams = role.streams(Settings::default());
    let order = || Uuid::new_v4().to_string();
    let placed = does::<Order>(&streams, &order(), place()).await;
    placed.unwrap();

    let config = admin.jetstream().get_stream("ORDER").await.unwrap();
    let right = config.cached_info().config.clone();
    let mut forgets = right.clone();
    forgets.max_age = Duration::from_hours(24);
    admin.jetstream().update_stream(&forgets).await.unwrap();
    becomes("it is noticed", async || role.withheld().check().is_err()).await;
    let told = role.withheld().check().unwrap_err();
    assert!(told.starts_with("stream ORDER: max_age is "), "{told}");
    let refused = does::<Order>(&streams, &order(), place()).await;
    let refused = refused.err().unwrap();
    assert!(
        chain(&refused).contains("stream ORDER: max_age is"),
        "{refused:?}"
    );
    let last = streams.stream_state("ORDER").await.unwrap().last;
    assert_eq!(last, 1, "nothing was appended");
    let sku: Sku = "MUG".parse().unwrap();
    let kept = InventoryCommand::CreateStockItem {};
    let kept = does::<StockItem>(&streams, sku.as_str(), kept).await;
    kept.unwrap();

    admin.jetstream().update_stream(&right).await.unwrap();
    becomes("it is noticed", async || role.withheld().check().is_ok()).await;
    let placed = does::<Order>(&streams, &order(), place()).await;
    placed.unwrap();
}
