//! The stock of one SKU: what may be asked of it, told as sentences.

use chrono::{DateTime, TimeDelta, Utc};
use inventory::{
    End, FINISHED_KEPT_SECONDS, InventoryCommand, InventoryEvent, InventoryRefusal, ON_HAND_MAX,
    Stage, Stock, StockItem,
};
use kernel::{Decider, OrderId, Reason, ReservationId, TestFramework};
use uuid::Uuid;

/// Minutes after a fixed noon.
fn minute(minutes: i64) -> DateTime<Utc> {
    let noon: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().unwrap();
    noon + TimeDelta::minutes(minutes)
}

/// When every hold in here lapses.
fn lapse() -> DateTime<Utc> {
    minute(30)
}

fn id(order: u128) -> ReservationId {
    ReservationId {
        order_id: OrderId(Uuid::from_u128(order)),
        attempt: 1,
    }
}

fn why() -> Reason {
    "card_declined".parse().unwrap()
}

fn stock(on_hand: u64, reserved: u64, committed: u64) -> Stock {
    Stock {
        on_hand,
        reserved,
        committed,
    }
}

fn reserve(order: u128, quantity: u32, now: i64) -> InventoryCommand {
    InventoryCommand::ReserveStock {
        reservation: id(order),
        quantity,
        expires_at: lapse(),
        at: minute(now),
    }
}

fn commit(order: u128, now: i64) -> InventoryCommand {
    InventoryCommand::CommitReservation {
        reservation: id(order),
        at: minute(now),
    }
}

fn release(order: u128, now: i64) -> InventoryCommand {
    InventoryCommand::ReleaseReservation {
        reservation: id(order),
        reason: why(),
        expires_at: lapse(),
        at: minute(now),
    }
}

fn expire(order: u128, now: i64) -> InventoryCommand {
    InventoryCommand::ExpireReservation {
        reservation: id(order),
        at: minute(now),
    }
}

fn ship(order: u128, now: i64) -> InventoryCommand {
    InventoryCommand::ShipReservation {
        reservation: id(order),
        at: minute(now),
    }
}

fn adjust(delta: i64) -> InventoryCommand {
    InventoryCommand::AdjustStock {
        delta,
        reason: why(),
    }
}

fn receive(quantity: u32) -> InventoryCommand {
    InventoryCommand::ReceiveStock { quantity }
}

fn reserved(order: u128, quantity: u32, now: i64, stock: Stock) -> InventoryEvent {
    InventoryEvent::StockReserved {
        reservation: id(order),
        quantity,
        expires_at: lapse(),
        at: minute(now),
        stock,
    }
}

fn released(order: u128, quantity: u32, now: i64, stock: Stock) -> InventoryEvent {
    InventoryEvent::ReservationReleased {
        reservation: id(order),
        quantity,
        reason: why(),
        expires_at: lapse(),
        at: minute(now),
        stock,
    }
}

fn expired(order: u128, quantity: u32, now: i64, stock: Stock) -> InventoryEvent {
    InventoryEvent::ReservationExpired {
        reservation: id(order),
        quantity,
        at: minute(now),
        stock,
    }
}

/// The history that these commands made, one after another. Each must have been taken.
fn history(commands: &[InventoryCommand]) -> Vec<InventoryEvent> {
    let mut item = StockItem::default();
    let mut events = Vec::new();
    for command in commands {
        for event in item.decide(command).unwrap() {
            item.evolve(&event);
            events.push(event);
        }
    }
    events
}

/// Ten units in the house, and then these commands.
fn ten_and(commands: &[InventoryCommand]) -> Vec<InventoryEvent> {
    let mut all = vec![InventoryCommand::CreateStockItem {}, receive(10)];
    all.extend_from_slice(commands);
    history(&all)
}

fn after(events: &[InventoryEvent]) -> StockItem {
    let mut item = StockItem::default();
    for event in events {
        item.evolve(event);
    }
    item
}

#[track_caller]
fn follows(given: Vec<InventoryEvent>, when: InventoryCommand, then: Vec<InventoryEvent>) {
    TestFramework::<StockItem>::with(())
        .given(given)
        .when(when)
        .then_expect_events(then);
}

