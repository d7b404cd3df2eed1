//! Random moves, and what must hold however they went.

use checkout::{Definitions, Status};
use notification::Template;
use order::{OrderCommand, OrderStatus};

use super::WorldBy;
use super::provider::Intent;

/// One random move.
pub(crate) fn play<D: Definitions>(world: &mut WorldBy<D>) {
    match world.chance.below(100) {
        0..70 => world.deliver_something(),
        70..88 => {
            world.react_to_payment();
        }
        88..91 => world.late_ask(),
        91 => world.ring(),
        92 => world.wait(),
        93 => world.hold_late(),
        94 => world.sweep(),
        95 if world.chance.percent(30) => world.shop(&OrderCommand::CancelOrder {
            reason: "changed my mind".parse().unwrap(),
        }),
        96..100 => world.shop(&OrderCommand::ShipOrder {
            tracking: "1Z999".parse().unwrap(),
        }),
        _ => {}
    }
}

/// At rest, the business equations hold.
pub(crate) fn check<D: Definitions>(world: &WorldBy<D>, status: OrderStatus) {
    let story = || world.story.join("\n");
    assert!(world.provider.captures <= 1, "charged twice:\n{}", story());
    let kept = world.provider.kept();
    let held = world.provider.intent == Intent::Held;
    let (mut reserved, mut committed, mut gone) = (0, 0, 0);
    for (sku, item) in &world.stock {
        let counts = item.stock().unwrap_or_default();
        reserved += counts.reserved;
        committed += counts.committed;
        gone += world.on_hand.get(sku).copied().unwrap_or_default() - counts.on_hand;
    }
    let lines = world.order.purchase().map_or(0, |p| p.lines.len()) as u64;
    let expected = match status {
        OrderStatus::Confirmed => (Status::Completed, 1, 2 * lines, 0),
        OrderStatus::Shipped => (Status::Ended, 1, 0, 2 * lines),
        OrderStatus::Rejected | OrderStatus::Canceled => (Status::Ended, 0, 0, 0),
        OrderStatus::Placed | OrderStatus::Delivered => panic!("{status} at rest:\n{}", story()),
    };
    let is = (world.checkout.status(), kept, committed, gone);
    assert_eq!(is, expected, "{status}:\n{}", story());
    assert!(!held, "{status}, money is held:\n{}", story());
    assert_eq!(reserved, 0, "{status}, stock is held:\n{}", story());
    check_mails(world, status);
}

/// Exactly one mail of each kind that is due.
fn check_mails<D: Definitions>(world: &WorldBy<D>, status: OrderStatus) {
    let story = || world.story.join("\n");
    let sent: Vec<_> = world.mails.values().flat_map(|(_, sent)| sent).collect();
    let count = |wanted| sent.iter().filter(|t| ***t == wanted).count();
    let refunds = world.provider.refunds.len();
    let is = |wanted| usize::from(status == wanted);
    let due = [
        (Template::OrderRejected, is(OrderStatus::Rejected)),
        (Template::OrderCanceled, is(OrderStatus::Canceled)),
        (Template::OrderShipped, is(OrderStatus::Shipped)),
        (Template::OrderRefunded, refunds),
        (Template::Welcome, 0),
    ];
    for (template, times) in due {
        assert_eq!(count(template), times, "{template}:\n{}", story());
    }
    let stays = matches!(status, OrderStatus::Confirmed | OrderStatus::Shipped);
    let told = count(Template::OrderConfirmed);
    assert!(told <= 1 && (!stays || told == 1), "{}", story());
    let back = world.order.purchase().map(|p| p.refunded().amount > 0);
    assert_eq!(back, Some(refunds == 1), "{}", story());
}
