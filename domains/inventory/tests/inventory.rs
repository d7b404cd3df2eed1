//! The stock of one SKU: what may be asked of it, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

mod words;

use std::iter;

use inventory::{InventoryCommand, InventoryEvent, InventoryRefusal, ON_HAND_MAX, StockItem};
use kernel::Decider;
use words::{
    adjust, after, commit, expire, follows, id, is_refused, receive, release, released, reserve,
    reserved, restock, ship, stock, ten_and, threshold, why,
};

#[test]
fn stock_of_a_sku_is_kept_once() {
    let create = InventoryCommand::CreateStockItem {};
    follows(
        vec![],
        create.clone(),
        vec![InventoryEvent::StockItemCreated {}],
    );
    is_refused(
        ten_and(&[]),
        create,
        InventoryRefusal::StockItemAlreadyExists,
    );
}

#[test]
fn of_an_unknown_sku_there_is_no_stock() {
    for command in [
        receive(1),
        adjust(1),
        reserve(1, 1, 0),
        commit(1, 0),
        expire(1, 0),
        ship(1, 0),
        restock(1, 1, 0),
        threshold(1),
    ] {
        is_refused(vec![], command, InventoryRefusal::StockItemUnknown);
    }
}

#[test]
fn releasing_what_an_unknown_sku_never_gave_is_already_true() {
    follows(vec![], release(1, 0), vec![]);
}

#[test]
fn goods_come_in() {
    let came_in = InventoryEvent::StockReceived {
        quantity: 5,
        stock: stock(15, 0, 0),
    };
    follows(ten_and(&[]), receive(5), vec![came_in]);
    is_refused(
        ten_and(&[]),
        receive(0),
        InventoryRefusal::QuantityNotPositive,
    );
}

#[test]
fn more_than_can_be_counted_does_not_come_in() {
    let max = i64::try_from(ON_HAND_MAX).unwrap();
    let refusal = InventoryRefusal::StockTooLarge { max: ON_HAND_MAX };
    is_refused(ten_and(&[]), adjust(max), refusal.clone());
    is_refused(ten_and(&[]), adjust(i64::MAX), refusal.clone());
    is_refused(ten_and(&[adjust(max - 10)]), receive(1), refusal);
}

#[test]
fn a_count_is_corrected_but_not_below_what_is_set_aside() {
    let adjusted = |delta, stock| InventoryEvent::StockAdjusted {
        delta,
        reason: why(),
        stock,
    };
    let three_set_aside = ten_and(&[reserve(1, 2, 0), reserve(2, 1, 0), commit(2, 1)]);
    follows(
        three_set_aside.clone(),
        adjust(-7),
        vec![adjusted(-7, stock(3, 2, 1))],
    );
    follows(ten_and(&[]), adjust(2), vec![adjusted(2, stock(12, 0, 0))]);
    let too_large = InventoryRefusal::AdjustmentTooLarge { available: 7 };
    is_refused(three_set_aside.clone(), adjust(-8), too_large.clone());
    is_refused(three_set_aside, adjust(i64::MIN), too_large);
    is_refused(ten_and(&[]), adjust(0), InventoryRefusal::AdjustmentOfZero);
}

#[test]
fn units_are_set_aside_for_an_order_once() {
    follows(
        ten_and(&[]),
        reserve(1, 3, 0),
        vec![reserved(1, 3, 0, stock(10, 3, 0))],
    );
    follows(ten_and(&[reserve(1, 3, 0)]), reserve(1, 3, 1), vec![]);
    follows(
        ten_and(&[reserve(1, 3, 0), commit(1, 1)]),
        reserve(1, 3, 2),
        vec![],
    );
}

#[test]
fn nothing_can_not_be_set_aside() {
    is_refused(
        ten_and(&[]),
        reserve(1, 0, 0),
        InventoryRefusal::QuantityNotPositive,
    );
}

