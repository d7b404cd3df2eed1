//! Returns and refunds with the real aggregates under a seeded schedule: crashes between any two
//! steps, lost and late answers, doubles, disorder between the streams. However it went, at rest
//! goods are on the shelf once, money went back once, and everybody knows.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test: what can't be is a finding, and ends it"
)]

#[path = "aftermath/world.rs"]
mod world;

use kernel::{RefundId, ReturnId};
use order::ReturnStage;
use payment::RefundStage;
use world::{ON_HAND, World};

/// Schedules in one run; a failing one prints its seed and its story.
const SEEDS: u64 = 2_000;

/// Random moves before everything is left to settle.
const MOVES: usize = 60;

#[test]
fn however_it_goes_goods_and_money_come_back_once() {
    let (mut paid, mut stuck) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..MOVES {
            world.play();
        }
        world.settle();
        stock_adds_up(&world);
        money_adds_up(&world);
        let returns = every_return_is_paid_back_or_waits_for_a_person(&world);
        paid += returns.0;
        stuck += returns.1;
    }
    assert!(paid > SEEDS / 2, "{paid} returns were paid back only");
    assert!(stuck > SEEDS / 50, "{stuck} refunds were refused only");
}

/// What was received is on the shelf, and nothing else.
fn stock_adds_up(world: &World) {
    for (sku, item) in &world.stock {
        let received = world.returns_in(ReturnStage::Received);
        let lines = received.flat_map(|(_, back)| back.lines.iter());
        let units = lines.filter(|line| line.sku == *sku);
        let units: u64 = units.map(|line| u64::from(line.quantity)).sum();
        assert_eq!(item.stock().unwrap().on_hand, ON_HAND + units, "{world}");
    }
}

/// Provider, payment and order say the same, and every refund has its one mail.
fn money_adds_up(world: &World) {
    let charge = world.payment.charge().unwrap();
    let of_provider: i64 = world.paid_back.values().map(|amount| amount.amount).sum();
    assert!(of_provider <= charge.captured().amount, "{world}");
    assert_eq!(charge.refunded().amount, of_provider, "{world}");
    let purchase = world.order.purchase().unwrap();
    assert_eq!(purchase.refunded().amount, of_provider, "{world}");
    let done = charge.refunds.values();
    let done = done.filter(|refund| refund.stage == RefundStage::Done);
    assert_eq!(done.count(), charge.refunds.len(), "{world}");
    assert_eq!(world.mails.len(), charge.refunds.len(), "{world}");
}

/// How many returns were paid back, and of how many the payment refused the money, for too much had
/// gone back by hand.
fn every_return_is_paid_back_or_waits_for_a_person(world: &World) -> (u64, u64) {
    let (mut paid, mut stuck) = (0, 0);
    for (ReturnId(id), back) in world.returns_in(ReturnStage::Received) {
        let refunds = &world.payment.charge().unwrap().refunds;
        if let Some(refund) = refunds.get(&RefundId(*id)) {
            assert_eq!(refund.amount, back.amount, "{world}");
            assert_eq!(world.suspended(ReturnId(*id)), None, "{world}");
            paid += 1;
        } else {
            let why = world.suspended(ReturnId(*id)).unwrap();
            assert!(why.contains("refund_exceeds_captured"), "{why}\n{world}");
            stuck += 1;
        }
    }
    (paid, stuck)
}
