//! How a hold on stock ends, and how long that is remembered, told as sentences.

#![allow(clippy::unwrap_used, reason = "a scenario that can not go on fails")]

mod words;

use inventory::{
    End, FINISHED_KEPT_SECONDS, InventoryCommand, InventoryEvent, InventoryRefusal, Stage,
};
use words::{
    after, commit, expire, expired, follows, id, is_refused, minute, release, released, reserve,
    ship, stock, ten_and,
};

#[test]
fn a_release_after_the_reserve_could_still_come_needs_no_tombstone() {
    follows(ten_and(&[]), release(1, 30), vec![]);
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