#[track_caller]
fn is_refused(given: Vec<InventoryEvent>, when: InventoryCommand, then: InventoryRefusal) {
    TestFramework::<StockItem>::with(())
        .given(given)
        .when(when)
        .then_expect_error(then);
}

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
fn a_release_after_the_reserve_could_still_come_needs_no_tombstone() {
    follows(ten_and(&[]), release(1, 30), vec![]);
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
fn a_hold_that_lapsed_can_not_be_made_firm() {
    let refusal = InventoryRefusal::ReservationExpired;
    is_refused(ten_and(&[reserve(1, 3, 0)]), commit(1, 30), refusal.clone());
    is_refused(
        ten_and(&[reserve(1, 3, 0), expire(1, 30)]),
        commit(1, 29),
        refusal,
    );
}

#[test]
fn what_was_released_can_not_be_made_firm() {
    for history in [
        ten_and(&[reserve(1, 3, 0), release(1, 1)]),
        ten_and(&[release(1, 1)]),
    ] {
        is_refused(history, commit(1, 2), InventoryRefusal::ReservationClosed);
    }
}

#[test]
fn an_unknown_hold_is_neither_made_firm_nor_shipped() {
    let reservation = id(1);
    for command in [commit(1, 0), ship(1, 0)] {
        is_refused(
            ten_and(&[]),
            command,
            InventoryRefusal::ReservationUnknown { reservation },
        );
    }
}

#[test]
fn units_are_given_back_once_whether_reserved_or_committed() {
    let back = released(1, 3, 2, stock(10, 0, 0));
    for history in [
        ten_and(&[reserve(1, 3, 0)]),
        ten_and(&[reserve(1, 3, 0), commit(1, 1)]),
    ] {
        follows(history, release(1, 2), vec![back.clone()]);
    }
    let given_back = ten_and(&[reserve(1, 3, 0), release(1, 1)]);
    follows(given_back, release(1, 2), vec![]);
    let lapsed = ten_and(&[reserve(1, 3, 0), expire(1, 30)]);
    follows(lapsed, release(1, 31), vec![]);
}

#[test]
fn what_was_shipped_is_not_given_back() {
    is_refused(
        ten_and(&[reserve(1, 3, 0), commit(1, 1), ship(1, 2)]),
        release(1, 3),
        InventoryRefusal::ReservationShipped,
    );
}

#[test]
fn a_hold_expires_once_and_not_before_its_time() {
    let held = ten_and(&[reserve(1, 3, 0)]);
    follows(
        held.clone(),
        expire(1, 30),
        vec![expired(1, 3, 30, stock(10, 0, 0))],
    );
    is_refused(held, expire(1, 29), InventoryRefusal::ReservationNotLapsed);
    for nothing_held in [
        ten_and(&[]),
        ten_and(&[release(1, 1)]),
        ten_and(&[reserve(1, 3, 0), expire(1, 30)]),
    ] {
        follows(nothing_held, expire(1, 31), vec![]);
    }
}

#[test]
fn a_firm_hold_does_not_expire() {
    is_refused(
        ten_and(&[reserve(1, 3, 0), commit(1, 1)]),
        expire(1, 31),
        InventoryRefusal::ReservationCommitted,
    );
}

#[test]
fn firm_units_leave_the_house_once() {
    let shipped = InventoryEvent::StockShipped {
        reservation: id(1),
        quantity: 3,
        at: minute(2),
        stock: stock(7, 0, 0),
    };
    follows(
        ten_and(&[reserve(1, 3, 0), commit(1, 1)]),
        ship(1, 2),
        vec![shipped],
    );
    follows(
        ten_and(&[reserve(1, 3, 0), commit(1, 1), ship(1, 2)]),
        ship(1, 3),
        vec![],
    );
}

#[test]
fn a_shipment_asked_for_again_days_after_the_hold_lapsed_is_already_true() {
    let days = 3 * 24 * 60;
    let shipped = ten_and(&[reserve(1, 3, 0), commit(1, 1), ship(1, days)]);
    follows(shipped, ship(1, days + 1), vec![]);
}

#[test]
fn only_firm_units_leave_the_house() {
    is_refused(
        ten_and(&[reserve(1, 3, 0)]),
        ship(1, 1),
        InventoryRefusal::ReservationNotCommitted,
    );
    for history in [
        ten_and(&[reserve(1, 3, 0), release(1, 1)]),
        ten_and(&[reserve(1, 3, 0), expire(1, 30)]),
        ten_and(&[release(1, 1)]),
    ] {
        is_refused(history, ship(1, 2), InventoryRefusal::ReservationClosed);
    }
}

#[test]
fn lapsed_holds_give_way_to_who_needs_their_units() {
    let later = InventoryCommand::ReserveStock {
        reservation: id(9),
        quantity: 5,
        expires_at: minute(90),
        at: minute(40),
    };
    let granted = InventoryEvent::StockReserved {
        reservation: id(9),
        quantity: 5,
        expires_at: minute(90),
        at: minute(40),
        stock: stock(10, 9, 0),
    };
    let full = ten_and(&[reserve(1, 4, 0), reserve(2, 6, 0)]);
    let gave_way = vec![expired(2, 6, 40, stock(10, 4, 0)), granted];
    follows(full.clone(), later.clone(), gave_way.clone());

    let used_up = [full, gave_way].concat();
    is_refused(used_up, commit(2, 29), InventoryRefusal::ReservationExpired);

    let firm = ten_and(&[reserve(1, 4, 0), reserve(2, 6, 0), commit(2, 1)]);
    is_refused(
        firm,
        later,
        InventoryRefusal::OutOfStock {
            requested: 5,
            available: 4,
        },
    );
}

#[test]
fn what_is_finished_is_forgotten_when_nothing_late_can_name_it() {
    let mut commands = vec![release(1, 0)];
    for order in 2..=4 {
        commands.push(reserve(order, 1, 0));
    }
    commands.extend([release(2, 1), commit(3, 1), expire(4, 30)]);
    let item = after(&ten_and(&commands));
    assert_eq!(
        item.hold(&id(1)),
        None,
        "a tombstone goes when its hold's time is over"
    );
    assert_eq!(item.hold(&id(2)), None);
    assert_eq!(
        item.hold(&id(4)).map(|hold| hold.stage),
        Some(Stage::Finished(End::Expired)),
        "what has just finished is remembered for a while"
    );
    let kept_minutes = FINISHED_KEPT_SECONDS / 60;
    commands.push(InventoryCommand::ReserveStock {
        reservation: id(5),
        quantity: 1,
        expires_at: minute(90),
        at: minute(30 + kept_minutes),
    });
    let item = after(&ten_and(&commands));
    let left: Vec<_> = item
        .kept()
        .unwrap()
        .holds
        .iter()
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(left, [id(3), id(5)], "the firm hold and the new one");
}

#[test]
fn a_fact_about_stock_that_is_not_kept_changes_nothing() {
    assert_eq!(
        after(&[reserved(1, 1, 0, stock(10, 1, 0))]),
        StockItem::default()
    );
}