#[test]
fn the_last_unit_goes_to_one_order() {
    let last_taken = ten_and(&[reserve(1, 10, 0)]);
    is_refused(
        last_taken,
        reserve(2, 1, 0),
        InventoryRefusal::OutOfStock {
            requested: 1,
            available: 0,
        },
    );
    is_refused(
        ten_and(&[reserve(1, 8, 0)]),
        reserve(2, 3, 0),
        InventoryRefusal::OutOfStock {
            requested: 3,
            available: 2,
        },
    );
}

#[test]
fn the_same_reservation_with_another_quantity_is_refused() {
    for history in [
        ten_and(&[reserve(1, 3, 0)]),
        ten_and(&[reserve(1, 3, 0), commit(1, 1)]),
        ten_and(&[reserve(1, 3, 0), release(1, 1)]),
    ] {
        let refusal = InventoryRefusal::ReservationDiffers { held: 3 };
        is_refused(history, reserve(1, 4, 2), refusal);
    }
}

#[test]
fn a_finished_reservation_is_not_made_again() {
    for history in [
        ten_and(&[reserve(1, 3, 0), release(1, 1)]),
        ten_and(&[reserve(1, 3, 0), expire(1, 30)]),
        ten_and(&[reserve(1, 3, 0), commit(1, 1), ship(1, 2)]),
    ] {
        is_refused(
            history,
            reserve(1, 3, 3),
            InventoryRefusal::ReservationClosed,
        );
    }
}

#[test]
fn a_reserve_that_comes_after_its_own_time_is_refused() {
    let refusal = InventoryRefusal::ReservationAlreadyExpired;
    is_refused(ten_and(&[]), reserve(1, 3, 30), refusal.clone());
    is_refused(ten_and(&[reserve(1, 3, 0)]), reserve(1, 3, 30), refusal);
}

#[test]
fn a_late_reserve_after_its_release_is_refused() {
    let tombstone = released(1, 0, 1, stock(10, 0, 0));
    follows(ten_and(&[]), release(1, 1), vec![tombstone]);
    follows(ten_and(&[release(1, 1)]), release(1, 2), vec![]);
    is_refused(
        ten_and(&[release(1, 1)]),
        reserve(1, 3, 2),
        InventoryRefusal::ReservationClosed,
    );
}

#[test]
fn a_hold_is_made_firm_once() {
    let committed = InventoryEvent::ReservationCommitted {
        reservation: id(1),
        quantity: 3,
        stock: stock(10, 0, 3),
    };
    follows(ten_and(&[reserve(1, 3, 0)]), commit(1, 29), vec![committed]);
    let firm = [reserve(1, 3, 0), commit(1, 29)];
    follows(ten_and(&firm), commit(1, 31), vec![]);
    let shipped = [reserve(1, 3, 0), commit(1, 1), ship(1, 2)];
    follows(ten_and(&shipped), commit(1, 3), vec![]);
}

#[test]
fn a_fact_about_stock_that_is_not_kept_changes_nothing() {
    assert_eq!(
        after(&[reserved(1, 1, 0, stock(10, 1, 0))]),
        StockItem::default()
    );
}

#[test]
fn the_room_that_holds_take_in_memory_is_told() {
    let bytes = |orders: u32| {
        let holds = (0..orders).map(|order| reserved(order.into(), 1, 0, stock(10, 1, 0)));
        let created = InventoryEvent::StockItemCreated {};
        let mut item = StockItem::default();
        for event in iter::once(created).chain(holds) {
            item.evolve(&event);
        }
        item.remembered_bytes()
    };
    assert_eq!(bytes(0), 0);
    // The id of a hold takes 20 bytes, the hold itself 17 and more.
    for (orders, most) in [(1, 1_000), (3_000, 500_000)] {
        let told = bytes(orders);
        let least = 37 * usize::try_from(orders).unwrap();
        assert!((least..most).contains(&told), "{orders}: {told}");
    }
}
