//! A table's saga minds its own order, and holds up nobody else's.

use checkout::stepwise::Stepwise;
use order::{Order, OrderCommand};
use payment::ProviderAction;
use sagas::Others;
use streams::parking::{self, Wish};

use super::tables::{Lapsing, MOMENT, Packed};
use crate::app::becomes;
use crate::revisions::Shop;

/// One event of the stock tells that the hold of one order lapses, in the batch of the other that takes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_whose_hold_another_order_takes_acts_for_its_own_order() {
    let shop = Shop::open("lapsing").await;
    shop.stocks_so_many("GIFT", 1).await;
    let role = shop.with::<Lapsing>().await;
    let first = shop.orders().await;
    shop.comes_to::<Lapsing>(first, "paid").await;
    // What it holds lapses by the clock alone.
    tokio::time::sleep(MOMENT.to_std().unwrap()).await;
    let second = shop.orders().await;
    shop.comes_to::<Lapsing>(second, "paid").await;
    shop.comes_to::<Lapsing>(first, "undone").await;
    role.ends().await;
    let (mut told, mut events) = (0, shop.connection.ordered("CHECKOUT", 0));
    events.start().await.unwrap();
    while !events.caught_up() {
        let event = events.next().await.unwrap();
        if event.kind.as_deref() == Some("lapsing") {
            let own = event.aggregate_id.as_str();
            assert_eq!(event.correlation_id.as_deref(), Some(own), "{event:?}");
            told += usize::from(own == first.to_string());
        }
    }
    assert_eq!(told, 3, "it begins, has its gift, and loses it");
}

/// As after a build that knew a newer plan was rolled back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_goes_on_whose_other_saga_follows_a_plan_that_nobody_knows() {
    let shop = Shop::open("packed").await;
    let newer = shop.with::<Packed<2>>().await;
    let order = shop.orders().await;
    shop.comes_to::<Packed<2>>(order, "authorized").await;
    shop.asks_for_money(order).await;
    newer.ends().await;

    let none = ["--unknown-definition-patience-s", "0"];
    let others = Others::default().with::<Stepwise<Packed<1>>>();
    let rolled_back = shop.role_with::<checkout::Shop>(others, &none).await;
    shop.authorizes(order).await;
    shop.captures(order).await;
    let reason = "changed my mind".parse().unwrap();
    let (id, cancels) = (order.to_string(), OrderCommand::CancelOrder { reason });
    shop.does::<Order>(&id, cancels, Some(order)).await;
    shop.wants(order, |due| matches!(due, ProviderAction::Refund { .. }))
        .await;
    let mut parked = Vec::new();
    becomes("what it does not know is set aside", async || {
        parked = parking::parked(&shop.connection).await.unwrap();
        let durables = parked.iter().map(|(durable, ..)| &**durable);
        durables.eq(["sagas-order", "sagas-payment"])
    })
    .await;
    rolled_back.ends().await;

    // Nothing that it was told meanwhile is lost.
    let newer = shop.with::<Packed<2>>().await;
    for (durable, key, _) in &parked {
        let wish = Wish::Retry { reason: None };
        let asked = parking::ask(&shop.connection, durable, key, "ada", wish);
        asked.await.unwrap();
    }
    shop.comes_to::<Packed<2>>(order, "undone").await;
    newer.ends().await;
}
