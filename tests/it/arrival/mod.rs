//! A new saga is one file with a table, and one line that runs it.

mod apart;
pub(crate) mod gift;
mod radar;
mod saga;
mod tables;

use checkout::stepwise::{Stepwise, Table, kit};
use inventory::{InventoryCommand, Stock, StockItem};
use kernel::OrderId;
use order::{Order, OrderCommand, OrderStatus};
use sagas::Others;

use self::gift::Gift;
use self::saga::Arrival;
use self::tables::{Boxed, Careless, Lapsing, Packed};
use crate::revisions::{Role, Shop};

#[test]
fn the_tables_are_sagas() {
    kit::check::<Gift>().unwrap();
    kit::check::<Boxed>().unwrap();
    kit::check::<Careless>().unwrap();
    kit::check::<Lapsing>().unwrap();
    kit::check::<Packed<2>>().unwrap();
}

impl Shop {
    async fn with<T: Table>(&self) -> Role {
        let others = Others::default().with::<Stepwise<T>>();
        self.role_with::<checkout::Shop>(others, &[]).await
    }

    async fn stocks(&self, sku: &str) {
        self.stocks_so_many(sku, 10).await;
    }

    async fn stocks_so_many(&self, sku: &str, quantity: u32) {
        for command in [
            InventoryCommand::CreateStockItem {},
            InventoryCommand::ReceiveStock { quantity },
        ] {
            self.does::<StockItem>(sku, command, None).await;
        }
    }

    /// Waits until there is so much of it: in the house, reserved, committed.
    async fn has(&self, sku: &str, stock: [u64; 3]) {
        let what = format!("is {stock:?}");
        self.is::<StockItem>(&what, sku, |item| {
            let Stock {
                on_hand,
                reserved,
                committed,
            } = item.kept().unwrap().stock;
            [on_hand, reserved, committed] == stock
        })
        .await;
    }

    /// Waits until the saga of an order is there.
    async fn comes_to<T: Table>(&self, order: OrderId, stage: &str) {
        let (what, id) = (format!("comes to {stage}"), order.to_string());
        self.is::<Stepwise<T>>(&what, &id, |saga| saga.stage() == stage)
            .await;
    }

    async fn ships(&self, order: OrderId) {
        let tracking = "1Z999".parse().unwrap();
        let ships = OrderCommand::ShipOrder { tracking };
        self.does::<Order>(&order.to_string(), ships, Some(order))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gift_goes_with_its_order_and_is_put_back_when_it_is_canceled() {
    let shop = Shop::open("gift").await;
    shop.stocks("GIFT").await;
    let others = Others::default().with::<Stepwise<Gift>>();
    let role = shop.role_with::<checkout::Shop>(others, &[]).await;
    let (kept, canceled) = (shop.orders().await, shop.orders().await);
    for order in [kept, canceled] {
        shop.authorizes(order).await;
        shop.captures(order).await;
        shop.comes_to::<Gift>(order, "shipped").await;
    }
    shop.has("GIFT", [10, 0, 2]).await;
    let reason = "changed my mind".parse().unwrap();
    let cancels = OrderCommand::CancelOrder { reason };
    shop.does::<Order>(&canceled.to_string(), cancels, Some(canceled))
        .await;
    shop.comes_to::<Gift>(canceled, "undone").await;
    shop.has("GIFT", [10, 0, 1]).await;
    shop.ships(kept).await;
    shop.comes_to::<Gift>(kept, "done").await;
    shop.has("GIFT", [9, 0, 0]).await;
    role.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_is_refused_has_those_before_undone() {
    let shop = Shop::open("boxed-refused").await;
    shop.stocks("GIFT").await;
    let role = shop.with::<Boxed>().await;
    let order = shop.orders().await;
    shop.comes_to::<Boxed>(order, "undone").await;
    shop.has("GIFT", [10, 0, 0]).await;
    role.ends().await;
}

/// Also when the stream of timers has lost it: the sweep sets it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_is_too_late_has_those_before_undone() {
    let shop = Shop::open("boxed-late").await;
    shop.stocks("GIFT").await;
    shop.stocks("BOX").await;
    let role = shop.with::<Boxed>().await;
    let order = shop.orders().await;
    shop.comes_to::<Boxed>(order, "paid").await;
    shop.has("BOX", [10, 1, 0]).await;
    role.ends().await;
    let timers = shop.connection.jetstream().get_stream("TIMERS").await;
    timers.unwrap().purge().await.unwrap();
    let role = shop.with::<Boxed>().await;
    shop.comes_to::<Boxed>(order, "undone").await;
    for sku in ["GIFT", "BOX"] {
        shop.has(sku, [10, 0, 0]).await;
    }
    role.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_without_a_table_is_one_file_and_one_line() {
    let shop = Shop::open("arrival").await;
    let others = Others::default().with::<Arrival>();
    let role = shop.role_with::<checkout::Shop>(others, &[]).await;
    let order = shop.orders().await;
    shop.authorizes(order).await;
    shop.captures(order).await;
    shop.ships(order).await;
    let id = order.to_string();
    // Nobody says that it came: the saga's timer rings.
    shop.is::<Order>("is delivered", &id, |order| {
        order.status() == Some(OrderStatus::Delivered)
    })
    .await;
    shop.is::<Arrival>("ends", &id, |arrival| *arrival == Arrival::Ended)
        .await;
    role.ends().await;
}

/// What the README shows of it stands in it.
#[test]
fn the_readme_shows_the_saga_as_it_is() {
    let code = [include_str!("gift.rs"), include_str!("mod.rs")]
        .map(bare)
        .concat();
    let readme = crate::documents::document("README.md");
    let block = readme.split("- **a saga**").nth(1).unwrap();
    let block = block.split("```").nth(1).unwrap();
    let lines = block.lines().skip(1).map(|line| line.split("//").next());
    let lines: Vec<_> = lines.map(|line| bare(line.unwrap())).collect();
    let shown = lines.iter().filter(|line| !line.is_empty());
    assert!(shown.clone().count() > 5, "{lines:?}");
    for line in shown {
        assert!(code.contains(line), "{line}");
    }
}

/// Without what the formatter decides on.
fn bare(code: &str) -> String {
    let text: String = code.split_whitespace().collect();
    text.replace(",)", ")")
}
