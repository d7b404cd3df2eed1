//! A new saga is one file, and one line that runs it.

mod saga;

use order::{Order, OrderCommand, OrderStatus};
use sagas::Others;

use self::saga::Arrival;
use crate::revisions::Shop;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_saga_is_one_file_and_one_line() {
    let shop = Shop::open("arrival").await;
    let others = Others::default().with::<Arrival>();
    let role = shop.role_with::<checkout::Shop>(others, &[]).await;
    let order = shop.orders().await;
    shop.authorizes(order).await;
    shop.captures(order).await;
    let ships = OrderCommand::ShipOrder {
        tracking: "1Z999".parse().unwrap(),
    };
    let id = order.to_string();
    shop.does::<Order>(&id, ships, Some(order)).await;
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
    let code = [include_str!("saga.rs"), include_str!("mod.rs")]
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
